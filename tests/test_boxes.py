"""Boxes: read, picked, cut out to the pixel, refused where they are wrong; and the lists of Stanford Dogs."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import scrimp
from scrimp import cli, store
from scrimp.batches import prepare, square
from scrimp.errors import ImageError, SettingError
from scrimp.images import Images, ImageSource, LeftOut, find_images
from scrimp.images.boxes import Box, part_of_image, pick, read_voc
from scrimp.images.decode import open_rgb, open_row
from scrimp.images.split import divide

Edges = tuple[float, float, float, float]


def coordinates(width: int, height: int) -> npt.NDArray[np.uint8]:
    """An image, (height, width, 3), whose pixels say where they are: (x, y, 7)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 7)], axis=2).astype(np.uint8)


def save_coordinates(path: Path, width: int = 60, height: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coordinates(width, height)).save(path)
    return path


def corners(image: Image.Image) -> Edges:
    """Which part of `coordinates` this is, by its pixels: x0, y0, x1, y1."""
    pixels = np.asarray(image).astype(int)
    height, width = pixels.shape[:2]
    x0, y0 = pixels[0, 0, :2].tolist()
    assert np.array_equal(pixels, coordinates(256, 256)[y0 : y0 + height, x0 : x0 + width])
    return x0, y0, x0 + width, y0 + height


def voc(*boxes: tuple[object, ...], size: tuple[object, object] | None = (60, 40)) -> str:
    objects = "".join(
        "<object><name>dog</name><part><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></part>"
        f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for x0, y0, x1, y1 in boxes
    )
    told = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation><filename>%s</filename>{told}{objects}</annotation>"


SMALL, LARGE, LAST = (1, 2, 5, 6), (10, 4, 50, 30), (40, 5, 60, 35)  # 16, 1040 and 600 square pixels


def photo_tree(root: Path, per_class: int = 6) -> Path:
    """Two classes of images of 60 x 40 pixels, each with the three boxes above in an XML file next to it."""
    for name in ("cat", "dog"):
        for index in range(per_class):
            save_coordinates(root / name / f"{index}.png")
            (root / name / f"{index}.xml").write_text(voc(SMALL, LARGE, LAST))
    return root


def crops(images: Images) -> dict[str, Edges]:
    return {key: corners(open_row(images, row)[0]) for row, key in enumerate(images.keys)}


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((10, 10, 30, 20), 0, (10, 10, 30, 20)),
        ((10, 10, 30, 20), 10, (8, 9, 32, 21)),  # 2 of 20 wide, 1 of 10 high
        ((10, 10, 30, 20), 100, (0, 0, 50, 30)),
        ((1, 10, 21, 20), 10, (0, 9, 23, 21)),  # left
        ((10, 0, 30, 20), 10, (8, 0, 32, 22)),  # top
        ((40, 10, 60, 20), 10, (38, 9, 60, 21)),  # right
        ((10, 19, 30, 39), 10, (8, 17, 32, 40)),  # bottom
        ((0, 0, 60, 40), 50, (0, 0, 60, 40)),  # the whole image, which leaves no room
        ((9.6, 10.4, 29.6, 20.4), 0, (10, 10, 30, 20)),  # to whole pixels
        ((-0.4, 0, 60.4, 40), 0, (0, 0, 60, 40)),  # outside by less than counts
        ((59, 39, 60, 40), 0, (59, 39, 60, 40)),  # one pixel
    ],
)
def test_crops_by_hand(box: Edges, margin: float, expected: Edges, tmp_path: Path) -> None:
    path = save_coordinates(tmp_path / "a.png")
    assert corners(open_rgb(str(path), box=Box(*box), margin=margin)[0]) == expected
    assert corners(open_rgb(coordinates(60, 40), box=Box(*box), margin=margin)[0]) == expected


SPANS = st.integers(2, 50).flatmap(
    lambda side: st.tuples(st.just(side), st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True))
)


@settings(deadline=None, max_examples=200)
@given(SPANS, SPANS, st.floats(0, 100))
def test_a_margin_goes_as_far_as_the_image(
    across: tuple[int, list[int]], down: tuple[int, list[int]], m: float
) -> None:
    (width, xs), (height, ys) = across, down
    box = Box(min(xs), min(ys), max(xs), max(ys))
    got = part_of_image(box, m, (width, height), "a.png")
    for low, high, inner, size in ((got[0], got[2], sorted(xs), width), (got[1], got[3], sorted(ys), height)):
        room = (inner[1] - inner[0]) * m / 100
        assert 0 <= low <= inner[0] < inner[1] <= high <= size
        assert low == 0 or inner[0] - low == pytest.approx(room)
        assert high == size or high - inner[1] == pytest.approx(room)
    image, _ = open_rgb(coordinates(width, height), box=box)
    kept = [(x, y) for y in range(height) for x in range(width) if box.x0 <= x < box.x1 and box.y0 <= y < box.y1]
    assert [tuple(pixel[:2]) for row in np.asarray(image).tolist() for pixel in row] == kept


@pytest.mark.parametrize(
    ("boxes", "how", "expected"),
    [
        ([SMALL, LARGE, LAST], "first", [0]),
        ([SMALL, LARGE, LAST], "largest", [1]),
        ([SMALL, LARGE, LAST], "each", [0, 1, 2]),
        ([LARGE, SMALL, LARGE], "largest", [0]),
        ([SMALL, (50, 30, 10, 4)], "largest", [1]),  # a reversed one is refused later, and not passed over
    ],
)
def test_picking(boxes: list[Edges], how: str, expected: list[int]) -> None:
    assert pick([Box(*box) for box in boxes], how) == expected  # type: ignore[arg-type]


# ---------------------------------------------------------------- odd images


def stored_as(upright: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """What a camera with this EXIF orientation stores, by the table of the standard."""
    across = upright.transpose(1, 0, 2)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: across, 6: across[::-1], 7: across[::-1, ::-1], 8: across[:, ::-1],
    }  # fmt: skip
    return np.ascontiguousarray(stored[orientation])


def turned(path: Path, upright: npt.NDArray[np.uint8], orientation: int, **options: object) -> str:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored_as(upright, orientation)).save(path, exif=exif, **options)  # type: ignore[arg-type]
    return str(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_one_of_the_upright_image(orientation: int, suffix: str, tmp_path: Path) -> None:
    path = turned(tmp_path / f"a.{suffix}", coordinates(60, 40), orientation)
    assert corners(open_rgb(path, box=Box(10, 4, 50, 30, (60, 40)))[0]) == (10, 4, 50, 30)
    with pytest.raises(ImageError, match="drawn on 40 x 60 pixels, and the image has 60 x 40"):
        open_rgb(path, box=Box(10, 4, 30, 30, (40, 60)))


@pytest.mark.parametrize(("mode", "oddity"), [("L", "greyscale"), ("P", "palette"), ("RGBA", None), ("I;16", "16-bit")])
def test_boxes_of_images_of_other_kinds(mode: str, oddity: str | None, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray((np.arange(60, dtype=np.uint16) * 257)[None].repeat(40, axis=0))
    else:
        grey = Image.fromarray(np.arange(60, dtype=np.uint8)[None].repeat(40, axis=0))
        image = grey.convert("RGB").convert(mode) if mode == "RGBA" else grey.convert(mode)
    image.save(tmp_path / "a.png")
    cut, oddities = open_rgb(str(tmp_path / "a.png"), box=Box(10, 4, 50, 30))
    assert np.array_equal(np.asarray(cut)[..., 0], np.arange(10, 50)[None].repeat(26, axis=0))
    assert oddity is None or oddity in oddities


def slopes(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Red grows to the right and green downwards, so that a crop in the wrong place has other colours."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, np.full((height, width), 90)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (803, 601)), *((turn, (808, 608)) for turn in range(1, 9)), (3, (803, 601))]
)
@pytest.mark.parametrize(
    ("box", "margin", "draft_px", "scale"),
    [
        ((0, 0, 803, 601), 0, 37, 8),
        ((300, 100, 700, 502), 0, 25, 8),
        ((300, 100, 700, 502), 0, 26, 4),
        ((400, 201, 803, 601), 0, 100, 2),
        ((401, 200, 800, 600), 0, 100, 1),
        ((650, 450, 800, 600), 25, 32, 2),
        ((3, 5, 90, 601), 5, 20, 2),
    ],
)
def test_a_draft_of_a_box_is_the_box(
    box: Edges, margin: float, draft_px: int, scale: int, orientation: int, size: tuple[int, int], tmp_path: Path
) -> None:
    """Against decoding in full, cutting and scaling down: off by half a pixel, and twice what was asked."""
    path = turned(tmp_path / "a.jpg", slopes(*size), orientation, quality=100, subsampling=0)
    drawn = Box(*box, size)
    scale = scale if orientation == 1 or size == (808, 608) else 1  # odd pixels at the end would be at the beginning
    draft, _ = open_rgb(path, draft_px=draft_px, box=drawn, margin=margin)
    whole, _ = open_rgb(path, box=drawn, margin=margin)
    assert min(draft.size) >= 2 * draft_px - 1
    assert max(abs(short - long / scale) for short, long in zip(draft.size, whole.size, strict=True)) <= 1
    small = whole.resize(draft.size, Image.Resampling.BOX)
    difference = np.asarray(draft).astype(int) - np.asarray(small)
    half_a_pixel = 255 * scale / 2 / np.array([size[0], size[1], np.inf])  # levels, by how the slopes rise
    assert (np.abs(difference.mean(axis=(0, 1))) <= half_a_pixel + 0.5).all()
    assert np.abs(difference).max() <= 6


# ---------------------------------------------------------------- boxes that cannot be used


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((10, 10, 61, 20), r"box \(10, 10, 61, 20\) reaches outside, and the image has 60 x 40"),
        ((10, 10, 20, 41), "reaches outside"),
        ((-1, 10, 20, 30), "reaches outside"),
        ((10, -3, 20, 30), "reaches outside"),
        ((100, 100, 200, 200), "reaches outside"),
        ((20, 10, 10, 30), "is reversed"),
        ((10, 30, 20, 10), "is reversed"),
        ((10, 10, 10, 20), "is empty"),
        ((10, 20, 20, 20), "is empty"),
        ((10, 10, 10.4, 20), "is empty"),
        ((1e300, 1, 2e300, 5), "reaches outside"),
    ],
)
def test_wrong_boxes_are_told_and_not_used(box: Edges, words: str, tmp_path: Path) -> None:
    photo_tree(tmp_path)
    (tmp_path / "cat" / "3.xml").write_text(voc(box))
    images = find_images(tmp_path, boxes="voc")
    ready = prepare(images, image_px=16)
    [left] = ready.images.left_out
    assert left.key == "cat/3.png"
    assert str(tmp_path / "cat" / "3.png") in left.reason
    assert len(ready.images) == 11
    with pytest.raises(ImageError, match=words):
        open_row(images, images.keys.index("cat/3.png"))


def test_a_box_of_an_image_of_another_size_is_told(tmp_path: Path) -> None:
    photo_tree(tmp_path)
    (tmp_path / "cat" / "3.xml").write_text(voc(LARGE, size=(120, 80)))
    for unknown, size in ((1, None), (2, (0, 0))):
        (tmp_path / "cat" / f"{unknown}.xml").write_text(voc(LARGE, size=size))
    [left] = prepare(find_images(tmp_path, boxes="voc"), image_px=16).images.left_out
    assert left.key == "cat/3.png"
    assert "was drawn on 120 x 80 pixels, and the image has 60 x 40" in left.reason


def test_of_each_box_only_the_wrong_one_is_left_out(tmp_path: Path) -> None:
    photo_tree(tmp_path)
    (tmp_path / "cat" / "3.xml").write_text(voc(SMALL, (5, 5, 1, 1), LAST))
    ready = prepare(find_images(tmp_path, boxes="voc", box_pick="each"), image_px=16)
    assert [left.key for left in ready.images.left_out] == ["cat/3.png#2"]
    assert {"cat/3.png#1", "cat/3.png#3"} < set(ready.images.keys)


def test_nothing_but_annotations_that_cannot_be_read(tmp_path: Path) -> None:
    for path in photo_tree(tmp_path).rglob("*.xml"):
        path.write_text("words")
    with pytest.raises(
        ImageError, match=r"No annotation file for .* is of use: '.*/cat/0\.xml' is not well-formed XML"
    ):
        find_images(tmp_path, boxes="voc")


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><annotation><object><name>&i;</name></object></annotation>"
)
REACHING_OUT = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not well-formed XML: no element found"),
        (b"just words", "is not well-formed XML"),
        (voc(LARGE).encode()[:-20], "is not well-formed XML"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not well-formed XML"),
        (b'<?xml version="1.0" encoding="no-such"?><annotation/>', "is not well-formed XML"),
        (b"<annotation>&lol;</annotation>", "is not well-formed XML"),
        (BOMB.encode(), "has a DOCTYPE"),
        (BOMB.encode("utf-16"), "has a DOCTYPE"),
        (REACHING_OUT.encode(), "has a DOCTYPE"),
        (b"<kml><object/></kml>", "it holds <kml>, not <annotation>"),
        (b"<annotation><object><name>dog</name></object></annotation>", "no bndbox/xmin in object 1"),
        (voc(LARGE, SMALL).replace("<ymax>6</ymax>", "").encode(), "no bndbox/ymax in object 2"),
        (voc(LARGE, (1, "two", 3, 4)).encode(), "says 'two' in bndbox/ymin of object 2, which is not a number"),
        (voc((1, "", 3, 4)).encode(), "says '' in bndbox/ymin of object 1"),
        (voc((1, "nan", 3, 4)).encode(), "says 'nan'"),
        (voc((1, 2, "1e999", 4)).encode(), "says '1e999'"),
        (voc(LARGE, size=("wide", 40)).encode(), "says 'wide' in size/width"),
    ],
)
def test_annotation_files_that_cannot_be_read(content: bytes, words: str, tmp_path: Path) -> None:
    photo_tree(tmp_path)
    path = tmp_path / "cat" / "3.xml"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=words):
        read_voc(str(path))
    images = find_images(tmp_path, boxes="voc")
    [left] = images.left_out
    assert left.key == "cat/3.png"
    assert str(path) in left.reason
    assert len(images) == 11


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_damaged_annotations_are_refused_and_nothing_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(voc(SMALL, LARGE).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "1.xml"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        boxes = read_voc(str(path))
    except ImageError:
        return
    assert all(np.isfinite(box[:4]).all() for box in boxes)


def test_other_writings_of_the_same_annotation(tmp_path: Path) -> None:
    for name, content in {
        "utf16": voc(LARGE).encode("utf-16"),
        "latin": b'<?xml version="1.0" encoding="latin-1"?>' + voc(LARGE).replace("dog", "Köter").encode("latin-1"),
        "spaced": voc((" 10 ", "4.0", "50\n", "3e1"), size=("60.0", " 40 ")).encode(),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert read_voc(str(tmp_path / name)) == [Box(10, 4, 50, 30, (60, 40))]


# ---------------------------------------------------------------- XML next to the images


@pytest.mark.parametrize(
    ("how", "expected"),
    [("first", {"": SMALL}), ("largest", {"": LARGE}), ("each", {"#1": SMALL, "#2": LARGE, "#3": LAST})],
)
def test_first_largest_and_each(how: str, expected: dict[str, Edges], tmp_path: Path) -> None:
    images = find_images(photo_tree(tmp_path), boxes="voc", box_pick=how)  # type: ignore[arg-type]
    names = [f"{name}/{index}.png" for name in ("cat", "dog") for index in range(6)]
    assert crops(images) == {f"{name}{number}": edges for name in names for number, edges in expected.items()}
    assert images.left_out == ()
    [note] = images.notes
    assert f"{12 * len(expected)} of 36 boxes are cut out of 12 images (box_pick={how}, box_margin=0 %)." == note


def test_packs_hold_the_crops(tmp_path: Path) -> None:
    """Square boxes of the packed size, so that nothing is resized, and every pixel can be compared."""
    photo_tree(tmp_path)
    for index in range(6):
        (tmp_path / "dog" / f"{index}.xml").write_text(voc((index, 2 * index, index + 16, 2 * index + 16)))
        (tmp_path / "cat" / f"{index}.xml").write_text(voc((30, 20, 40, 30)))
    ready = prepare(find_images(tmp_path, boxes="voc", box_margin=30), image_px=16)  # 3 on each side of 10
    for key, pixels in zip(ready.images.keys, ready.pixels, strict=True):
        if key.startswith("cat"):
            assert corners(Image.fromarray(pixels)) == (27, 17, 43, 33)
    ready = prepare(find_images(tmp_path, boxes="voc"), image_px=16)
    for key, pixels in zip(ready.images.keys, ready.pixels, strict=True):
        if key.startswith("dog"):
            index = int(key[4])
            assert corners(Image.fromarray(pixels)) == (index, 2 * index, index + 16, 2 * index + 16)


def test_images_without_a_box_are_kept_whole_and_told(tmp_path: Path) -> None:
    photo_tree(tmp_path)
    (tmp_path / "cat" / "2.xml").unlink()
    (tmp_path / "dog" / "4.xml").write_text(voc())
    (tmp_path / "dog" / "stray.xml").write_text(voc(LARGE))
    images = find_images(tmp_path, boxes="voc")
    assert images.boxes is not None
    bare = [images.keys[row] for row in np.flatnonzero(np.isnan(images.boxes).all(axis=1))]
    assert bare == ["cat/2.png", "dog/4.png"]
    assert [crops(images)[key] for key in bare] == [(0, 0, 60, 40)] * 2
    empty, cut = images.notes
    assert empty == f"1 of 11 annotation files hold no object: '{tmp_path / 'dog' / '4.xml'}'."
    assert cut.endswith("; 2 of 12 images have no box and are kept whole: 'cat/2.png', 'dog/4.png'.")
    assert images.left_out == (LeftOut("dog/stray.xml", "not an image file"),)


def test_no_annotation_at_all_is_refused(photos: Path) -> None:
    with pytest.raises(ImageError, match=r"No Pascal-VOC annotation file .*Looked for '.*/blue/000\.xml'") as caught:
        find_images(photos, boxes="voc")
    assert str(photos.parent / "Annotation") in str(caught.value)


def test_boxes_asked_for_where_there_are_none(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"box_pick='each' and box_margin=0 .* has none.*--boxes voc"):
        find_images(photos, box_pick="each")
    with pytest.raises(SettingError, match=r"box_margin=5 .* has none"):
        find_images(photos, box_margin=5)
    with pytest.raises(SettingError, match="boxes='voc' is for folders, but 'digits' is a data set by name"):
        find_images("digits", boxes="voc")
    save_coordinates(tmp_path / "a.png")
    (tmp_path / "m.csv").write_text("path,label\na.png,cat\n")
    with pytest.raises(SettingError, match=r"boxes='voc' is for folders, but '.*m\.csv' is a manifest"):
        find_images(tmp_path / "m.csv", boxes="voc")
    for wrong in ({"boxes": "coco"}, {"box_pick": "best"}, {"box_margin": -1}, {"box_margin": 101}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            ImageSource(source="x", **wrong)


def test_without_boxes_nothing_is_cut(tmp_path: Path) -> None:
    images = find_images(photo_tree(tmp_path))
    assert images.boxes is None
    assert set(crops(images).values()) == {(0, 0, 60, 40)}
    assert {left.reason for left in images.left_out} == {"not an image file"}


def test_the_fingerprint_and_the_pack_change_with_the_boxes(tmp_path: Path, own_cache: Path) -> None:
    photo_tree(tmp_path)
    found = [
        find_images(tmp_path),
        find_images(tmp_path, boxes="voc"),
        find_images(tmp_path, boxes="voc", box_pick="first"),
        find_images(tmp_path, boxes="voc", box_margin=5),
    ]
    (tmp_path / "cat" / "0.xml").write_text(voc((10, 4, 50, 31)))
    found.append(find_images(tmp_path, boxes="voc"))
    (tmp_path / "cat" / "0.xml").write_text(voc((10, 4, 50, 31), size=(61, 40)))
    found.append(find_images(tmp_path, boxes="voc"))
    for images in found:
        prepare(images, image_px=8)
    assert len({images.fingerprint for images in found}) == len(found)
    assert len(list((own_cache / "packs").iterdir())) == len(found)
    assert find_images(tmp_path, boxes="voc").fingerprint == found[-1].fingerprint


def test_a_part_of_the_images_keeps_their_boxes(tmp_path: Path) -> None:
    images = find_images(photo_tree(tmp_path), boxes="voc", box_pick="each")
    whole = crops(images)
    kept = scrimp.select(images, keep=6)
    assert crops(kept) == {key: whole[key] for key in kept.keys}
    tiny = scrimp.distill(images, image_px=4)
    made = [row for row, key in enumerate(tiny.keys) if key.startswith("distilled")]
    assert tiny.boxes is not None
    assert np.isnan(tiny.boxes[made]).all()
    assert crops(tiny.only(tiny.rows("val"))) == {
        images.keys[row]: whole[images.keys[row]] for row in images.rows("val")
    }
    assert open_row(tiny, 0)[0].size == (4, 4)


def test_what_is_distilled_is_the_boxes(tmp_path: Path) -> None:
    """Only the boxes are white: the mean of whole images would be grey."""
    for name in ("cat", "dog"):
        for index in range(4):
            pixels = np.zeros((40, 60, 3), dtype=np.uint8)
            pixels[10:20, 30:40] = 255
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
            (tmp_path / name / f"{index}.xml").write_text(voc((30, 10, 40, 20)))
    tiny = scrimp.distill(find_images(tmp_path, boxes="voc"), image_px=4)
    assert tiny.items[0].min() == 255  # type: ignore[union-attr]


# ---------------------------------------------------------------- crops of one image stay together


def splits_by_file(images: Images) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key, split in zip(images.keys, images.splits.tolist(), strict=True):
        found.setdefault(key.partition("#")[0], set()).add(split)
    return found


def test_all_crops_of_an_image_are_in_one_split(tmp_path: Path) -> None:
    photo_tree(tmp_path, per_class=20)
    each = splits_by_file(find_images(tmp_path, boxes="voc", box_pick="each"))
    whole = splits_by_file(find_images(tmp_path))
    assert each == whole, "and in that of the image without boxes"
    assert Counter((key[:3], *splits) for key, splits in each.items()) == {
        (name, split): count for name in ("cat", "dog") for split, count in (("train", 14), ("val", 3), ("test", 3))
    }


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), min_size=1, max_size=4)), min_size=1, max_size=40
    ),
    st.integers(0, 3),
)
def test_images_with_parts_of_any_class_are_divided_whole(drawn: list[tuple[int, list[int]]], seed: int) -> None:
    images = {f"{prefix}/{index}": labels for index, (prefix, labels) in enumerate(drawn)}
    keys = [key for key, labels in images.items() for _ in labels]
    labels = np.array([label for labels in images.values() for label in labels], dtype=np.int64)

    def split(order: npt.NDArray[np.int64]) -> dict[str, set[str]]:
        shuffled = [keys[row] for row in order]
        parts = divide(shuffled, labels[order], np.full(len(keys), ""), val_fraction=0.2, test_fraction=0.2, seed=seed)
        found: dict[str, set[str]] = {}
        for key, part in zip(shuffled, parts.tolist(), strict=True):
            found.setdefault(key, set()).add(part)
        return found

    there = split(np.arange(len(keys)))
    assert all(len(parts) == 1 for parts in there.values())
    assert split(np.random.default_rng(seed).permutation(len(keys))) == there, "whatever the order of listing"


def test_an_image_counts_for_the_rarest_of_its_classes() -> None:
    """A class that is only ever the second in its images has val and test images all the same."""
    keys = [f"{index}" for index in range(40) for _ in range(2)]
    labels = np.array([0, 0] * 30 + [0, 1] * 10)
    splits = divide(keys, labels, np.full(80, ""), val_fraction=0.2, test_fraction=0.2, seed=0)
    assert Counter(splits[labels == 1].tolist()) == {"train": 6, "val": 2, "test": 2}


# ---------------------------------------------------------------- a tree as that of Stanford Dogs

BREEDS = {"n01-beagle": (200, 60, 40), "n02-dingo": (40, 60, 200)}


def dogs(root: Path, suffix: str = "", folder: str = "Annotation", lists: str = ".txt", per_breed: int = 8) -> Path:
    """Two breeds of grey photos, 64 x 48, with a coloured box each; half for training, half for the test."""
    listed: dict[str, list[str]] = {"train": [], "test": []}
    for breed, colour in BREEDS.items():
        (root / "Images" / breed).mkdir(parents=True)
        (root / folder / breed).mkdir(parents=True)
        for index in range(per_breed):
            photo = np.random.default_rng(index).integers(90, 160, (48, 64, 3)).astype(np.uint8)
            photo[8:40, 16 + index : 48 + index] = colour
            Image.fromarray(photo).save(root / "Images" / breed / f"{breed[:3]}_{index}.jpg", quality=95)
            drawn = voc((16 + index, 8, 48 + index, 40), size=(64, 48))
            (root / folder / breed / f"{breed[:3]}_{index}{suffix}").write_text(drawn)
            listed["test" if index % 2 else "train"].append(f"{breed}/{breed[:3]}_{index}.jpg")
    for name, keys in listed.items():
        if lists == ".mat":
            from scipy.io import savemat

            cells = np.empty((len(keys), 1), dtype=object)
            cells[:, 0] = keys
            savemat(root / f"{name}_list.mat", {"file_list": cells, "labels": np.zeros((len(keys), 1))})
        elif lists:
            (root / f"{name}_list.txt").write_text("\n".join(keys) + "\n")
    return root


@pytest.mark.parametrize("lists", [".mat", ".txt"])
@pytest.mark.parametrize("below", ["", "Images"])
@pytest.mark.parametrize(("suffix", "folder"), [("", "Annotation"), (".xml", "Annotations"), (".XML", "annotations")])
def test_boxes_and_lists_beside_the_images(suffix: str, folder: str, below: str, lists: str, tmp_path: Path) -> None:
    root = dogs(tmp_path / "dogs", suffix, folder, lists)
    images = find_images(root / below, boxes="voc")
    assert images.classes == tuple(BREEDS)
    assert images.keys == tuple(f"{breed}/{breed[:3]}_{index}.jpg" for breed in BREEDS for index in range(8))
    assert images.boxes is not None
    assert images.boxes.tolist() == [[16 + n, 8, 48 + n, 40] for _ in BREEDS for n in range(8)]
    assert {images.keys[row][-5] for row in images.rows("test")} == set("1357")
    assert {split: sum(counts.values()) for split, counts in images.counts().items()} == {
        "train": 6, "val": 2, "test": 8,
    }  # fmt: skip
    assert images.left_out == ()
    told = " ".join(images.notes)
    assert f"'{root / f'train_list{lists}'}' (8 images) and '{root / f'test_list{lists}'}' (8)" in told
    assert ("The images are those in" in told) == (below == "")
    ready = prepare(images, image_px=16)
    for pixels, label in zip(ready.pixels, images.labels, strict=True):
        colour = list(BREEDS.values())[label]
        assert np.abs(pixels.astype(int) - colour).mean() < 12, "nothing but the box"


def test_either_folder_is_the_same_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = dogs(tmp_path / "dogs")
    one, two = find_images(root, boxes="voc"), find_images(root / "Images", boxes="voc")
    assert (one.fingerprint, one.items) == (two.fingerprint, two.items)
    monkeypatch.chdir(root / "Images")
    assert find_images(".", boxes="voc").fingerprint == one.fingerprint


def test_without_boxes_the_images_are_read_and_the_boxes_told(tmp_path: Path) -> None:
    root = dogs(tmp_path / "dogs")
    images = find_images(root)
    assert images.classes == tuple(BREEDS)
    assert images.boxes is None
    assert images.notes[0] == (
        f"The images are those in '{root / 'Images'}'. boxes='voc' (--boxes voc) would crop them to the boxes in "
        f"'{root / 'Annotation'}'."
    )
    assert set(images.splits[[key[-5] in "1357" for key in images.keys]].tolist()) == {"test"}


def test_annotations_inside_the_image_tree(tmp_path: Path) -> None:
    """photos/cat/1.png with photos/Annotations/cat/1.xml."""
    for path in [*photo_tree(tmp_path).rglob("*.xml")]:
        moved = tmp_path / "Annotations" / path.relative_to(tmp_path)
        moved.parent.mkdir(parents=True, exist_ok=True)
        path.rename(moved)
    images = find_images(tmp_path, boxes="voc")
    assert set(crops(images).values()) == {LARGE}
    assert images.left_out == ()


def test_a_file_next_to_the_image_goes_before_one_beside_the_tree(tmp_path: Path) -> None:
    photo_tree(tmp_path / "photos")
    (tmp_path / "Annotation" / "cat").mkdir(parents=True)
    for name in ("0", "1", "9"):
        (tmp_path / "Annotation" / "cat" / name).write_text(voc(LAST))
    (tmp_path / "photos" / "cat" / "1.xml").unlink()
    images = find_images(tmp_path / "photos", boxes="voc")
    assert (crops(images)["cat/0.png"], crops(images)["cat/1.png"]) == (LARGE, LAST)
    strays = [str(tmp_path / "Annotation" / "cat" / name) for name in "09"]
    assert any(
        f"2 of 3 annotation files belong to no image: '{strays[0]}', '{strays[1]}'." == note for note in images.notes
    )


def test_given_splits_have_annotations_too(tmp_path: Path) -> None:
    photo_tree(tmp_path / "train")
    photo_tree(tmp_path / "test")
    images = find_images(tmp_path, boxes="voc", box_pick="first")
    assert set(crops(images).values()) == {SMALL}
    assert len(images.rows("test")) == 12


def test_the_same_at_a_uri(tmp_path: Path) -> None:
    import fsspec

    root, memory = dogs(tmp_path / "dogs", lists=".mat"), fsspec.filesystem("memory")
    try:
        for file in store.list_files(root):
            memory.pipe(f"/bucket/dogs/{file.key}", store.read_bytes(file.path))
        here = find_images(root, boxes="voc", box_margin=10)
        for uri in ("memory://bucket/dogs", "memory://bucket/dogs/Images", "memory://bucket/dogs/"):
            there = find_images(uri, boxes="voc", box_margin=10)
            assert (there.keys, there.splits.tolist()) == (here.keys, here.splits.tolist())
            assert here.boxes is not None
            assert there.boxes is not None
            assert here.boxes.tolist() == there.boxes.tolist()
        one, two = prepare(here, image_px=8).pixels, prepare(there, image_px=8).pixels
        assert np.array_equal(one, two)
    finally:
        memory.store.clear()


# ---------------------------------------------------------------- its lists


def test_images_on_no_list_are_left_out(tmp_path: Path) -> None:
    root = dogs(tmp_path / "dogs")
    Image.new("RGB", (64, 48)).save(root / "Images" / "n02-dingo" / "mine.jpg")
    images = find_images(root)
    assert images.left_out == (LeftOut("n02-dingo/mine.jpg", "in neither the training nor the test list"),)


def test_listed_images_that_are_not_there_are_told(tmp_path: Path) -> None:
    root = dogs(tmp_path / "dogs")
    (root / "Images" / "n02-dingo" / "n02_4.jpg").unlink()
    notes = find_images(root).notes
    assert "1 of the 16 images in these lists are not here: 'n02-dingo/n02_4.jpg'." in notes


def test_lists_that_cannot_be_honoured(tmp_path: Path) -> None:
    root = dogs(tmp_path / "dogs")
    train, test = root / "train_list.txt", root / "test_list.txt"
    content = train.read_text()
    train.write_text(content + test.read_text().splitlines()[2])
    with pytest.raises(
        ImageError,
        match=r"1 of 9 images in .*train_list\.txt' are in .*test_list\.txt' as well: 'n01-beagle/n01_5\.jpg'",
    ):
        find_images(root)
    train.write_text("elsewhere/1.jpg\n")
    test.write_text("elsewhere/2.jpg\n")
    images = find_images(root)
    assert len(images.rows("train")) == 12, "divided as if there were none: 15 % of 8 is 1"
    assert any("are not used: none of their images is here" in note for note in images.notes)
    train.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ImageError, match=r"train_list\.txt' cannot be read as a list of images"):
        find_images(root)
    train.unlink()
    assert any(f"'{test}' is not used: there is no train_list beside it." == note for note in find_images(root).notes)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file" + b"\0" * 200, b"words"])
def test_a_broken_mat_file_is_named(content: bytes, tmp_path: Path) -> None:
    root = dogs(tmp_path / "dogs", lists=".mat")
    (root / "train_list.mat").write_bytes(content)
    with pytest.raises(ImageError, match=r"train_list\.mat' cannot be read as a list of images"):
        find_images(root)


def test_a_mat_file_without_a_list_is_named(tmp_path: Path) -> None:
    from scipy.io import savemat

    root = dogs(tmp_path / "dogs", lists=".mat")
    savemat(root / "test_list.mat", {"labels": np.zeros(3)})
    with pytest.raises(ImageError, match=r"test_list\.mat' cannot .*: it has no variable 'file_list'"):
        find_images(root)


def test_lists_alone_are_reason_enough_to_look_in_images(tmp_path: Path) -> None:
    import shutil

    root = dogs(tmp_path / "dogs")
    shutil.rmtree(root / "Annotation")
    assert len(find_images(root).rows("test")) == 8
    with pytest.raises(ImageError, match="No Pascal-VOC annotation file"):
        find_images(root, boxes="voc")


# ---------------------------------------------------------------- columns of a manifest


def write_manifest(root: Path, lines: str, header: str = "path,label,x0,y0,x1,y1") -> Path:
    for index in range(8):
        save_coordinates(root / "m" / f"{index}.png")
    (root / "list.csv").write_text(f"{header}\n{lines}")
    return root / "list.csv"


BOXED = "".join(f"m/{n}.png,{'cat' if n % 2 else 'dog'},{n},1,{n + 20},11\n" for n in range(6))


def test_columns_are_boxes(tmp_path: Path) -> None:
    images = find_images(write_manifest(tmp_path, BOXED + "m/6.png,cat,,,,\nm/7.png,dog,1.0,2.0,3.0,4.0\n"))
    assert crops(images) == {
        **{f"m/{n}.png": (n, 1, n + 20, 11) for n in range(6)}, "m/6.png": (0, 0, 60, 40), "m/7.png": (1, 2, 3, 4),
    }  # fmt: skip
    assert images.notes == (
        "7 of 7 boxes are cut out of 7 images (box_pick=largest, box_margin=0 %); "
        "1 of 8 images have no box and are kept whole: 'm/6.png'.",
    )


def test_parquet_says_the_same(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    csv = write_manifest(tmp_path, BOXED + "m/6.png,cat,,,,\nm/7.png,dog,,,,\n")
    columns: dict[str, list[object]] = {"path": [f"m/{n}.png" for n in range(8)], "label": ["dog", "cat"] * 4}
    columns |= {name: [*start, None, float("nan")] for name, start in {
        "x0": range(6), "y0": [1] * 6, "x1": range(20, 26), "y1": [11] * 6,
    }.items()}  # fmt: skip
    columns["label"][6:] = ["cat", "dog"]
    table = {name: pyarrow.array(v, pyarrow.float64()) if name[0] in "xy" else v for name, v in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "list.parquet")
    assert find_images(csv).fingerprint == find_images(tmp_path / "list.parquet").fingerprint


SEVERAL = BOXED + "m/6.png,cat,1,2,5,6\nm/6.png,cat,10,4,50,30\nm/6.png,cat,40,5,60,35\nm/7.png,dog,0,0,9,9\n"


@pytest.mark.parametrize(
    ("how", "expected"),
    [("first", {"": SMALL}), ("largest", {"": LARGE}), ("each", {"#1": SMALL, "#2": LARGE, "#3": LAST})],
)
def test_several_lines_of_a_path_are_several_boxes(how: str, expected: dict[str, Edges], tmp_path: Path) -> None:
    images = find_images(write_manifest(tmp_path, SEVERAL), box_pick=how)  # type: ignore[arg-type]
    assert {key: edges for key, edges in crops(images).items() if "/6" in key} == {
        f"m/6.png{number}": edges for number, edges in expected.items()
    }
    assert images.left_out == ()


def test_boxes_may_have_labels_of_their_own(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, BOXED + "m/6.png,cat,1,2,5,6\nm/6.png,dog,10,4,50,30\nm/6.png,dog,10,4,50,30\n")
    images = find_images(path, box_pick="each")
    labels = {key: images.classes[n] for key, n in zip(images.keys, images.labels, strict=True)}
    assert (labels["m/6.png#1"], labels["m/6.png#2"]) == ("cat", "dog")
    assert images.left_out == (LeftOut("m/6.png", "listed more than once"),)
    assert all(len(splits) == 1 for splits in splits_by_file(images).values())
    with pytest.raises(ImageError, match=r"Lines 8 and 9 .*two labels, 'cat' and 'dog'.*box_pick='each'"):
        find_images(path)


@pytest.mark.parametrize(
    ("lines", "header", "words"),
    [
        (BOXED, "path,label,x0,y0,x1,why", "has columns x0, y0, x1 but no y1"),
        (BOXED, "path,label,x0,b,c,d", "has columns x0 but no y0, x1, y1"),
        (BOXED + "m/6.png,cat,1,2,,4\n", None, "Line 8 of .* has '' in x1: a box is four numbers"),
        (BOXED + "m/6.png,cat,1,2\n", None, "Line 8 of .* has '' in x1"),
        (BOXED + "m/6.png,cat,1,two,3,4\n", None, "Line 8 of .* has 'two' in y0"),
        (BOXED + "m/6.png,cat,1,2,inf,4\n", None, "Line 8 of .* has 'inf' in x1"),
        (BOXED + "m/6.png,cat,1,2,3,4\nm/6.png,cat,,,,\n", None, "Lines 8 and 9 .*two kinds, 'an image with a box'"),
        ("m/6.png,cat,1,2,3,4,train\nm/6.png,cat,1,2,9,9,test\n", "path,label,x0,y0,x1,y1,split", "two splits"),
        (BOXED + "m/6.png,cat,1,2,3,4\nm/6.png,dog,1,2,3,4\n", None, "Lines 8 and 9 .*two labels"),
    ],
)
def test_wrong_columns(lines: str, header: str | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=words):
        find_images(write_manifest(tmp_path, lines, header or "path,label,x0,y0,x1,y1"))


def test_a_box_with_two_labels_is_refused_even_with_each(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, BOXED + "m/6.png,cat,1,2,3,4\nm/6.png,dog,1,2,3,4\n")
    with pytest.raises(ImageError, match=r"Lines 8 and 9 .*two labels"):
        find_images(path, box_pick="each")


# ---------------------------------------------------------------- on the command line


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of tiny models wait for each other on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["scrimp", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("_quick")
def test_a_sweep_over_boxes_ends_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = dogs(tmp_path / "dogs")
    broken = root / "Annotation" / "n01-beagle" / "n01_0"
    broken.write_text("<annotation>")
    monkeypatch.chdir(tmp_path)
    tiny = ("--model", "ultralight", "--image-size", "32", "--epochs", "1", "--from-scratch")
    assert call(monkeypatch, "sweep", root, "--boxes", "voc", "--box-margin", "10", *tiny, "--out", "o", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["failed"] == []
    page = Path(facts["report"])
    assert page.name == "report.html"
    shown = page.read_text()
    assert "boxes are cut out of" in shown
    assert str(broken) in shown
    [result] = [json.loads(path.read_text()) for path in (tmp_path / "o").glob("*-seed0-*/result.json")]
    assert result["image_counts"] == {"train": 5, "val": 2, "test": 8}
    assert any(
        "15 of 15 boxes are cut out of 15 images (box_pick=largest, box_margin=10 %)." in n for n in result["notes"]
    )
    assert [left[0] for left in result["left_out"]] == ["n01-beagle/n01_0.jpg"]
    plan = next((tmp_path / "o").glob("*-seed0-*/plan.toml")).read_text()
    assert 'boxes = "voc"' in plan
    assert "box_margin = 10.0" in plan


def test_boxes_that_are_not_there_are_one_line_on_stderr(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "train", photos, "--model", "ultralight", "--from-scratch", "--boxes", "voc") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("scrimp: No Pascal-VOC annotation file")
    assert shown.err.count("\n") == 1


# ---------------------------------------------------------------- the real ones


@pytest.fixture
def stanford_dogs() -> Path:
    folder = os.environ.get("SCRIMP_DATA")
    if not folder:
        pytest.skip("SCRIMP_DATA is not set: no real images to read")
    root = Path(folder) / "stanford-dogs-10"
    if not root.is_dir():
        pytest.skip(f"no stanford-dogs-10 in '{folder}'")
    return root


@pytest.mark.realdata
def test_the_real_dogs(stanford_dogs: Path) -> None:
    images = find_images(stanford_dogs, boxes="voc", box_pick="first")
    assert len(images.classes) == 10
    counts = images.counts()
    assert counts["test"] == dict.fromkeys(images.classes, 40)
    assert counts["train"] + counts["val"] == dict.fromkeys(images.classes, 60)
    assert images.left_out == ()
    key = "n02086240-Shih-Tzu/n02086240_1011.jpg"
    row = images.keys.index(key)
    assert images.boxes is not None
    text = (stanford_dogs / "Annotation" / key.removesuffix(".jpg")).read_text()
    by_hand = [float(text.split(f"<{edge}>")[1].split("<")[0]) for edge in ("xmin", "ymin", "xmax", "ymax")]
    assert images.boxes[row].tolist() == by_hand
    with Image.open(stanford_dogs / "Images" / key) as whole:
        expected = np.asarray(whole.convert("RGB"))[
            int(by_hand[1]) : int(by_hand[3]), int(by_hand[0]) : int(by_hand[2])
        ]
    assert np.array_equal(np.asarray(open_row(images, row)[0]), expected)


@pytest.mark.realdata
def test_drafts_of_the_real_dogs(stanford_dogs: Path) -> None:
    """Every box of every photo is inside it; a draft at 32 pixels is what a full decode gives."""
    images = find_images(stanford_dogs, boxes="voc", box_pick="each")
    differences = []
    for row in range(0, len(images), 10):
        draft, full = (open_row(images, row, draft_px=px)[0] for px in (32, None))
        assert min(draft.size) >= min(32, min(full.size))
        small = [square(image, 32).astype(float) for image in (draft, full)]
        differences.append(np.abs(small[0] - small[1]).mean())
    assert np.mean(differences) < 2.5
    assert np.max(differences) < 8
