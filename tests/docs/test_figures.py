"""Figures in the documents are those of the recorded benchmarks."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_quotes_what_was_recorded():
    spec = importlib.util.spec_from_file_location("write_results", ROOT / "scripts" / "write_results.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    readme = (ROOT / "README.md").read_text()
    assert script.with_figures(readme) == readme, "benchmarks/results/ has changed: run make docs-results"
