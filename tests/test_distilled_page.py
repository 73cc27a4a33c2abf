"""The page of a distillation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from make_spots import spots
from markupsafe import Markup

from scrimp.report import distilled as page
from scrimp.report import write_distillation
from scrimp.subset import distill
from scrimp.subset.distilling.comparing import Entry, Judged, judged


@pytest.fixture(autouse=True)
def _light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves plotly's 5 MB out of the pages."""
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(page, "plotly", lambda: Markup("/* plotly */"))


def entry(name: str, per_class: int, accuracies: tuple[float, ...]) -> Entry:
    return Entry(
        name=name,
        per_class=per_class,
        bytes=1000 * per_class,
        exact_bytes=None,
        making_seconds=600.0 if name == "frepo" else 1.0,
        training_seconds=40.0,
        accuracies=accuracies,
        pixels=np.zeros((2 * per_class, 8, 8, 3), dtype=np.uint8),
        labels=np.repeat([0, 1], per_class),
    )


@pytest.fixture
def beside() -> Judged:
    made = distill(spots(), image_px=8)
    entries = (
        entry("frepo", 1, (0.6, 0.7)),
        entry("a real image by chance", 1, (0.3, 0.4)),
        entry("a real image by k-center", 1, (0.4, 0.4)),
        entry("real images by chance", 10, (0.6, 0.6)),
        entry("real images by chance", 50, (0.9, 0.9)),
    )
    return Judged(distilled=made, entries=entries, asked=200, networks=2, steps=1000)


def test_it_says_what_it_is_worth(beside: Judged, tmp_path: Path) -> None:
    text = " ".join(write_distillation(beside, tmp_path / "page.html").read_text().split())
    assert "1 image a class by frepo: 65.0% of val are recognised, 1.9 times 35.0% of as many real ones." in text
    assert "It is worth at least 10 real images a class." in text
    assert "The test split was not looked at." in text
    assert text.count("data:image/png;base64,") == 6  # two classes of the first three entries, one image each
    assert "://" not in text


def test_the_charts_are_plotlys_and_say_seconds_of_both(beside: Judged, tmp_path: Path) -> None:
    text = write_distillation(beside, tmp_path / "page.html").read_text()
    found = re.search(r'id="figures">(.*?)</script>', text, re.S)
    assert found
    charts = json.loads(found[1])
    for chart in charts.values():
        plain = json.loads(re.sub(r"var\(--[\w-]+\)", "#000000", json.dumps(chart)))
        go.Figure(plain)
    assert [trace["x"] for trace in charts["seconds"]["data"]] == [[640.0], [41.0, 41.0, 41.0], [41.0]]
    assert [trace["x"] for trace in charts["storage"]["data"]] == [[1000.0], [1000.0, 10000.0, 50000.0], [1000.0]]


def test_judging_by_val_alone() -> None:
    images = spots()
    for row in images.rows("test"):
        images.items[row][:] = 0  # type: ignore[index]
    made = distill(images, image_px=8)
    found = judged(made, images, networks=1, steps=30)
    assert [one.per_class for one in found.entries] == [1, 1, 1]  # there are no ten times as many
    assert found.asked == 4
    assert found.entries[0].mean >= 0.75
    assert all(one.training_seconds > 0 for one in found.entries)
