"""Labels of every task in manifests: what they become, how they are divided, what is refused and how."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from make_photos import save_photo
from make_shapes import write_table
from PIL import Image

from scrimp.errors import ImageError, SettingError
from scrimp.images import ImageSource, find_images
from scrimp.images.labels import canonical, strata
from scrimp.subset import distill, select


def manifest(folder: Path, labels: list[str], column: str = "labels", extra: str = "") -> Path:
    """A table of as many images as there are labels; the images exist, and are never decoded."""
    rows = []
    for number, label in enumerate(labels):
        (folder / f"{number:04d}.jpg").write_bytes(b"never read")
        rows.append((f"{number:04d}.jpg", label, *([extra] if extra else [])))
    return write_table(folder / "table.csv", ("path", column, *([extra] if extra else [])), rows)


def numbers(n: int) -> list[str]:
    return [str(i * i / 7) for i in range(n)]


# ---------------------------------------------------------------- what they become


@pytest.mark.parametrize("column", ["labels", "label", "Labels"])
def test_several_labels_are_a_row_of_yes_and_no(column, tmp_path):
    cells = ["dog;cat", " cat ; dog ", "bird", "", "cat;;cat;"]
    images = find_images(manifest(tmp_path, cells, column), task="multilabel")
    assert images.classes == ("bird", "cat", "dog")
    assert images.labels.dtype == np.uint8
    assert images.labels.tolist() == [[0, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert (images.task, images.outputs) == ("multilabel", 3)
    assert "1 of 5 images have no label at all." in images.notes
    assert sum(images.counts().values(), Counter()) == {"cat": 3, "dog": 2, "bird": 1}


@pytest.mark.parametrize("column", ["target", "label"])
def test_a_number_is_a_target(column, tmp_path):
    images = find_images(manifest(tmp_path, ["1", "-2.5", "1e3", " 7 "], column), task="regress")
    assert images.labels.dtype == np.float32
    assert images.labels.tolist() == [1.0, -2.5, 1000.0, 7.0]
    assert (images.classes, images.task, images.outputs) == ((), "regress", 1)
    assert images.counts() == {"train": {}, "val": {}, "test": {}}


def test_the_same_labels_are_the_same_text():
    many = [f"label {number}" for number in range(60)]
    assert canonical(" ; ".join(reversed(many)), "multilabel") == ";".join(sorted(many))
    assert canonical("7.50", "regress") == canonical(" 7.5e0", "regress") == "7.5"


def test_the_own_column_of_a_task_comes_before_label(tmp_path):
    rows = [(f"{i}.jpg", "x", "a;b" if i else "a", i) for i in range(4)]
    for i in range(4):
        (tmp_path / f"{i}.jpg").write_bytes(b"")
    path = write_table(tmp_path / "t.csv", ("path", "label", "labels", "target"), rows)
    assert find_images(path, task="multilabel").classes == ("a", "b")
    assert find_images(path, task="regress").labels.tolist() == [0, 1, 2, 3]


def test_parquet_with_numbers_lists_and_nothing(tmp_path):
    import pyarrow
    import pyarrow.parquet

    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    columns = {
        "path": ["0.jpg", "1.jpg", "2.jpg"],
        "labels": [["b", "a"], None, ["a"]],
        "target": [0.5, 1.5, 2.5],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    assert find_images(tmp_path / "t.parquet", task="multilabel").labels.tolist() == [[1, 1], [0, 0], [1, 0]]
    assert find_images(tmp_path / "t.parquet", task="regress").labels.tolist() == [0.5, 1.5, 2.5]


def test_the_fingerprint_tells_tasks_and_labels_apart(tmp_path):
    path = manifest(tmp_path, ["1", "2", "3", "4"], "label")
    seen = [find_images(path, task=task).fingerprint for task in ("classify", "multilabel", "regress")]
    assert len(set(seen)) == 3
    assert find_images(manifest(tmp_path, ["1", "2", "3", "5"], "label"), task="regress").fingerprint not in seen


def test_the_same_twice_is_one_image_and_another_label_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"")
    rows = [("a.jpg", "x;y"), ("b.jpg", "x"), ("a.jpg", "y; x")]
    images = find_images(write_table(tmp_path / "t.csv", ("path", "labels"), rows), task="multilabel")
    assert len(images) == 2
    rows[2] = ("a.jpg", "y")
    with pytest.raises(ImageError, match="Lines 2 and 4"):
        find_images(write_table(tmp_path / "t.csv", ("path", "labels"), rows), task="multilabel")


# ---------------------------------------------------------------- how they are divided


def test_a_rare_label_is_in_every_split(tmp_path):
    dice = np.random.default_rng(1)
    cells = []
    for number in range(400):
        labels = [name for name, chance in (("sky", 0.9), ("tree", 0.5), ("boat", 0.2)) if dice.random() < chance]
        cells.append(";".join([*labels, *(["fox"] if number % 40 == 0 else [])]))
    images = find_images(manifest(tmp_path, cells), task="multilabel")
    counts = images.counts()
    assert {split: counted["fox"] for split, counted in counts.items()} == {"train": 6, "val": 2, "test": 2}
    for name in images.classes:
        whole = sum(counted[name] for counted in counts.values())
        assert abs(counts["val"][name] - 0.15 * whole) <= 0.03 * 400, name


def test_a_tenth_of_the_targets_is_divided_like_any_other(tmp_path):
    images = find_images(manifest(tmp_path, numbers(200), "target"), task="regress")
    heaps = np.digitize(images.labels, np.sort(images.labels)[20::20])  # by hand: twenty in a row are a heap
    for heap in range(10):
        assert Counter(images.splits[heaps == heap].tolist()) == {"train": 14, "val": 3, "test": 3}


def test_few_targets_are_divided_in_fewer_heaps(tmp_path):
    images = find_images(manifest(tmp_path, numbers(12), "target"), task="regress")
    assert Counter(images.splits.tolist()) == {"train": 8, "val": 2, "test": 2}


def test_strata_by_hand():
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 0]], dtype=np.uint8)  # 4, 2 and 1 of them
    assert strata(labels, "multilabel").tolist() == [1, 0, 3, 2, 1]
    assert strata(np.array([3, 1, 2]), "classify").tolist() == [3, 1, 2]
    same = np.zeros(50, dtype=np.float32)
    assert len(set(strata(same, "regress").tolist())) == 1


def test_a_given_split_stays(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02d}.jpg").write_bytes(b"")
    rows = [(f"{i:02d}.jpg", i, "test" if i < 5 else "train") for i in range(20)]
    images = find_images(write_table(tmp_path / "t.csv", ("path", "target", "split"), rows), task="regress")
    assert (images.splits == "test").tolist() == [True] * 5 + [False] * 15
    assert Counter(images.splits.tolist())["val"] == 3  # 1 of 5 and 2 of 10, the two heaps


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1", "big", "2"], r"Line 3 of '.*table.csv' has the target 'big', which is not a finite number"),
        (["1", "2", "nan"], r"Line 4 .* 'nan'"),
        (["-inf", "2", "3"], r"Line 2 .* '-inf'"),
        (["1", "1e39", "3"], r"Line 3 .* '1e39'"),
        (["1", "2,5", "3"], r"Line 3 .* '2,5'"),
        (["1", "", "3"], r"Line 3 of '.*table.csv' has no target"),
        (["3", "3.0", "3"], r"nothing to learn: its 3 images all have the target 3\."),
    ],
)
def test_bad_targets(cells, words, tmp_path):
    with pytest.raises(ImageError, match=words):
        find_images(manifest(tmp_path, cells, "target"), task="regress")


def test_no_label_anywhere(tmp_path):
    with pytest.raises(ImageError, match="no label to learn: the cell is empty for each of its 3 images"):
        find_images(manifest(tmp_path, ["", ";", " "]), task="multilabel")


def test_a_line_cut_short_is_no_empty_cell(tmp_path):
    (tmp_path / "t.csv").write_text("path,labels\na.jpg,x\nb.jpg\n")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"Line 3 of '.*t.csv' has no label"):
        find_images(tmp_path / "t.csv", task="multilabel")


@pytest.mark.parametrize(
    ("column", "task", "words"),
    [
        ("labels", "classify", r"no column 'label'.*'labels'.*give --task multilabel, or task=\"multilabel\""),
        ("target", "classify", r"no column 'label'.*give --task regress"),
        ("labels", "regress", r"no column 'target'.*give --task multilabel"),
        ("tags", "multilabel", r"no column 'labels': line 1 has 'path', 'tags'.*Needed: path,labels"),
        ("targte", "regress", r"no column 'target'.*Is 'targte' meant"),
    ],
)
def test_a_column_of_another_task_names_it(column, task, words, tmp_path):
    with pytest.raises(ImageError, match=words):
        find_images(manifest(tmp_path, ["a", "b", "c"], column), task=task)


def test_labels_that_look_like_another_task_are_noted(tmp_path):
    several = find_images(manifest(tmp_path, ["a;b", "c", "a;b"], "label"))
    assert any("2 of 3 labels hold ';': task multilabel" in note for note in several.notes)
    decimal = find_images(manifest(tmp_path, ["1.5", "2.25", "3"], "label"))
    assert any("task regress" in note for note in decimal.notes)
    whole = find_images(manifest(tmp_path, ["1", "2", "3"], "label"))
    assert not any("task" in note for note in whole.notes)


@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_folders_and_names_have_one_class_an_image(task, photos):
    for source, kind in ((photos, "a folder"), ("digits", "a data set by name")):
        with pytest.raises(SettingError, match=f"task='{task}' needs a manifest.*is {kind}"):
            find_images(source, task=task)


@pytest.mark.parametrize("setting", [{"classes": 3}, {"min_per_class": 2}, {"per_class": 10}])
def test_options_that_count_classes(setting):
    [(name, value)] = setting.items()
    with pytest.raises(SettingError, match=f"{name}={value}.*task='multilabel'"):
        ImageSource(source="a.csv", task="multilabel", **setting)
    ImageSource(source="a.csv", **setting)


def test_an_unknown_task_is_refused():
    with pytest.raises(SettingError, match="'classify', 'multilabel' or 'regress'"):
        ImageSource(source="a.csv", task="regres")


# ---------------------------------------------------------------- fewer of them


@pytest.mark.parametrize(("task", "column"), [("multilabel", "labels"), ("regress", "target")])
def test_a_selection_takes_any_images_and_says_so(task, column, tmp_path):
    images = find_images(manifest(tmp_path, numbers(60), column), task=task)
    kept = select(images, keep=5)
    assert len(kept.rows("train")) == 5
    assert len(kept.rows("val")) == len(images.rows("val"))
    assert set(kept.keys) <= set(select(images, keep=9).keys)
    assert any("without regard to labels" in note for note in kept.notes)
    with pytest.raises(SettingError, match="keep=1,000 is more than"):
        select(images, keep=1000)


def test_there_is_nothing_to_distil(tmp_path):
    images = find_images(manifest(tmp_path, numbers(60), "target"), task="regress")
    with pytest.raises(SettingError, match=r"task='regress'.*use select"):
        distill(images)


def test_images_that_cannot_be_read_leave_their_targets_out(tmp_path):
    from scrimp.batches import batches, prepare

    path = manifest(tmp_path, numbers(40), "target")
    for number in range(0, 40, 2):
        save_photo(tmp_path / f"{number:04d}.jpg", (90, 90, 90), seed=number)
    ready = prepare(find_images(path, task="regress"), image_px=16)
    assert ready.images.labels.tolist() == pytest.approx([i * i / 7 for i in range(0, 40, 2)])
    _, targets, _ = next(batches(ready, np.array([3, 1]), 2))
    assert targets.tolist() == pytest.approx([36 / 7, 4 / 7])


def test_targets_that_32_bits_cannot_tell_apart_are_refused(tmp_path):
    lines = "".join(f"{n}.png,{1_700_000_000 + n}\n" for n in range(20))
    for n in range(20):
        Image.new("RGB", (8, 8), (n, n, n)).save(tmp_path / f"{n}.png")
    (tmp_path / "m.csv").write_text(f"path,target\n{lines}")
    with pytest.raises(ImageError, match=r"32 bits can hold, the least being 1700000000\.0"):
        find_images(tmp_path / "m.csv", task="regress")


def test_labels_that_every_image_has_alone_are_refused(tmp_path):
    for n in range(20):
        Image.new("RGB", (8, 8), (n, n, n)).save(tmp_path / f"{n}.png")
    (tmp_path / "m.csv").write_text("path,labels\n" + "".join(f"{n}.png,a\n" for n in range(20)))
    with pytest.raises(ImageError, match="20 images all have the same labels"):
        find_images(tmp_path / "m.csv", task="multilabel")
