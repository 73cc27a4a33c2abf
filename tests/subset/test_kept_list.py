"""The kept list: saved, taken by everything that reads images, refused where it does not match; and the export."""

import json
import os
import shutil
import sys
import unicodedata

import numpy as np
import pytest
from make_photos import save_photo

from scrimp import cli, store
from scrimp.errors import NotFound, SettingError, StorageError
from scrimp.images import ImageSource, find_images
from scrimp.images.fingerprint import fingerprint
from scrimp.images.kept import training_print
from scrimp.plan import Plan
from scrimp.subset import select
from scrimp.sweeping import Shelf


@pytest.fixture
def kept(photos, tmp_path):
    """A selection, saved as kept.json."""
    chosen = select(find_images(photos), keep=12, method="diversity", seed=3)
    chosen.save(tmp_path / "kept.json")
    return chosen


def test_it_says_all_there_is_to_know(kept, photos, tmp_path):
    told = json.loads((tmp_path / "kept.json").read_text())
    assert told["keys"] == [kept.keys[row] for row in kept.rows("train")]
    assert (told["method"], told["seed"], told["source"], told["chosen_from"]) == ("diversity", 3, str(photos), 42)
    assert told["objective"] == kept.objective > 0
    assert told["cost"]["seconds"] == kept.choosing.seconds > 0
    assert told["selection"]["features"] == "pixels"


def test_images_are_found_by_it(kept, photos, tmp_path):
    found = find_images(photos, subset=tmp_path / "kept.json")
    assert found.keys == kept.keys
    assert found.splits.tolist() == kept.splits.tolist()
    assert found.cost.seconds > kept.choosing.seconds
    assert any("12 of 42 training images are kept, by method 'diversity'" in note for note in found.notes)
    assert found.fingerprint != find_images(photos).fingerprint


def test_a_copy_elsewhere_with_other_dates_will_do(kept, photos, tmp_path):
    copied = shutil.copytree(photos, tmp_path / "copy")
    os.utime(copied / "red" / "001.jpg", (1, 1))
    assert find_images(copied, subset=tmp_path / "kept.json").keys == kept.keys


def test_other_images_are_refused(kept, photos, tmp_path):
    def find(**options):
        find_images(tmp_path / "copy", subset=tmp_path / "kept.json", **options)

    copied = shutil.copytree(photos, tmp_path / "copy")
    with pytest.raises(SettingError, match=r"does not match .* 42 training images .* here are \d+ of"):
        find(split_seed=1)
    with pytest.raises(SettingError, match=r"does not match .* of its 12 are not"):
        find(classes=2)
    save_photo(copied / "red" / "new.jpg", (9, 9, 9), seed=0)
    with pytest.raises(SettingError, match="does not match"):
        find()
    (copied / "red" / "new.jpg").unlink()
    find()
    gone = kept.keys[kept.rows("train")[0]]
    (copied / gone).unlink()
    with pytest.raises(SettingError, match=rf"1 of its 12 are not, such as '{gone}'"):
        find()


def test_another_label_is_refused(photos, tmp_path):
    copied, table = shutil.copytree(photos, tmp_path / "copy"), tmp_path / "table.csv"
    lines = [f"copy/{path.relative_to(copied)},{path.parent.name}" for path in sorted(copied.rglob("*.jpg"))]
    table.write_text("\n".join(["path,label", *lines]))
    chosen = select(find_images(table), keep=6)
    chosen.save(tmp_path / "kept.json")
    find_images(table, subset=tmp_path / "kept.json")
    other = chosen.keys[chosen.rows("train")[0]]
    assert sum(line.startswith(other) for line in lines) == 1
    changed = [line.replace(",blue", ",red") if line.startswith(other) else line for line in lines]
    table.write_text("\n".join(["path,label", *changed]))
    with pytest.raises(SettingError, match="does not match"):
        find_images(table, subset=tmp_path / "kept.json")


def test_what_is_no_list_is_refused(photos, tmp_path):
    with pytest.raises(NotFound, match=r"none\.json"):
        find_images(photos, subset=tmp_path / "none.json")
    for content in (b"[1, 2]", b"{", b"\xff", b'{"keys": ["a"]}'):
        (tmp_path / "wrong.json").write_bytes(content)
        with pytest.raises(SettingError, match="not a list that 'scrimp select' wrote"):
            find_images(photos, subset=tmp_path / "wrong.json")


@pytest.mark.parametrize("through", ["the result", "the file"])
def test_a_selection_of_a_selection_fits_the_images_it_came_from(kept, photos, tmp_path, through):
    base = kept if through == "the result" else find_images(photos, subset=tmp_path / "kept.json")
    fewer = select(base, keep=6, method="herding")
    fewer.save(tmp_path / "fewer.json")
    assert find_images(photos, subset=tmp_path / "fewer.json").keys == fewer.keys
    assert fewer.choosing.seconds > kept.choosing.seconds


def test_a_list_of_images_that_are_tested_on_others(photos, tmp_path):
    """A class is called as the folder itself, so that its name stands twice before the keys."""
    own, list_file = shutil.copytree(photos, tmp_path / "red"), tmp_path / "kept.json"
    chosen = select(find_images(own, test=photos), keep=12)
    chosen.save(list_file)
    assert all((own / key).is_file() for key in json.loads(list_file.read_text())["keys"])
    found = find_images(own, test=photos, subset=list_file)
    assert found.keys == chosen.keys
    assert found.splits.tolist() == chosen.splits.tolist()
    assert found.cost.seconds > chosen.choosing.seconds
    select(found, keep=6).save(tmp_path / "fewer.json")
    assert len(find_images(own, test=photos, subset=tmp_path / "fewer.json").rows("train")) == 6
    with pytest.raises(SettingError, match=r"does not match .* of its 12 are not.* split_seed, test"):
        find_images(own, subset=list_file)


def test_folds_are_cut_from_what_a_list_keeps(kept, photos, tmp_path):
    source = ImageSource(source=str(photos), subset=str(tmp_path / "kept.json"), folds=3, fold=1)
    found = find_images(source)
    assert (len(found.rows("train")) + len(found.rows("val"))) == 12 + len(kept.rows("val"))
    plan = Plan(images=source, recipe={"model": "simple_cnn"})
    assert Shelf().images(plan).fingerprint == found.fingerprint
    with pytest.raises(SettingError, match="select without folds"):
        select(found, keep=6).save(tmp_path / "fewer.json")


def test_accents_count_the_same_in_both_spellings(photos, tmp_path):
    """The classes and photos are sorted otherwise in one spelling than in the other."""
    for form in ("NFC", "NFD"):
        for number, (name, colour) in enumerate({"zinnia": (200, 30, 30), "ézine": (30, 200, 30)}.items()):
            for index in range(20):
                file = unicodedata.normalize(form, f"{name}/{'zé'[index % 2]}{index:03d}.jpg")
                save_photo(tmp_path / form / file, colour, seed=100 * number + index)
    chosen = select(find_images(tmp_path / "NFC"), keep=8)
    chosen.save(tmp_path / "kept.json")
    found = find_images(tmp_path / "NFD", subset=tmp_path / "kept.json")
    assert found.classes[0] != chosen.classes[1] == "ézine"
    names = {unicodedata.normalize("NFC", found.keys[row]) for row in found.rows("train")}
    assert names == {chosen.keys[row] for row in chosen.rows("train")}
    (tmp_path / "NFD" / found.keys[found.rows("train")[0]]).unlink()
    with pytest.raises(SettingError, match="1 of its 8 are not"):
        find_images(tmp_path / "NFD", subset=tmp_path / "kept.json")


def test_lists_of_earlier_versions_stay_valid(photos):
    images = find_images(photos)
    keys = [images.keys[row] for row in images.rows("train")]
    labels = images.labels[images.rows("train")]
    assert training_print(images) == fingerprint(keys, labels, images.classes, "classify")


# ---------------------------------------------------------------- export


def test_files_are_copied_as_they_are(kept, photos, tmp_path):
    kept.export(tmp_path / "out")
    rows = kept.rows("train")
    written = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert len(written) == len(rows) == 12
    assert {path.parent.name for path in written} == {"blue", "green", "red"}
    for number, row in enumerate(rows):
        (path,) = (tmp_path / "out").glob(f"*/{number:05d}-*.jpg")
        assert path.parent.name == kept.classes[kept.labels[row]]
        assert path.read_bytes() == (photos / kept.keys[row]).read_bytes()
    again = find_images(tmp_path / "out")
    assert len(again) == 12
    with pytest.raises(SettingError, match="is not empty"):
        kept.export(tmp_path / "out")


def test_what_lies_in_memory_becomes_png(tmp_path):
    kept = select(find_images("digits", per_class=10), keep=10)
    kept.export(tmp_path / "out")
    found = find_images(tmp_path / "out", val_fraction=0.01, test_fraction=0.01)
    by_key = {key.rpartition("/")[2]: item for key, item in zip(found.keys, found.items, strict=True)}
    assert len(by_key) == 10
    from PIL import Image

    for number, row in enumerate(kept.rows("train")):
        (name,) = (name for name in by_key if name.startswith(f"{number:05d}-"))
        with Image.open(by_key[name]) as image:
            assert np.array_equal(np.asarray(image), kept.items[row])


def test_boxes_are_cut_out(photos, tmp_path):
    lines = [f"{path},{path.parent.name},4,6,24,30" for path in sorted(photos.rglob("*.jpg"))]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,x0,y0,x1,y1", *lines]))
    select(find_images(tmp_path / "table.csv"), keep=6).export(tmp_path / "out")
    from PIL import Image

    files = list((tmp_path / "out").rglob("*.png"))
    assert len(files) == 6
    with Image.open(files[0]) as image:
        assert image.size == (20, 24)


def labelled(photos, tmp_path, *labels):
    """A manifest of the photos by these names of their classes."""
    names = dict(zip(("blue", "green", "red"), labels, strict=True))
    lines = [f'"{path}","{names[path.parent.name]}"' for path in sorted(photos.rglob("*.jpg"))]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *lines]))
    return tmp_path / "table.csv"


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (("..", "b", "c"), r"The class '\.\.' cannot be written as a folder"),
        ((".hid", "b", "c"), r"The class '\.hid' cannot be written as a folder"),
        (("a/b", "a_b", "c"), "The classes 'a/b' and 'a_b' would both be written as the folder 'a_b'"),
    ],
)
def test_classes_that_are_no_folders_are_refused(photos, tmp_path, labels, wanted):
    kept = select(find_images(labelled(photos, tmp_path, *labels)), keep=6)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SettingError, match=wanted):
        kept.export(tmp_path / "out")
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_export_is_whole_or_not_there(kept, tmp_path, monkeypatch, error):
    written, real = [], store.write_whole

    def breaks_off(path, content):
        if len(written) == 5:
            raise error
        written.append(path)
        real(path, content)

    (tmp_path / "out").mkdir()
    before = set(tmp_path.rglob("*"))
    with monkeypatch.context() as patched:
        patched.setattr(store, "write_whole", breaks_off)
        with pytest.raises((KeyboardInterrupt, StorageError)):
            kept.export(tmp_path / "out")
    assert set(tmp_path.rglob("*")) == before
    kept.export(tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 12


def test_names_are_cut_to_what_a_disk_takes(photos, tmp_path):
    copied = shutil.copytree(photos, tmp_path / "copy")
    for path in sorted(copied.rglob("*.jpg")):
        path.rename(path.with_name(f"{path.stem}{'é' * 124}.jpg"))
    select(find_images(copied), keep=6).export(tmp_path / "out")
    names = [path.name for path in (tmp_path / "out").rglob("*.jpg")]
    assert len(names) == 6
    assert {len(name.encode()) for name in names} == {255}


# ---------------------------------------------------------------- command line


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["scrimp", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_from_the_command_line(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ("select", photos, "--keep", 12, "--method", "diversity", "--features", "pixels", "--out", "kept.json")
    code, out, _ = run(monkeypatch, capsys, *command, "--export", "few", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["keys"] == json.loads((tmp_path / "kept.json").read_text())["keys"]
    assert told["counts"] == {"blue": 4, "green": 4, "red": 4}
    assert (told["path"], told["export"]) == ("kept.json", "few")
    assert len(list((tmp_path / "few").rglob("*.jpg"))) == 12
    train = ("train", photos, "--model", "simple_cnn", "--image-size", 16, "--epochs", 1, "--from-scratch")
    code, out, _ = run(monkeypatch, capsys, *train, "--subset", "kept.json", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["image_counts"]["train"] == 12
    assert result["plan"]["images"]["subset"] == "kept.json"
    assert result["costs"]["read and select"]["seconds"] > told["cost"]["seconds"]


def test_what_cannot_be_exported_is_refused_before_choosing(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "mine.txt").touch()
    code, _, err = run(monkeypatch, capsys, "select", photos, "--keep", 12, "--export", "few", "--out", "kept.json")
    assert code == 2
    assert "'few' is not empty" in err
    assert not (tmp_path / "kept.json").exists()


def test_without_json_it_is_told_in_words(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(monkeypatch, capsys, "select", photos, "--keep", 9, "--balance", "none")
    assert code == 0
    assert "9 of 42 training images are kept, of 3 classes." in out
    assert (tmp_path / "runs" / "photos" / "kept.json").is_file()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--keep", 43), "keep=43 is more than the 42"),
        (("--keep", 3, "--method", "diversity"), "keep at least 6"),
        (("--keep", 9, "--method", "diverse"), "Did you mean 'diversity'?"),
        (("--keep", 9, "--balance", "nome"), "balance"),
        (("--keep", 9, "--subset", "kept.json"), "kept.json"),
    ],
)
def test_one_line_for_what_is_refused(options, wanted, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "select", photos, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert wanted in err
