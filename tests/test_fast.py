"""The fast decoder against Pillow, and the random crop against torchvision's."""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from scrimp.images.decode import open_rgb
from scrimp.images.fast import NUMBERS, crop_into, decode_jpeg, decode_top, jpeg_head, random_box, scale_for


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some grain, so that JPEG has something to do."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=int)
    return Image.fromarray(np.clip(smooth + random.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 17), (100, 131)])
def test_a_jpeg_has_the_very_pixels_that_pillow_gives(size, options):
    content = encoded(picture(*size), **options)
    head = jpeg_head(content)
    assert head.upright == size
    expected, _ = open_rgb("a.jpg", content=content)
    assert np.array_equal(decode_jpeg(content, head), np.asarray(expected))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_smaller_one_too(scale):
    content = encoded(picture(235, 317))
    with Image.open(io.BytesIO(content)) as opened:
        opened.draft(None, (317 // scale, 235 // scale))
        expected = np.asarray(opened.convert("RGB"))
    assert np.array_equal(decode_jpeg(content, jpeg_head(content), scale), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_exif_wants(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(40, 60), exif=exif)
    head = jpeg_head(content)
    expected, oddities = open_rgb("a.jpg", content=content)
    assert np.array_equal(decode_jpeg(content, head), np.asarray(expected))
    assert head.oddities == oddities
    assert head.upright == (expected.height, expected.width)


def test_grey_is_three_colours_and_told():
    content = encoded(picture(20, 30).convert("L"))
    expected, oddities = open_rgb("a.jpg", content=content)
    assert np.array_equal(decode_jpeg(content, jpeg_head(content)), np.asarray(expected))
    assert jpeg_head(content).oddities == oddities == ["greyscale"]


def test_what_is_not_a_plain_jpeg_is_left_to_pillow(monkeypatch):
    photo = picture(20, 30)
    assert jpeg_head(b"") is None
    assert jpeg_head(b"\xff\xd8") is None
    assert jpeg_head(encoded(photo, "PNG")) is None
    assert jpeg_head(encoded(photo.convert("CMYK"))) is None
    content = encoded(photo)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert jpeg_head(content) is None


@settings(deadline=None, max_examples=60)
@given(cut=st.floats(0, 1), flip=st.integers(0, 10**6))
def test_a_damaged_file_is_never_read_otherwise_than_by_pillow(cut, flip):
    """Truncated at any byte, or with a byte changed: the same pixels, or None, and never a crash."""
    whole = encoded(picture(48, 64))
    changed = bytearray(whole)
    changed[flip % len(whole)] ^= 0x55
    for content in (whole[: int(cut * len(whole))], bytes(changed)):
        head = jpeg_head(content)
        pixels = None if head is None else decode_jpeg(content, head)
        if pixels is not None:
            with Image.open(io.BytesIO(content)) as opened:
                assert np.array_equal(pixels, np.asarray(opened.convert("RGB")))


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"optimize": True}])
@pytest.mark.parametrize("scale", [1, 2, 8])
def test_the_top_is_that_of_the_whole(options, scale):
    content = encoded(picture(333, 250), **options)
    head = jpeg_head(content)
    full = np.array(decode_jpeg(content, head, scale, exact=False))
    for rows in (1, 16, 100, 250):
        top = decode_top(content, head, rows, scale)
        assert top is None or np.array_equal(top, full[: len(top)])
        assert top is None or len(top) * scale >= rows
        assert top is not None or options, "plain files at least are read so"


def test_the_top_is_not_read_where_that_would_be_wrong_or_useless():
    exif = Image.Exif()
    exif[0x0112] = 6
    for content in (encoded(picture(90, 60), progressive=True), encoded(picture(90, 60), exif=exif)):
        assert decode_top(content, jpeg_head(content), 16, 1) is None
    content = encoded(picture(90, 60))
    assert decode_top(content, jpeg_head(content), 89, 1) is None
    for cut in (len(content) // 2, len(content) - 2):
        torn = content[:cut]
        assert decode_top(torn, jpeg_head(torn), 16, 1) is None, "what is torn is Pillow's to judge"


def test_threads_do_not_share_a_buffer():
    contents = [encoded(picture(60, 80, seed)) for seed in range(8)]
    expected = [np.asarray(open_rgb("a", content=content)[0]) for content in contents]

    def same(number: int) -> bool:
        content = contents[number % 8]
        return np.array_equal(decode_jpeg(content, jpeg_head(content)), expected[number % 8])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, range(200)))


def test_scales_are_those_that_leave_enough():
    assert [scale_for(short, 100) for short in (99, 199, 200, 399, 400, 799, 800, 9000)] == [1, 1, 2, 2, 4, 4, 8, 8]


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 2**32))
def test_a_random_box_lies_inside(height, width, seed):
    top, left, h, w = random_box(height, width, np.random.default_rng(seed).random(NUMBERS))
    assert 0 <= top < top + h <= height
    assert 0 <= left < left + w <= width


def test_random_boxes_are_spread_as_torchvision_spreads_them():
    """Means and deviations of area, shape and place of 20,000 boxes, within five standard errors."""
    n, height, width = 20_000, 375, 500
    random = np.random.default_rng(0)
    ours = np.array([random_box(height, width, random.random(NUMBERS)) for _ in range(n)], dtype=float)
    blank = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crop = v2.RandomResizedCrop(8)
        drawn = [crop.make_params([blank]) for _ in range(n)]
    theirs = np.array([[d["top"], d["left"], d["height"], d["width"]] for d in drawn], dtype=float)

    def facts(boxes):
        top, left, h, w = boxes.T
        return np.stack([h * w / (height * width), np.log(w / h), top / height, left / width, h / height, w / width])

    a, b = facts(ours), facts(theirs)
    error = np.sqrt((a.var(axis=1) + b.var(axis=1)) / n)
    assert (np.abs(a.mean(axis=1) - b.mean(axis=1)) < 5 * error).all()
    assert np.allclose(a.std(axis=1), b.std(axis=1), rtol=0.05)


def test_an_image_too_long_for_any_try_gives_its_middle():
    assert random_box(20, 5000, np.full(NUMBERS, 0.999)) == (0, (5000 - 27) // 2, 20, 27)
    assert random_box(5000, 20, np.full(NUMBERS, 0.999)) == ((5000 - 27) // 2, 0, 27, 20)


def test_a_crop_is_what_pillow_cuts_out_and_enlarges():
    """Pillow's bilinear enlargement is the same mathematics; both round once."""
    image = picture(90, 120)
    out = np.empty((64, 64, 3), np.uint8)
    crop_into(out, np.asarray(image), (10, 30, 40, 50))
    expected = image.crop((30, 10, 80, 50)).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.abs(out.astype(int) - np.asarray(expected, dtype=int)).max() <= 2
    mirrored = np.empty_like(out)
    crop_into(mirrored, np.asarray(image), (10, 30, 40, 50), mirrored=True)
    assert np.array_equal(mirrored, out[:, ::-1])


def test_a_crop_that_shrinks_much_is_averaged():
    """Stripes of black and white, one pixel each, become grey and not one of the two."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    out = np.empty((64, 64, 3), np.uint8)
    crop_into(out, stripes, (0, 0, 256, 256))
    assert math.isclose(out.mean(), 127.5, abs_tol=1)
    assert out.std() < 2
