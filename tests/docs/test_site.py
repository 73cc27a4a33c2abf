"""The site is whole: every page has its place in the menu, and reads there as it does on GitHub."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("**/*.md"))


def load_hooks() -> Any:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "scripts" / "site_hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS = load_hooks()


def leaves(entry: Any) -> list[str]:
    """The files that a menu names, from top to bottom."""
    if isinstance(entry, str):
        return [entry]
    return [leaf for one in (entry.values() if isinstance(entry, dict) else entry) for leaf in leaves(one)]


def outside() -> set[str]:
    """The files outside docs/ that come along."""
    return {path.relative_to(ROOT).as_posix() for pattern in HOOKS.OUTSIDE for path in ROOT.glob(pattern)}


def test_the_menu_names_every_page_once() -> None:
    menu = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES}
    pages |= {name for name in outside() if name.endswith(".md")}
    assert sorted(menu) == sorted(pages), "nav of mkdocs.yml: name every page, each once"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_outside_docs_comes_along(page: Path) -> None:
    for link in re.findall(r"\]\((\.\./[^)#\s]+)", page.read_text(encoding="utf-8")):
        target = (page.parent / link).resolve()
        if not target.is_relative_to(DOCS):
            name = target.relative_to(ROOT).as_posix()
            assert name in outside(), f"{page.name} links to {name}, which OUTSIDE of scripts/site_hooks.py leaves out"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lists_and_tables_begin_after_an_empty_line(page: Path) -> None:
    """GitHub does without it; on the site they would run on in the paragraph before."""
    text = re.sub(
        r"^( *)(`{3,}).*?^\1\2$", "", HOOKS.for_site(page.read_text(encoding="utf-8"), page.name), flags=re.M | re.S
    )
    begins = re.compile(r"(- |\d+\. |\|)")
    for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if begins.match(line) and not begins.match(before):
            assert not before.strip() or before.startswith(" "), f"{page.name}: an empty line is missing before: {line}"


def test_links_and_fences_are_put_right_for_the_site() -> None:
    text = "[a](../studies/x.toml) [b](fit.md#c)\n<!-- figures: x -->\n| a |\n```console run\n$ scrimp models\n```\n"
    assert HOOKS.for_site(text, "sweep.md") == (
        "[a](studies/x.toml) [b](fit.md#c)\n\n| a |\n```console\n$ scrimp models\n```\n"
    )
    assert HOOKS.for_site("[a](../../studies/x.toml) [b](../fit.md)", "studies/x.md") == (
        "[a](../studies/x.toml) [b](../fit.md)"
    )
    assert HOOKS.for_site("[a](docs/fit.md)", "CONTRIBUTING.md") == "[a](fit.md)"
