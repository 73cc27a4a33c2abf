"""The autoencoder: it learns, makes images of its own, and tells what it has not seen."""

from functools import partial

import numpy as np
import pytest
import torch
from make_photos import photo

from scrimp.batches import prepare
from scrimp.images import find_images
from scrimp.images.inspection import inspect_images
from scrimp.models.autoencoder import Autoencoder, draws, fit_autoencoder, strangeness
from scrimp.training import Recipe, remaking, train
from scrimp.training.remaking import Remaker, _of_the_same_class, remade

CPU = torch.device("cpu")


def scenes(n, side=32, first=0):
    return np.stack([np.asarray(photo(first + seed, (side, side))) for seed in range(n)])


def as_batch(arrays):
    return torch.from_numpy(arrays).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def learnt():
    pixels = as_batch(scenes(100))
    return fit_autoencoder(draws(pixels), device=CPU, steps=150)[0]


def blocks(pixels):
    """Every 8 x 8 block, one a row."""
    return pixels.float().unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(-1, 192)


def test_it_makes_images_it_has_not_seen_nearly_as_well_as_principal_components_do(learnt):
    # Of as many numbers for each block, and after half of its steps; plain colours are three times as far off.
    seen, unseen = blocks(as_batch(scenes(100))), as_batch(scenes(20, first=500))
    axes = torch.linalg.svd(seen - seen.mean(0), full_matrices=False).Vh[:16]
    off = blocks(unseen) - seen.mean(0)
    components = (off - off @ axes.T @ axes).square().mean()
    made = learnt.pixels(learnt.encode(unseen), 32, 32)
    assert (made.float() - unseen).square().mean() < 1.4 * components


@pytest.mark.parametrize(("height", "width"), [(32, 32), (30, 17), (8, 8), (5, 41)])
def test_any_size_will_do(height, width):
    model = Autoencoder()
    pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    code = model.encode(pixels)
    assert code.shape == (2, 16, -(-height // 8), -(-width // 8))
    made = model.pixels(code, height, width)
    assert (made.shape, made.dtype) == (pixels.shape, torch.uint8)


def test_the_same_seed_makes_the_same_one_and_time_ends_it():
    pixels = as_batch(scenes(10))
    one, other = (fit_autoencoder(draws(pixels), device=CPU, seed=3, steps=5)[0].state_dict() for _ in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert fit_autoencoder(draws(pixels), device=CPU, at_most_s=1e-6)[1] == 1


def test_partners_are_others_of_the_same_class_wherever_there_are_some():
    labels = torch.tensor([2, 0, 1, 0, 2, 2, 0, 7])
    for seed in range(20):
        dice = torch.rand(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        partner = _of_the_same_class(labels, dice)
        assert sorted(partner.tolist()) == list(range(8))
        assert torch.equal(labels[partner], labels)
        alone = partner == torch.arange(8)
        assert alone.tolist() == [False, False, True, False, False, False, False, True]


def test_a_part_of_the_batch_is_made_anew_and_the_rest_stays(learnt):
    pixels, labels = as_batch(scenes(40)), torch.arange(40) % 2
    before = pixels.clone()
    after = remade(pixels, labels, Remaker(learnt, 0.3), "classify", torch.Generator().manual_seed(0))
    assert torch.equal(pixels, before)
    assert after.is_contiguous(memory_format=torch.channels_last)
    changed = (after != pixels).flatten(1).any(1)
    assert 4 <= changed.sum() <= 20
    away = (after.float() - pixels).abs().mean((1, 2, 3))
    assert away[changed].max() < 60, "still like the image it was made of"


def test_without_a_partner_it_is_the_reconstruction(learnt):
    pixels, labels = as_batch(scenes(4)), torch.arange(4)
    plain = learnt.pixels(learnt.encode(pixels), 32, 32)
    for task in ("classify", "regress"):
        after = remade(pixels, labels, Remaker(learnt, 1.0), task, torch.Generator().manual_seed(0))
        assert (after.int() - plain.int()).abs().max() <= 1


def test_training_with_it_is_told_billed_and_repeatable(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(remaking, "fit_autoencoder", partial(fit_autoencoder, steps=8))
    ready = prepare(find_images(photos), image_px=16)
    recipe = Recipe(model="simple_cnn", epochs=1, batch_size=8, pretrained=False, augment="mirror,autoencoder:0.5")
    one, other = (train(ready, recipe, out=tmp_path / name) for name in "ab")
    assert any("makes 50% of the images" in note for note in one.notes)
    assert one.history[-1].val_loss == other.history[-1].val_loss
    without = train(ready, recipe.but(augment="mirror"), out=tmp_path / "c")
    assert without.history[-1].val_loss != one.history[-1].val_loss


def test_it_learns_from_training_images_alone(photos, monkeypatch):
    seen = []
    real = remaking.batches

    def watched(ready, rows, *arguments, **options):
        seen.append(rows)
        return real(ready, rows, *arguments, **options)

    monkeypatch.setattr(remaking, "batches", watched)
    ready = prepare(find_images(photos), image_px=80)
    pixels = next(remaking._cut_outs(ready, Recipe(model="simple_cnn")))
    assert pixels.shape[2:] == (64, 64)
    assert set(seen[0].tolist()) == set(ready.images.rows("train").tolist())


# ---------------------------------------------------------------- outliers


def odd_ones():
    """A chessboard, letters' worth of hard bars, and noise: nothing like a photograph."""
    y, x = np.mgrid[:32, :32]
    board = np.where((x // 2 + y // 2) % 2, 255, 0)
    bars = np.where(x % 3 == 0, 255, 0)
    dots = np.random.default_rng(0).choice([0, 255], (32, 32))
    return np.stack([np.repeat(each[..., None], 3, 2) for each in (board, bars, dots)]).astype(np.uint8)


def test_what_is_like_nothing_else_is_the_strangest():
    pixels = np.concatenate([scenes(120), odd_ones()])
    errors = strangeness(pixels, np.arange(len(pixels)))
    assert errors.shape == (123,)
    assert set(np.argsort(errors)[-3:]) == {120, 121, 122}
    assert errors[-3:].min() > 2 * errors[:-3].max()


def test_an_inspection_names_them_where_it_is_asked_to(tmp_path):
    from test_inspect import in_memory

    pixels = [*scenes(60), *odd_ones()]
    images = in_memory(list(pixels))
    assert "outlier" not in {fault.kind for fault in inspect_images(images).faults}
    asked = []

    def strange(thumbs, rows):
        asked.append((thumbs.shape, len(rows)))
        errors = np.linspace(0.01, 0.02, len(thumbs), dtype=np.float32)
        errors[-3:] = (5, 9, 7)
        return errors

    found = inspect_images(images, outliers=strange)
    assert asked == [((63, 32, 32, 3), 63)]
    (fault,) = [fault for fault in found.faults if fault.kind == "outlier"]
    assert [flagged.image.key for flagged in fault.images] == ["0061", "0062", "0060"], "the strangest first"
    assert any(finding.kind == "outlier" and "'0061'" in finding.text for finding in found.findings)


def test_equal_errors_make_no_outlier():
    from test_inspect import in_memory

    found = inspect_images(in_memory(list(scenes(8))), outliers=lambda thumbs, rows: np.ones(8, np.float32))
    assert [fault.images for fault in found.faults if fault.kind == "outlier"] == [()]
