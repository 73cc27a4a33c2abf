"""Scrimp trains the most accurate image classifier that a budget can buy, and shows what it cost.

    find_images -> select or distill -> prepare -> train -> measure -> compare -> write_report, explain, export, serve

and `fit` does all of it within a budget.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scrimp.errors import ScrimpError

if TYPE_CHECKING:
    from scrimp.batches import Preparation, Prepared, prepare
    from scrimp.cost import Cost
    from scrimp.explaining import Explanation, explain
    from scrimp.fitting import Budget, fit
    from scrimp.images import Images, ImageSource, Inspection, find_images, inspect_images
    from scrimp.meter import Run, load_run, load_runs, measure
    from scrimp.models import MODELS, build
    from scrimp.models.saved import load_model
    from scrimp.plan import Plan, read_plan
    from scrimp.report import (
        chart,
        study_tables,
        write_distillation,
        write_explanation,
        write_inspection,
        write_lr_curve,
        write_report,
        write_study,
    )
    from scrimp.serving import export, serve
    from scrimp.store import Pushed, push
    from scrimp.studying import Studied, Study, load_study, read_study, run_study
    from scrimp.subset import Distillation, Distilled, Selected, Selection, distill, select
    from scrimp.sweeping import sweep, vary
    from scrimp.tradeoff import Chosen, compare
    from scrimp.training import LrFound, Recipe, Trained, find_lr, train
    from scrimp.tuning import tune

# Imported when first used: `import scrimp` takes milliseconds, not the seconds that torch takes.
_HOME = {
    "Preparation": "batches",
    "Prepared": "batches",
    "prepare": "batches",
    "Cost": "cost",
    "Explanation": "explaining",
    "explain": "explaining",
    "Budget": "fitting",
    "fit": "fitting",
    "Images": "images",
    "ImageSource": "images",
    "Inspection": "images",
    "find_images": "images",
    "inspect_images": "images",
    "Run": "meter",
    "load_run": "meter",
    "load_runs": "meter",
    "measure": "meter",
    "MODELS": "models",
    "build": "models",
    "load_model": "models.saved",
    "Plan": "plan",
    "read_plan": "plan",
    "write_distillation": "report",
    "chart": "report",
    "study_tables": "report",
    "write_explanation": "report",
    "write_inspection": "report",
    "write_lr_curve": "report",
    "write_report": "report",
    "write_study": "report",
    "export": "serving",
    "serve": "serving",
    "Pushed": "store",
    "push": "store",
    "Studied": "studying",
    "Study": "studying",
    "load_study": "studying",
    "read_study": "studying",
    "run_study": "studying",
    "Distillation": "subset",
    "Distilled": "subset",
    "Selected": "subset",
    "Selection": "subset",
    "distill": "subset",
    "select": "subset",
    "sweep": "sweeping",
    "vary": "sweeping",
    "Chosen": "tradeoff",
    "compare": "tradeoff",
    "LrFound": "training",
    "Recipe": "training",
    "Trained": "training",
    "find_lr": "training",
    "train": "training",
    "tune": "tuning",
}

__all__ = [
    "MODELS",
    "Budget",
    "Chosen",
    "Cost",
    "Distillation",
    "Distilled",
    "Explanation",
    "ImageSource",
    "Images",
    "Inspection",
    "LrFound",
    "Plan",
    "Preparation",
    "Prepared",
    "Pushed",
    "Recipe",
    "Run",
    "ScrimpError",
    "Selected",
    "Selection",
    "Studied",
    "Study",
    "Trained",
    "build",
    "chart",
    "compare",
    "distill",
    "explain",
    "export",
    "find_images",
    "find_lr",
    "fit",
    "inspect_images",
    "load_model",
    "load_run",
    "load_runs",
    "load_study",
    "measure",
    "prepare",
    "push",
    "read_plan",
    "read_study",
    "run_study",
    "select",
    "serve",
    "study_tables",
    "sweep",
    "train",
    "tune",
    "vary",
    "write_distillation",
    "write_explanation",
    "write_inspection",
    "write_lr_curve",
    "write_report",
    "write_study",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'scrimp' has no attribute '{name}'")
    return getattr(import_module(f"scrimp.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
