"""From options to settings."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrimp.errors import SettingError

if TYPE_CHECKING:
    from scrimp.plan import Plan
    from scrimp.serving.predicting import Runtime


def tables_of(
    plan: Path | None, settings: Sequence[str] | None, preset: str | None = None
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The tables of a plan file, over those of a preset and under --set, and the axes of its [vary] table."""
    from scrimp.settings import read_toml

    tables = read_toml(plan) if plan else {}
    for table, content in tables.items():
        if not isinstance(content, dict):
            raise SettingError(f"'{table}' in '{plan}' must be a table: write it as [{table}].")
    axes = tables.pop("vary", {})
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        table, dot, field = name.partition(".")
        if not (equals and dot and field):
            raise SettingError(f"--set {setting}: write it as TABLE.NAME=VALUE, for example recipe.epochs=5.")
        tables.setdefault(table, {})[field] = value_of(value)
        axes.pop(name, None)
    if preset:
        from scrimp.training.recipes import settings_of

        tables["recipe"] = {**settings_of(preset), **tables.get("recipe", {})}
    return tables, axes


def one_plan(
    plan: Path | None,
    set_: Sequence[str] | None,
    preset: str | None,
    *,
    images: dict[str, Any],
    image_px: int | None,
    settings: dict[str, Any],
    frugal: bool = False,
) -> Plan:
    """The plan of a single run, from a file, a preset and the options that were given.

    frugal: without a file and a preset, a model that starts from weights is trained by that one.
    """
    tables, axes = tables_of(plan, set_, preset)
    if axes:
        raise SettingError(f"'{plan}' varies {', '.join(axes)}: that is for 'scrimp sweep'.")
    lay_over(tables, "images", **images)
    lay_over(tables, "preparation", image_px=image_px)
    lay_over(tables, "recipe", **settings)
    source_is_given(tables)
    model_is_given(tables)
    if frugal and plan is None and preset is None:
        _frugal_where_it_can_be(tables)
    from scrimp.plan import Plan

    return Plan(**tables)


def _frugal_where_it_can_be(tables: dict[str, Any]) -> None:
    """Puts that preset below what was asked for, if the model starts from weights."""
    from scrimp.models import MODELS
    from scrimp.training.recipes import settings_of

    recipe = tables.get("recipe", {})
    card = MODELS.get(recipe.get("model", ""))
    has_weights = card.weights is not None if card else str(recipe.get("model")).startswith("timm:")
    if recipe.get("weights") is not None or (has_weights and recipe.get("pretrained", True)):
        tables["recipe"] = {**settings_of("frugal"), **recipe}


def value_of(text: str) -> Any:
    """A TOML value; what is none is taken as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def lay_over(tables: dict[str, Any], table: str, axes: dict[str, Any] | None = None, /, **options: Any) -> None:
    """Puts the options that were given into a table, over what stands there; what was varied is so no more."""
    given = {name: value for name, value in options.items() if value is not None}
    if given:
        tables[table] = {**tables.get(table, {}), **given}
    for name in given:
        (axes or {}).pop(f"{table}.{name}", None)


def source_is_given(tables: dict[str, Any]) -> None:
    """Refuses tables that name no images."""
    if "source" not in tables.get("images", {}):
        raise SettingError("No images are named: give a folder, a manifest or a data set, or a plan with [images].")


def model_is_given(tables: dict[str, Any], axes: Container[str] = ()) -> None:
    """Refuses tables and axes that name no model; a misspelt setting is left to the recipe, which names the nearest."""
    from scrimp.training.recipe import Recipe

    recipe = tables.get("recipe", {})
    if "model" not in recipe and "recipe.model" not in axes and recipe.keys() <= Recipe.model_fields.keys():
        raise SettingError(
            "No model is named: give one, such as --model mobilenet_v2, or a plan with [recipe] and its model. "
            "'scrimp models' lists all; 'scrimp fit' chooses by itself."
        )


def runtime_of(onnx: bool, int8: bool) -> Runtime:
    """What runs the model."""
    return "onnx-int8" if int8 else "onnx" if onnx else "torch"


def default_out(source: str) -> Path:
    """A folder for results, named for the images."""
    return Path("runs") / (Path(source.rstrip("/\\")).stem or "images")


def process_start() -> float:
    """When this process began, on the clock of `time.perf_counter`: imports are spending, too."""
    import psutil

    born: float = psutil.Process().create_time()
    return time.perf_counter() - (time.time() - born)
