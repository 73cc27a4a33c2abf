"""Every setting of one run in one place, as it stands in `plan.toml`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

from pydantic import model_validator

from scrimp.batches import Preparation
from scrimp.errors import SettingError
from scrimp.images import ImageSource
from scrimp.settings import Settings, read_toml, to_toml
from scrimp.subset import Distillation, Selection
from scrimp.training import Recipe


class Plan(Settings):
    """One run: which images, which of them or what is made of them, at what size, trained how."""

    images: ImageSource
    selection: Selection | None = None
    distillation: Distillation | None = None
    preparation: Preparation = Preparation()
    recipe: Recipe

    @model_validator(mode="after")
    def _selects_or_distils(self) -> Self:
        if self.selection and self.distillation:
            raise SettingError("[selection] and [distillation] both say what is trained on: drop one of them.")
        return self

    @property
    def name(self) -> str:
        """A folder name that no other plan has: model, size, seed, and twelve letters that stand for the rest."""
        digest = hashlib.sha256(to_toml(self).encode()).hexdigest()[:12]
        model = "".join(c if c.isalnum() or c in "_-." else "-" for c in self.recipe.model)
        return f"{model}-{self.preparation.image_px}px-seed{self.recipe.seed}-{digest}"

    @property
    def variant(self) -> str:
        """What this plan has in common with its repetitions: all of it but the seed and the fold, as one string."""
        return to_toml(self.but(recipe=self.recipe.but(seed=0), images=self.images.but(fold=0)))


def read_plan(path: Path) -> Plan:
    """A plan from a TOML file; an unknown key is refused with the nearest known one."""
    return Plan(**read_toml(path))
