"""The page of an inspection and its command: what they show is what was found, and the page keeps to itself."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_photos import photo, save
from PIL import Image

import scrimp
from scrimp import cli
from scrimp.errors import StorageError
from scrimp.images import Inspection, find_images, inspect_images
from scrimp.images.inspection import pictures
from scrimp.report import inspection as room
from scrimp.report import write_inspection

EVIL = "<script>alert(1)<"  # a slash would be a folder


class Page(HTMLParser):
    """A page as a browser reads it: elements with their attributes, readable text, table rows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self._style = self._cell = False
        self.feed(html)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._style = tag == "style"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._cell = (tag in ("td", "th")) or (self._cell and tag in ("span", "br"))

    def handle_endtag(self, tag: str) -> None:
        self._style = False
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data
            if self._cell:
                self.rows[-1][-1] += data.strip()

    def sources(self) -> list[str]:
        """Where its pictures come from."""
        return [attributes["src"] or "" for tag, attributes in self.elements if tag == "img"]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, one with an evil name, with a leak, two labels, a broken file and a blank one."""
    root = tmp_path_factory.mktemp("made") / "spoilt"
    number = 0
    for split, count in (("train", 10), ("test", 3)):
        for name in ("ash", EVIL):
            for index in range(count):
                save(photo(number), root / split / name / f"{index}.png")
                number += 1
    shutil.copy(root / "train" / "ash" / "0.png", root / "test" / "ash" / "leak.png")
    with Image.open(root / "train" / "ash" / "1.png") as image:
        save(image, root / "train" / EVIL / "other label.jpg", quality=50)
    (root / "train" / "ash" / "broken.png").write_text("no image")
    (root / "train" / "ash" / "notes.txt").write_text("no image")
    save(Image.new("RGB", (96, 80)), root / "test" / "ash" / "black.png")
    return root


@pytest.fixture
def found(spoilt: Path) -> Inspection:
    return inspect_images(find_images(spoilt))


def page_of(found: Inspection, folder: Path) -> Page:
    return Page(write_inspection(found, folder / "page.html").read_text(encoding="utf-8"))


# ---------------------------------------------------------------- what the page says


def test_every_finding_and_its_advice_is_on_the_page(found: Inspection, tmp_path: Path) -> None:
    page = page_of(found, tmp_path)
    assert {"leak", "two labels", "unreadable", "blank", "dark"} <= {finding.kind for finding in found.findings}
    places = [page.text.index(" ".join(finding.text.split()), 1) for finding in found.findings[1:]]
    assert places == sorted(places)
    for finding in found.findings:
        assert finding.text in page.text
        assert finding.advice in page.text


def test_leaks_stand_in_their_table(found: Inspection, tmp_path: Path) -> None:
    [leak] = [leak for leak in found.duplicates.leaks if leak.split == "test"]
    assert ["test", leak.other, "1", "0", f"{1 / 8:.1%}"] in page_of(found, tmp_path).rows


def test_every_group_is_shown_with_its_pictures(found: Inspection, tmp_path: Path) -> None:
    page = page_of(found, tmp_path)
    assert "With different labels: 1 group" in page.text
    assert "The same pixels: 1 group" in page.text
    assert "The same to look at: 1 group" in page.text
    for group in (*found.duplicates.exact, *found.duplicates.near):
        for member in group.members:
            assert member.key in page.text
            assert found.pictures.images[member.key] in page.sources()


def test_classes_are_counted_as_found(found: Inspection, tmp_path: Path) -> None:
    page = page_of(found, tmp_path)
    for one in found.classes:
        [row] = [row for row in page.rows if row and row[0] == one.name]
        assert row[1:4] == [str(one.splits[split].images) for split in ("train", "val", "test")]
        assert row[5] == str(one.unreadable)
    assert sum(one.splits["test"].images for one in found.classes) == 3 + 3 + 2


def test_files_that_are_not_used_are_listed_with_reasons(found: Inspection, tmp_path: Path) -> None:
    rows = page_of(found, tmp_path).rows
    [unreadable] = found.unreadable
    assert list(unreadable) in rows
    assert ["train/ash/notes.txt", "not an image file"] in rows


def test_rules_are_stated_with_their_thresholds(found: Inspection, tmp_path: Path) -> None:
    rows = {row[0]: row for row in page_of(found, tmp_path).rows}
    for fault in found.faults:
        assert rows[fault.kind] == [fault.kind, str(len(fault.images)), fault.rule + fault.reason]


def test_the_cheapest_models_are_shown_with_n(found: Inspection, tmp_path: Path) -> None:
    page = page_of(found, tmp_path)
    assert found.baseline is not None
    for score in found.baseline.scores:
        assert [score.name, score.setting, f"{score.val:.1%}", f"{score.test:.1%}"] in [row[:4] for row in page.rows]
    first = found.baseline.scores[0]
    assert f"judged on {first.n_val} val and {first.n_test} test images" in page.text
    assert len(found.pictures.eigenfaces) == 16
    assert set(found.pictures.eigenfaces) <= set(page.sources())


def test_without_findings_it_says_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(20):
            save(photo(100 * ord(name) + index), tmp_path / name / f"{index:02d}.png")
    page = page_of(inspect_images(find_images(tmp_path)), tmp_path)
    assert "Nothing wrong was found in 40 images." in page.text
    assert "No image of one split was found in another." in page.text
    assert "No file was left out." in page.text


def test_unknown_is_not_zero(found: Inspection, tmp_path: Path) -> None:
    bare = found.model_copy(
        update={"baseline": None, "splits": {s: a.model_copy(update={"mb": None}) for s, a in found.splits.items()}}
    )
    text = page_of(bare, tmp_path).text
    assert "the cheapest model, test not measured" in text
    assert "size not measured" in text


def test_an_inspection_of_nothing_is_a_page(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_text("no image")
    page = page_of(inspect_images(find_images(tmp_path)), tmp_path)
    assert "No image could be read." in page.text
    assert "2 of 2 files cannot be read" in page.text


def test_targets_take_the_place_of_classes(tmp_path: Path) -> None:
    lines = ["path,target"]
    for index in range(30):
        save(photo(index, (40, 40)), tmp_path / f"{index}.png")
        lines.append(f"{index}.png,{index / 4}")
    (tmp_path / "all.csv").write_text("\n".join(lines))
    found = inspect_images(find_images(tmp_path / "all.csv", task="regress"))
    page = page_of(found, tmp_path)
    assert "targets in train" in page.text
    assert pictures.BY_TARGET in page.text
    assert found.targets is not None
    assert ["train", str(found.splits["train"].images)] in [row[:2] for row in page.rows]


# ---------------------------------------------------------------- what the page is


def test_the_page_keeps_to_itself(found: Inspection, tmp_path: Path) -> None:
    page = page_of(found, tmp_path)
    assert not [tag for tag, _ in page.elements if tag in ("script", "link", "iframe", "object", "base")]
    assert all(source.startswith(("data:image/jpeg;base64,", "data:image/png;base64,")) for source in page.sources())
    assert all((attributes.get("href") or "#").startswith("#") for tag, attributes in page.elements if tag == "a")
    assert not re.search(r"url\(|@import|https?://", page.html)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {(a["href"] or "")[1:] for tag, a in page.elements if tag == "a"} <= ids


def test_names_cannot_write_into_the_page(found: Inspection, tmp_path: Path) -> None:
    page = page_of(found, tmp_path)
    assert EVIL in page.text
    assert "<script" not in page.html


def test_many_groups_are_cut_off_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "GROUPS", 2)
    monkeypatch.setattr(room, "_LISTED", 1)
    for index in range(5):
        save(photo(index, (40, 40)), tmp_path / "a" / f"{index}.png")
        save(photo(index, (40, 40)), tmp_path / "a" / f"{index} again.png")
        save(photo(index + 10, (40, 40)), tmp_path / "b" / f"{index}.png")
    (tmp_path / "a" / "x.png").touch()
    (tmp_path / "a" / "y.png").touch()
    page = page_of(inspect_images(find_images(tmp_path)), tmp_path)
    assert "The same pixels: 5 groups" in page.text
    assert "The first 2 of 5 are shown" in page.text
    assert sum(attributes.get("class", "").startswith("group ") for _, attributes in page.elements) == 2
    assert "The first 1 are listed" in page.text


def test_a_folder_in_the_way_is_told(found: Inspection, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=re.escape(str(tmp_path))):
        write_inspection(found, tmp_path)


# ---------------------------------------------------------------- the command


class Answer:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Answer]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["scrimp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return Answer(int(ended.value.code or 0), shown.out, shown.err)

    return call


def test_the_command_prints_and_writes(
    run: Callable[..., Answer], spoilt: Path, found: Inspection, tmp_path: Path
) -> None:
    answer = run("inspect", spoilt)
    assert answer.code == 0
    for finding in found.findings:
        assert f"{finding.text} {finding.advice}" in answer.out
    assert "PCA + logistic regression" in answer.out
    assert Page((tmp_path / "runs" / "spoilt" / "inspection.html").read_text(encoding="utf-8")).rows
    assert f"Page: {Path('runs') / 'spoilt' / 'inspection.html'}" in answer.out


def test_json_is_one_document_and_nothing_else(run: Callable[..., Answer], spoilt: Path, found: Inspection) -> None:
    answer = run("inspect", spoilt, "--out", "here/page.html", "--json")
    document = json.loads(answer.out)
    assert document.pop("page") == str(Path("here/page.html"))
    assert "pictures" not in document

    def timeless(facts: dict[str, Any]) -> dict[str, Any]:
        for score in facts["baseline"]["scores"]:
            score["seconds"] = None
        return {**facts, "cost": None}

    assert timeless(document) == timeless(json.loads(json.dumps(found.to_json())))


def test_image_options_count_here_too(run: Callable[..., Answer], spoilt: Path) -> None:
    document = json.loads(run("inspect", spoilt, "--per-class", "5", "--json").out)
    assert document["splits"]["train"]["images"] + document["splits"]["val"]["images"] <= 10


def test_what_leads_nowhere_is_one_line(run: Callable[..., Answer]) -> None:
    answer = run("inspect", "nowhere")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("scrimp: No folder, manifest or data set called 'nowhere'.")


def test_from_python(spoilt: Path, tmp_path: Path) -> None:
    found = scrimp.inspect_images(scrimp.find_images(spoilt))
    assert isinstance(found, scrimp.Inspection)
    assert scrimp.write_inspection(found, tmp_path / "a" / "b.html", title="Mine").is_file()
    assert "Mine" in Page((tmp_path / "a" / "b.html").read_text(encoding="utf-8")).text


def test_images_in_memory_are_enlarged_without_smoothing(tmp_path: Path) -> None:
    tiny = inspect_images(find_images("digits", per_class=6))
    classes = [attributes.get("class") for _, attributes in page_of(tiny, tmp_path).elements]
    assert "enlarged" in classes
    assert np.isfinite(tiny.mb or np.nan)
