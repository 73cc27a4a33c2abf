"""What every entry of the table of models passes by being registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scrimp.errors import SettingError
from scrimp.heat_maps import find_layer, heat_map
from scrimp.models import MODELS, Classifier, ModelCard, build

CLASSES = 7


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Images this small are done before several threads have met."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=MODELS.values(), ids=lambda card: str(card.name))
def card(request: pytest.FixtureRequest) -> ModelCard:
    found = request.param
    assert isinstance(found, ModelCard)
    return found


@pytest.fixture(scope="module")
def shared(card: ModelCard) -> Classifier:
    """Built once for all tests of one card, which pytest runs together; then dropped, since some are large."""
    return build(card.name, classes=CLASSES, image_px=small(card), pretrained=False, seed=3)


@pytest.fixture
def model(shared: Classifier) -> Iterator[Classifier]:
    yield shared.eval()
    shared.zero_grad(set_to_none=True)


@pytest.fixture
def light(card: ModelCard) -> None:
    if card.parameters > 30_000_000:
        pytest.skip("the same code as for its lighter siblings, and half a gigabyte more")


def small(card: ModelCard) -> int:
    return max(card.min_px, 32)


def photos(px: int, count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 3, px, px), generator=torch.Generator().manual_seed(px)).byte()


def test_the_table_has_its_parameters(model: Classifier, card: ModelCard) -> None:
    per_class = sum(parameter[0].numel() for parameter in model.head_parameters())
    built = sum(parameter.numel() for parameter in model.parameters())
    assert built + (1000 - CLASSES) * per_class == card.parameters


def test_scores_every_class_whether_pixels_are_whole_or_floats(model: Classifier, card: ModelCard) -> None:
    pixels = photos(small(card))
    with torch.no_grad():
        logits = model(pixels)
        assert logits.shape == (2, CLASSES)
        assert torch.equal(model(pixels.float()), logits)


def test_normalises_by_itself(model: Classifier, card: ModelCard) -> None:
    pixels = photos(small(card))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    by_hand = ((pixels.permute(0, 2, 3, 1) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model(pixels)
        # Untrained deep nets have scores in the thousands: the error is relative to the largest.
        torch.testing.assert_close(model.body(by_hand), logits, rtol=0, atol=1e-3 * float(logits.abs().max()))


def test_head_ends_in_the_classes(model: Classifier) -> None:
    assert isinstance(model.head, nn.Linear | nn.Conv2d)
    assert len(model.head.weight) == CLASSES


def test_features_are_what_the_head_takes(model: Classifier, card: ModelCard) -> None:
    pixels = photos(small(card), count=3)
    with torch.no_grad():
        features = model.features(pixels)
        assert features.ndim == 2
        assert len(features) == 3
        if isinstance(model.head, nn.Linear):
            torch.testing.assert_close(model.head(features), model(pixels))
        else:
            assert features.shape[1] == model.head.in_channels


def test_freezing_leaves_the_head_to_train(model: Classifier, card: ModelCard) -> None:
    backbone, head = model.backbone_parameters(), model.head_parameters()
    assert len(backbone) + len(head) == len(list(model.parameters()))
    for parameter in backbone:
        parameter.requires_grad_(False)
    model.train()(photos(small(card))).square().sum().backward()
    for parameter in backbone:
        parameter.requires_grad_(True)
    assert all(parameter.grad is None for parameter in backbone)
    assert all(parameter.grad is not None for parameter in head)


def test_trains_down_to_the_first_layer(model: Classifier, card: ModelCard) -> None:
    model.train()(photos(small(card))).square().sum().backward()
    first = model.backbone_parameters()[0].grad
    assert first is not None
    assert first.isfinite().all()
    assert first.abs().sum() > 0


@pytest.mark.usefixtures("light")
def test_seed_decides_everything(model: Classifier, card: ModelCard) -> None:
    before = torch.get_rng_state()
    again = build(card.name, classes=CLASSES, image_px=small(card), pretrained=False, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.usefixtures("light")
def test_state_survives_a_file(model: Classifier, card: ModelCard, tmp_path: Path) -> None:
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = build(card.name, classes=CLASSES, image_px=small(card), pretrained=False, seed=4)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_takes_other_sizes(model: Classifier, card: ModelCard) -> None:
    with torch.no_grad():
        for px in (64, 75):
            assert model(photos(px, count=1)).shape == (1, CLASSES)


def test_shows_where_it_looks(model: Classifier, card: ModelCard) -> None:
    """Whether or not the answer of an untrained model has evidence for a class, it has some for one of them."""
    px = small(card)
    [pixels] = photos(px, count=1).permute(0, 2, 3, 1).numpy()
    assert find_layer(model.eval(), pixels).side >= 4
    heats = [heat_map(model, pixels, number) for number in range(CLASSES)]
    assert all(heat.shape == (px, px) and 0 <= heat.min() <= heat.max() <= 1 for heat in heats)
    assert max(heat.max() for heat in heats) == pytest.approx(1)
    assert max(heat.std() for heat in heats) > 0.01, "not the same everywhere"


def test_smallest_size_is_the_smallest(model: Classifier, card: ModelCard) -> None:
    """Both as told and in fact: one pixel less is refused, and would not have worked."""
    with torch.no_grad():
        assert model.train()(photos(card.min_px)).shape == (2, CLASSES)
        assert model.eval()(photos(card.min_px, count=1)).shape == (1, CLASSES)
    with pytest.raises(SettingError, match=rf"image_px={card.min_px - 1} .*works from {card.min_px}"):
        build(card.name, classes=CLASSES, image_px=card.min_px - 1, pretrained=False)
    if card.min_px > 1:
        with pytest.raises((RuntimeError, ValueError)):
            model.eval()(photos(card.min_px - 1))
