"""Packs: each format holds the same images, labels and order; whatever happens, there is a sound pack or none."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from scrimp.augment import crop, mirror
from scrimp.batches import batches, feeding, packing, prepare, square, write_pack
from scrimp.batches.feeding import in_blocks
from scrimp.batches.packing import Packing, build, plan_pack
from scrimp.batches.reading import Stored, crop_of
from scrimp.batches.shaping import middle_square, whole
from scrimp.cli import app
from scrimp.errors import ImageError, MissingExtra, SettingError, StorageError
from scrimp.images import ImageSource, find_images
from scrimp.images.fast import NUMBERS, crop_into, random_box
from scrimp.images.packed import INDEX, open_pack


@pytest.fixture
def mixed(tmp_path):
    """Two classes of ten JPEGs of many shapes, and one of each odd kind among them."""
    root = tmp_path / "mixed"
    random = np.random.default_rng(0)
    for number in range(20):
        size = [(60, 40), (40, 60), (50, 50), (301, 200)][number % 4]
        pixels = random.integers(0, 256, (size[1] // 16 + 2, size[0] // 16 + 2, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        path = root / ("cat" if number % 2 else "dog") / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=95)
    Image.new("L", (1, 1), 77).save(root / "cat" / "one.png")
    Image.new("RGBA", (1, 30), (9, 99, 200, 128)).save(root / "cat" / "line.png")
    Image.new("RGB", (500, 2), (200, 10, 10)).save(root / "dog" / "banner.png")
    Image.new("CMYK", (30, 40), (0, 80, 160, 20)).save(root / "dog" / "print.jpg")
    Image.new("P", (20, 31), 3).save(root / "dog" / "palette.gif")
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(root / "cat" / "deep.png")
    (root / "cat" / "torn.jpg").write_bytes((root / "cat" / "01.jpg").read_bytes()[:300])
    return root


def one_epoch(ready, *, seed=0, threads=2, changes=(crop, mirror)):
    rows = ready.images.rows("train")
    order = torch.Generator().manual_seed(seed)
    fed = batches(ready, rows, 4, order=order, changes=changes, threads=threads)
    return [(pixels.clone(), labels.clone()) for pixels, labels, _ in fed]


# ---------------------------------------------------------------- the contract of each format


@pytest.mark.parametrize("keep", ["square", "whole"])
@pytest.mark.parametrize("format", ["raw", "jpeg"])
def test_a_format_holds_the_same_images_labels_and_order(mixed, format, keep):
    images = find_images(mixed)
    ready = prepare(images, image_px=32, pack=format, keep=keep)
    assert {left.key for left in ready.images.left_out} == {"cat/torn.jpg"}
    assert list(ready.images.keys) == [key for key in images.keys if key != "cat/torn.jpg"]
    assert ready.pixels.shape == (26, 32, 32, 3)
    plain = prepare(images, image_px=32)
    assert np.array_equal(ready.images.labels, plain.images.labels)
    assert ready.oddities.items() >= plain.oddities.items()
    difference = np.abs(ready.pixels[:].astype(int) - plain.pixels[:])
    if format == "raw":
        assert not difference.any(), "evaluation must not depend on what is kept"
    else:
        assert difference.mean() < 6
    seen = list(batches(ready, np.arange(26), 5))
    assert np.array_equal(torch.cat([labels for _, labels, _ in seen]), ready.images.labels)
    assert np.array_equal(torch.cat([pixels for pixels, *_ in seen]).permute(0, 2, 3, 1), ready.pixels[:])


def test_raw_pixels_are_those_of_pillow(mixed):
    """By a second route: Pillow opens, turns to RGB, and `square` of it is what is fed."""
    ready = prepare(find_images(mixed), image_px=32, keep="whole")
    for row, item in enumerate(ready.images.items):
        if item.endswith(".jpg") and not item.endswith("print.jpg"):
            with Image.open(item) as opened:
                opened.draft(None, tuple(side // max(1, min(opened.size) // 32) for side in opened.size))
                assert np.array_equal(ready.pixels[row], square(opened.convert("RGB"), 32)), item


def test_files_can_be_read_without_a_pack(mixed, own_cache):
    (mixed / "cat" / "torn.jpg").unlink()
    images = find_images(mixed)
    direct, packed = prepare(images, image_px=32, pack="none"), prepare(images, image_px=32)
    assert direct.pack is None
    assert np.array_equal(direct.pixels[:], packed.pixels)
    assert np.array_equal(direct.pixels[3], packed.pixels[3])
    got = torch.cat([pixels for pixels, *_ in batches(direct, np.arange(26), 8)])
    assert np.array_equal(got.permute(0, 2, 3, 1), packed.pixels)


def test_a_file_that_cannot_be_decoded_is_named_when_a_batch_needs_it(mixed):
    ready = prepare(find_images(mixed), image_px=32, pack="none")
    with pytest.raises(ImageError, match=r"torn\.jpg"):
        list(batches(ready, np.arange(len(ready.images)), 8))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 120), st.integers(1, 120), st.integers(8, 40))
def test_the_middle_of_the_whole_is_the_square(height, width, px):
    random = np.random.default_rng(height * 1000 + width)
    image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    pixels, _ = whole(image, px)
    assert min(pixels.shape[:2]) == px
    assert max(pixels.shape[:2]) <= 4 * px
    assert np.array_equal(middle_square(pixels, px), square(image, px))


def test_the_whole_has_no_seams():
    """Where the ends come out even, the three parts are what Pillow makes of all in one."""
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (100, 400, 3), dtype=np.uint8))
    for photo, size in ((image, (200, 50)), (image.transpose(Image.Transpose.ROTATE_90), (50, 200))):
        pixels, cut = whole(photo, 50)
        assert not cut
        assert np.array_equal(pixels, np.asarray(photo.resize(size, Image.Resampling.BILINEAR)))


def test_a_very_long_image_is_cut_and_told(mixed):
    ready = prepare(find_images(mixed), image_px=16, keep="whole")
    assert ready.oddities["cut to 4:1"] == 2  # the banner and the line
    assert ready.pack.index["width"].max() == 64


def test_what_pillow_had_to_read_is_counted(mixed):
    assert prepare(find_images(mixed), image_px=16).by_pillow == 7  # six odd kinds, and the torn one
    assert prepare(find_images("digits"), image_px=8).by_pillow == 0


def test_what_pillow_has_to_read_in_every_epoch_is_counted_once(mixed):
    (mixed / "cat" / "torn.jpg").unlink()
    ready = prepare(find_images(mixed), image_px=16, pack="none")
    assert ready.by_pillow == 0
    for _ in range(2):
        list(batches(ready, np.arange(len(ready.images)), 8))
        assert ready.by_pillow == 6


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="only Linux tells what of a file is mapped")
@pytest.mark.parametrize("lies_in_a_pack", [False, True])
def test_what_was_read_of_a_pack_is_unmapped_again_and_again(mixed, tmp_path, monkeypatch, lies_in_a_pack):
    """Mapped pages count as a process's memory: a pack larger than it must not end up mapped as a whole."""
    images = find_images(mixed)
    if lies_in_a_pack:
        write_pack(images, tmp_path / "pack", image_px=32)
        images = find_images(tmp_path / "pack")
    ready = prepare(images, image_px=32)
    after = []
    let_go = type(ready).let_go
    monkeypatch.setattr(type(ready), "let_go", lambda self: (let_go(self), after.append(mapped_bytes("images.u8"))))
    monkeypatch.setattr(feeding, "_MAPPED_BYTES", ready.packed_bytes // 3)
    list(batches(ready, np.arange(26), 1, threads=1))
    assert len(after) == 2, "once for every third of the pack, and what is left"
    ready.let_go()
    assert after[-1] == 0
    assert ready.pixels[3].any(), "what was unmapped is mapped again"
    assert mapped_bytes("images.u8")


def mapped_bytes(name):
    """How much of a file is counted as this process's memory."""
    regions = re.split(r"^(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    ours = [re.search(r"Rss: +(\d+) kB", region) for region in regions if name in region]
    return 1024 * sum(int(found[1]) for found in ours)


# ---------------------------------------------------------------- order and crops


def test_batches_are_the_same_for_any_number_of_threads(mixed):
    for options in ({"keep": "whole"}, {"pack": "jpeg"}, {}):
        ready = prepare(find_images(mixed), image_px=24, **options)
        one, three = one_epoch(ready, threads=1), one_epoch(ready, threads=3)
        assert all(torch.equal(a, b) and torch.equal(x, y) for (a, x), (b, y) in zip(one, three, strict=True))
        other = one_epoch(ready, seed=1)
        assert not all(a.shape == b.shape and torch.equal(a, b) for (a, _), (b, _) in zip(one, other, strict=True))


def test_a_crop_reaches_beyond_the_middle_square_of_a_whole_pack(tmp_path):
    """Images whose left and right ends are red and whose middle square is blue."""
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[..., 0] = 255
    pixels[:, 40:80] = (0, 0, 255)
    for number in range(20):
        path = tmp_path / "ends" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    reds = {}
    for keep in ("whole", "square"):
        ready = prepare(find_images(tmp_path / "ends"), image_px=20, keep=keep)
        reds[keep] = sum(int((pixels[:, 0] > 200).sum()) for pixels, _ in one_epoch(ready))
        assert (ready.pixels[:][..., 2] > 200).mean() > 0.9, "evaluation sees the middle"
    assert reds["square"] < 0.1 * reds["whole"]


@pytest.mark.parametrize("size", [(150, 100), (100, 150), (1200, 900)])
def test_a_crop_of_a_file_is_that_of_the_whole_image(tmp_path, size):
    """However little of it is decoded, at whatever scale; edges may be off by less than a pixel of that scale."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(80, 180, (6, 8, 3), dtype=np.uint8))
    for number in range(8):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize(size, Image.Resampling.BICUBIC).save(path, quality=98, subsampling=0)
    images = find_images(tmp_path / "photos")
    full = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))
    for _ in range(30):
        numbers = random.random(NUMBERS)
        out, expected = np.empty((32, 32, 3), np.uint8), np.empty((32, 32, 3), np.uint8)
        crop_of(out, Stored(images, None, set()), 0, numbers, mirrors=True)
        crop_into(expected, full, random_box(size[1], size[0], numbers), mirrored=bool(numbers[-1] < 0.5))
        assert np.abs(out.astype(int) - expected).mean() < 6


def test_memory_is_used_again_but_never_under_a_batch_that_is_held(mixed):
    ready = prepare(find_images(mixed), image_px=24)
    rows = np.tile(ready.images.rows("train"), 20)
    places, kept = set(), []
    for pixels, *_ in batches(ready, rows, 4):
        places.add(pixels.data_ptr())
    assert len(places) <= 6
    kept = [pixels for pixels, *_ in batches(ready, rows, 4)]
    assert np.array_equal(torch.cat(kept).permute(0, 2, 3, 1), ready.pixels[rows])


@given(st.integers(1, 3000), st.integers(1, 100), st.integers(1, 20))
def test_blocks_cover_every_row_once(n, block, window):
    order = in_blocks(n, torch.Generator().manual_seed(n), block, window)
    assert sorted(order.tolist()) == list(range(n))


def test_blocks_read_neighbours_together():
    """Within any window of the order, at most as many blocks are open as a window mixes."""
    order = in_blocks(10_000, torch.Generator().manual_seed(0), block=50, window=4)
    assert max(len(set((order[at : at + 200] // 50).tolist())) for at in range(0, 10_000, 200)) <= 5
    assert not np.array_equal(order, in_blocks(10_000, torch.Generator().manual_seed(1), block=50, window=4))


# ---------------------------------------------------------------- a pack as a source


@pytest.mark.parametrize("format", ["raw", "jpeg"])
def test_a_pack_is_a_source_of_images(mixed, tmp_path, own_cache, format):
    images = find_images(mixed)
    made = write_pack(images, tmp_path / "out", image_px=48, format=format)
    made.verify()
    found = find_images(tmp_path / "out")
    kept = [row for row, key in enumerate(images.keys) if key != "cat/torn.jpg"]
    assert list(found.keys) == [images.keys[row] for row in kept]
    assert found.classes == images.classes
    assert np.array_equal(found.labels, images.labels[kept])
    assert np.array_equal(found.splits, images.splits[kept])
    assert {left.key for left in found.left_out} == {"cat/torn.jpg"}
    ready = prepare(found, image_px=48)
    assert not list(own_cache.glob("packs/*")), "it is read where it lies"
    expected = prepare(images, image_px=48, pack=format).pixels[:]
    difference = np.abs(ready.pixels[:].astype(int) - expected)
    assert difference.max() == 0 if format == "raw" else difference.mean() < 2
    smaller = prepare(found, image_px=24).pixels[0]
    with Image.open(images.items[kept[0]]) as opened:
        assert np.abs(smaller.astype(int) - square(opened.convert("RGB"), 24)).mean() < 12
    assert found.only(np.arange(10)).fingerprint != found.fingerprint == find_images(tmp_path / "out").fingerprint


def test_labels_of_every_task_survive(mixed, tmp_path):
    paths = sorted(str(path) for path in mixed.rglob("*[0-9].jpg"))
    lines = {
        "multilabel": [
            "path,labels",
            *(f"{path},{'a;b' if n % 2 else 'b' if n % 3 else ''}" for n, path in enumerate(paths)),
        ],
        "regress": ["path,target", *(f"{path},{n / 7}" for n, path in enumerate(paths))],
    }
    for task, text in lines.items():
        manifest = tmp_path / f"{task}.csv"
        manifest.write_text("\n".join(text))
        images = find_images(manifest, task=task)
        write_pack(images, tmp_path / task, image_px=16)
        found = find_images(tmp_path / task, task=task)
        assert np.array_equal(found.labels, images.labels)
        with pytest.raises(SettingError, match=f"packed with task='{task}'"):
            find_images(tmp_path / task)


def test_a_folder_that_holds_something_else_is_not_touched(mixed, tmp_path):
    images = find_images(mixed)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(StorageError, match="mine' holds something else"):
        write_pack(images, tmp_path / "mine", image_px=16)
    write_pack(images, tmp_path / "pack", image_px=16)
    before = (tmp_path / "pack" / "pack.json").stat().st_mtime_ns
    write_pack(images, tmp_path / "pack", image_px=16)
    assert (tmp_path / "pack" / "pack.json").stat().st_mtime_ns == before
    with pytest.raises(StorageError, match="other images or settings"):
        write_pack(images, tmp_path / "pack", image_px=24)


def test_the_command_packs_checks_and_tells(mixed, tmp_path):
    command = ["pack", str(mixed), str(tmp_path / "out"), "--image-size", "32", "--format", "raw", "--workers", "2"]
    done = CliRunner().invoke(app, [*command, "--verify", "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    assert (told["images"], told["format"], told["px"], told["verified"]) == (26, "raw", 32, True)
    assert told["left_out"][0][0] == "cat/torn.jpg"
    assert CliRunner().invoke(app, [*command[:-4], "--format", "zip"]).exit_code != 0


# ---------------------------------------------------------------- what can go wrong


def test_bytes_that_changed_are_found_by_verify(mixed, tmp_path):
    made = write_pack(find_images(mixed), tmp_path / "out", image_px=16, format="raw")
    path = tmp_path / "out" / "images.u8"
    content = bytearray(path.read_bytes())
    content[int(made.index["offset"][3]) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match=rf"1 of 26 images.*'{find_images(mixed).keys[made.rows[3]]}'"):
        open_pack(tmp_path / "out").verify()


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("images.u8", lambda old: old[:-1], "bytes where"),
        ("index.bin", lambda old: old[:-1], "index.bin' is not as it was written"),
        ("index.bin", lambda old: old[:-1] + b"x", "index.bin' is not as it was written"),
        ("pack.json", lambda old: old.replace(b'"version": 1', b'"version": 99'), "version 99.*reads version 1"),
        ("pack.json", lambda old: old[:40], "cannot be read"),
        ("images.json", lambda old: old[:40], "images.json' cannot be read"),
    ],
)
def test_a_pack_that_is_not_whole_is_refused_on_opening(mixed, tmp_path, name, change, told):
    write_pack(find_images(mixed), tmp_path / "out", image_px=16, format="raw")
    path = tmp_path / "out" / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StorageError, match=told):
        find_images(tmp_path / "out")


def _build_until_killed(photos: Path, out: Path) -> None:
    packing._COMMIT_S = 0.0
    slow = packing._pack_one

    def slower(*arguments):
        time.sleep(0.02)
        return slow(*arguments)

    packing._pack_one = slower
    build(find_images(photos), Packing(format="raw", px=16, keep="whole"), out, threads=1)


def test_a_killed_build_is_gone_on_with(mixed, tmp_path, monkeypatch):
    out = tmp_path / "out"
    process = multiprocessing.get_context("fork").Process(target=_build_until_killed, args=(mixed, out))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(index.stat().st_size >= 5 * INDEX.itemsize for index in tmp_path.glob("out.partial-*/index.bin")):
            break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not out.exists()
    [partial] = tmp_path.glob("out.partial-*")
    for name in ("images.u8", "index.bin", "told.jsonl"):  # as if it had been killed while it wrote
        with (partial / name).open("ab") as file:
            file.write(b'{"row": 1')
    decoded = []
    real = packing._pack_one
    monkeypatch.setattr(
        packing, "_pack_one", lambda images, row, *rest: (decoded.append(row), real(images, row, *rest))[1]
    )
    images = find_images(mixed)
    build(images, Packing(format="raw", px=16, keep="whole"), out)
    assert 0 < len(decoded) <= len(images) - 5
    assert not list(tmp_path.glob("out.partial-*"))
    monkeypatch.setattr(packing, "_pack_one", real)
    build(images, Packing(format="raw", px=16, keep="whole"), tmp_path / "fresh")
    for name in ("images.u8", "index.bin", "images.json"):
        assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes(), name
    went_on, fresh = open_pack(out).facts, open_pack(tmp_path / "fresh").facts
    assert all(went_on[name] == fresh[name] for name in fresh if name not in ("cost", "notes"))
    open_pack(out).verify()


def test_a_build_of_other_images_is_not_gone_on_with(mixed, tmp_path):
    left = packing.partial_of(tmp_path / "out", pid=999999999)
    left.mkdir()
    (left / "job").write_text("something else")
    (left / "index.bin").write_bytes(b"\1" * INDEX.itemsize)
    write_pack(find_images(mixed), tmp_path / "out", image_px=16).verify()
    assert left.exists()


def test_a_full_disk_leaves_nothing_and_says_so(mixed, tmp_path, monkeypatch):
    """The disk fills up while it is written, whatever it looked like before."""

    def full(handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(packing.os, "fsync", full)
    with pytest.raises(StorageError, match=r"out': No space left on device\. Make room"):
        write_pack(find_images(mixed), tmp_path / "out", image_px=16)
    assert {path.name for path in tmp_path.iterdir()} == {"mixed"}


def test_a_folder_that_cannot_be_written_is_named(mixed, tmp_path, monkeypatch):
    def denied(self, *a, **k):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(StorageError, match="out': Permission denied"):
        write_pack(find_images(mixed), tmp_path / "out", image_px=16)


# ---------------------------------------------------------------- raw or jpeg


def test_what_does_not_fit_becomes_jpeg_and_is_told(mixed, tmp_path, monkeypatch):
    images = find_images(mixed)
    raw = 27 * 3 * 64 * 64
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, raw // 2))
    planned = plan_pack(images, Packing(format="raw", px=64, keep="square"), None, tmp_path)
    assert planned.format == "jpeg"
    assert "27 images: " in planned.told
    assert "using jpeg, about a minute" in planned.told
    with pytest.raises(StorageError, match=r"No space left on device: it needs 0\.00 GB"):
        plan_pack(images, Packing(format="raw", px=64, keep="square"), "raw", tmp_path)
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 10**12))
    assert plan_pack(images, Packing(format="raw", px=64, keep="square"), None, tmp_path).format == "raw"


def test_a_jpeg_pack_is_small_and_close(tmp_path):
    """On smooth photos: under a third of the bytes of raw, within a few levels."""
    random = np.random.default_rng(0)
    for number in range(8):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        path = tmp_path / "smooth" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((160, 120), Image.Resampling.BICUBIC).save(path)
    images = find_images(tmp_path / "smooth")
    raw, jpeg = (prepare(images, image_px=96, pack=kind) for kind in ("raw", "jpeg"))
    assert len(jpeg.pack.data) < len(raw.pack.data) / 3
    assert np.abs(raw.pixels[:].astype(int) - jpeg.pixels[:]).mean() < 6


def test_encoded_bytes_in_memory_are_opened_like_a_file():
    from scrimp.images.decode import open_rgb

    file = io.BytesIO()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(file, "PNG")
    image, _ = open_rgb(np.frombuffer(file.getvalue(), np.uint8))
    assert (image.size, image.getpixel((0, 0))) == ((5, 4), (1, 2, 3))


def test_without_ffcv_the_error_names_what_to_install(mixed, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ffcv", None)
    monkeypatch.setitem(sys.modules, "ffcv.writer", None)
    with pytest.raises(MissingExtra, match=r'libturbojpeg0-dev and libopencv-dev.*pip install "scrimp\[ffcv\]"'):
        write_pack(find_images(mixed), tmp_path / "out", image_px=16, format="beton")
    assert {path.name for path in tmp_path.iterdir()} == {"mixed"}


@pytest.mark.filterwarnings("ignore")  # FFCV is of 2023, and what it is built on has moved on
def test_a_beton_is_read_by_ffcv_and_here_alike(mixed, tmp_path):
    pytest.importorskip("ffcv", reason="FFCV is not installed")
    from ffcv.fields.decoders import CenterCropRGBImageDecoder, IntDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor

    images = find_images(mixed)
    beton = write_pack(images, tmp_path / "out", image_px=32, format="beton")
    beton.verify()
    raw = write_pack(images, tmp_path / "raw", image_px=32, format="raw")
    assert all(np.array_equal(beton.item(n), raw.item(n)) for n in range(len(raw)))
    assert np.array_equal(
        prepare(find_images(tmp_path / "out"), image_px=32).pixels[:], prepare(images, image_px=32).pixels
    )
    loader = Loader(
        str(tmp_path / "out" / "images.beton"),
        batch_size=26,
        num_workers=1,
        order=OrderOption.SEQUENTIAL,
        pipelines={"image": [CenterCropRGBImageDecoder((32, 32), 1), ToTensor()], "label": [IntDecoder(), ToTensor()]},
    )
    [(pixels, labels)] = list(loader)
    assert np.array_equal(labels[:, 0].numpy(), images.labels[raw.rows])
    assert np.array_equal(pixels.numpy(), prepare(images, image_px=32).pixels)
    assert {path.name for path in tmp_path.iterdir()} == {"mixed", "out", "raw"}


def test_a_pack_larger_than_memory_is_read_in_runs(mixed, tmp_path, monkeypatch):
    """Also one that is read where it lies; and each row still comes once."""
    import psutil

    from scrimp.batches import feeding

    write_pack(find_images(mixed), tmp_path / "out", image_px=16, format="raw")
    asked = []
    blocks = feeding.in_blocks
    monkeypatch.setattr(feeding, "in_blocks", lambda n, order: (asked.append(n), blocks(n, order, 4, 2))[1])
    for images in (find_images(mixed), find_images(tmp_path / "out")):
        ready = prepare(images, image_px=16)
        rows = ready.images.rows("train")
        one_epoch(ready)
        assert not asked
        with monkeypatch.context() as small:
            small.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=1000))
            labels = torch.cat([labels for _, labels in one_epoch(ready)])
        assert asked == [len(rows)]
        assert sorted(labels.tolist()) == sorted(ready.images.labels[rows].tolist())
        asked.clear()


def test_a_format_once_begun_is_kept_to(mixed, tmp_path, monkeypatch):
    """What a killed build has written takes disk, which must not make the next one choose otherwise."""
    images = find_images(mixed)
    out = tmp_path / "out[1]"
    left = packing.partial_of(out, pid=999999999)
    left.mkdir()
    (left / "job").write_text(Packing(format="raw", px=16, keep="whole").name(images))
    for name in ("index.bin", "images.u8", "told.jsonl"):
        (left / name).touch()
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
    assert write_pack(images, out, image_px=16).format == "raw"
    assert not left.exists()


def test_folders_that_differ_in_their_pixels_alone_have_packs_of_their_own(tmp_path):
    for folder, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        for n in range(20):
            path = tmp_path / folder / "ab"[n % 2] / f"{n}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), colour).save(path)
            os.utime(path, (1e9, 1e9))
    red, blue = (prepare(find_images(tmp_path / name), image_px=16) for name in ("red", "blue"))
    assert red.pixels[0, 0, 0].tolist() == [255, 0, 0]
    assert blue.pixels[0, 0, 0].tolist() == [0, 0, 255]


def test_a_pack_keeps_the_splits_that_it_was_made_with(tmp_path):
    for n in range(20):  # two a class: one to train on, one for val, none for test
        path = tmp_path / "set" / f"class{n // 2}" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (n, n, n)).save(path)
    images = find_images(tmp_path / "set")
    write_pack(images, tmp_path / "pack", image_px=8)
    assert find_images(tmp_path / "pack").splits.tolist() == images.splits.tolist()
    assert "test" not in images.splits


def test_boxes_of_one_image_stay_together_in_the_folds_of_a_pack(tmp_path):
    lines = ["path,label,x0,y0,x1,y1"]
    for n in range(40):
        Image.new("RGB", (20, 20), (n, 5 * n, 255 - n)).save(tmp_path / f"{n}.png")
        lines += [f"{n}.png,{'ab'[n % 2]},{x},0,{x + 9},9" for x in (0, 10)]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    write_pack(find_images(tmp_path / "boxes.csv", box_pick="each"), tmp_path / "pack", image_px=8)
    images = find_images(ImageSource(source=str(tmp_path / "pack"), folds=5))
    splits = {}
    for key, split in zip(images.keys, images.splits.tolist(), strict=True):
        splits.setdefault(key.rpartition("#")[0], set()).add(split)
    assert len(splits) == 40
    assert all(len(where) == 1 for where in splits.values())


def test_a_connection_that_breaks_loses_nothing_that_was_packed(mixed, tmp_path, monkeypatch):
    images, packing_ = find_images(mixed), Packing(format="raw", px=16, keep="whole")
    real, decoded = packing._pack_one, []

    def breaks(images, row, *rest):
        decoded.append(row)
        if row == 15:
            time.sleep(0.2)  # until what came before it has been made to last
            raise StorageError("the connection is gone")
        return real(images, row, *rest)

    monkeypatch.setattr(packing, "_COMMIT_S", 0.0)
    monkeypatch.setattr(packing, "_pack_one", breaks)
    with pytest.raises(StorageError, match="the connection is gone"):
        build(images, packing_, tmp_path / "out", threads=1)
    decoded.clear()
    monkeypatch.setattr(packing, "_pack_one", lambda *it: (decoded.append(it[1]), real(*it))[1])
    build(images, packing_, tmp_path / "out", threads=1)
    assert 0 < len(decoded) < len(images)
    open_pack(tmp_path / "out").verify()


def test_an_image_that_goes_while_it_is_packed_is_not_taken_for_damaged(mixed, tmp_path):
    images = find_images(mixed)
    (mixed / "cat" / "01.jpg").unlink()
    with pytest.raises(StorageError, match=r"gone since it was listed: .*cat.01\.jpg"):
        write_pack(images, tmp_path / "out", image_px=16)


def test_a_file_that_may_not_be_read_is_left_out(mixed, tmp_path, monkeypatch):
    images, secret = find_images(mixed), str(mixed / "cat" / "01.jpg")
    real = os.access

    def no_entry(images, row, *rest):
        if images.items[row] == secret:
            raise StorageError(f"'{secret}' cannot be read: permission denied.")
        return real_open(images, row, *rest)

    real_open = packing.open_exactly
    monkeypatch.setattr(packing, "open_exactly", no_entry)
    monkeypatch.setattr(packing.os, "access", lambda path, mode: path != secret and real(path, mode))
    pack = write_pack(images, tmp_path / "out", image_px=16)
    assert ["cat/01.jpg", f"'{secret}' cannot be read: permission denied."] in pack.facts["left_out"]


def test_what_another_machine_is_building_is_let_alone(mixed, tmp_path, monkeypatch):
    """Two may share a cache, and neither sees the other's processes."""
    images, wanted = find_images(mixed), Packing(format="raw", px=16, keep="whole")
    with monkeypatch.context() as there:
        there.setattr(packing.platform, "node", lambda: "the other one")
        theirs = packing.partial_of(tmp_path / "out", pid=999999999)
    theirs.mkdir()
    (theirs / "job").write_text(wanted.name(images))
    for name in ("index.bin", "images.u8", "told.jsonl"):
        (theirs / name).touch()
    build(images, wanted, tmp_path / "out")
    packing.sweep_up(tmp_path)
    assert theirs.exists()
    for path in (*theirs.iterdir(), theirs):
        os.utime(path, (1e9, 1e9))
    packing.sweep_up(tmp_path)
    assert not theirs.exists(), "nothing was written there for years"
