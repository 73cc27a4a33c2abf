"""What every page has: templates beside this file, filled in and escaped, and files that go in as they are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scrimp.report import words

_HERE = Path(__file__).parent


class Tile(NamedTuple):
    """One big figure: what it is, the figure, a line below it."""

    label: str
    figure: str
    note: str


def render(template: str, **shown: Any) -> str:
    """The template filled in; `words` is there for every one, and a name that is missing is an error."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(words=words, **shown)


def asset(name: str) -> Markup:
    """A file of this folder that goes into a page as it is."""
    return Markup((_HERE / name).read_text(encoding="utf-8"))


def plotly() -> Markup:
    """The chart library, 5 MB."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def inline_json(value: Any) -> Markup:
    """JSON that cannot end its script element, whatever the data are called; what is no number becomes null."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
