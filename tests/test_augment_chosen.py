"""TrivialAugment and RandAugment, each change beside torchvision's."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment, TrivialAugmentWide
from torchvision.transforms.v2 import functional as F

from scrimp.augment.chosen import KINDS, WIDE, changed, rand, trivial, usual


def photo(side=48):
    """Smooth colours with some edges."""
    y, x = np.mgrid[:side, :side] / side
    image = np.stack([255 * x, 127 * (1 + np.sin(9 * y)), 200 * (x * y > 0.2) + 20 * x], -1)
    return image.astype(np.uint8)


def affine(image, **changes):
    usual = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    return F.affine(image, **usual | changes, interpolation=InterpolationMode.NEAREST)


THEIRS = {
    "same": lambda image, m: image,
    "shear-x": lambda image, m: affine(image, shear=[math.degrees(math.atan(m)), 0.0], center=[0, 0]),
    "shear-y": lambda image, m: affine(image, shear=[0.0, math.degrees(math.atan(m))], center=[0, 0]),
    "translate-x": lambda image, m: affine(image, translate=[int(m), 0]),
    "translate-y": lambda image, m: affine(image, translate=[0, int(m)]),
    "rotate": lambda image, m: F.rotate(image, angle=m),
    "brightness": lambda image, m: F.adjust_brightness(image, 1 + m),
    "colour": lambda image, m: F.adjust_saturation(image, 1 + m),
    "contrast": lambda image, m: F.adjust_contrast(image, 1 + m),
    "sharpness": lambda image, m: F.adjust_sharpness(image, 1 + m),
    "posterise": lambda image, m: F.posterize(image, 8 - round(m)),
    "solarise": lambda image, m: F.solarize(image, 255 * (1 - m)),
    "autocontrast": lambda image, m: F.autocontrast(image),
    "equalise": lambda image, m: F.equalize(image),
}


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("part", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", KINDS)
def test_each_change_is_that_of_torchvision(name, part, negative):
    image = photo()
    one_way = name in ("posterise", "solarise", "autocontrast", "equalise")
    strength = WIDE.get(name, 0.0) * part * (-1 if negative and not one_way else 1)
    ours = changed(image, name, WIDE, part, negative)
    theirs = THEIRS[name](torch.from_numpy(image).permute(2, 0, 1), strength).permute(1, 2, 0).numpy()
    apart = np.abs(ours.astype(int) - theirs).max(-1)
    assert ours.shape == image.shape
    assert ours.dtype == np.uint8
    if name in ("shear-x", "shear-y", "rotate"):
        assert (apart > 8).mean() < 0.12, "another pixel is the nearest here and there"
    else:
        assert apart.max() <= 2


def test_the_strengths_are_those_of_torchvision():
    theirs = TrivialAugmentWide()._AUGMENTATION_SPACE
    names = {"ShearX": "shear-x", "TranslateY": "translate-y", "Rotate": "rotate", "Color": "colour"}
    for name, ours in names.items():
        tops, signed = theirs[name]
        assert float(tops(31, 48, 48)[-1]) == pytest.approx(WIDE[ours], rel=1e-5)
        assert signed
    assert len(theirs) == len(KINDS)
    space = RandAugment()._AUGMENTATION_SPACE
    for name, ours in names.items():
        assert float(space[name][0](31, 48, 48)[-1]) == pytest.approx(usual(48)[ours], rel=1e-5)


@pytest.mark.parametrize("augment", [trivial, rand])
def test_every_kind_is_drawn(augment, monkeypatch):
    drawn = []
    for name in KINDS:
        monkeypatch.setitem(KINDS, name, lambda image, strength, name=name: drawn.append((name, strength)) or image)
    augment(torch.zeros(400, 3, 8, 8, dtype=torch.uint8), torch.Generator().manual_seed(0))
    assert {name for name, _ in drawn} == set(KINDS)
    slopes = [strength for name, strength in drawn if name == "shear-x"]
    assert min(slopes) < 0 < max(slopes)
    assert all(strength >= 0 for name, strength in drawn if name == "posterise")


def test_an_image_of_one_colour_stays_one():
    flat = np.full((8, 8, 3), 77, np.uint8)
    for name in ("autocontrast", "equalise", "sharpness", "colour", "contrast"):
        assert (changed(flat, name, WIDE, 0.5, False) == 77).all(), name
