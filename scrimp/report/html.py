"""What every page has: templates beside this file, filled in and escaped, and files that go in as they are."""

from __future__ import annotations

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
