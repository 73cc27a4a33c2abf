"""The page of a search for a learning rate, and its chart."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest
from markupsafe import Markup

from scrimp.cost import Cost
from scrimp.errors import StorageError
from scrimp.report import figures, lr_page, write_lr_curve
from scrimp.training import LrFound

FOUND = LrFound(
    lr=1e-3,
    steepest=1e-2,
    valley=1e-3,
    lrs=(1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    losses=(2.3, 2.2, 1.5, 1.2, 90.0),
    smoothed=(2.3, 2.2, 1.6, 1.3, 40.0),
    note="Learning rate 0.001: two thirds down.",
    cost=Cost(seconds=75.0, wh=0.25, wh_source="a counter"),
)
NONE = replace(FOUND, lr=None, steepest=None, valley=None, note="No clear descent: <b>flat</b>.")


@pytest.fixture(autouse=True)
def _light(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves plotly's 5 MB out of the pages, except where a test asks for the real thing."""
    if "real_plotly" not in request.fixturenames:
        monkeypatch.setattr(lr_page, "plotly", lambda: Markup("/* plotly */"))


@pytest.fixture
def real_plotly() -> None:
    """Asks for pages with plotly in them."""


class Page(HTMLParser):
    """A page as a browser reads it: elements, readable text in one line, scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.scripts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            self.scripts += [""] if tag == "script" else []

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text += data


def test_the_page_says_what_was_found_and_what_it_cost(tmp_path: Path) -> None:
    seen = Page(write_lr_curve(FOUND, tmp_path / "new" / "lr.html", title="Learning rate of <vgg8>"))
    for told in (
        "Learning rate of <vgg8>",
        FOUND.note,
        "learning rate 0.001 the highest of a run",
        "steepest descent 0.01",
        "valley 0.001",
        "steps 5",
        "time 1 min 15 s",
        "energy 0.25 Wh a counter",
    ):
        assert told in seen.text
    assert set(json.loads(seen.scripts[0])) == {"lr"}
    assert {"data-chart": "lr", "class": "chart"} in [attributes for _, attributes in seen.elements]


def test_no_learning_rate_is_told_and_not_drawn(tmp_path: Path) -> None:
    seen = Page(write_lr_curve(NONE, tmp_path / "lr.html"))
    assert seen.text.count("none found") == 3
    assert "No clear descent: <b>flat</b>." in seen.text
    assert "b" not in {tag for tag, _ in seen.elements}
    assert len(json.loads(seen.scripts[0])["lr"]["data"]) == 2
    unmeasured = replace(NONE, lrs=(), losses=(), smoothed=(), cost=Cost(seconds=1.0))
    seen = Page(write_lr_curve(unmeasured, tmp_path / "lr.html"))
    assert json.loads(seen.scripts[0]) == {}
    assert "energy not measured" in seen.text
    assert not any("data-chart" in attributes for _, attributes in seen.elements)


@pytest.mark.parametrize("found", [FOUND, NONE])
def test_the_chart_is_one_that_plotly_knows(found: LrFound) -> None:
    chart = figures.lr_curve(found)
    go.Figure(json.loads(re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps(chart))))  # refuses what it does not know


def test_the_suggestions_are_marked_on_the_smoothed_curve() -> None:
    losses, smoothed, steepest, valley = figures.lr_curve(FOUND)["data"]
    assert losses["y"] == [2.3, 2.2, 1.5, 1.2, 90.0]
    assert smoothed["x"] == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    assert (steepest["x"], steepest["y"], steepest["name"]) == ([1e-2], [1.6], "steepest: 0.01")
    assert (valley["x"], valley["y"], valley["name"]) == ([1e-3], [2.2], "valley: 0.001")
    low, high = figures.lr_curve(FOUND)["layout"]["yaxis"]["range"]
    assert low < 1.3
    assert 2.3 < high < 4, "what diverged does not flatten the rest"


@pytest.mark.usefixtures("real_plotly")
def test_the_page_keeps_to_itself(tmp_path: Path) -> None:
    path = write_lr_curve(FOUND, tmp_path / "lr.html")
    seen = Page(path)
    assert path.read_text(encoding="utf-8").count("plotly.js v") == 1
    for tag, attributes in seen.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    [policy] = [a["content"] or "" for tag, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert not re.search(r"https?:|\*|'self'|eval", policy)


def test_a_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        write_lr_curve(FOUND, tmp_path / "file" / "lr.html")
