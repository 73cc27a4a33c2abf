"""The look at the data: what is planted is found and named, what is not there is not, and bad data never end it."""

from __future__ import annotations

import io
import math
import os
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_photos import photo, save
from PIL import Image, ImageEnhance, ImageFilter

from scrimp.errors import StorageError
from scrimp.images import Images, ImageSource, Inspection, LeftOut, find_images, inspect_images
from scrimp.images.decode import full_size, open_rgb
from scrimp.images.inspection import baseline, duplicates, faults, inspecting, looking, pictures
from scrimp.images.inspection.kinds import Fault
from scrimp.images.overlap import overlap_with_imagenet


def in_memory(
    pixels: list[np.ndarray[Any, Any]],
    labels: list[int] | None = None,
    splits: list[str] | None = None,
    classes: int = 2,
    **options: Any,
) -> Images:
    """Images that live in memory, uint8 (h, w, 3) each."""
    n = len(pixels)
    given: dict[str, Any] = {
        "source": ImageSource(source="made"),
        "items": tuple(pixels),
        "keys": tuple(f"{row:04d}" for row in range(n)),
        "labels": np.array(labels if labels is not None else [row % classes for row in range(n)], dtype=np.int64),
        "splits": np.array(splits or ["train"] * n),
        "classes": tuple(f"c{number}" for number in range(classes)),
        "fingerprint": "made",
    }
    return Images(**(given | options))


def photos_in_memory(n: int, px: int = 64) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(photo(seed, (px, px))) for seed in range(n)]


def keys(fault: Fault) -> list[str]:
    return [flagged.image.key for flagged in fault.images]


def by_kind(found: Inspection) -> dict[str, list[str]]:
    return {fault.kind: keys(fault) for fault in found.faults}


def members(groups: tuple[Any, ...]) -> set[frozenset[str]]:
    return {frozenset(member.key for member in group.members) for group in groups}


# ---------------------------------------------------------------- all of it at once


@pytest.fixture(scope="module")
def spoilt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 3 classes of 12 training and 4 test photos, with one of everything that can be wrong."""
    root = tmp_path_factory.mktemp("made") / "spoilt"
    number = 0
    for split, count in (("train", 12), ("test", 4)):
        for name in ("ash", "elm", "fir"):
            for index in range(count):
                save(photo(number), root / split / name / f"{index:02d}.jpg", quality=92)
                number += 1
    ash, elm, fir = (root / "train" / name for name in ("ash", "elm", "fir"))
    shutil.copy(ash / "00.jpg", ash / "00 copy.jpg")
    with Image.open(ash / "01.jpg") as image:
        save(image, ash / "recoded.jpg", quality=30)
    with Image.open(ash / "02.jpg") as image:
        save(image.resize((48, 40)), ash / "resized.png")
    with Image.open(ash / "03.jpg") as image:
        save(ImageEnhance.Brightness(image).enhance(1.15), ash / "brightened.jpg")
    shutil.copy(elm / "00.jpg", root / "test" / "elm" / "leak exact.jpg")
    with Image.open(elm / "01.jpg") as image:
        save(image, root / "test" / "elm" / "leak near.jpg", quality=40)
    shutil.copy(elm / "02.jpg", fir / "is an elm.jpg")
    whole = (fir / "00.jpg").read_bytes()
    (fir / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (fir / "text.jpg").write_text("no image at all")
    (fir / "empty.jpg").touch()
    save(Image.new("RGB", (96, 80), (90, 140, 60)), fir / "blank.png")
    save(ImageEnhance.Brightness(photo(900)).enhance(0.2), fir / "dark.jpg", quality=92)
    save(Image.eval(photo(901), lambda level: min(255, 200 + level)), fir / "bright.png")
    save(photo(902).filter(ImageFilter.GaussianBlur(4)), fir / "blurred.jpg", quality=92)
    save(photo(903, (12, 10)), fir / "small.png")
    save(photo(904, (300, 60)), fir / "long.png")
    (fir / "notes.txt").write_text("left out")
    return root


@pytest.fixture(scope="module")
def spoilt(spoilt_folder: Path) -> Inspection:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scrimp.images.inspection.inspecting.shared_sensor", lambda: None)
        patch.setattr("scrimp.images.find.shared_sensor", lambda: None)
        return inspect_images(find_images(spoilt_folder))


def test_exact_copies_are_found_and_named(spoilt: Inspection) -> None:
    assert members(spoilt.duplicates.exact) == {
        frozenset({"train/ash/00.jpg", "train/ash/00 copy.jpg"}),
        frozenset({"train/elm/00.jpg", "test/elm/leak exact.jpg"}),
        frozenset({"train/elm/02.jpg", "train/fir/is an elm.jpg"}),
    }
    assert all(group.exact and group.likeness == 1 for group in spoilt.duplicates.exact)


def test_near_duplicates_are_found_and_named(spoilt: Inspection) -> None:
    assert members(spoilt.duplicates.near) == {
        frozenset({"train/ash/01.jpg", "train/ash/recoded.jpg"}),
        frozenset({"train/ash/02.jpg", "train/ash/resized.png"}),
        frozenset({"train/ash/03.jpg", "train/ash/brightened.jpg"}),
        frozenset({"train/elm/01.jpg", "test/elm/leak near.jpg"}),
    }
    assert all(duplicates.NEAR <= group.likeness <= 1.0001 for group in spoilt.duplicates.near)


def test_leaks_are_counted_and_come_first(spoilt: Inspection) -> None:
    splits = find_splits(spoilt)
    expected = {("test", split) for split in ("train", "val") if split in splits}
    leaks = {(leak.split, leak.other): leak for leak in spoilt.duplicates.leaks}
    assert sum(leak.exact for (split, _), leak in leaks.items() if split == "test") == 1
    assert sum(leak.near for (split, _), leak in leaks.items() if split == "test") == 1
    assert {pair for pair in leaks if pair[0] == "test"} == expected
    assert spoilt.findings[0].kind == "leak"
    assert "leak exact.jpg" in spoilt.findings[0].text or "leak near.jpg" in spoilt.findings[0].text


def find_splits(found: Inspection) -> set[str]:
    """Where the twins of the two leaked test images are: val is cut from train by a hash of the names."""
    groups = (*found.duplicates.exact, *found.duplicates.near)
    leaked = [group for group in groups if "test" in group.splits]
    return {split for group in leaked for split in group.splits} - {"test"}


def test_one_picture_with_two_labels_is_told(spoilt: Inspection) -> None:
    [group] = spoilt.duplicates.two_labels
    assert {(member.key, member.label) for member in group.members} == {
        ("train/elm/02.jpg", "elm"),
        ("train/fir/is an elm.jpg", "fir"),
    }
    [told] = [finding for finding in spoilt.findings if finding.kind == "two labels"]
    assert "'train/fir/is an elm.jpg' is 'fir'" in told.text


def test_unreadable_files_are_named_with_reasons(spoilt: Inspection) -> None:
    assert {left.key for left in spoilt.unreadable} == {
        "train/fir/broken.jpg",
        "train/fir/text.jpg",
        "train/fir/empty.jpg",
    }
    reasons = {left.key.rsplit("/")[-1]: left.reason for left in spoilt.unreadable}
    assert "not an image of a known kind" in reasons["text.jpg"]
    assert "truncated" in reasons["broken.jpg"]
    assert {one.name: one.unreadable for one in spoilt.classes} == {"ash": 0, "elm": 0, "fir": 3}
    assert spoilt.left_out == (LeftOut("train/fir/notes.txt", "not an image file"),)


def test_bad_images_are_found_and_named(spoilt: Inspection) -> None:
    assert by_kind(spoilt) == {
        "blank": ["train/fir/blank.png"],
        "dark": ["train/fir/dark.jpg"],
        "bright": ["train/fir/bright.png"],
        "blurry": ["train/fir/blurred.jpg"],
        "small": ["train/fir/small.png"],
        "long": ["train/fir/long.png"],
    }
    for kind, (name,) in by_kind(spoilt).items():
        [told] = [finding for finding in spoilt.findings if finding.kind == kind]
        assert name in told.text
        assert told.advice


def test_counts_and_megabytes_are_those_of_the_files(spoilt: Inspection, spoilt_folder: Path) -> None:
    broken = {left.key for left in spoilt.unreadable}
    files = [
        path for path in spoilt_folder.rglob("*.[jp][pn]g") if path.relative_to(spoilt_folder).as_posix() not in broken
    ]
    assert spoilt.images == len(files) == 36 + 12 + 7 + 6
    assert spoilt.mb == pytest.approx(sum(path.stat().st_size for path in files) / 1e6)
    elm = next(one for one in spoilt.classes if one.name == "elm")
    in_test = [path for path in files if path.parent.as_posix().endswith("test/elm")]
    assert elm.splits["test"].images == len(in_test) == 6
    assert elm.splits["test"].mb == pytest.approx(sum(path.stat().st_size for path in in_test) / 1e6)
    assert sum(one.splits[split].images for one in spoilt.classes for split in one.splits) == spoilt.images
    assert spoilt.splits["train"].images + spoilt.splits["val"].images == 36 + 5 + 6


def test_sizes_and_shapes_are_those_of_the_files(spoilt: Inspection) -> None:
    assert spoilt.sizes is not None
    common = {"96 x 80": 58, "48 x 40": 1, "12 x 10": 1, "300 x 60": 1}
    assert {bin.label: bin.images for bin in spoilt.sizes.common} == common
    assert spoilt.sizes.common[0].label == "96 x 80"
    assert spoilt.sizes.different == 4
    assert spoilt.sizes.width.median == 96
    assert (spoilt.sizes.height.least, spoilt.sizes.height.most) == (10, 80)
    assert spoilt.sizes.aspect.most == 5
    assert sum(bin.images for bin in spoilt.sizes.short_sides) == spoilt.images
    assert {bin.label: bin.images for bin in spoilt.sizes.short_sides if bin.images} == {
        "below 32 px": 1,
        "32 to 64 px": 2,
        "64 to 128 px": 58,
    }


def test_the_findings_are_told_the_gravest_first(spoilt: Inspection) -> None:
    kinds = list(dict.fromkeys(finding.kind for finding in spoilt.findings))
    assert kinds == [
        "leak",
        "two labels",
        "unreadable",
        "exact copies",
        "near duplicates",
        "blank",
        "dark",
        "bright",
        "blurry",
        "small",
        "long",
    ]
    assert all(finding.text.endswith(".") and finding.advice.endswith(".") for finding in spoilt.findings)


def test_nothing_is_wrong_with_three_hundred_different_photos() -> None:
    found = inspect_images(in_memory([np.asarray(photo(seed)) for seed in range(300)]))
    assert not found.duplicates.exact
    assert not found.duplicates.near
    assert not found.duplicates.leaks
    assert not any(fault.images for fault in found.faults)
    assert not found.findings


# ---------------------------------------------------------------- duplicates


def test_the_same_pixels_in_other_files_are_exact_copies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(4):
            save(photo(10 * ord(name) + index), tmp_path / name / f"{index}.png")
    save(photo(10 * ord("a")), tmp_path / "b" / "other compression.png", compress_level=0)
    save(photo(10 * ord("a")), tmp_path / "b" / "other format.bmp")
    found = inspect_images(find_images(tmp_path))
    assert members(found.duplicates.exact) == {frozenset({"a/0.png", "b/other compression.png", "b/other format.bmp"})}
    assert not found.duplicates.near


def test_one_different_pixel_is_no_exact_copy() -> None:
    one, other = np.asarray(photo(1)), np.asarray(photo(1)).copy()
    other[-1, -1, -1] ^= 1
    images = in_memory([one, other, one.reshape(96, 80, 3)])
    assert not duplicates.find_duplicates(images, looking.look(images)).exact


def test_groups_come_in_the_order_of_what_they_spoil() -> None:
    """Leaks of test, then val in train, then two labels, then the rest; of each the surest first."""
    dice = np.random.default_rng(0)
    pixels, labels, splits = [], [], []
    kinds = [(1, "val"), (0, "train"), (0, "test"), (1, "train"), (0, "test")]
    for seed, (label, split) in enumerate(kinds):
        image = np.asarray(photo(seed, (64, 64))).astype(float)
        noisy = np.clip(image + dice.normal(0, 20 if seed == 2 else 2, image.shape), 0, 255)
        pixels += [image.astype(np.uint8), noisy.astype(np.uint8)]
        labels += [0, label]
        splits += ["train", split]
    images = in_memory(pixels, labels, splits)
    groups = duplicates.find_duplicates(images, looking.look(images)).near
    assert [int(group.members[0].key) // 2 for group in groups] == [4, 2, 0, 3, 1]


def test_descriptors_are_the_weighted_cosine_transform() -> None:
    """By the definition of the transform, sum by sum, on a few images."""
    thumbs = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    found = duplicates.descriptors(thumbs)
    for thumb, vector in zip(thumbs, found, strict=True):
        luma = thumb @ np.array([0.299, 0.587, 0.114])
        expected = []
        for u in range(8):
            for v in range(8):
                rows = [math.cos(math.pi * (2 * y + 1) * u / 64) for y in range(32)]
                columns = [math.cos(math.pi * (2 * x + 1) * v / 64) for x in range(32)]
                norm = (1 if u else 2**-0.5) * (1 if v else 2**-0.5)
                expected.append(norm * np.outer(rows, columns).ravel() @ luma.ravel() * math.hypot(u, v))
        direction = np.array(expected[1:]) / np.linalg.norm(expected)
        np.testing.assert_allclose(vector, direction, atol=1e-5)


def test_brightness_and_contrast_do_not_tell_images_apart() -> None:
    thumb = np.asarray(photo(1, (32, 32))).astype(float)
    changed = 40 + 0.6 * thumb
    one, two = duplicates.descriptors(np.stack([thumb, changed]).round().astype(np.uint8))
    assert one @ two > 0.999


def test_groups_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair compared by hand and joined by hand; in blocks that do not divide the number of images."""
    monkeypatch.setattr(duplicates, "_BLOCK", (7, 16))
    dice = np.random.default_rng(0)
    originals = [np.asarray(photo(seed, (32, 32))).astype(float) for seed in range(20)]
    # Ever noisier versions: some near the original, some only near another version, some near nothing.
    pixels = [
        np.clip(image + dice.normal(0, noise, image.shape), 0, 255).astype(np.uint8)
        for image in originals
        for noise in (0, 20, 45, 70)
    ]
    pixels = [pixels[n] for n in dice.permutation(len(pixels))]  # so that versions are blocks apart
    images = in_memory(pixels)
    found = duplicates.find_duplicates(images, looking.look(images))
    thumbs = looking.look(images).thumbs
    vectors, middles = duplicates.descriptors(thumbs), duplicates.descriptors(thumbs[:, 4:28, 4:28])
    group = {n: {n} for n in range(len(pixels))}
    for a, b in combinations(range(len(pixels)), 2):
        near = float(np.dot(vectors[a], vectors[b])) >= duplicates.NEAR
        if near and float(np.dot(middles[a], middles[b])) >= duplicates.MIDDLE:
            joined = group[a] | group[b]
            group |= dict.fromkeys(joined, joined)
    expected = {frozenset(f"{n:04d}" for n in one) for one in group.values() if len(one) > 1}
    assert 5 < len(expected) < 21, "the versions are no test"
    assert members(found.near) == expected


def test_an_exact_copy_goes_where_its_original_goes() -> None:
    one, other = np.asarray(photo(1)), np.asarray(photo(2))
    brighter = (one * 0.9 + 20).astype(np.uint8)
    images = in_memory([one, one, brighter, other], splits=["train", "test", "train", "test"])
    found = duplicates.find_duplicates(images, looking.look(images))
    assert members(found.exact) == {frozenset({"0000", "0001"})}
    assert members(found.near) == {frozenset({"0000", "0001", "0002"})}
    [leak] = found.leaks
    assert (leak.split, leak.other, leak.images, leak.exact, leak.near) == ("test", "train", 2, 1, 0)
    assert leak.share == 0.5


def test_leaks_of_every_pair_of_splits() -> None:
    a, b, c, d = photos_in_memory(4)
    dark_b = (b * 0.8).astype(np.uint8)
    images = in_memory(
        [a, a, b, dark_b, c, c, d], splits=["train", "val", "train", "test", "val", "test", "test"], labels=[0] * 7
    )
    found = duplicates.find_duplicates(images, looking.look(images))
    assert [(leak.split, leak.other, leak.images, leak.exact, leak.near) for leak in found.leaks] == [
        ("test", "train", 3, 0, 1),
        ("test", "val", 3, 1, 0),
        ("val", "train", 2, 1, 0),
    ]


def test_plain_images_are_not_near_to_one_another() -> None:
    """All of nothing looks like all of nothing, but a white and a black frame are no duplicates."""
    dice = np.random.default_rng(0)
    plain = [np.clip(level + dice.integers(-2, 3, (40, 40, 3)), 0, 255).astype(np.uint8) for level in (0, 100, 250)]
    images = in_memory([*plain, plain[1], *photos_in_memory(3)])
    found = duplicates.find_duplicates(images, looking.look(images))
    assert members(found.exact) == {frozenset({"0001", "0003"})}
    assert not found.near
    assert found.unsearched == 4


def test_a_common_frame_makes_no_duplicates() -> None:
    framed = []
    for seed in range(6):
        image = Image.new("RGB", (64, 64), "white")
        image.paste(photo(seed, (50, 50)).point(lambda level: level // 3), (7, 7))
        framed.append(np.asarray(image))
    images = in_memory(framed)
    looks = looking.look(images)
    vectors = duplicates.descriptors(looks.thumbs)
    assert (vectors @ vectors.T).min() > duplicates.NEAR, "the frames are no test"
    assert not duplicates.find_duplicates(images, looks).near


def test_tiny_images_are_not_near_to_one_another() -> None:
    """With 8 x 8 pixels, all handwritten ones look the same."""
    found = inspect_images(find_images("digits"))
    assert not found.duplicates.near
    assert found.duplicates.unsearched == len(find_images("digits"))
    sharp, small = photo(1, (16, 40)), photo(1, (15, 40))
    images = in_memory([np.asarray(sharp), np.asarray(sharp) // 2, np.asarray(small), np.asarray(small) // 2])
    [group] = duplicates.find_duplicates(images, looking.look(images)).near
    assert {member.key for member in group.members} == {"0000", "0001"}


def test_very_many_near_duplicates_are_doubted() -> None:
    different = photos_in_memory(30, 40)
    few = inspect_images(in_memory([*different, different[0] // 2]))
    many = inspect_images(in_memory([*different, *(image // 2 for image in different[:5])]))
    [told_few] = [finding for finding in few.findings if finding.kind == "near duplicates"]
    [told_many] = [finding for finding in many.findings if finding.kind == "near duplicates"]
    assert "Keep one" in told_few.advice
    assert "Look at the groups" in told_many.advice


def test_sixty_times_the_same_scene_is_one_group() -> None:
    scene = np.asarray(photo(3)).astype(float)
    dice = np.random.default_rng(0)
    frames = [np.clip(scene + dice.normal(0, 3, scene.shape), 0, 255).astype(np.uint8) for _ in range(60)]
    images = in_memory(frames)
    [group] = duplicates.find_duplicates(images, looking.look(images)).near
    assert len(group.members) == 60


# ---------------------------------------------------------------- bad images


def flagged(kind: str, *pixels: Any) -> list[str]:
    """The keys of those images that the rule flags, beside enough ordinary ones."""
    images = in_memory([*(np.asarray(image) for image in pixels), *photos_in_memory(5)])
    found = {fault.kind: keys(fault) for fault in faults.find_faults(images, looking.look(images))}
    return found[kind]


def grey(levels: Any) -> np.ndarray[Any, Any]:
    return np.repeat(np.asarray(levels, dtype=np.uint8)[..., None], 3, axis=2)


def test_dark_is_by_the_brightest_hundredth() -> None:
    night = np.full((50, 50), 10)
    lamps, few_lamps = night.copy(), night.copy()
    lamps[:2, :15] = 255  # 1.2 % of the pixels
    few_lamps[:2, :10] = 255  # 0.8 %
    assert flagged("dark", grey(lamps), grey(few_lamps), grey(night + 72), grey(night + 71)) == ["0001", "0003"]


def test_bright_is_by_the_darkest_twentieth() -> None:
    snow = np.full((50, 50), 250)
    rocks, few_rocks = snow.copy(), snow.copy()
    rocks[:3] = 20  # 6 %
    few_rocks[:2] = 20  # 4 %
    assert flagged("bright", grey(rocks), grey(few_rocks), grey(snow - 8), grey(snow - 7)) == ["0001", "0003"]


def test_blank_is_by_the_spread_of_every_colour() -> None:
    dice = np.random.default_rng(0)
    noise = dice.integers(-4, 5, (50, 50, 3)) + 100
    tinted = np.full((50, 50, 3), 100)
    tinted[:, :, 2] = np.linspace(60, 140, 50)  # hardly any luma, but a colour
    spot = np.full((50, 50, 3), 100)
    spot[:5, :5] = 200  # 1 %: a mark that may count is 2 % or more
    mark = np.full((50, 50, 3), 100)
    mark[:10, :10] = 200  # 4 %
    assert flagged("blank", *(image.astype(np.uint8) for image in (noise, tinted, spot, mark))) == ["0002", "0000"]


def test_blur_of_an_edge_is_one_over_the_window() -> None:
    """One difference of 255; blurred, nine of 255 / 9, of which one lies where the edge was."""
    edge = np.zeros((40, 40), np.uint8)
    edge[:, 20:] = 255
    assert looking.blur(edge) == pytest.approx(1 / 9)


def test_blur_grows_with_the_radius_and_not_with_brightness_or_contrast() -> None:
    image = photo(5, (200, 200)).convert("L")
    values = [looking.blur(np.asarray(image.filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 1, 2, 4)]
    assert values == sorted(values)
    assert values[0] < 0.4
    assert values[-1] > 0.7
    faint = Image.eval(image.filter(ImageFilter.GaussianBlur(2)), lambda level: 100 + level // 4)
    assert looking.blur(np.asarray(faint)) == pytest.approx(values[2], abs=0.1)


def test_motion_in_one_direction_is_blur() -> None:
    image = np.asarray(photo(5, (200, 200)).convert("L")).astype(float)
    moved = np.mean([np.roll(image, step, axis=1) for step in range(24)], axis=0).astype(np.uint8)
    assert looking.blur(moved) > faults.BLURRY > looking.blur(image.astype(np.uint8))
    assert looking.blur(np.ascontiguousarray(moved.T)) == looking.blur(moved)


@pytest.mark.parametrize("shape", [(1, 1), (9, 50), (50, 9), (1, 400)])
def test_blur_is_unknown_where_there_is_no_room_for_the_window(shape: tuple[int, int]) -> None:
    assert math.isnan(looking.blur(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)))


def test_blur_of_a_plain_image_is_unknown() -> None:
    assert math.isnan(looking.blur(np.full((50, 50), 7, np.uint8)))


def test_small_and_long_are_by_the_sides() -> None:
    assert flagged("small", photo(1, (16, 200)), photo(2, (15, 200))) == ["0001"]  # the usual side is 64
    assert flagged("long", photo(1, (100, 35)), photo(2, (34, 100))) == ["0001"]


# ---------------------------------------------------------------- sizes


def test_sizes_are_upright_and_whole_however_small_a_photo_is_decoded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        for index in range(3):
            save(photo(ord(name) + 10 * index, (1201, 903)), tmp_path / name / f"{index}.jpg", exif=exif)
    item = str(tmp_path / "a" / "0.jpg")
    image, _ = open_rgb(item, draft_px=256)
    assert image.size == (452, 601)
    assert full_size(image) == (903, 1201)
    assert full_size(open_rgb(item)[0]) == (903, 1201)
    found = inspect_images(find_images(tmp_path))
    assert found.sizes is not None
    assert [(bin.label, bin.images) for bin in found.sizes.common] == [("903 x 1201", 6)]
    assert found.oddities == {"rotated by EXIF": 6}


def test_quantiles_are_those_of_the_sides(tmp_path: Path) -> None:
    found = inspect_images(in_memory([np.zeros((10, 10 * n, 3), np.uint8) for n in range(1, 12)]))
    assert found.sizes is not None
    width = found.sizes.width
    assert (width.least, width.p5, width.median, width.p95, width.most) == (10, 15, 60, 105, 110)


# ---------------------------------------------------------------- the cheapest models


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    thumbs = np.stack([np.asarray(photo(seed, (32, 32))) for seed in range(60)])
    found = baseline.components_of(thumbs)
    assert found is not None
    pixels = thumbs.reshape(60, -1) / 255
    _, singular, axes = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)
    shares = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(found.facts.shares, shares[:59], rtol=1e-3)
    np.testing.assert_allclose(np.abs((found.axes[:5] * axes[:5]).sum(axis=1)), 1, rtol=1e-4)
    for share, count in found.facts.needed.items():
        assert count == 1 + next(n for n in range(59) if shares[: n + 1].sum() >= float(share.rstrip("%")) / 100)


def test_components_of_many_images_are_the_same_every_time() -> None:
    thumbs = np.random.default_rng(0).integers(0, 256, (1_100, 32, 32, 3)).astype(np.uint8)
    one, other = baseline.components_of(thumbs), baseline.components_of(thumbs)
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.axes, other.axes)


def test_the_eigenfaces_of_a_class_are_of_its_training_images_alone() -> None:
    pixels = [np.asarray(photo(seed, (32, 32))) for seed in range(60)]
    splits = ["train", "train", "test"] * 20
    found = inspect_images(in_memory(pixels, splits=splits)).pictures.directions
    assert list(found) == ["c0", "c1"]
    for number, directions in enumerate(found.values()):
        own = [row for row in range(60) if row % 2 == number and splits[row] == "train"]
        flat = np.stack([pixels[row] for row in own]).reshape(len(own), -1) / 255
        singular = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False)
        shares = singular**2 / (singular**2).sum()
        assert len(directions) == 8
        np.testing.assert_allclose([one.share for one in directions], shares[:8], rtol=0.02)
    alike = inspect_images(in_memory([pixels[0]] * 8)).pictures.directions
    assert alike == {"c0": (), "c1": ()}


def test_components_that_were_not_computed_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "COMPONENTS", 3)
    dice = np.random.default_rng(0)
    found = baseline.components_of(dice.integers(0, 256, (50, 32, 32, 3)).astype(np.uint8))
    assert found is not None
    assert found.facts.needed == {"50%": None, "80%": None, "90%": None, "95%": None}


def coloured(n: int, classes: int, seed: int) -> tuple[list[np.ndarray[Any, Any]], list[int]]:
    """Noisy images, of a hue that depends on the class, too noisy to be told apart every time."""
    dice = np.random.default_rng(seed)
    labels = [row % classes for row in range(n)]
    hues = np.linspace(90, 150, classes)
    shades = [hues[label] + dice.normal(0, 18) for label in labels]
    pixels = [np.clip(dice.normal(shade, 20, (32, 32, 3)), 0, 255).astype(np.uint8) for shade in shades]
    return pixels, labels


def test_the_nearest_centroid_is_that_of_hand() -> None:
    pixels, labels = coloured(240, 3, 0)
    splits = [("train", "train", "val", "test")[row // 3 % 4] for row in range(240)]
    images = in_memory(pixels, labels, splits, classes=3)
    found = inspect_images(images).baseline
    assert found is not None
    flat = np.stack(pixels).reshape(240, -1) / 255.0
    number, split = np.array(labels), np.array(splits)
    means = np.stack([flat[(number == c) & (split == "train")].mean(axis=0) for c in range(3)])
    guesses = ((flat[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    centroid = found.scores[0]
    assert centroid.val == pytest.approx((guesses == number)[split == "val"].mean())
    assert centroid.test == pytest.approx((guesses == number)[split == "test"].mean())
    assert 0.4 < centroid.val < 0.95, "too easy or too hard to show anything"
    assert (centroid.n_val, centroid.n_test) == (60, 60)
    assert (found.images, found.of) == (120, 120)
    assert found.chance == pytest.approx(1 / 3)


def test_both_find_what_is_easy_to_see() -> None:
    pixels, labels = coloured(200, 2, 0)
    easy = [
        np.clip(image.astype(int) + 60 * label, 0, 255).astype(np.uint8)
        for image, label in zip(pixels, labels, strict=True)
    ]
    splits = [("train", "train", "val", "test")[row // 2 % 4] for row in range(200)]
    found = inspect_images(in_memory(easy, labels, splits)).baseline
    assert found is not None
    assert [score.name for score in found.scores] == ["nearest centroid", "PCA + logistic regression"]
    assert all(score.val == 1 and score.test == 1 for score in found.scores)


def test_test_labels_choose_nothing() -> None:
    pixels, labels = coloured(240, 3, 1)
    splits = [("train", "train", "val", "test")[row // 3 % 4] for row in range(240)]
    images = in_memory(pixels, labels, splits, classes=3)
    turned = np.where(images.splits == "test", (images.labels + 1) % 3, images.labels)
    one, other = inspect_images(images).baseline, inspect_images(replace(images, labels=turned)).baseline
    assert one is not None
    assert other is not None
    for ours, theirs in zip(one.scores, other.scores, strict=True):
        assert (ours.setting, ours.val) == (theirs.setting, theirs.val)
        assert ours.test != theirs.test


def test_large_sets_are_sampled_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "SAMPLE", 30)
    pixels, labels = coloured(120, 2, 0)
    found = inspect_images(in_memory(pixels, labels, ["train", "train", "val", "test"] * 30))
    assert found.baseline is not None
    assert (found.baseline.images, found.baseline.of) == (30, 60)
    assert found.eigenfaces is not None
    assert found.eigenfaces.images == 30


def test_the_sample_is_of_train_alone_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "SAMPLE", 10)
    images = in_memory(photos_in_memory(40, 8), splits=["train", "val", "test", "train"] * 10)
    rows = baseline.sample_of(images)
    assert set(images.splits[rows]) == {"train"}
    assert len(set(rows.tolist())) == 10
    assert rows.tolist() == baseline.sample_of(images).tolist()


# ---------------------------------------------------------------- pictures


def opened(uri: str) -> Image.Image:
    import base64

    head, content = uri.split(",", 1)
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_mean_images_are_the_means() -> None:
    images = in_memory([np.full((32, 32, 3), level, np.uint8) for level in (10, 100, 30, 200)], labels=[0, 1, 0, 1])
    means = inspect_images(images).pictures.means
    assert {name: np.unique(np.asarray(opened(uri))).tolist() for name, uri in means.items()} == {
        "c0": [20],
        "c1": [150],
    }


def test_examples_are_training_images_of_their_class(spoilt: Inspection) -> None:
    assert set(spoilt.pictures.examples) == {"ash", "elm", "fir"}
    for name, chosen in spoilt.pictures.examples.items():
        assert len(chosen) == 8
        assert all(key.startswith(f"train/{name}/") for key in chosen)
        assert all(opened(spoilt.pictures.images[key]).size <= (112, 112) for key in chosen)
    assert len(spoilt.pictures.eigenfaces) == 16


def test_pictures_stay_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLASSES", "GROUPS", "MEMBERS", "FLAGGED"):
        monkeypatch.setattr(pictures, name, 2)
    same = [np.asarray(photo(seed // 4, (16, 16))) for seed in range(40)]
    found = inspect_images(in_memory(same, labels=[4 - n // 8 for n in range(40)], classes=5))
    assert len(found.duplicates.exact) == 10
    assert len(found.pictures.examples) == 2
    shown = {key for chosen in found.pictures.examples.values() for key in chosen}
    assert not found.duplicates.two_labels
    shown |= {member.key for group in found.duplicates.exact[:2] for member in group.members[:2]}
    assert set(found.pictures.images) == shown


# ---------------------------------------------------------------- bad data never end it


def test_nothing_can_be_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(3):
            (tmp_path / name / f"{index}.jpg").write_text("no image")
    found = inspect_images(find_images(tmp_path))
    assert found.images == 0
    assert len(found.unreadable) == 6
    assert (found.sizes, found.eigenfaces, found.baseline) == (None, None, None)
    assert {"unreadable", "lost classes"} <= {finding.kind for finding in found.findings}
    assert found.imbalance is not None
    assert found.imbalance.ratio is None


def test_a_class_of_which_nothing_can_be_read_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(12):
            save(photo(100 * ord(name) + index, (40, 40)), tmp_path / name / f"{index}.png")
    (tmp_path / "c").mkdir()
    for index in range(12):
        (tmp_path / "c" / f"{index}.png").write_bytes(b"")
    found = inspect_images(find_images(tmp_path))
    [lost] = [finding for finding in found.findings if finding.kind == "lost classes"]
    assert "'c'" in lost.text
    assert found.baseline is not None


def test_a_class_that_is_only_tested_on_is_told(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "test/a", "test/b", "test/c"):
        for index in range(4):
            save(photo(100 * len(place) + index, (40, 40)), tmp_path / place / f"{index}.png")
    found = inspect_images(find_images(tmp_path))
    [lost] = [finding for finding in found.findings if finding.kind == "lost classes"]
    assert lost.text == "There is no training image of 'c' that can be read."


@pytest.mark.parametrize(
    "pixels",
    [
        [np.zeros((1, 1, 3), np.uint8)] * 4,
        [np.full((1, 1, 3), n, np.uint8) for n in range(4)],
        [np.full((3, 700, 3), 60 * n, np.uint8) for n in range(4)],
        [np.asarray(photo(0))] * 4,
    ],
    ids=["one black pixel", "one pixel", "a stripe", "all the same"],
)
def test_hardly_anything_to_see(pixels: list[np.ndarray[Any, Any]]) -> None:
    for splits in (["train"] * 4, ["train", "train", "val", "test"], ["train", "val", "test", "test"]):
        found = inspect_images(in_memory(pixels, splits=splits))
        assert found.images == 4
        assert all(0 <= (score.val or 0) <= 1 for score in (found.baseline.scores if found.baseline else ()))


def test_one_image_a_class_and_a_class_missing_from_test(tmp_path: Path) -> None:
    for index, key in enumerate(("train/a/1", "train/b/1", "train/c/1", "test/a/1", "test/b/1")):
        save(photo(index, (30, 30)), tmp_path / f"{key}.png")
    (tmp_path / "test" / "c").mkdir()
    images = find_images(tmp_path)
    found = inspect_images(images)
    assert found.images == 5
    assert any("'c'" in note for note in found.notes)
    assert "few images" in {finding.kind for finding in found.findings}


def test_no_image_at_all_to_train_on() -> None:
    found = inspect_images(in_memory(photos_in_memory(3), splits=["val", "test", "test"]))
    assert found.baseline is None
    assert any("No eigenfaces and no baseline" in note for note in found.notes)


def test_one_class_in_train_has_no_baseline() -> None:
    images = in_memory(photos_in_memory(6), labels=[0, 0, 0, 0, 1, 1], splits=["train"] * 4 + ["val", "test"])
    found = inspect_images(images)
    assert found.baseline is None
    assert found.eigenfaces is not None
    assert any("training images of two classes" in note for note in found.notes)


@pytest.mark.skipif(os.name != "posix", reason="names that are no text")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    for name in ("a\udcff", "ä 木"):
        for index in range(4):
            save(photo(index + len(name), (20, 20)), tmp_path / name / f"\udce9{index}.png")
    (tmp_path / "a\udcff" / "\udce9broken.png").write_bytes(b"no image")
    found = inspect_images(find_images(tmp_path))
    assert found.images == 8
    assert [one.name for one in found.classes] == ["a\\udcff", "ä 木"]
    assert found.unreadable[0].key == "a\\udcff/\\udce9broken.png"
    assert found.model_dump_json().encode()


def test_a_file_that_has_gone_since_it_was_found(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(4):
            save(photo(index + ord(name), (20, 20)), tmp_path / name / f"{index}.png")
    images = find_images(tmp_path)
    (tmp_path / "a" / "2.png").unlink()
    found = inspect_images(images)
    assert [left.key for left in found.unreadable] == ["a/2.png"]


def test_odd_images_are_counted(tmp_path: Path) -> None:
    for index in range(3):
        save(photo(index, (40, 40)).convert("L"), tmp_path / "a" / f"{index}.png")
        save(photo(index + 10, (40, 40)).convert("CMYK"), tmp_path / "b" / f"{index}.jpg")
    frames = [photo(n, (40, 40)) for n in (20, 21)]
    save(frames[0], tmp_path / "b" / "moving.gif", save_all=True, append_images=frames[1:])
    found = inspect_images(find_images(tmp_path))
    assert found.oddities == {"greyscale": 3, "CMYK": 3, "animated: first frame": 1, "palette": 1} or (
        found.oddities["greyscale"] == 3
        and found.oddities["CMYK"] == 3
        and found.oddities["animated: first frame"] == 1
    )


# ---------------------------------------------------------------- imbalance, tasks, cost


def test_imbalance_is_the_largest_over_the_smallest() -> None:
    labels = [0] * 40 + [1] * 10 + [2] * 25
    found = inspect_images(in_memory([np.zeros((4, 4, 3), np.uint8)] * 75, labels=labels, classes=3))
    assert found.imbalance is not None
    uneven = found.imbalance
    assert (uneven.largest, uneven.most, uneven.smallest, uneven.fewest, uneven.ratio) == ("c0", 40, "c1", 10, 4.0)
    [told] = [finding for finding in found.findings if finding.kind == "imbalance"]
    assert "4.0 times" in told.text
    assert "--per-class 10" in told.advice


def test_several_labels_an_image() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]] * 3, dtype=np.uint8)
    source = ImageSource(source="made", task="multilabel")
    images = in_memory(photos_in_memory(11) + photos_in_memory(1), classes=3, source=source, labels=None)
    found = inspect_images(replace(images, labels=labels))
    assert [one.splits["train"].images for one in found.classes] == [6, 6, 3]
    [group] = found.duplicates.exact
    assert {member.label for member in group.members} == {"c0; c1", "c0; c2"}
    assert found.baseline is None
    assert any("multilabel" in note for note in found.notes)
    assert set(found.pictures.examples) == {"c0", "c1", "c2"}


def test_a_number_an_image() -> None:
    source = ImageSource(source="made", task="regress")
    images = in_memory(photos_in_memory(5), source=source, splits=["train"] * 4 + ["test"])
    found = inspect_images(replace(images, labels=np.array([3, 1, 2, 0.5, 9], np.float32), classes=()))
    assert found.classes == ()
    assert found.imbalance is None
    assert found.targets is not None
    train = found.targets["train"]
    assert (train.least, train.median, train.most) == (0.5, 1.5, 3)
    assert set(found.targets) == {"train", "test"}
    assert found.pictures.examples[pictures.BY_TARGET] == ("0003", "0001", "0002", "0000")


def test_the_bill_is_that_of_finding_and_looking(photos: Path) -> None:
    images = find_images(photos)
    found = inspect_images(replace(images, cost=replace(images.cost, seconds=1_000.0)))
    assert 1_000 < found.cost.seconds < 1_100
    assert found.cost.wh_source == "fake"


def test_an_inspection_is_plain_data(spoilt: Inspection) -> None:
    bare = spoilt.model_copy(update={"pictures": type(spoilt.pictures)()})
    assert Inspection.model_validate(spoilt.to_json()) == bare


def test_what_several_images_are_cut_from_counts_once() -> None:
    images = in_memory(photos_in_memory(3))
    cut = replace(images, items=("a.jpg", "a.jpg", "b.jpg"), stamps=("3000000 x", "3000000 x", "500000 y"))
    sizes = inspecting.file_mb(cut)
    assert sizes is not None
    assert sizes.tolist() == [3.0, 0.0, 0.5]
    assert inspecting.file_mb(replace(cut, stamps=("etag", "etag", "etag"))) is None
    assert inspecting.file_mb(replace(cut, stamps=())) is None


# ---------------------------------------------------------------- ImageNet


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("/data/imagenette2-320", "Imagenette"),
        ("s3://bucket/Imagewoof/", "Imagewoof"),
        ("stanford-dogs-10/Images", "Stanford Dogs"),
        ("CUB_200_2011/images", "CUB-200"),
        ("stl10", "STL-10"),
        ("tiny-imagenet-200/train", "Tiny ImageNet"),
        ("C:\\data\\imagenet\\", "ImageNet itself"),
    ],
)
def test_known_overlaps_are_told_by_name(source: str, word: str) -> None:
    assert word in (overlap_with_imagenet(source, ["a", "b"]) or "")


@pytest.mark.parametrize(
    "source", ["photos", "imagenet-sketch", "imagenetv2", "/imagenette/mine/photos", "oxford-iiit-pet", "cifar10"]
)
def test_what_is_not_sure_is_not_told(source: str) -> None:
    assert overlap_with_imagenet(source, ["cat", "dog", "n0123", "n012345678"]) is None


def test_overlap_is_told_by_the_names_of_classes() -> None:
    told = overlap_with_imagenet("photos", ["n02086240-Shih-Tzu", "n01440764", "my own"])
    assert told is not None
    assert "2 of 3 classes" in told
    assert overlap_with_imagenet("photos", ["n01440764", "cat", "dog"]) is None


def test_overlap_travels_with_the_images_and_is_a_finding(tmp_path: Path) -> None:
    for name in ("n01440764", "n02086240-Shih-Tzu"):
        for index in range(4):
            save(photo(index + len(name), (20, 20)), tmp_path / name / f"{index}.png")
    images = find_images(tmp_path)
    [note] = [note for note in images.notes if "ImageNet" in note]
    found = inspect_images(images)
    assert [finding.text for finding in found.findings if finding.kind == "imagenet"] == [note]
    assert note not in found.notes


# ---------------------------------------------------------------- real data


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("SCRIMP_DATA")
    if not folder:
        pytest.skip("SCRIMP_DATA is not set")
    return Path(folder)


@pytest.mark.realdata
def test_real_photos_raise_few_false_alarms(real_data: Path) -> None:
    folder = real_data / "imagenette-224"
    if not folder.is_dir():
        pytest.skip(f"no imagenette-224 in '{real_data}'")
    found = inspect_images(find_images(folder))
    assert found.images == 2500
    assert not found.unreadable
    assert len(found.duplicates.near) <= 5
    assert {fault.kind: len(fault.images) <= 25 for fault in found.faults} == dict.fromkeys(by_kind(found), True)
    assert found.baseline is not None
    assert all((score.val or 0) > 0.2 for score in found.baseline.scores)
    assert any(finding.kind == "imagenet" for finding in found.findings)


def test_a_broken_connection_is_no_broken_image(tmp_path, monkeypatch):
    import fsspec

    folder = fsspec.filesystem("memory")
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        folder.pipe_file(f"/cut/{name}", b"whatever")

    def cut(images, row, **how):
        raise StorageError("the connection was closed")

    monkeypatch.setattr(looking, "open_row", cut)
    with pytest.raises(StorageError, match="closed"):
        looking.look(find_images("memory://cut"))
