"""The network for small images: its first layer whitens, its convolutions begin as the identity."""

import pytest
import torch
from torch import nn

from scrimp.models import build
from scrimp.models.fast_cnn import Whitening


def correlated(n=64, px=17):
    """Smooth images, whose neighbouring pixels and colours go together, as those of photos do."""
    noise = torch.randn(n, 3, px + 6, px + 6, generator=torch.Generator().manual_seed(0))
    grey = noise.mean(1, keepdim=True)
    return nn.functional.avg_pool2d(3 * grey + 0.3 * noise, 7, stride=1) * 40


def test_whitened_patches_are_uncorrelated_and_of_variance_one():
    layer, images = Whitening(), correlated()
    layer.fit(images, least=0.0)
    maps = layer(images).detach()[:, :12].transpose(0, 1).flatten(1)
    second_moments = maps @ maps.T / maps.shape[1]
    assert torch.allclose(second_moments, torch.eye(12), atol=1e-2)
    assert torch.equal(layer.weight[12:], -layer.weight[:12])


def test_what_hardly_varies_is_not_blown_up():
    layer = Whitening()
    layer.fit(torch.full((4, 3, 8, 8), 0.5) + 1e-4 * torch.randn(4, 3, 8, 8))
    assert layer.weight.abs().max() < 1 / 5e-4**0.5 + 1


def test_large_images_are_averaged_down_before_they_are_whitened():
    layer, images = Whitening(shrinks=3), correlated(px=45)
    layer.fit(images, least=0.0)
    by_hand = Whitening()
    by_hand.fit(nn.functional.avg_pool2d(images, 3), least=0.0)
    assert torch.allclose(layer.weight.abs(), by_hand.weight.abs())
    assert layer(images).shape == (64, 24, 14, 14)


def test_the_whitening_does_not_learn_but_its_offsets_do():
    model = build("fast_cnn", classes=4, image_px=32)
    learning = {name for name, _ in model.named_parameters()}
    assert "body.layers.0.bias" in learning
    assert "body.layers.0.weight" not in learning
    assert "body.layers.0.weight" in model.state_dict()


def test_convolutions_begin_as_the_identity():
    convolution = build("fast_cnn", classes=4, image_px=32).body.layers[6]
    maps = torch.randn(2, 64, 5, 5)
    assert torch.allclose(convolution(maps)[:, :64], maps, atol=1e-6)


@pytest.mark.parametrize("px", [16, 24, 32, 49, 100, 224])
def test_any_size_goes_through(px):
    model = build("fast_cnn", classes=4, image_px=px).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, px, px, dtype=torch.uint8)).shape == (2, 4)
