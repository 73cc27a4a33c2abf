"""One table of image classifiers and one way to build them.

`MODELS` and `list_models` answer at once: PyTorch is imported when the first model is built.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scrimp.models.table import MODELS, ModelCard, Shape, list_models

if TYPE_CHECKING:
    from scrimp.models.building import build, head_dropouts, takes_one_size
    from scrimp.models.classifier import Classifier
    from scrimp.models.sizes import macs, size_mb
    from scrimp.models.weights import weights_at_hand

__all__ = [
    "MODELS",
    "Classifier",
    "ModelCard",
    "Shape",
    "build",
    "head_dropouts",
    "list_models",
    "macs",
    "size_mb",
    "takes_one_size",
    "weights_at_hand",
]

_LATER = {
    "build": "building",
    "Classifier": "classifier",
    "head_dropouts": "building",
    "macs": "sizes",
    "size_mb": "sizes",
    "takes_one_size": "building",
    "weights_at_hand": "weights",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
