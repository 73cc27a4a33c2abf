"""Heat maps: against maps worked out by hand, on layers of every form, and that they leave no trace."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from scrimp.errors import ImageError, SettingError
from scrimp.heat_maps import find_layer, heat_map, occlusion_map, overlay
from scrimp.models import Classifier, build

PX = 8


class Turned(nn.Module):
    """Maps with channels last."""

    def forward(self, maps):
        return maps.permute(0, 2, 3, 1)


class Tokens(nn.Module):
    """Maps as tokens, behind as many others."""

    def __init__(self, prefix):
        super().__init__()
        self.prefix = prefix

    def forward(self, maps):
        tokens = maps.flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(1, keepdim=True)] * self.prefix + [tokens], dim=1)


class Mean(nn.Module):
    """The mean over the positions."""

    def __init__(self, dims, skip=0):
        super().__init__()
        self.dims, self.skip = dims, skip

    def forward(self, output):
        return output[:, self.skip :].mean(self.dims)


FORMS = {
    "maps": (nn.Identity(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    "last": (Turned(), Mean((1, 2))),
    "tokens": (Tokens(0), Mean(1)),
    "class token": (Tokens(1), Mean(1, skip=1)),
    "registers": (Tokens(5), Mean(1, skip=5)),
}


def eye(form="maps", sign=1.0):
    """A model whose three classes are the mean red, green and blue, so that its maps are those of the colours."""
    seen, pool = FORMS[form]
    colours = nn.Conv2d(3, 3, 1, bias=False)
    head = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        colours.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
        head.weight.copy_(sign * torch.eye(3))
    body = nn.Sequential(OrderedDict(colours=colours, seen=seen, pool=pool, head=head))
    return Classifier(body, name="eye", head="head", mean=(0, 0, 0), std=(1, 1, 1)).eval()


def picture(px=PX, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (px, px, 3), dtype=np.uint8)


# ---------------------------------------------------------------- what they show


@pytest.mark.parametrize("form", FORMS)
def test_grad_cam_is_the_map_worked_out_by_hand(form):
    pixels = picture()
    for colour in range(3):
        expected = pixels[..., colour] / pixels[..., colour].max()
        np.testing.assert_allclose(heat_map(eye(form), pixels, colour), expected, atol=1e-5)


def test_where_nothing_speaks_for_a_class_there_is_no_heat():
    heat = heat_map(eye(sign=-1.0), picture(), 1)
    assert heat.shape == (PX, PX)
    assert not heat.any()
    assert not occlusion_map(eye(sign=-1.0), picture(), 1).any()


def test_occlusion_is_the_mean_loss_over_the_squares_that_hide_a_pixel():
    pixels, colour, window, step = picture(), 2, 2, 1
    share = pixels[..., colour] / 255 / PX**2
    lost, hidden = np.zeros((PX, PX)), np.zeros((PX, PX))
    for top in range(0, PX - window + 1, step):
        for left in range(0, PX - window + 1, step):
            square = (slice(top, top + window), slice(left, left + window))
            lost[square] += share[square].sum()
            hidden[square] += 1
    expected = lost / hidden
    np.testing.assert_allclose(occlusion_map(eye(), pixels, colour), expected / expected.max(), atol=1e-4)


def test_a_model_that_looks_at_mirror_images_is_explained_by_its_plain_half():
    model, pixels = eye(), picture()
    plain = heat_map(model, pixels, 0)
    model.flips = True
    np.testing.assert_array_equal(heat_map(model, pixels, 0), plain)


def test_a_target_is_explained_by_what_raises_it():
    model = build("simple_cnn", classes=1, image_px=16, pretrained=False).eval()
    before = heat_map(model, picture(16), 0)
    model.set_units(1000.0, 20.0)
    np.testing.assert_array_equal(heat_map(model, picture(16), 0), before)
    assert before.max() == pytest.approx(1)


def test_the_heat_is_laid_over_the_image_and_the_cold_is_left_as_it_is():
    pixels, heat = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4), np.float32)
    heat[1, 2] = 1
    shown = overlay(pixels, heat)
    assert (shown[heat == 0] == 100).all()
    red, green, blue = shown[1, 2].astype(int)
    assert red > 180
    assert green > 180
    assert blue < red


# ---------------------------------------------------------------- the layer


@pytest.mark.parametrize(
    ("name", "px", "path", "side"),
    [
        ("resnet18", 160, "layer4", 5),
        ("mobilenet_v2", 160, "features", 5),
        ("squeezenet1_1", 128, "classifier.0", 7),
        ("simple_cnn", 32, "layers", 8),
        ("ultralight", 64, "layers", 4),
        ("timm:test_vit", 96, "blocks.4", 6),
    ],
)
def test_the_last_layer_that_knows_where_is_found(name, px, path, side):
    model = build(name, classes=3, image_px=px, pretrained=False).eval()
    layer = find_layer(model, picture(px))
    assert (layer.path, layer.side) == (path, side)


def test_a_grid_too_coarse_to_point_is_passed_over():
    model = build("resnet18", classes=3, image_px=64, pretrained=False).eval()
    assert find_layer(model, picture(64)).side == 4, "its last maps have 2 x 2 positions"
    assert find_layer(model, picture(8)).side == 4
    assert find_layer(model, picture(4)).side == 2, "there is nothing finer"


def test_a_model_without_positions_is_refused():
    body = nn.Sequential(OrderedDict(flat=nn.Flatten(), head=nn.Linear(3 * PX * PX, 2)))
    with pytest.raises(SettingError, match="flat has no layer whose output is a grid"):
        heat_map(Classifier(body, name="flat", head="head").eval(), picture(), 0)


def test_what_is_no_square_is_refused():
    with pytest.raises(ImageError, match=r"square pixels .* not \(8, 9, 3\)"):
        heat_map(eye(), np.zeros((8, 9, 3), np.uint8), 0)


def test_nothing_stays_in_the_model():
    model = build("timm:test_vit", classes=3, image_px=96, pretrained=False).eval()
    pixels = picture(96)
    with torch.no_grad():
        before = model(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    heat_map(model, pixels, 1)
    occlusion_map(model, pixels, 1)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        assert torch.equal(model(torch.from_numpy(pixels).permute(2, 0, 1)[None]), before)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_frozen_weights_and_the_callers_mode_do_not_matter(mode):
    model = build("simple_cnn", classes=3, image_px=16, pretrained=False).eval()
    expected = heat_map(model, picture(16), 1)
    model.requires_grad_(False)
    with mode():
        np.testing.assert_array_equal(heat_map(model, picture(16), 1), expected)
