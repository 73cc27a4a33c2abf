"""The report: what it shows is what the runs say, and it is one file that keeps to itself."""

from __future__ import annotations

import io
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import plotly.graph_objects as go
import pytest
from make_runs import CLASSES, SENSOR, make_multilabel_run, make_regress_run, make_run
from markupsafe import Markup
from PIL import Image

from scrimp.errors import StorageError
from scrimp.meter import Run
from scrimp.plan import Plan
from scrimp.report import figures, page, words, write_report
from scrimp.report.html import inline_json
from scrimp.settings import to_toml
from scrimp.tradeoff import AXES, Chosen, compare

EVIL = ("<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "naïve Ärger 鳥", "a & b \"q\" 'r'")


class Page(HTMLParser):
    """A page as a browser reads it: elements with their attributes, readable text, scripts, table rows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.rows: list[list[str]] = []
        self._inside, self._in_cell = "", False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            self.scripts += [""] if tag == "script" else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text += data
            if self._in_cell:
                self.rows[-1][-1] = (self.rows[-1][-1] + data).strip()

    @property
    def figures(self) -> dict[str, Any]:
        """The charts as the page carries them."""
        return json.loads(self.scripts[0])

    def rows_about(self, name: str) -> list[list[str]]:
        """Table rows with this cell."""
        return [row for row in self.rows if name in row]

    def tiles(self) -> str:
        """The text of the verdict and the big figures, in one line."""
        return " ".join(self.text.split("What was asked, of what, and where")[0].split())


def report(runs: list[Run], folder: Path, **options: Any) -> Page:
    return Page(write_report(compare(runs, **options), folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _light(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves plotly's 5 MB out of the pages, for speed, except where a test asks for the real thing."""
    if "real_plotly" not in request.fixturenames:
        monkeypatch.setattr(page, "plotly", lambda: Markup("/* plotly */"))


@pytest.fixture
def real_plotly() -> None:
    """Asks for pages with plotly in them."""


@pytest.fixture
def three() -> list[Run]:
    """Two models, one of them with two seeds, and a run that failed."""
    return [
        make_run(model="resnet18", val=0.80, test=0.79, seconds=53.5, usd=0.02, mb=44.7, ms=12.0),
        make_run(model="mobilenet_v3_small", seed=0, val=0.90, test=0.86, seconds=113.5, mb=6.1, ms=8.0),
        make_run(model="mobilenet_v3_small", seed=1, val=0.92, test=0.88, seconds=113.5, mb=6.1, ms=8.0),
        make_run(model="timm:levit_128s", val=None, status="failed", reason="the loss is not a number", seconds=5.5),
    ]


# ---------------------------------------------------------------- what it says


def test_the_headline_holds_the_winners_figures(three: list[Run], tmp_path: Path) -> None:
    shown = report(three, tmp_path).tiles()
    assert compare(three).verdict in shown
    # by hand: val (90 + 92) / 2, test (86 + 88) / 2, both 1 apart from the mean: sd = sqrt(2) = 1.4
    assert "test accuracy 87.0% ± 1.4% over 2 seeds; only reported" in shown
    assert "val accuracy 91.0% ± 1.4% over 2 seeds; chosen on this" in shown
    assert "time of one run 2 min" in shown  # 113.5 s of training and 6.5 s for the other stages
    assert "model size 6.1 MB" in shown
    assert "time per image 8 ms" in shown
    assert f"energy 0.544 Wh {SENSOR}" in shown  # 0.5 + 0.004 + 0.03 + 0.01
    assert "money $0.0113" in shown  # 0.01 + 0.0001 + 0.0008 + 0.0004


def test_an_estimated_energy_is_called_one(three: list[Run], tmp_path: Path) -> None:
    text = report(three, tmp_path).text
    assert "Energy is an estimate, not a measurement." in text
    assert f"Energy by {SENSOR}. An estimate" in text


def test_unknown_is_not_measured_and_never_zero(tmp_path: Path) -> None:
    run = make_run(test=None, wh=None, usd=None, mb=None, ms=None, memory=None)
    seen = report([run], tmp_path)
    for label in ("test accuracy", "energy", "money", "model size", "time per image"):
        assert f"{label} not measured" in seen.tiles()
    assert "0 Wh" not in seen.text
    assert "$0" not in seen.text
    assert "0 MB" not in seen.text.replace("1,000,000", "")
    assert "Energy was not measured." in seen.text
    assert {name for name in seen.figures if name.startswith("front-")} == {"front-seconds", "front-cpu_seconds"}


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    seen = report([make_run()], tmp_path)
    assert "one seed, spread unknown" in seen.tiles()
    assert "±" not in seen.tiles()


def test_what_was_asked_is_told(tmp_path: Path) -> None:
    left = [("wren/3.jpg", "the file is cut off"), ("notes.txt", "not an image")]
    runs = [
        make_run(left_out=left, notes=["No GPU was found."]),
        make_run(seed=1, left_out=left, notes=["No GPU was found.", "bfloat16 is not to be had."]),
    ]
    seen = report(runs, tmp_path)
    assert "photos/birds" in seen.text
    assert "train 800, val 200, test 200" in seen.text
    assert "4: blackbird, robin, sparrow, wren" in seen.text
    assert "2 files left out" in seen.text
    assert ["wren/3.jpg", "the file is cut off"] in seen.rows
    assert "No GPU was found." in seen.text
    assert "No GPU was found. (" not in seen.text
    assert "bfloat16 is not to be had. (1 of 2 runs)" in seen.text
    assert "AMD EPYC 7763, 2 cores" in seen.text
    assert "2025-03-01 12:00:00" in seen.text


def test_runs_that_do_not_compare_are_warned_about(tmp_path: Path) -> None:
    seen = report([make_run(), make_run(seed=1, machine={"cpu": "another"}, images_per_class=20)], tmp_path)
    assert "different machines" in seen.text
    assert "not judged on the same number of images" in seen.text


def test_every_candidate_and_every_failure_is_listed(three: list[Run], tmp_path: Path) -> None:
    seen = report(three, tmp_path)
    for candidate in compare(three).candidates:
        assert len(seen.rows_about(candidate.name)) == 3  # accuracy, cost, model
    [failed] = seen.rows_about(three[-1].plan.name)
    assert failed[-1] == "failed after 12 s: the loss is not a number"  # 5.5 s and 6.5 s for the other stages


def test_the_tables_hold_the_figures(three: list[Run], tmp_path: Path) -> None:
    accuracy, cost, model = report(three, tmp_path).rows_about("mobilenet_v3_small @ 160 px")
    assert accuracy[2:7] == ["91.0% ± 1.4%", "87.0% ± 1.4%", "90.0% ± 1.4%", "86.0% ± 1.4%", "2"]
    assert accuracy[7] == "winner"
    assert cost[2:5] == ["6", "18.9 s", "2 min"]  # 113.5 s in six epochs
    assert model[2:] == ["160 px", "1.52 M", "6.1 MB", "56 M", "8 ms", "200", "published weights"]
    other = report(three, tmp_path).rows_about("resnet18 @ 160 px")[0]
    assert other[7:] == ["", "time, CPU"]  # 40 s cheaper, but heavier, slower and dearer


def test_a_tie_is_marked(tmp_path: Path) -> None:
    runs = [make_run(model="resnet18", val=0.90), make_run(model="shufflenet_v2_x0_5", val=0.895)]
    assert report(runs, tmp_path).rows_about("shufflenet_v2_x0_5 @ 160 px")[0][7] == "ties"


def test_an_early_end_is_told(tmp_path: Path) -> None:
    runs = [make_run(status="out of time", reason="4 of 6 epochs"), make_run(model="resnet18", val=0.5)]
    assert report(runs, tmp_path).rows_about("mobilenet_v3_small @ 160 px")[0][-1] == "out of time: 4 of 6 epochs"


def test_the_classes_are_those_of_the_best_run(three: list[Run], tmp_path: Path) -> None:
    seen = report(three, tmp_path)
    best = three[2]  # the second seed: 92% on val
    assert best.test is not None
    for name, recall in zip(CLASSES, best.test.per_class, strict=True):
        assert [name, "50", f"{recall:.1%}"] in seen.rows
    heat = seen.figures["confusion"]["data"][0]
    assert heat["customdata"] == [list(row) for row in best.test.confusion]
    assert "200 test images, none of which played a part" in seen.text


def test_without_a_test_split_val_is_shown_and_said(tmp_path: Path) -> None:
    run = make_run(test=None)
    seen = report([run], tmp_path)
    assert run.val is not None
    assert seen.figures["confusion"]["data"][0]["customdata"] == [list(row) for row in run.val.confusion]
    assert "200 val images, the ones the choice was made on" in seen.text


def test_the_story_is_told_in_order(three: list[Run], tmp_path: Path) -> None:
    text = report(three, tmp_path, story=["first this", "then that"]).text
    assert text.index("first this") < text.index("then that")
    assert "How the budget was spent" not in report(three, tmp_path).text


def test_the_examples_travel_in_the_page(tmp_path: Path) -> None:
    jpg = io.BytesIO()
    Image.new("RGB", (64, 64)).save(jpg, "JPEG")
    (tmp_path / "examples.jpg").write_bytes(jpg.getvalue())
    images = [a for tag, a in report([make_run(folder=str(tmp_path))], tmp_path).elements if tag == "img"]
    assert len(images) == 1
    assert (images[0]["src"] or "").startswith("data:image/jpeg;base64,/9j/")


def test_the_plan_in_the_page_repeats_the_best_run(three: list[Run], tmp_path: Path) -> None:
    seen = report(three, tmp_path)
    [link] = [a["href"] or "" for tag, a in seen.elements if tag == "a" and "download" in a]
    saved = tomllib.loads(unquote(link.split(",", 1)[1]))
    assert Plan(**saved) == three[2].plan
    assert to_toml(three[2].plan) in seen.text
    assert "scrimp train --plan plan.toml" in seen.text
    assert "scrimp serve FOLDER" in seen.text


def test_the_folder_to_serve_is_quoted_for_a_shell(tmp_path: Path) -> None:
    assert "scrimp serve 'runs/my birds'" in report([make_run(folder="runs/my birds")], tmp_path).text


# ---------------------------------------------------------------- other tasks


def test_labels_are_shown_by_their_average_precision(tmp_path: Path) -> None:
    runs = [make_multilabel_run(val=0.7, test=0.68), make_multilabel_run(model="resnet18", val=0.5, test=0.6)]
    seen = report(runs, tmp_path)
    assert "wins with mAP 0.700 on val and mAP 0.680 on test." in seen.tiles()
    assert "test mAP 0.680 one seed, spread unknown; only reported" in seen.tiles()
    accuracy = seen.rows_about("mobilenet_v3_small @ 160 px")[0]
    assert accuracy[2:8] == ["0.700", "0.680", "0.650", "0.630", "0.600", "0.580"]  # val, test; micro and macro F1
    # by hand: three labels around 0.68, a hundredth apart, and one that no test image has
    assert [row for row in seen.rows if row[0] in CLASSES] == [
        ["blackbird", "40", "0.670"],
        ["robin", "41", "0.680"],
        ["sparrow", "42", "0.690"],
        ["wren", "0", "not measured"],
    ]
    assert not {"confusion", "predictions", "residuals"} & set(seen.figures)
    lines = seen.figures["curves-epochs"]["data"]
    assert len(lines) == 2, "training images are not ranked"
    assert "Most frequent mistakes" not in seen.text
    assert "accuracy" not in seen.text.lower()
    assert "labels, any number of them an image" in seen.text


def test_targets_are_shown_as_points_and_residuals(tmp_path: Path) -> None:
    runs = [make_regress_run(val=0.8, test=0.78, seed=seed, mae=3.2 + seed) for seed in (0, 1)]
    seen = report(runs, tmp_path)
    assert "wins with R² 0.800 ± 0.000 on val and R² 0.780 ± 0.000 on test." in seen.tiles()
    assert "test R² 0.780 MAE 3.7 ± 0.707; RMSE 4.62 ± 0.884; ± 0.000 over 2 seeds; only reported" in seen.tiles()
    line, points = seen.figures["predictions"]["data"]
    assert (points["x"], points["y"]) == ([10, 20, 30, 40], [12, 19, 30, 37])
    assert line["x"] == line["y"] == [10, 40]
    assert seen.figures["residuals"]["data"][0]["x"] == [2, -1, 0, -3]
    assert "confusion" not in seen.figures
    assert "Of all images, 4 drawn by chance are shown." in " ".join(seen.text.split())
    assert "accuracy" not in seen.text.lower()
    assert "one number an image" in seen.text
    lines = seen.figures["curves-epochs"]["data"]
    assert len(lines) == 4


def test_examples_of_targets_have_no_class_names(tmp_path: Path) -> None:
    jpg = io.BytesIO()
    Image.new("RGB", (64, 64)).save(jpg, "JPEG")
    (tmp_path / "examples.jpg").write_bytes(jpg.getvalue())
    assert "from the smallest target to the largest" in report([make_regress_run(folder=str(tmp_path))], tmp_path).text


def test_a_sheet_names_no_more_classes_than_it_shows(tmp_path: Path) -> None:
    jpg = io.BytesIO()
    Image.new("RGB", (64, 64)).save(jpg, "JPEG")
    (tmp_path / "examples.jpg").write_bytes(jpg.getvalue())
    run = make_run(classes=[f"class {i}" for i in range(37)], images_per_class=4, folder=str(tmp_path))
    html = write_report(compare([run]), tmp_path / "r.html").read_text(encoding="utf-8")
    assert html.count("<li><span title=") == 20
    assert "one row a class, of the first 20 classes." in html


@pytest.mark.parametrize("make", [make_multilabel_run, make_regress_run])
def test_every_chart_of_another_task_is_one_that_plotly_knows(make: Any) -> None:
    for chart in figures.charts(compare([make(), make(model="resnet18", val=0.4)])).values():
        go.Figure(plain_colours(chart))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.3, 0.9], None),  # left to the chart
        ([0.9, 0.9], [0.85, 0.95]),
        ([1.0, 1.0], [0.95, 1.02]),
        ([-7.0, 0.9], [-0.5, 1.02]),
    ],
)
def test_the_axis_of_r2_can_be_read(values: list[float], expected: list[float] | None) -> None:
    first, second = (make_regress_run(val=v, test=v, model=m) for v, m in zip(values, ("vgg8", "vgg16"), strict=True))
    found = figures.front(compare([first, second]), "seconds")["layout"]["yaxis"].get("range")
    assert found == (expected and pytest.approx(expected))


# ---------------------------------------------------------------- the charts


def plain_colours(value: Any) -> Any:
    """The figure with a real colour wherever the page would put one."""
    return json.loads(re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps(value)))


def test_every_chart_is_one_that_plotly_knows(three: list[Run]) -> None:
    charts = figures.charts(compare(three))
    fronts = {f"front-{axis}" for axis in AXES}
    assert set(charts) == fronts | {"curves-epochs", "curves-seconds", "schedule", "confusion"}
    for chart in charts.values():
        go.Figure(plain_colours(chart))  # refuses an unknown property or value


def test_every_colour_of_a_chart_is_in_both_palettes(three: list[Run]) -> None:
    used = set(re.findall(r"var\((--[\w-]+)\)", json.dumps(figures.charts(compare(three)))))
    used |= {f"--c{rank}" for rank in range(figures.COLOURS)} | {"--rest"}
    css = Path(page.__file__).with_name("page.css").read_text(encoding="utf-8")
    light, dark = css.split("prefers-color-scheme: dark", 1)
    assert used <= set(re.findall(r"(--[\w-]+):", light))
    assert used <= set(re.findall(r"(--[\w-]+):", dark))


def test_the_front_chart_shows_val_test_and_the_front(three: list[Run]) -> None:
    line, test, val, winner = figures.front(compare(three), "seconds")["data"]
    assert line["x"] == pytest.approx([60, 120])
    assert line["y"] == pytest.approx([0.80, 0.91])
    assert line["line"]["shape"] == "hv"
    assert val["x"] == pytest.approx([120, 60])
    assert val["y"] == pytest.approx([0.91, 0.80])
    assert val["error_y"]["array"] == [pytest.approx(2**0.5 / 100), None]
    assert test["y"] == pytest.approx([0.87, 0.79])
    assert (winner["x"], winner["y"]) == ([pytest.approx(120)], [pytest.approx(0.91)])


def test_a_candidate_without_the_cost_is_not_drawn_at_zero() -> None:
    runs = [make_run(), make_run(model="resnet18", val=0.95, wh=None)]
    line, _, val, winner = figures.front(compare(runs), "wh")["data"]
    assert len(val["x"]) == len(line["x"]) == 1
    assert winner["x"] == []  # the winner's energy is unknown


@pytest.mark.parametrize(("dearest", "kind"), [(200.0, None), (2_000.0, "log")])
def test_a_wide_range_of_costs_is_drawn_logarithmically(dearest: float, kind: str | None) -> None:
    runs = [make_run(seconds=50), make_run(model="resnet18", seconds=dearest)]
    axis = figures.front(compare(runs), "seconds")["layout"]["xaxis"]
    assert axis.get("type") == kind
    if kind:
        assert axis["ticktext"] == ["20", "50", "100", "200", "500", "1,000", "2,000", "5,000"]


def test_curves_are_one_pair_a_run_and_one_colour_a_candidate(three: list[Run]) -> None:
    chosen = compare(three)
    lines = figures.curves(chosen, "epoch", lambda run: [e.epoch for e in run.history])["data"]
    assert len(lines) == 6  # three runs with a model
    winner = [line for line in lines if line["legendgroup"] == "0"]
    assert {line["line"]["color"] for line in winner} == {"var(--c0)"}
    assert [line["line"].get("dash") for line in winner] == ["dot", None, "dot", None]
    assert [line["showlegend"] for line in winner] == [False, True, False, False]
    assert winner[1]["y"][-1] == pytest.approx(0.90)


def test_many_candidates_stay_readable() -> None:
    runs = [make_run(model=f"timm:m{i}", val=0.5 + i / 100, seconds=10 + i % 7) for i in range(30)]
    chosen = compare(runs)
    _, test, val, _ = figures.front(chosen, "seconds")["data"]
    numbered = [i for i, text in enumerate(val["text"]) if text]
    assert [chosen.candidates[i] in chosen.front["seconds"] for i in range(30)] == [i in numbered for i in range(30)]
    assert test["visible"] == "legendonly"
    lines = figures.charts(chosen)["curves-epochs"]["data"]
    assert sum(line["showlegend"] for line in lines) == figures.COLOURS


def test_a_matrix_of_a_thousand_classes_shows_the_worst(tmp_path: Path) -> None:
    classes = [f"class {i}" for i in range(1000)]
    run = make_run(classes=classes, images_per_class=4, test=0.7)
    seen = report([run], tmp_path)
    heat = seen.figures["confusion"]["data"][0]
    assert run.test is not None
    recalls = dict(zip(classes, run.test.per_class, strict=True))
    drawn = {recalls.pop(name) for name in heat["x"]}
    assert len(heat["x"]) == figures.WORST
    assert max(drawn) <= min(recalls.values())
    assert "Of 1,000 classes, the 60 with the lowest recall are drawn." in " ".join(seen.text.split())
    assert len(seen.rows_about("class 999")) >= 1


def test_small_matrices_show_counts_and_leave_zeros_blank() -> None:
    run = make_run(classes=["hot dog", "not hot dog"], images_per_class=10, test=1.0)
    heat = figures.confusion(compare([run]))["data"][0]
    assert heat["text"] == [[10, ""], ["", 10]]


# ---------------------------------------------------------------- one file that keeps to itself


@pytest.mark.usefixtures("real_plotly")
def test_nothing_is_fetched_from_anywhere(three: list[Run], tmp_path: Path) -> None:
    seen = report(three, tmp_path)
    for tag, attributes in seen.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:")), (tag, target)
    css = Path(page.__file__).with_name("page.css").read_text(encoding="utf-8")
    assert "url(" not in css
    assert "@import" not in css


def test_the_page_forbids_the_browser_to_fetch(three: list[Run], tmp_path: Path) -> None:
    metas = [a for tag, a in report(three, tmp_path).elements if tag == "meta"]
    [policy] = [a["content"] or "" for a in metas if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert not re.search(r"https?:|\*|'self'|eval", policy)


@pytest.mark.usefixtures("real_plotly")
def test_plotly_is_in_the_page_once(three: list[Run], tmp_path: Path) -> None:
    path = write_report(compare(three), tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").count("plotly.js v") == 1


def test_text_from_data_stays_text(tmp_path: Path) -> None:
    run = make_run(
        classes=EVIL,
        source="<i>photos",
        notes=[EVIL[1]],
        left_out=[(EVIL[0], EVIL[1])],
        machine={EVIL[0]: EVIL[1]},
        folder=f"runs/{EVIL[0]}",
    )
    failed = make_run(model="timm:<b>", val=None, status="failed", reason=EVIL[0], classes=EVIL)
    seen = report([run, failed], tmp_path, story=[EVIL[1]])
    assert len(seen.scripts) == 3  # figures, plotly, ours
    assert not {"img", "i", "b"} & {tag for tag, _ in seen.elements}
    assert not any("onerror" in attributes for _, attributes in seen.elements)
    for name in EVIL:
        assert any(name in row for row in seen.rows)
    assert "<" not in "".join(seen.figures["confusion"]["data"][0]["x"])  # plotly would read it as HTML
    assert seen.figures["confusion"]["data"][0]["x"][2:] == [EVIL[2], "a &amp; b \"q\" 'r'"]  # quotes as they are


def test_inline_json_cannot_end_its_script() -> None:
    written = inline_json({"a": [*EVIL, "<!--", "\u2028"]})
    assert "<" not in written
    assert "\u2028" not in written
    assert json.loads(written) == {"a": [*EVIL, "<!--", "\u2028"]}


def test_the_title_is_text_too(three: list[Run], tmp_path: Path) -> None:
    path = write_report(compare(three), tmp_path / "r.html", title="</title><script>x</script>")
    assert len(Page(path.read_text(encoding="utf-8")).scripts) == 3


@pytest.mark.parametrize(
    ("source", "title"), [("photos/birds/", "birds"), ("s3://bucket/cats", "cats"), ("digits", "digits"), ("/", "/")]
)
def test_the_title_is_the_name_of_the_data(source: str, title: str, tmp_path: Path) -> None:
    path = write_report(compare([make_run(source=source)]), tmp_path / "r.html")
    assert f"<h1>{title}</h1>" in path.read_text(encoding="utf-8")


def test_a_figure_that_is_no_number_does_not_break_the_page(tmp_path: Path) -> None:
    run = make_run()
    first = run.history[0].model_copy(update={"train_score": float("nan")})
    run = run.model_copy(update={"history": (first, *run.history[1:])})
    assert report([run], tmp_path).figures["curves-epochs"]["data"][0]["y"][0] is None


def test_the_file_appears_whole_or_not_at_all(
    three: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "report.html"
    assert write_report(compare(three), str(path)) == path
    before = path.read_bytes()
    assert before.endswith(b"</html>")

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(page, "write_whole", full)
    with pytest.raises(StorageError, match="full"):
        write_report(compare([make_run()]), path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


# ---------------------------------------------------------------- how figures read


@pytest.mark.parametrize(
    ("value", "unit", "read"),
    [
        (None, "Wh", "not measured"),
        (0.0, "Wh", "0 Wh"),
        (0.012345, "Wh", "0.0123 Wh"),
        (0.0000123, "Wh", "0.0000123 Wh"),
        (1e-9, "Wh", "< 0.000001 Wh"),
        (12345.6, "MB", "12,346 MB"),
        (99.96, "ms", "100 ms"),
        (0.004, "$", "$0.004"),
        (12.5, "$", "$12.50"),
        (1234.0, "$", "$1,234.00"),
        (8.4, "s", "8.4 s"),
        (59.99, "s", "1 min"),
        (200.0, "s", "3 min 20 s"),
        (3599.9, "s", "1 h"),
        (4320.0, "s", "1 h 12 min"),
    ],
)
def test_amounts_read_as_people_write_them(value: float | None, unit: str, read: str) -> None:
    assert words.amount(value, unit) == read


def test_counts_and_plurals() -> None:
    assert [words.count(n) for n in (None, 12, 1_518_000, 4.2e9)] == ["not measured", "12", "1.52 M", "4.2 G"]
    assert [words.of(n, thing) for n, thing in ((1, "run"), (1204, "image"), (2, "class"))] == [
        "1 run",
        "1,204 images",
        "2 classes",
    ]


def test_what_is_computed_for_the_page_adds_up(three: list[Run]) -> None:
    chosen: Chosen = compare(three)
    _, scores = chosen.reported
    assert sum(score.images for score in chosen.class_scores) == scores.n
    wrong = scores.n - sum(scores.confusion[i][i] for i in range(len(CLASSES)))
    assert sum(mistake.images for mistake in chosen.mistakes) == wrong
    assert chosen.mistakes[0].images == max(
        count for true, row in enumerate(scores.confusion) for said, count in enumerate(row) if true != said
    )
    assert chosen.winner.stage_seconds == pytest.approx({"read": 0.5, "prepare": 4.0, "train": 113.5, "measure": 2.0})
