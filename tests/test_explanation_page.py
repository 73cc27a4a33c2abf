"""The page of an explanation, its charts, and the link that the report has to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest
from make_runs import make_run
from markupsafe import Markup
from test_lr_page import Page

from scrimp.cost import Cost
from scrimp.errors import StorageError
from scrimp.explaining.classes import qualities_of_classes
from scrimp.explaining.kinds import Bin, Calibration, Corrupted, Explanation, Looked, Pictures, Robustness
from scrimp.images import LeftOut
from scrimp.report import explanation, figures, page, write_explanation, write_report
from scrimp.scores import Scores
from scrimp.tradeoff import compare

EVIL = "<b>wren</b>"
CLASSES = ("ash", EVIL, "oak")
CONFUSION = ((8, 2, 0), (1, 9, 0), (0, 0, 0))
URI = "data:image/jpeg;base64,/9j/"


def looked(key: str, truth: str | None, said: str, **more: object) -> Looked:
    shown = Pictures(image=URI + "A", grad_cam=URI + "B", occlusion=URI + "C", grad_cam_truth=more.pop("true", None))
    return Looked(key=key, truth=truth, said=said, about=said, probability=0.875, agreement=0.5, pictures=shown)


def bins(right: float) -> tuple[Bin, ...]:
    full = Bin(low=0.8, high=0.9, n=20, said=0.85, right=right)
    return (Bin(low=0.0, high=0.1, n=0, said=None, right=None), full)


def corrupted() -> tuple[Corrupted, ...]:
    kinds = ("blur", "noise", "JPEG", "brightness")
    return tuple(
        Corrupted(kind=kind, strength=place, setting=f"setting {place}", merit=0.8 - 0.1 * place - 0.05 * rank)
        for rank, kind in enumerate(kinds)
        for place in (1, 2, 3)
    )


FOUND = Explanation(
    model="resnet18",
    folder="runs/trees/best one",
    task="classify",
    classes=CLASSES,
    image_px=160,
    layer="layer4",
    grid=5,
    split="test",
    scores=Scores(n=20, top1=0.85, macro_f1=0.8, per_class=(0.8, 0.9, None), confusion=CONFUSION),
    given=(looked("mine/photo.jpg", None, "oak"),),
    unreadable=(LeftOut("broken.jpg", "it is cut off"),),
    mistakes=(looked("test/ash/1.jpg", "ash", EVIL, true=URI + "D"),),
    unsure=(looked("test/oak/2.jpg", "oak", "oak"),),
    qualities=qualities_of_classes(CLASSES, CONFUSION),
    order=(2, 0, 1),
    calibration=Calibration(
        split="test",
        answers=20,
        ece=0.1,
        ece_by_chance=0.005,
        bins=bins(0.75),
        temperature=1.6,
        ece_scaled=0.02,
        ece_scaled_by_chance=0.005,
        scaled=bins(0.83),
    ),
    robustness=Robustness(
        split="test",
        n=20,
        of=500,
        clean=0.85,
        corrupted=corrupted(),
        example=tuple(f"{URI}{number}" for number in range(12)),
        example_clean=URI + "clean",
    ),
    notes=("Something changed.",),
    left_out=("Something else: why.",),
    cost=Cost(seconds=75.0, wh=0.25, wh_source="a counter"),
)
BARE = Explanation(
    model="resnet18",
    folder="run",
    task="classify",
    classes=CLASSES,
    image_px=32,
    layer="layer4",
    grid=4,
    given=FOUND.given,
    left_out=("All that needs the run's own images: gone.",),
    cost=Cost(seconds=1.0),
)


@pytest.fixture(autouse=True)
def _light(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves plotly's 5 MB out of the pages, except where a test asks for the real thing."""
    if "real_plotly" not in request.fixturenames:
        for room in (explanation, page):
            monkeypatch.setattr(room, "plotly", lambda: Markup("/* plotly */"))


@pytest.fixture
def real_plotly() -> None:
    """Asks for pages with plotly in them."""


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    seen = Page(write_explanation(FOUND, tmp_path / "new" / "why.html"))
    for told in (
        "Why best one is right or wrong",
        "resnet18: 85.0% top-1 on 20 test images.",
        "What harms it most is brightness: at setting 3, accuracy falls to 35.0%.",
        "test accuracy 85.0%",
        "calibration error (ECE) 10.0% up to 0.5% by chance; 2.0% with the temperature",
        "temperature 1.6 fitted on val",
        "with blur 50.0% at setting 3",
        "It is surer than it should be: by 10.0% on average.",
        "Dividing its outputs by 1.6, which was fitted on val, helps: the error is 2.0% then, instead of 10.0%.",
        f"{EVIL} 87.5% true: ash",
        "oak 87.5% which is true",
        f"Grad-CAM, {EVIL}",
        "Grad-CAM, ash",
        "the two maps agree 0.50",
        "layer4, a grid of 5 x 5 positions",
        "20 test images, drawn by chance out of 500",
        "1 file could not be read",
        "broken.jpg",
        "Something changed.",
        "Something else: why.",
        "scrimp explain 'runs/trees/best one' photo.jpg",
        "1 min 15 s, energy 0.25 Wh (a counter)",
    ):
        assert told in seen.text, told
    assert "&lt;b&gt;wren" in (tmp_path / "new" / "why.html").read_text(encoding="utf-8"), "names are text"
    assert seen.text.count("not measured") >= 2, "the precision and recall of a class without images"
    sources = [attributes["src"] for tag, attributes in seen.elements if tag == "img"]
    assert sources[:7] == [URI + end for end in ("A", "B", "C", "A", "B", "C", "D")]
    assert sources[-13:] == [f"{URI}{end}" for end in ("clean", *range(12))]


def test_a_page_of_ones_own_images_alone_says_what_is_missing(tmp_path: Path) -> None:
    seen = Page(write_explanation(BARE, tmp_path / "why.html"))
    assert "resnet18 on 1 image of your own." in seen.text
    assert "All that needs the run's own images: gone." in seen.text
    for absent in ("Calibration", "Confusion", "Worse images", "Least sure", "Mistakes"):
        assert absent not in seen.text
    assert seen.scripts == []


def test_the_charts_are_ones_that_plotly_knows() -> None:
    charts = figures.explanation_charts(FOUND)
    assert set(charts) == {
        "confusion-shares",
        "confusion-counts",
        "reliability-said",
        "reliability-scaled",
        "robustness",
    }
    for chart in charts.values():
        go.Figure(json.loads(re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps(chart))))  # refuses what it does not know


def test_the_matrices_have_the_classes_in_their_order() -> None:
    charts = figures.explanation_charts(FOUND)
    shares, counts = (charts[f"confusion-{kind}"]["data"][0] for kind in ("shares", "counts"))
    assert shares["y"] == counts["x"] == ["oak", "ash", "&lt;b&gt;wren&lt;/b&gt;"]
    assert counts["z"] == [[0, 0, 0], [0, 8, 2], [0, 1, 9]]
    assert counts["zmax"] == 9
    assert shares["z"] == [[0, 0, 0], [0, 0.8, 0.2], [0, 0.1, 0.9]]
    assert shares["text"] == [["", "", ""], ["", "80%", "20%"], ["", "10%", "90%"]]
    assert counts["text"] == [["", "", ""], ["", 8, 2], ["", 1, 9]]


def test_bars_and_lines_are_those_of_the_figures() -> None:
    charts = figures.explanation_charts(FOUND)
    bars, line = charts["reliability-said"]["data"]
    assert (bars["x"], bars["y"], bars["text"]) == ([pytest.approx(0.85)], [0.75], ["20"])
    assert line["x"] == line["y"] == [0, 1]
    blur = charts["robustness"]["data"][0]
    assert (blur["name"], blur["x"]) == ("blur", [0, 1, 2, 3])
    assert blur["y"] == pytest.approx([0.85, 0.7, 0.6, 0.5])


@pytest.mark.parametrize(
    ("right", "ece", "scaled", "told"),
    [
        (0.85, 0.01, 0.01, "Its probabilities can be taken as they stand."),
        (0.95, 0.1, 0.2, "It is less sure than it could be: by 10.0% on average."),
        (0.85, 0.1, 0.2, "Its probabilities are off in both directions."),
        (0.95, 0.1, 0.2, "does not help: the error is 20.0% then"),
    ],
)
def test_calibration_is_told_in_words(right: float, ece: float, scaled: float, told: str, tmp_path: Path) -> None:
    assert FOUND.calibration is not None
    calibration = FOUND.calibration.model_copy(update={"bins": bins(right), "ece": ece, "ece_scaled": scaled})
    seen = Page(write_explanation(FOUND.model_copy(update={"calibration": calibration}), tmp_path / "why.html"))
    assert told in seen.text


def test_what_chance_may_have_made_is_no_fault(tmp_path: Path) -> None:
    assert FOUND.calibration is not None
    calibration = FOUND.calibration.model_copy(update={"ece_by_chance": 0.15, "ece_scaled_by_chance": 0.15})
    seen = Page(write_explanation(FOUND.model_copy(update={"calibration": calibration}), tmp_path / "why.html"))
    assert "cannot be told from honest ones on 20 answers: chance alone makes an error of up to 15.0%" in seen.text
    assert "makes no difference that can be told: the error is 2.0% then" in seen.text


def test_what_does_no_harm_is_not_blamed(tmp_path: Path) -> None:
    assert FOUND.robustness is not None
    unharmed = FOUND.robustness.model_copy(update={"clean": 0.35})  # as good as after the worst of them
    seen = Page(write_explanation(FOUND.model_copy(update={"robustness": unharmed}), tmp_path / "why.html"))
    assert "None of blur, noise, JPEG, brightness harms it." in seen.text
    assert "falls to" not in seen.text


@pytest.mark.usefixtures("real_plotly")
def test_the_page_keeps_to_itself(tmp_path: Path) -> None:
    path = write_explanation(FOUND, tmp_path / "why.html")
    seen = Page(path)
    assert path.read_text(encoding="utf-8").count("plotly.js v") == 1
    for tag, attributes in seen.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    [policy] = [a["content"] or "" for _, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert not re.search(r"https?:|\*|'self'|eval", policy)


def test_a_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        write_explanation(FOUND, tmp_path / "file" / "why.html")


def test_the_report_leads_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a run"
    path = write_report(compare([make_run(folder=str(folder))]), tmp_path / "runs" / "report.html")
    seen = Page(path)
    links = [a["href"] or "" for tag, a in seen.elements if tag == "a"]
    assert "a%20run/explanation.html" in links
    assert f"scrimp explain '{folder}'" in seen.text
    seen = Page(write_report(compare([make_run()]), tmp_path / "report.html"))
    assert "scrimp explain FOLDER" in seen.text
    assert not any("explanation.html" in (a.get("href") or "") for _, a in seen.elements)
