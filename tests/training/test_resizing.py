import numpy as np
import pytest
import torch
from PIL import Image

from scrimp.training import Recipe
from scrimp.training.resizing import px_at, resized


def sides(start, end, full, points):
    recipe = Recipe(model="simple_cnn", px_start=start, px_end=end)
    return [px_at(point, recipe, full) for point in points]


def test_sides_grow_to_the_last_size_and_stay_by_hand():
    # 112, 112 + 112/2 = 168, 224 at 70 % of the run.
    assert sides(0.5, 1.0, 224, (0, 0.35, 0.7, 0.9, 1)) == [112, 168, 224, 224, 224]
    # 96 + 48 * 0.5 = 120; 0.8 * 192 = 153.6 is nearest to 152.
    assert sides(0.5, 0.75, 192, (0, 0.35, 0.7, 1)) == [96, 120, 144, 144]
    assert sides(0.8, 0.8, 192, (0, 1)) == [152, 152]
    # Below 64 by fours: 24, 28 for 27.2, 32.
    assert sides(0.75, 1.0, 32, (0, 0.28, 0.7, 1)) == [24, 28, 32, 32]


def test_the_whole_side_is_the_whole_side_whatever_it_is():
    assert set(sides(1.0, 1.0, 225, [i / 10 for i in range(11)])) == {225}
    assert sides(0.5, 1.0, 50, (0.7, 1)) == [50, 50]
    assert sides(0.01, 0.01, 20, (0, 1)) == [4, 4]
    assert sides(0.9, 0.9, 3, (0,)) == [3]


@pytest.mark.parametrize("full", [3, 28, 32, 64, 65, 70, 96, 100, 224, 225])
@pytest.mark.parametrize(("start", "end"), [(0.1, 1.0), (0.5, 1.0), (0.3, 0.9), (0.99, 1.0)])
def test_sides_never_shrink_nor_pass_the_whole(full, start, end):
    grown = sides(start, end, full, [i / 500 for i in range(501)])
    assert grown == sorted(grown)
    assert all(0 < side <= full for side in grown)
    assert all(side % (8 if side > 64 else 4) == 0 for side in grown if side != full)


def photos(n=3, height=60, width=60, seed=0):
    """Smooth colours with edges and noise, channels last."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = 120 + 80 * np.sin(rows / 7)[..., None] * np.cos(columns / 5)[..., None] + 40 * (columns > 30)[..., None]
    noise = generator.integers(-15, 16, (n, height, width, 3))
    return torch.from_numpy(np.clip(image + noise, 0, 255).astype(np.uint8)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("px", [12, 24, 40, 56, 96])
def test_resizing_is_that_of_pillow(px):
    for before, after in zip(photos(), resized(photos(), px), strict=True):
        image = Image.fromarray(before.permute(1, 2, 0).numpy())
        expected = np.asarray(image.resize((px, px), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(after.permute(1, 2, 0).numpy() - expected).max() <= 1


def test_fine_stripes_become_grey_and_not_coarse_stripes():
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 200
    inner = resized(stripes, 16)[..., 1:-1].int()
    assert (inner - 100).abs().max() <= 2


@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
def test_kind_and_memory_format(form):
    pixels = photos(n=2).contiguous(memory_format=form)
    small = resized(pixels, 32)
    assert (small.shape, small.dtype) == ((2, 3, 32, 32), torch.uint8)
    assert small.is_contiguous(memory_format=form)
    assert resized(pixels, 60) is pixels
    assert resized(photos(n=1, width=40), 60).shape == (1, 3, 60, 60)


def test_each_image_is_resized_for_itself():
    pixels = photos(n=4)
    together = resized(pixels, 36)
    assert torch.equal(together, torch.cat([resized(pixels[i : i + 1], 36) for i in range(4)]))
    assert resized(torch.full((1, 3, 9, 9), 255, dtype=torch.uint8), 4).unique().tolist() == [255]
