"""What single augmentations do, each against another way to say it, and how a recipe names them."""

import io

import numpy as np
import pytest
import torch
from make_photos import photo
from PIL import Image
from torchvision.transforms.v2 import functional

from scrimp.augment import AUGMENTATIONS, augmentations, crop, mirror, remade_part, shift
from scrimp.augment.batch import either_way, up_to, whole_up_to
from scrimp.augment.colour import brightness, clahe, contrast, edge, posterise, saturation
from scrimp.augment.geometry import cutout, rotate
from scrimp.augment.quality import blur, grid, jpeg, noise, salt
from scrimp.errors import SettingError, UnknownName
from scrimp.report import write_contact_sheet
from scrimp.training import Recipe


def seeded(number):
    return torch.Generator().manual_seed(number)


def pictures(n=8, side=16):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=seeded(0))


def scenes(n=6, side=48):
    return torch.from_numpy(np.stack([np.asarray(photo(seed, (side, side))) for seed in range(n)])).permute(0, 3, 1, 2)


def arrays(pixels):
    return [image.permute(1, 2, 0).contiguous().numpy() for image in pixels]


# ---------------------------------------------------------------- geometry


def test_shift_moves_by_whole_pixels_and_reflects():
    # Against padding by reflection and cutting a window out, for each possible offset.
    before = pictures(n=64)
    padded = torch.nn.functional.pad(before.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    windows = [padded[:, :, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    after = shift(before, seeded(3))
    offsets = [next(i for i, window in enumerate(windows) if torch.equal(window[n], after[n])) for n in range(64)]
    assert len(set(offsets)) > 15, "most of the 25 offsets occur among 64 images"


def test_mirror_flips_about_half_and_leaves_the_rest():
    before = pictures(n=200)
    after = mirror(before, seeded(4))
    flipped = [torch.equal(b.flip(2), a) for b, a in zip(before, after, strict=True)]
    same = [torch.equal(b, a) for b, a in zip(before, after, strict=True)]
    assert all(f or s for f, s in zip(flipped, same, strict=True))
    assert 70 <= sum(flipped) <= 130


def test_rotate_turns_as_torchvision_does():
    before = scenes()
    after = rotate(before, seeded(5), 40)
    angles = either_way(40, len(before), seeded(5)).tolist()
    inner = slice(17, 31), slice(17, 31)  # which no corner is turned into
    for i, angle in enumerate(angles):
        wanted = functional.rotate(before[i], angle, interpolation=functional.InterpolationMode.BILINEAR)
        difference = (after[i].float() - wanted.float()).abs()[(slice(None), *inner)]
        assert difference.max() <= 4


def test_cutout_covers_one_square_of_the_side_told():
    before = pictures(n=400, side=20)
    hidden = (cutout(before, seeded(6), 0.4) == 128).all(dim=1)
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert heights.max() == widths.max() == 8
    assert (hidden.sum((1, 2)) == heights * widths).float().mean() > 0.9, "grey by chance besides: hardly ever"
    assert hidden.float().mean(0).min() > 0.01, "everywhere, corners too"


# ---------------------------------------------------------------- light and colour


@pytest.mark.parametrize(
    ("change", "peer", "slack"),
    [
        (brightness, functional.adjust_brightness, 1),
        (saturation, functional.adjust_saturation, 1),
    ],
)
def test_colours_change_as_with_torchvision(change, peer, slack):
    before = scenes()
    after = change(before, seeded(7), 0.5)
    factors = (1 + either_way(0.5, len(before), seeded(7))).tolist()
    for i, factor in enumerate(factors):
        assert (after[i].int() - peer(before[i], factor).int()).abs().max() <= slack


def test_contrast_keeps_the_mean_and_changes_the_spread_by_the_factor():
    before = (scenes().float() / 4 + 96).to(torch.uint8)  # so that nothing is cut off
    after = contrast(before, seeded(8), 0.5)
    factors = 1 + either_way(0.5, len(before), seeded(8))
    assert (after.float().mean((1, 2, 3)) - before.float().mean((1, 2, 3))).abs().max() < 0.3
    assert torch.allclose(after.float().std((1, 2, 3)) / before.float().std((1, 2, 3)), factors, atol=0.02)


def test_posterise_leaves_as_many_levels_as_there_are_bits():
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(64, 3, 16, 16)
    after = posterise(every, seeded(9), 7)
    taken = whole_up_to(7, 64, seeded(9))
    assert [len(image.unique()) for image in after] == [2 ** (8 - bits) for bits in taken]
    assert set(taken) == set(range(8))
    assert (after.float().mean((1, 2, 3)) - 127.5).abs().max() <= 0.5, "neither darker nor lighter"


def test_clahe_spreads_the_levels_of_a_flat_image_and_keeps_grey_grey():
    flat = (scenes().float() / 8 + 110).to(torch.uint8)
    after = clahe(flat, seeded(10))
    assert (after.float().std((1, 2, 3)) > flat.float().std((1, 2, 3))).all()
    grey = flat[:, :1].expand(-1, 3, -1, -1)
    made = clahe(grey, seeded(10))
    assert (made.int().amax(1) - made.int().amin(1)).max() <= 2


def test_edge_is_bright_at_the_border_of_a_square_and_nowhere_else():
    square = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    square[:, :, 8:24, 8:24] = 100
    after = edge(square, seeded(11))
    shares = up_to(1, 64, seeded(11))
    i = int(shares.argmax())
    assert (after[i, :, 16, 7:9] > 200 * shares[i]).all()
    assert (after[:, :, :6] == 0).all()
    assert torch.allclose(after[:, 0, 16, 16].float(), 100 * (1 - shares), atol=1), (
        "of the inside, its own part is left"
    )


# ---------------------------------------------------------------- quality


def test_noise_has_the_spread_told_and_no_bias():
    grey = torch.full((16, 3, 64, 64), 128, dtype=torch.uint8)
    after = noise(grey, seeded(12), 0.1).float() - 128
    sds = 255 * up_to(0.1, 16, seeded(12))
    assert torch.allclose(after.std((1, 2, 3)), sds, rtol=0.03, atol=0.3)
    assert after.mean((1, 2, 3)).abs().max() < 1
    neighbours = torch.corrcoef(torch.stack([after[..., :-1].flatten(), after[..., 1:].flatten()]))[0, 1]
    assert abs(neighbours) < 0.01


def test_salt_is_as_much_white_as_black_in_all_colours_at_once():
    grey = torch.full((16, 3, 64, 64), 128, dtype=torch.uint8)
    after = salt(grey, seeded(13), 0.4)
    parts = up_to(0.4, 16, seeded(13))
    assert torch.allclose((after != 128).float().mean((1, 2, 3)), parts, atol=0.03)
    assert abs((after == 0).float().mean() - (after == 255).float().mean()) < 0.01
    assert (after == after[:, :1]).all()


def test_grid_lines_repeat_in_both_directions():
    grey = torch.full((32, 3, 64, 64), 128, dtype=torch.uint8)
    after = grid(grey, seeded(14))[:, 0].int() - 128
    lines = after != 0
    for i in range(32):
        if not lines[i].any():
            continue
        rows, columns = (torch.where(lines[i].all(axis))[0] for axis in (1, 0))
        assert len(rows.diff().unique()) == len(columns.diff().unique()) == 1, "at equal steps"
        assert torch.equal(lines[i], lines[i].all(1)[:, None] | lines[i].all(0)[None])
        assert len(after[i][lines[i]].unique()) == 1


def test_blur_is_the_median_of_the_square():
    before = pictures(n=16)
    after = blur(before, seeded(15), 2)
    radii = whole_up_to(2, 16, seeded(15))
    for i, radius in enumerate(radii):
        inside = slice(radius, 16 - radius)
        windows = before[i].unfold(1, 2 * radius + 1, 1).unfold(2, 2 * radius + 1, 1)
        assert torch.equal(after[i, :, inside, inside], windows.flatten(3).median(3).values)
    assert set(radii) == {0, 1, 2}


def test_jpeg_is_as_far_off_as_pillows_of_that_quality():
    before = scenes()
    after = jpeg(before, seeded(16), 10)
    for i, (image, made) in enumerate(zip(arrays(before), arrays(after), strict=True)):
        quality = 100 - whole_up_to(90, len(before), seeded(16))[i]
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        theirs, ours = (np.asarray(one, dtype=float) - image for one in (Image.open(file), made))
        assert np.abs(ours).mean() == pytest.approx(np.abs(theirs).mean(), rel=0.05, abs=0.1)


# ---------------------------------------------------------------- names


def test_names():
    assert augmentations("none") == []
    assert augmentations("basic") == [shift, mirror]
    assert augmentations("basic", mirror_ok=False) == [shift]
    assert augmentations("mirror, shift") == [mirror, shift]
    assert augmentations("flip,crop") == [mirror, crop]
    assert augmentations("basic,mirror") == [shift, mirror, mirror]
    nearer, mirrored = augmentations("basic:0.0625")
    assert mirrored is mirror
    assert torch.equal(nearer(pictures(), seeded(1)), shift(pictures(), seeded(1), 0.0625))
    assert not torch.equal(nearer(pictures(), seeded(1)), shift(pictures(), seeded(1)))
    with pytest.raises(UnknownName, match="'shift'"):
        augmentations("shfit")
    for names in ("none,shift", "shift, none", "none:0.5"):
        with pytest.raises(SettingError, match=f"augment='{names}': 'none' stands alone"):
            augmentations(names)
    with pytest.raises(SettingError, match="changes its label: leave mirror out, or take 'basic'"):
        augmentations("flip", mirror_ok=False)


def test_a_strength_stands_after_a_colon():
    before = scenes()
    (weak,) = augmentations("noise: 0.01")
    assert torch.equal(weak(before, seeded(1)), noise(before, seeded(1), 0.01))
    assert Recipe(model="ultralight", augment="flip,crop,noise:0.05").augment == "flip,crop,noise:0.05"


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("noise:2", "standard deviation, part of white, from 0 to 1, usually 0.1, not '2'"),
        ("noise:-0.1", "from 0 to 1"),
        ("noise:much", "not 'much'"),
        ("noise:nan", "not 'nan'"),
        ("noise:", "not ''"),
        ("blur:1.5", "a whole number from 0 to 7"),
        ("jpeg:0", "lowest quality, a whole number from 1 to 100"),
        ("mirror:0.5", "mirror has no strength"),
        ("crop,mixup", "mix='mixup'"),
    ],
)
def test_a_bad_strength_is_told_with_unit_and_range(names, wanted):
    with pytest.raises(SettingError, match=wanted):
        Recipe(model="ultralight", augment=names)


def test_the_autoencoder_is_no_change_of_a_batch_but_a_part():
    assert augmentations("mirror,autoencoder:0.25") == [mirror]
    assert remade_part("mirror,autoencoder:0.25") == 0.25
    assert remade_part("autoencoder") == 0.5
    assert remade_part("basic") == remade_part("none") == 0


# ---------------------------------------------------------------- the sheet


def test_the_contact_sheet_shows_each_image_as_it_is_and_changed(photos, tmp_path):
    from scrimp.images import find_images

    images = find_images(photos)
    path = write_contact_sheet(images, tmp_path / "sheet.png", names=["mirror", "posterise:7"], image_px=112)
    sheet = np.asarray(Image.open(path))
    cells = [[sheet[34 + 116 * y : 146 + 116 * y, 190 + 116 * x : 302 + 116 * x] for x in range(8)] for y in range(3)]
    for x in range(8):
        plain, mirrored, flat = (cells[y][x] for y in range(3))
        assert np.array_equal(mirrored, plain) or np.array_equal(mirrored, plain[:, ::-1])
        assert len(np.unique(flat)) <= 256
        assert plain.std() > 0
    colours = {int(cells[0][x].reshape(-1, 3).mean(0).argmax()) for x in (0, 2, 4)}
    assert len(colours) == 3, "one image of each class first"
    again = write_contact_sheet(images, tmp_path / "again.png", names=["mirror", "posterise:7"], image_px=112)
    assert again.read_bytes() == path.read_bytes()


def test_the_contact_sheet_mirrors_nothing_that_must_not_be(tmp_path):
    from scrimp.images import find_images

    digits = find_images("digits", per_class=2)
    path = write_contact_sheet(digits, tmp_path / "sheet.png", image_px=8)
    rows = (np.asarray(Image.open(path)).shape[0] - 34) // 116
    assert rows == 1 + len(AUGMENTATIONS) - 2 + 2, "as it is; all but the mirror and the autoencoder; mixup and cutmix"
    with pytest.raises(SettingError, match="leave mirror out"):
        write_contact_sheet(digits, tmp_path / "sheet.png", names=["mirror"], image_px=8)
