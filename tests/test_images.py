"""Finding images, dividing them, and opening odd ones."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_photos import COLOURS, save_photo
from PIL import Image

from scrimp import store
from scrimp.errors import ImageError, NotFound, SettingError
from scrimp.images import Images, ImageSource, LeftOut, find_images
from scrimp.images.decode import open_rgb
from scrimp.images.fingerprint import fingerprint, hash_ranks
from scrimp.images.named import NAMED
from scrimp.images.split import divide, sizes


def touch(root: Path, *keys: str) -> Path:
    """Files that are never decoded."""
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(key.encode("utf-8", "surrogateescape"))
    return root


def many(folder: str, count: int) -> list[str]:
    return [f"{folder}/{index:03d}.jpg" for index in range(count)]


def sizes_of(images: Images) -> dict[str, int]:
    return {split: sum(counts.values()) for split, counts in images.counts().items()}


# ---------------------------------------------------------------- folders


def test_class_folders(photos: Path) -> None:
    images = find_images(photos)
    assert images.classes == tuple(COLOURS)
    assert len(images) == 60
    assert images.counts() == {
        split: Counter(dict.fromkeys(COLOURS, count))
        for split, count in {"train": 14, "val": 3, "test": 3}.items()  # 15 % of 20 is 3
    }
    assert all(
        Path(str(item)).parent.name == key.split("/")[0] for item, key in zip(images.items, images.keys, strict=True)
    )
    assert all(images.classes[n] == key.split("/")[0] for n, key in zip(images.labels, images.keys, strict=True))
    assert images.notes == ()
    assert images.left_out == ()
    assert images.cost.seconds > 0
    assert images.cost.wh_source == "fake"


def test_images_are_found_at_any_depth_and_in_any_case(tmp_path: Path) -> None:
    suffixes = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "JPG", "Png"]
    touch(tmp_path, *[f"a/x/y/{n}.{s}" for n, s in enumerate(suffixes)], *many("b", 3))
    assert Counter(images_labels(find_images(tmp_path))) == {"a": 12, "b": 3}


def images_labels(images: Images) -> list[str]:
    return [images.classes[n] for n in images.labels]


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    touch(tmp_path, *many("a", 4), *many("b", 4), "a/notes.txt", "loose.jpg", "README", "a/gone.jpg")
    touch(tmp_path, ".DS_Store", "a/Thumbs.db", "a/._1.jpg", ".hidden/1.jpg", "__MACOSX/a/1.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "gone.jpg").unlink()
    (tmp_path / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    images = find_images(tmp_path)
    assert set(images.left_out) == {
        LeftOut("a/notes.txt", "not an image file"),
        LeftOut("README", "not an image file"),
        LeftOut("loose.jpg", "not in a class folder"),
        LeftOut("empty", "no images"),
        LeftOut("a/gone.jpg", "neither a file nor a link to one"),
    }
    assert len(images) == 8


@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("Train", "VALID", "Test"), ("train", "validation", "TEST")]
)
def test_given_splits_are_kept(words: tuple[str, str, str], tmp_path: Path) -> None:
    for word, count in zip(words, (5, 3, 2), strict=True):
        touch(tmp_path, *many(f"{word}/a", count), *many(f"{word}/b", count))
    images = find_images(tmp_path)
    assert sizes_of(images) == {"train": 10, "val": 6, "test": 4}
    assert all(
        {"t": "train", "v": "val"}.get(key[0].lower()) == split or (key.lower().startswith("test") and split == "test")
        for key, split in zip(images.keys, images.splits.tolist(), strict=True)
    )


def test_training_and_testing_are_splits_too(tmp_path: Path) -> None:
    images = find_images(
        touch(tmp_path, *(f"{part}/{name}/1.jpg" for part in ("Training", "Testing") for name in "ab"))
    )
    assert (images.classes, sizes_of(images)["test"]) == (("a", "b"), 2)


def test_a_link_to_itself_is_left_out(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "set").symlink_to(photos)
    root = Path(shutil.copytree(photos, tmp_path / "own"))
    loop = root / next(iter(COLOURS)) / "self.jpg"
    loop.symlink_to("self.jpg")
    images = find_images(root)
    assert len(images) == 60
    assert [entry.key for entry in images.left_out] == [f"{loop.parent.name}/self.jpg"]


def test_nothing_is_trained_on_that_is_tested_on(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(photos)
    for test in (photos, tmp_path / "again"):
        with pytest.raises(ImageError, match=r"18 of 18 images to test on are trained on as well: '.*', "):
            find_images(photos, test=test)
    with pytest.raises(ImageError, match="trained on as well"):
        find_images("digits", test="digits")


def test_names_that_are_no_text_can_be_printed_saved_and_read(tmp_path: Path) -> None:
    touch(tmp_path, *many("caf\udce9", 3), *many("tea", 3))
    images = find_images(tmp_path)
    assert images.classes == ("caf\\udce9", "tea")
    assert "".join(images.keys).encode()
    assert all(Path(item).is_file() for item in images.items if isinstance(item, str))


def test_train_and_val_alone_report_on_val(tmp_path: Path) -> None:
    touch(tmp_path, *many("train/a", 20), *many("train/b", 20), *many("val/a", 4), *many("val/b", 4))
    images = find_images(tmp_path)
    assert sizes_of(images) == {"train": 34, "val": 6, "test": 8}
    assert {images.keys[i].split("/")[0] for i in images.rows("test")} == {"val"}
    assert any("val is the test split" in note for note in images.notes)


def test_train_and_test_alone_cut_val_from_train(tmp_path: Path) -> None:
    touch(tmp_path, *many("train/a", 20), *many("train/b", 20), *many("test/a", 4), *many("test/b", 4))
    images = find_images(tmp_path)
    assert sizes_of(images) == {"train": 34, "val": 6, "test": 8}
    assert {images.keys[i].split("/")[0] for i in images.rows("val")} == {"train"}
    assert images.notes == ()


def test_train_alone_is_divided(tmp_path: Path) -> None:
    touch(tmp_path, *many("train/a", 20), *many("train/b", 20))
    images = find_images(tmp_path)
    assert images.classes == ("a", "b")
    assert sizes_of(images) == {"train": 28, "val": 6, "test": 6}


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    images = find_images(touch(tmp_path, *many("bus", 4), *many("car", 4), *many("train", 4)))
    assert images.classes == ("bus", "car", "train")


def test_names_of_every_kind(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe")
    names = ["Käse", "日本語", "n" * 200, odd]
    for name in names:
        touch(tmp_path, *[f"{name}/{index}{name[:60]}.jpg" for index in range(4)])
    images = find_images(tmp_path)
    assert images.classes == (*sorted(names[:3]), r"\udcff\udcfe")
    assert len(images.fingerprint) == 64
    assert all(Path(str(item)).exists() for item in images.items)


def test_a_folder_at_a_uri_is_divided_as_on_disk(photos: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    try:
        for file in store.list_files(photos):
            memory.pipe(f"/photos/{file.key}", store.read_bytes(file.path))
        here, there = find_images(photos), find_images("memory://photos")
        assert there.items[0] == f"memory://photos/{there.keys[0]}"
        assert (here.keys, here.splits.tolist()) == (there.keys, there.splits.tolist())
        assert open_rgb(there.items[0])[0].size == (48, 40)
    finally:
        memory.store.clear()


def test_a_missing_bucket_is_not_taken_for_a_data_set() -> None:
    with pytest.raises(NotFound, match=r"Nothing lies at 'memory://nowhere'.*endpoint"):
        find_images("memory://nowhere")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["a.txt", "b.txt", "c.pdf"], r"3 files, none of them an image \(2 \.txt, 1 \.pdf\)"),
        ([], "it is empty"),
        (["1.jpg", "2.jpg"], "holds 2 images but no class folders.*/cat/1.jpg"),
        (["train/1.jpg", "test/2.jpg"], "holds 2 images but no class folders.*/train/cat/1.jpg"),
        (["a/1.jpg", "a/2.jpg"], r"holds one class, 'a' \(2 images\): a classifier needs at least 2\.$"),
        (["Images/a/1.jpg", "Images/b/2.jpg"], "Did you mean '.*Images', which holds 2 folders"),
        (["test/a/1.jpg", "test/b/2.jpg"], "no images to train on: all 2 are in test"),
    ],
)
def test_folders_that_are_no_images_of_classes(keys: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        find_images(touch(tmp_path, *keys))
    assert str(tmp_path) in str(caught.value)


def test_a_source_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"called 'cifar_10'\. Did you mean 'cifar10'"):
        find_images("cifar_10")
    with pytest.raises(NotFound, match="nothing/here"):
        find_images(tmp_path / "nothing/here")
    with pytest.raises(ImageError, match="neither a CSV nor a Parquet"):
        find_images(touch(tmp_path, "a.json") / "a.json")


# ---------------------------------------------------------------- fewer classes, fewer images


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    return touch(tmp_path, *many("a", 4), *many("b", 9), *many("c", 9), *many("d", 20))


def test_the_largest_classes_ties_by_name(uneven: Path) -> None:
    images = find_images(uneven, classes=2)
    assert images.classes == ("b", "d")
    assert set(images.left_out) == {LeftOut(name, "not among the 2 largest classes") for name in "ac"}
    assert Counter(images_labels(images)) == {"b": 9, "d": 20}


def test_min_per_class_comes_first(uneven: Path) -> None:
    images = find_images(uneven, min_per_class=5)
    assert images.classes == ("b", "c", "d")
    assert images.left_out == (LeftOut("a", "fewer than 5 images"),)
    with pytest.raises(ImageError, match="has 3 of 4 classes with at least 5 images outside test, but 4"):
        find_images(uneven, min_per_class=5, classes=4)
    with pytest.raises(ImageError, match="has 4 of 4 classes, but 9"):
        find_images(uneven, classes=9)


def test_choosing_classes_does_not_look_at_a_given_test_split(tmp_path: Path) -> None:
    touch(tmp_path, *many("train/a", 5), *many("train/b", 6), *many("train/c", 7), *many("test/a", 50))
    assert find_images(tmp_path, classes=2).classes == ("b", "c")


def test_per_class_comes_before_the_split(uneven: Path) -> None:
    images = find_images(uneven, per_class=8)
    assert Counter(images_labels(images)) == {"a": 4, "b": 8, "c": 8, "d": 8}
    assert Counter(np.array(images_labels(images))[images.rows("test")].tolist()) == dict.fromkeys("abcd", 1)
    assert any("keeps 28 of 42 images" in note for note in images.notes)
    assert set(find_images(uneven, per_class=5).keys) < set(images.keys)


def test_per_class_leaves_a_given_test_split_whole(tmp_path: Path) -> None:
    touch(tmp_path, *many("train/a", 20), *many("train/b", 20), *many("test/a", 9), *many("test/b", 9))
    assert sizes_of(find_images(tmp_path, per_class=4)) == {"train": 6, "val": 2, "test": 18}


def test_settings_given_twice_are_refused(photos: Path) -> None:
    source = ImageSource(source=str(photos), split_seed=3)
    assert find_images(source).splits.tolist() == find_images(photos, split_seed=3).splits.tolist()
    with pytest.raises(SettingError, match=r"split_seed=4 .* split_seed=3"):
        find_images(source, split_seed=4)


def test_impossible_settings(photos: Path) -> None:
    with pytest.raises(SettingError, match="leave nothing to train on"):
        find_images(photos, val_fraction=0.5, test_fraction=0.5)
    for wrong in ({"classes": 1}, {"per_class": 0}, {"val_fraction": 0.0}, {"split_seed": -1}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            find_images(photos, **wrong)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the division


def test_the_split_is_by_rank_of_sha256() -> None:
    """By the definition in words: the lowest hashes are test, the highest val."""
    keys = [f"k{index}" for index in range(20)]
    ranked = sorted(keys, key=lambda key: hashlib.sha256(f"7/{key}".encode()).hexdigest())
    expected = dict.fromkeys(keys, "train") | dict.fromkeys(ranked[:4], "test") | dict.fromkeys(ranked[-2:], "val")
    splits = divide(keys, np.zeros(20, dtype=np.int64), np.full(20, ""), val_fraction=0.1, test_fraction=0.2, seed=7)
    assert dict(zip(keys, splits.tolist(), strict=True)) == expected


def test_the_split_does_not_depend_on_the_order_of_listing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = store.list_files

    def shuffled(root: str | Path) -> list[store.File]:
        files = real(root)
        random.Random(5).shuffle(files)
        return files

    expected = find_images(photos)
    monkeypatch.setattr(store, "list_files", shuffled)
    got = find_images(photos)
    assert (got.keys, got.splits.tolist()) == (expected.keys, expected.splits.tolist())
    assert got.fingerprint == expected.fingerprint


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 60), st.floats(0.01, 0.6), st.floats(0.01, 0.39))
def test_every_split_gets_one_where_there_are_three(n: int, val: float, test: float) -> None:
    n_val, n_test = sizes(n, val, test)
    n_train = n - n_val - n_test
    assert n_train >= 1
    assert (n_val >= 1) == (n >= 2)
    assert (n_test >= 1) == (n >= 3)
    if n * min(val, test, 1 - val - test) >= 2:
        assert abs(n_val - n * val) <= 0.5 + 1e-9
        assert abs(n_test - n * test) <= 0.5 + 1e-9


@settings(deadline=None, max_examples=60)
@given(st.sets(st.text(max_size=8), min_size=3, max_size=40), st.text(max_size=8), st.integers(0, 3))
def test_another_image_hardly_moves_the_others(keys: set[str], new: str, seed: int) -> None:
    def split(names: list[str]) -> dict[str, str]:
        labels, given_splits = np.zeros(len(names), dtype=np.int64), np.full(len(names), "")
        parts = divide(names, labels, given_splits, val_fraction=0.2, test_fraction=0.2, seed=seed)
        return dict(zip(names, parts.tolist(), strict=True))

    before, after = split(sorted(keys)), split(sorted(keys | {new}))
    moved = [(before[key], after[key]) for key in keys if before[key] != after[key]]
    assert len(moved) <= 2
    assert ("test", "val") not in moved
    assert ("val", "test") not in moved


def test_tiny_classes_are_told(tmp_path: Path) -> None:
    images = find_images(touch(tmp_path, *many("one", 1), *many("two", 2), *many("three", 3)))
    assert images.counts() == {
        "train": {"one": 1, "two": 1, "three": 1},
        "val": {"two": 1, "three": 1},
        "test": {"three": 1},
    }
    assert "1 of 3 classes have no image in val: 'one'." in images.notes
    assert "2 of 3 classes have no image in test: 'one', 'two'." in images.notes


def test_accents_count_the_same_however_they_are_spelt() -> None:
    assert hash_ranks(["Ka\u0308se"], "0") == hash_ranks(["K\u00e4se"], "0")


# ---------------------------------------------------------------- the fingerprint


def test_the_fingerprint_changes_with_what_matters(tmp_path: Path) -> None:
    touch(tmp_path, *many("a", 5), *many("b", 5))
    seen = [find_images(tmp_path).fingerprint]
    assert find_images(tmp_path).fingerprint == seen[0]
    seen.append(find_images(tmp_path, split_seed=1).fingerprint)
    os.utime(tmp_path / "a/000.jpg", ns=(5, 5))
    seen.append(find_images(tmp_path).fingerprint)
    (tmp_path / "a/000.jpg").rename(tmp_path / "b/zzz.jpg")
    seen.append(find_images(tmp_path).fingerprint)
    images = find_images(tmp_path)
    seen.append(images.only(images.rows("train")).fingerprint)
    assert len(set(seen)) == 5


def test_parts_do_not_run_into_each_other() -> None:
    parts = [
        ("ab", "c"),
        ("a", "bc"),
        (["ab", "c"],),
        (["a", "bc"],),
        ("abc",),
        (["abc"],),
        (1, "1"),
        ("1", 1),
    ]
    prints = {fingerprint(*part) for part in parts}  # type: ignore[arg-type]
    assert len(prints) == len(parts)
    assert fingerprint(np.zeros((2, 3))) != fingerprint(np.zeros((3, 2)))
    assert fingerprint(np.arange(3, dtype="<i8")) == fingerprint(np.arange(3, dtype=">i8"))


# ---------------------------------------------------------------- manifests


def write_manifest(root: Path, text: str, encoding: str = "utf-8") -> Path:
    touch(root, *[f"m/{n}.jpg" for n in range(8)])
    (root / "list.csv").write_bytes(text.encode(encoding))
    return root / "list.csv"


ROWS = "".join(f"m/{n}.jpg,{'cat' if n % 2 else 'dog'}\n" for n in range(8))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_csv_manifest(encoding: str, newline: str, tmp_path: Path) -> None:
    path = write_manifest(tmp_path, ("path,label\n" + ROWS).replace("\n", newline), encoding)
    images = find_images(path)
    assert images.classes == ("cat", "dog")
    assert images.keys == tuple(f"m/{n}.jpg" for n in range(8))
    assert images_labels(images) == ["dog", "cat"] * 4
    assert sizes_of(images) == {"train": 4, "val": 2, "test": 2}


def test_a_parquet_manifest_says_the_same(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    csv = write_manifest(tmp_path, "path,label\n" + ROWS)
    columns = {"path": [f"m/{n}.jpg" for n in range(8)], "label": ["dog", "cat"] * 4}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "list.parquet")
    one, two = find_images(csv), find_images(tmp_path / "list.parquet")
    assert one.fingerprint == two.fingerprint
    assert one.items == two.items


def test_absolute_paths_and_uris(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/b/x.jpg", b"x")
    try:
        other = touch(tmp_path / "other", "y.jpg")
        text = f"label,path\ncat,memory://b/x.jpg\ndog,{other}/y.jpg\ndog,{tmp_path}/here/m/1.jpg\n"
        images = find_images(write_manifest(tmp_path / "here", text))
        assert set(images.keys) == {"memory://b/x.jpg", f"{other}/y.jpg", "m/1.jpg"}
    finally:
        memory.store.clear()


def test_splits_of_a_manifest(tmp_path: Path) -> None:
    words = ["train", "Train", "val", "validation", "test", "TEST", "train", "train"]
    rows = [f"m/{n}.jpg,{'cat' if n % 2 else 'dog'},{word}" for n, word in enumerate(words)]
    images = find_images(write_manifest(tmp_path, "path,label,split\n" + "\n".join(rows)))
    assert images.splits.tolist() == ["train", "train", "val", "val", "test", "test", "train", "train"]


def test_missing_files_and_repetitions_are_left_out(tmp_path: Path) -> None:
    text = "path,label\n" + ROWS + "m/none.jpg,cat\nm/1.jpg,cat\n./m/1.jpg,cat\n\n"
    images = find_images(write_manifest(tmp_path, text))
    assert len(images) == 8
    assert Counter(entry.reason for entry in images.left_out) == {
        "no such file": 1,
        "listed more than once": 2,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,lable\nm/1.jpg,cat\n", r"no column 'label': line 1 has 'path', 'lable'\. Is 'lable' meant"),
        ("path,label,split\nm/1.jpg,cat,train\nm/2.jpg,dog,dev\n", "Line 3 of .*calls its split 'dev'"),
        ("path,label,split\nm/1.jpg,cat,train\nm/2.jpg,dog,\n", "Line 3 of .*has no split, though"),
        ("path,label\nm/1.jpg,cat\nm/2.jpg,\n", "Line 3 of .*has no label"),
        ("path,label\nm/1.jpg,cat\nm/2.jpg\n", "Line 3 of .*has no label"),
        ("path,label\nm/1.jpg,cat\n./m/1.jpg,dog\n", "Lines 2 and 3 .*two labels, 'cat' and 'dog'"),
        ("path,label,split\nm/1.jpg,cat,train\nm/1.jpg,cat,test\n", "two splits, 'train' and 'test'"),
        ("path,label\nq/1.jpg,cat\nq/2.jpg,dog\n", "None of the 2 files .*exists; the first would be"),
        ("path,label\nm/1.jpg,Smith, Ann\nm/2.jpg,Smith, Bob\n", "Line 2 of .*has 3 cells and its header 2: put"),
        ('path,label\nm/1.jpg,"cat\nm/2.jpg,dog\n', "Line 3 of .*is not CSV: unexpected end of data"),
        ("path,label\n", "lists no images"),
        ("", "no column 'path': line 1 has nothing"),
        ("path,label\nm/1.jpg,cat\nm/2.jpg,cat\n", "holds one class, 'cat'"),
    ],
)
def test_wrong_manifests(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=words):
        find_images(write_manifest(tmp_path, text))


def test_a_manifest_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"not UTF-8 \(byte 18\)"):
        find_images(write_manifest(tmp_path, "path,label\nm/1.jpgä", "latin-1"))
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(ImageError, match="not a Parquet table"):
        find_images(tmp_path / "x.parquet")


# ---------------------------------------------------------------- data sets by name


def test_digits() -> None:
    from sklearn.datasets import load_digits

    images, digits = find_images("digits"), load_digits()
    assert len(images) == 1797
    assert not images.mirror_ok
    assert images.labels.tolist() == digits.target.tolist()
    item = images.items[100]
    assert isinstance(item, np.ndarray)
    assert item.shape == (8, 8, 3)
    assert np.abs(item[:, :, 1] / 255 * 16 - digits.images[100]).max() < 0.04
    assert min(min(counts.values()) for counts in images.counts().values()) >= 26  # 15 % of 174 is 26


def make_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A folder as CIFAR-10's, of 4 + 2 images of two classes; returns the pixels, (6, 32, 32, 3)."""
    from torchvision.datasets import CIFAR10

    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    rows = pixels.transpose(0, 3, 1, 2).reshape(6, -1)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    contents = {
        "data_batch_1": {"data": rows[:4], "labels": [0, 1, 0, 1]},
        "test_batch": {"data": rows[4:], "labels": [1, 0]},
        "batches.meta": {"label_names": ["frog", "car"]},
    }
    md5 = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return pixels


@pytest.mark.parametrize("where", ["data_dir", "SCRIMP_DATA", "cache"])
def test_a_torchvision_set_is_found_where_it_may_be(
    where: str, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = make_cifar(own_cache / "data" if where == "cache" else tmp_path, monkeypatch)
    monkeypatch.delenv("SCRIMP_DATA", raising=False)
    if where == "SCRIMP_DATA":
        monkeypatch.setenv("SCRIMP_DATA", str(tmp_path))
    images = find_images("cifar10", data_dir=tmp_path if where == "data_dir" else None)
    assert images.classes == ("car", "frog")
    assert images.mirror_ok
    by_key = dict(zip(images.keys, images.items, strict=True))
    assert np.array_equal(by_key["train/000002"], pixels[2])
    assert np.array_equal(by_key["test/000001"], pixels[5])
    labels = dict(zip(images.keys, images_labels(images), strict=True))
    assert [labels[f"train/00000{n}"] for n in range(4)] == ["frog", "car", "frog", "car"]
    assert [labels["test/000000"], labels["test/000001"]] == ["car", "frog"]
    assert {images.keys[i] for i in images.rows("test")} == {"test/000000", "test/000001"}
    assert sizes_of(images) == {"train": 2, "val": 2, "test": 2}


def test_a_torchvision_set_of_files_is_not_decoded(tmp_path: Path) -> None:
    for name in ("AnnualCrop", "Forest", "River"):
        touch(tmp_path, *many(f"eurosat/2750/{name}", 4))
    images = find_images("eurosat", data_dir=tmp_path)
    assert sizes_of(images) == {"train": 6, "val": 3, "test": 3}
    assert all(isinstance(item, str) and Path(item).exists() for item in images.items)
    assert images.keys[0] == "eurosat/2750/AnnualCrop/000.jpg"


def test_no_network_names_the_folder_and_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    def offline(self: object) -> None:
        print("Downloading")
        raise OSError("<urlopen error name not known>")

    monkeypatch.setattr(CIFAR10, "download", offline)
    with pytest.raises(NotFound, match=r"not in '.*', and downloading it failed: .*name not known") as caught:
        find_images("cifar10", data_dir=tmp_path / "none")
    assert str(tmp_path / "none") in str(caught.value)
    assert "internet" in str(caught.value)
    assert "SCRIMP_DATA" in str(caught.value)


def test_every_named_set_exists_in_torchvision() -> None:
    from torchvision import datasets

    for name, entry in NAMED.items():
        assert entry is None or hasattr(datasets, entry.name), name


def test_a_folder_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "digits", *many("a", 3), *many("b", 3))
    monkeypatch.chdir(tmp_path)
    images = find_images("digits")
    assert images.classes == ("a", "b")
    assert any("read as the folder" in note for note in images.notes)


def test_a_folder_needs_no_torch(photos: Path) -> None:
    code = (
        "import sys, scrimp.cost; from conftest import FakeSensor; scrimp.cost.CodeCarbonSensor = FakeSensor; "
        "from scrimp.images import find_images; find_images(sys.argv[1]); "
        "assert not {'torch', 'torchvision', 'sklearn', 'fsspec', 'pyarrow'} & set(sys.modules)"
    )
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", code, str(photos)], check=True, env={**os.environ, "PYTHONPATH": here})


# ---------------------------------------------------------------- odd images


def save(tmp_path: Path, image: Image.Image, name: str, **options: object) -> str:
    image.save(tmp_path / name, **options)  # type: ignore[arg-type]
    return str(tmp_path / name)


def pixel(item: str, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    image, _ = open_rgb(item)
    value = image.getpixel(at)
    assert image.mode == "RGB"
    assert isinstance(value, tuple)
    return value


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (8, 8)])
def test_sizes_are_kept(size: tuple[int, int], tmp_path: Path) -> None:
    image, oddities = open_rgb(save(tmp_path, Image.new("RGB", size, (1, 2, 3)), "a.png"))
    assert (image.size, oddities) == (size, [])
    assert image.getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("mode", "colour", "name", "expected", "oddities"),
    [
        ("L", 77, "a.png", (77, 77, 77), ["greyscale"]),
        ("1", 1, "a.png", (255, 255, 255), ["greyscale"]),
        ("RGBA", (10, 20, 30, 255), "a.png", (10, 20, 30), []),
        ("RGBA", (10, 20, 30, 0), "a.png", (255, 255, 255), ["transparency"]),
        ("LA", (0, 128), "a.png", (127, 127, 127), ["greyscale", "transparency"]),
        ("CMYK", (0, 255, 255, 0), "a.tif", (255, 0, 0), ["CMYK"]),
        ("I;16", 65535, "a.png", (255, 255, 255), ["16-bit", "greyscale"]),
        ("I;16", 257 * 100, "a.png", (100, 100, 100), ["16-bit", "greyscale"]),
        ("I;16", 257 * 100, "a.tif", (100, 100, 100), ["16-bit", "greyscale"]),
        ("F", 0.2, "a.tif", (51, 51, 51), ["float", "greyscale"]),
    ],
)
def test_every_mode_becomes_rgb(
    mode: str, colour: object, name: str, expected: tuple[int, ...], oddities: list[str], tmp_path: Path
) -> None:
    path = save(tmp_path, Image.new(mode, (3, 2), colour), name)  # type: ignore[arg-type]
    assert pixel(path) == expected
    assert open_rgb(path)[1] == oddities


def test_half_transparent_is_mixed_with_white(tmp_path: Path) -> None:
    got = pixel(save(tmp_path, Image.new("RGBA", (2, 2), (255, 0, 0, 51)), "a.png"))
    assert np.abs(np.array(got) - (255, 204, 204)).max() <= 1  # 255 * (1 - 51 / 255) = 204


def test_a_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.putpixel((1, 0), 1)
    path = save(tmp_path, image, "a.png", transparency=bytes([255, 0]))
    assert (pixel(path, (0, 0)), pixel(path, (1, 0))) == ((200, 0, 0), (255, 255, 255))
    assert open_rgb(path)[1] == ["palette", "transparency"]


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    path = save(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert pixel(path) == (255, 0, 0)
    assert open_rgb(path)[1][0] == "animated: first frame"


# Where the upper left corner of what the camera saw lies in the stored image, by the EXIF standard.
STORED_CORNER = {
    1: ("left", "top"), 2: ("right", "top"), 3: ("right", "bottom"), 4: ("left", "bottom"),
    5: ("left", "top"), 6: ("left", "bottom"), 7: ("right", "bottom"), 8: ("right", "top"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, suffix: str, tmp_path: Path) -> None:
    stored = Image.new("RGB", (32, 16))
    side, end = STORED_CORNER[orientation]
    stored.paste((255, 255, 255), (0 if side == "left" else 16, 0 if end == "top" else 8,
                                   16 if side == "left" else 32, 8 if end == "top" else 16))  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, oddities = open_rgb(save(tmp_path, stored, f"a.{suffix}", exif=exif))
    assert image.size == ((32, 16) if orientation < 5 else (16, 32))
    corner = image.getpixel((2, 2))
    assert isinstance(corner, tuple)
    assert min(corner) > 200
    assert ("rotated by EXIF" in oddities) == (orientation > 1)


def test_damaged_exif_does_not_cost_the_image(tmp_path: Path) -> None:
    path = save(
        tmp_path,
        Image.new("RGB", (8, 8), "red"),
        "a.jpg",
        exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x07" * 9,
    )
    assert open_rgb(path)[0].size == (8, 8)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.1, 0.5, 0.9])
def test_truncated_files(part: float, tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.gif", "a.webp", "a.bmp", "a.tif"):
        save_photo(tmp_path / name, (100, 100, 100), seed=1, size=(64, 64))
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(len(content) * part)])
        with pytest.raises(ImageError, match=f"{name}' cannot be decoded: "):
            open_rgb(str(tmp_path / name))


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("just words")
    with pytest.raises(ImageError, match=r"a\.jpg' cannot be decoded: it is not an image of a known kind"):
        open_rgb(str(tmp_path / "a.jpg"))
    with pytest.raises(NotFound, match="none"):
        open_rgb(str(tmp_path / "none.jpg"))


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize("side", [9_500, 30_000])  # Pillow only warns of the first: 90 million pixels
def test_bombs_are_refused(side: int, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    data = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "bomb.png").write_bytes(png_header(side, side) + data)
    with pytest.raises(ImageError, match=r"bomb\.png' is refused.*limit"):
        open_rgb(str(tmp_path / "bomb.png"))
    assert not recwarn.list


@pytest.mark.parametrize("draft_px", [1, 31, 32, 33, 64, 100, 128, 500])
def test_a_draft_is_never_too_small(draft_px: int, tmp_path: Path) -> None:
    save_photo(tmp_path / "a.jpg", (90, 120, 150), seed=2, size=(400, 257))
    image, _ = open_rgb(str(tmp_path / "a.jpg"), draft_px=draft_px)
    assert min(image.size) >= min(draft_px, 257)
    smallest = [s for s in (1, 2, 4, 8) if 257 // s >= draft_px]
    assert image.width == -(-400 // max(smallest, default=1))


def test_arrays_are_images_too() -> None:
    array = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    image, oddities = open_rgb(array[:, ::-1])
    assert (image.size, oddities) == ((3, 2), [])
    assert np.array_equal(np.asarray(image), array[:, ::-1])
    with pytest.raises(ImageError, match=r"uint8 \(h, w, 3\), not uint8 \(2, 3\)"):
        open_rgb(array[:, :, 0])


def test_many_threads_at_once(photos: Path, recwarn: pytest.WarningsRecorder) -> None:
    items = list(find_images(photos).items) * 3
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda item: open_rgb(item, draft_px=16)[0], items))
    assert all(image.size == (24, 20) for image in images)
    assert not recwarn.list


# ---------------------------------------------------------------- real ones


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("SCRIMP_DATA")
    if not folder:
        pytest.skip("SCRIMP_DATA is not set: no real images to read")
    return Path(folder)


@pytest.mark.realdata
def test_the_real_cifar10(real_data: Path) -> None:
    if not (real_data / "cifar-10-batches-py").is_dir():
        pytest.skip(f"no cifar-10-batches-py in '{real_data}'")
    images = find_images("cifar10")
    assert sizes_of(images) == {"train": 42_500, "val": 7_500, "test": 10_000}
    assert set(images.counts()["test"].values()) == {1000}
    assert images.classes[3] == "cat"


@pytest.mark.realdata
def test_the_real_imagenette(real_data: Path) -> None:
    folder = real_data / "imagenette-224"
    if not folder.is_dir():
        pytest.skip(f"no imagenette-224 in '{real_data}'")
    images = find_images(folder)
    on_disk = {part: len(list((folder / part).glob("*/*.*"))) for part in ("train", "val")}
    assert len(images.classes) == 10
    assert sizes_of(images)["test"] == on_disk["val"]
    assert len(images) == sum(on_disk.values())
    assert open_rgb(images.items[0], draft_px=64)[0].mode == "RGB"


def test_a_manifest_at_a_uri_may_point_above_itself():
    system = fsspec.filesystem("memory")
    for name in ("a1", "a2", "a3", "b1", "b2", "b3"):
        system.pipe_file(f"/up/pictures/{name}.png", b"whatever")
    lines = "".join(f"../pictures/{name}.png,{name[0]}\n" for name in ("a1", "a2", "a3", "b1", "b2"))
    system.pipe_file("/up/lists/m.csv", f"path,label\n{lines}memory://up/pictures/b3.png,b\n".encode())
    found = find_images("memory://up/lists/m.csv")
    assert sorted(found.items) == [f"memory://up/pictures/{name}.png" for name in ("a1", "a2", "a3", "b1", "b2", "b3")]
    assert not found.left_out


# ---------------------------------------------------------------- ImageNet as it comes


def kaggle(root: Path, solution: str) -> Path:
    tree = root / "ILSVRC" / "Data" / "CLS-LOC"
    for number, name in enumerate(("n01", "n02")):
        for index in range(6):
            save_photo(tree / "train" / name / f"{name}_{index}.JPEG", (80 * number, 90, 90), seed=index)
    for index in range(4):
        save_photo(tree / "val" / f"ILSVRC2012_val_{index}.JPEG", (90, 90, 90), seed=index)
        save_photo(tree / "test" / f"ILSVRC2012_test_{index}.JPEG", (90, 90, 90), seed=index)
    (root / "LOC_val_solution.csv").write_text(solution)
    return tree


SOLUTION = """ImageId,PredictionString
ILSVRC2012_val_2,n02 85 1 499 272
ILSVRC2012_val_0,n01 85 1 499 272 n01 131 0 499 254
ILSVRC2012_val_1,n02 1 1 2 2
"""


def test_imagenet_is_read_as_kaggle_packs_it(tmp_path: Path) -> None:
    tree = kaggle(tmp_path, SOLUTION)
    for source in (tmp_path, tree):
        images = find_images(source)
        test = images.rows("test")
        assert [(images.keys[row], images.classes[images.labels[row]]) for row in test] == [
            ("val/ILSVRC2012_val_0.JPEG", "n01"),
            ("val/ILSVRC2012_val_1.JPEG", "n02"),
            ("val/ILSVRC2012_val_2.JPEG", "n02"),
        ]
        assert ("val/ILSVRC2012_val_3.JPEG", "not in a class folder") in images.left_out
        assert not [left for left in images.left_out if left.key.startswith("test/")], "there would be 100,000"
        assert any("5 such images are not in it" in note for note in images.notes)
        assert set(images.classes) == {"n01", "n02"}


def test_a_solution_of_another_form_is_refused(tmp_path: Path) -> None:
    kaggle(tmp_path, "ImageId,PredictionString\nILSVRC2012_val_2\n")
    with pytest.raises(ImageError, match=r"Line 2 of .*LOC_val_solution.csv"):
        find_images(tmp_path)
