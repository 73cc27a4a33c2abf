"""Figures in the documents are those of the recorded benchmarks."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_pages_quote_what_was_recorded(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("write_results", ROOT / "scripts" / "write_results.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for page in script.PAGES:
        said = page.read_text(encoding="utf-8")
        assert script.with_figures(page) == said, "benchmarks/results/ has changed: run make docs-results"
