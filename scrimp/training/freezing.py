"""What learns and what stays as it is: weights, batch norm's statistics, dropout."""

from __future__ import annotations

from torch.nn.modules.batchnorm import _BatchNorm

from scrimp.models import Classifier, head_dropouts
from scrimp.training.recipe import Recipe


def freeze(model: Classifier, frozen: bool) -> None:
    """Whether the backbone's weights stay; those of the head always learn."""
    for parameter in model.backbone_parameters():
        parameter.requires_grad_(not frozen)


def learn_mode(model: Classifier, recipe: Recipe, *, frozen: bool) -> None:
    """Everything is in training mode, or, while the backbone is frozen, only the head and the dropouts before it.

    Batch norm keeps its statistics where it is frozen, or the recipe has norm_stats="keep".
    """
    model.train(not frozen)
    model.training = True  # of the whole alone: while it learns, it is not asked of mirror images
    if recipe.norm_stats == "keep":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    for module in (model.head, *head_dropouts(model)):
        module.train()
