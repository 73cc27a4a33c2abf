"""A model that only looks: the same answers, in less time."""

from __future__ import annotations

import contextlib
from copy import deepcopy
from typing import Any

from torch.fx.experimental.optimization import fuse

from scrimp.models.classifier import Classifier


def fused(model: Classifier) -> Classifier:
    """A copy in eval mode, without gradients, whose batch norms are part of the convolutions before them.

    A body that cannot be traced, or whose head could no longer be seen, stays as it is: as right, and slower.
    """
    copy = deepcopy(model).eval().requires_grad_(False)
    with contextlib.suppress(Exception):
        body: Any = fuse(copy.body)
        if any(node.target == model.head_path for node in body.graph.nodes):
            copy.body = body
    return copy
