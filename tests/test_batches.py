import json
import multiprocessing
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scrimp.batches import batches, prepare, square
from scrimp.batches import packing as room
from scrimp.errors import ImageError, SettingError, StorageError
from scrimp.images import find_images


def packs(cache: Path) -> list[Path]:
    return sorted((cache / "packs").iterdir())


def test_every_image_is_one_row(photos):
    images = find_images(photos)
    ready = prepare(images, image_px=24)
    assert ready.pixels.shape == (60, 24, 24, 3)
    for row, item in enumerate(images.items):
        with Image.open(item) as opened:
            # by a second route: cut the middle square out first, then resize it
            left = (opened.width - opened.height) // 2
            middle = opened.convert("RGB").crop((left, 0, left + opened.height, opened.height))
        expected = np.asarray(middle.resize((24, 24), Image.Resampling.BILINEAR), dtype=int)
        difference = np.abs(ready.pixels[row].astype(int) - expected)
        assert difference[1:-1, 1:-1].max() <= 1, "at the border, resizing sees a little of what is cut off"


def test_square_takes_the_middle():
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = (255, 0, 0)
    for picture in (stripes, stripes.transpose(1, 0, 2)):
        assert (square(Image.fromarray(np.ascontiguousarray(picture)), 10) == (255, 0, 0)).all()


def test_the_second_time_is_read_from_the_cache_with_the_bill_of_the_first(photos, monkeypatch):
    images = find_images(photos)
    first = prepare(images, image_px=16)
    monkeypatch.setattr(room, "open_exactly", lambda *a, **k: pytest.fail("decoded again"))
    second = prepare(images, image_px=16)
    assert (first.from_cache, second.from_cache) == (False, True)
    assert second.cost == first.cost
    assert np.array_equal(first.pixels, second.pixels)


def test_other_settings_and_other_images_have_other_packs(photos, tmp_path, own_cache):
    prepare(find_images(photos), image_px=16)
    prepare(find_images(photos), image_px=24)
    prepare(find_images(photos, per_class=10), image_px=16)
    copy = shutil.copytree(photos, tmp_path / "photos")
    Image.new("RGB", (48, 40)).save(copy / "red" / "000.jpg")
    prepare(find_images(copy), image_px=16)
    assert len(packs(own_cache)) == 4


def test_what_cannot_be_decoded_is_left_out_and_told(photos, tmp_path):
    copy = shutil.copytree(photos, tmp_path / "photos")
    whole = (copy / "red" / "003.jpg").read_bytes()
    (copy / "red" / "003.jpg").write_bytes(whole[: len(whole) // 2])
    (copy / "blue" / "words.jpg").write_text("not an image")
    ready = prepare(find_images(copy), image_px=16)
    assert {left.key for left in ready.images.left_out} == {"red/003.jpg", "blue/words.jpg"}
    assert len(ready.images) == len(ready.pixels) == 59
    reds = ready.pixels[ready.images.labels == ready.images.classes.index("red")]
    assert (reds[..., 0].mean(axis=(1, 2)) > 150).all(), "rows and labels still belong together"
    again = prepare(find_images(copy), image_px=16)
    assert again.images.left_out == ready.images.left_out


def test_a_class_without_a_readable_training_image_is_refused(photos, tmp_path):
    copy = shutil.copytree(photos, tmp_path / "photos")
    for path in (copy / "green").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"1 of 3 classes.*'green'"):
        prepare(find_images(copy), image_px=16)


def test_oddities_are_counted(photos, tmp_path):
    copy = shutil.copytree(photos, tmp_path / "photos")
    for index in range(3):
        Image.new("L", (40, 40), 90).save(copy / "red" / f"grey{index}.png")
    assert prepare(find_images(copy), image_px=16).oddities == {"greyscale": 3}


def test_a_full_disk_leaves_no_pack_and_says_so(photos, own_cache, monkeypatch):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(StorageError, match=r"needs 0.00 GB, 0.00 GB are free.*SCRIMP_CACHE"):
        prepare(find_images(photos), image_px=16)
    assert packs(own_cache) == []


def test_a_build_that_breaks_leaves_no_pack(photos, own_cache, monkeypatch):
    monkeypatch.setattr(room, "open_exactly", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(find_images(photos), image_px=16)
    assert packs(own_cache) == []


def test_what_a_killed_build_left_is_swept_up(photos, own_cache):
    dead = room.partial_of(own_cache / "packs" / "abc", pid=999999999)
    dead.mkdir(parents=True)
    prepare(find_images(photos), image_px=16)
    assert not dead.exists()


def test_a_pack_that_lost_bytes_is_refused_by_name(photos, own_cache):
    prepare(find_images(photos), image_px=16)
    [pack] = packs(own_cache)
    (pack / "images.u8").write_bytes(b"short")
    with pytest.raises(StorageError, match=rf"{pack.name}.*5 bytes where 46,080 belong"):
        prepare(find_images(photos), image_px=16)


def _prepare_there(photos: Path) -> int:
    return int(prepare(find_images(photos), image_px=16).pixels.sum())


def test_two_processes_may_build_the_same_pack(photos, own_cache):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.map(_prepare_there, [photos, photos])
    assert sums[0] == sums[1]
    [pack] = packs(own_cache)
    assert json.loads((pack / "pack.json").read_text())["px"] == 16


def test_batches_cover_every_row_once_and_follow_the_seed(photos):
    ready = prepare(find_images(photos), image_px=16)
    rows = ready.images.rows("train")

    def labels(seed):
        order = torch.Generator().manual_seed(seed) if seed is not None else None
        return [labels.tolist() for _, labels, _ in batches(ready, rows, 8, order=order)]

    assert [*chain(*labels(None))] == ready.images.labels[rows].tolist()
    assert sorted(chain(*labels(1))) == sorted(chain(*labels(None)))
    assert labels(1) == labels(1) != labels(2)
    sizes = [len(part) for part in labels(1)]
    assert max(sizes) <= 8
    assert max(sizes) - min(sizes) <= 1, "no small batch at the end"


def test_batches_hold_the_pixels_of_their_rows(photos):
    ready = prepare(find_images(photos), image_px=16)
    pixels, labels, rows = next(batches(ready, np.array([5, 40]), 2))
    assert pixels.shape == (2, 3, 16, 16)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(pixels[1].permute(1, 2, 0).numpy(), ready.pixels[40])
    assert labels.tolist() == ready.images.labels[[5, 40]].tolist()
    assert rows.tolist() == [5, 40]


@pytest.mark.parametrize("px", [0, 7, 100_000])
def test_impossible_sizes_are_refused(photos, px):
    with pytest.raises(SettingError, match=f"image_px.*{px}"):
        prepare(find_images(photos), image_px=px)
