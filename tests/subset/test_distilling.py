"""The parts that learned images are made by, each against a second route."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from make_spots import spots
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor

from scrimp.errors import ImageError, NotFound, SettingError, TrainingError, UnknownName
from scrimp.images import find_images
from scrimp.subset import Distillation, distill
from scrimp.subset.distilling import learning, ways
from scrimp.subset.distilling.formation import fold, unfold
from scrimp.subset.distilling.kernel import one_hot, ridge_prediction
from scrimp.subset.distilling.network import ConvNet, in_blocks
from scrimp.subset.distilling.pool import seeded
from scrimp.subset.distilling.saving import load_lesson
from scrimp.subset.distilling.siamese import CHANGES, augment
from scrimp.subset.distilling.task import Task
from scrimp.subset.distilling.whitening import fit_space


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path / "cache"))


def squares(n: int, px: int = 8, seed: int = 0) -> Tensor:
    """Noise whose neighbours are alike, uint8 (n, 3, px, px)."""
    noise = torch.randn(n, 3, px + 2, px + 2, generator=seeded(seed))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1)
    return (smooth * 120 + 128).clamp(0, 255).byte()


# ---------------------------------------------------------------- the space


@pytest.mark.parametrize("whitened", [True, False])
def test_there_and_back_again(whitened: bool) -> None:
    pixels = squares(300)
    space = fit_space(pixels, whitened=whitened)
    assert torch.allclose(space.pixels(space.of(pixels)), pixels.float() / 255, atol=1e-4)


def test_whitened_frequencies_vary_as_the_floor_leaves_them() -> None:
    """v / (v + 0.1) of the variance is left along each axis of the colours, by SciPy's own cosines."""
    from scipy.fft import dctn

    pixels = squares(4000)
    space = fit_space(pixels, whitened=True)
    standard = ((pixels.float() / 255 - space.mean) / space.deviation).numpy()
    before = dctn(standard, axes=(2, 3), norm="ortho")[:, :, 2, 3]
    after = dctn(space.of(pixels).numpy(), axes=(2, 3), norm="ortho")[:, :, 2, 3]
    variances = np.linalg.eigvalsh(before.T @ before / len(pixels))
    found = np.linalg.eigvalsh(after.T @ after / len(pixels))
    assert np.allclose(found, variances / (variances + 0.1), atol=1e-3)


# ---------------------------------------------------------------- ridge regression


def test_ridge_regression_as_scikit_learn_has_it() -> None:
    features, others = torch.randn(12, 5, generator=seeded(1)), torch.randn(7, 5, generator=seeded(2))
    labels = one_hot(torch.arange(12) % 3, 3)
    alpha = 0.01 * float((features @ features.T).trace()) / 12
    theirs = KernelRidge(alpha=alpha, kernel="linear").fit(features.numpy(), labels.numpy()).predict(others.numpy())
    ours = ridge_prediction(features, labels, others, ridge=0.01)
    assert np.allclose(ours.numpy(), theirs, atol=1e-4)


def test_labels_sum_to_nothing() -> None:
    labels = one_hot(torch.tensor([0, 2]), 4)
    assert labels.tolist() == [[0.75, -0.25, -0.25, -0.25], [-0.25, -0.25, 0.75, -0.25]]


# ---------------------------------------------------------------- formation and augmentation


def test_four_tiles_of_an_image_in_reading_order() -> None:
    image = torch.zeros(1, 3, 8, 8)
    for number, (top, left) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
        image[:, :, top : top + 4, left : left + 4] = number
    tiles = unfold(image, 2)
    assert tiles.shape == (4, 3, 8, 8)
    assert [float(tile.mean()) for tile in tiles] == [0, 1, 2, 3]
    assert torch.equal(fold(tiles, 2), image)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_does_something_and_passes_gradients(change: object) -> None:
    images = torch.randn(6, 3, 16, 16, generator=seeded(0)).requires_grad_()
    draws = torch.rand(6, 3, generator=seeded(1))
    changed = change(images, draws)  # type: ignore[operator]
    assert changed.shape == images.shape
    assert not torch.allclose(changed, images)
    changed.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_alike_means_every_image_by_the_same_amount() -> None:
    one = torch.randn(1, 3, 16, 16, generator=seeded(0))
    for seed in range(12):
        changed = augment(one.repeat(4, 1, 1, 1), seeded(seed), alike=True, mirror=True)
        assert torch.allclose(changed, changed[:1].expand(4, 3, 16, 16), atol=1e-6)
        again = augment(one.repeat(2, 1, 1, 1), seeded(seed), alike=True, mirror=True)
        assert torch.allclose(again[0], changed[0], atol=1e-6)


def test_what_a_mirror_would_change_is_not_mirrored() -> None:
    left = torch.zeros(400, 3, 16, 16)
    left[:, :, :, :2] = 1  # at the very edge: no other change takes it to the other one
    by = {mirror: [augment(left, seeded(seed), mirror=mirror) for seed in range(60)] for mirror in (True, False)}
    swapped = {mirror: [bool((one[:, :, 8, -1] > 0.9).any()) for one in found] for mirror, found in by.items()}
    assert any(swapped[True])
    assert not any(swapped[False])


def test_blocks_are_one_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scrimp.subset.distilling.network._PIXELS", 3 * 8 * 8)
    network, seen = ConvNet(2, 8, width=4), []
    network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    images = torch.randn(7, 3, 8, 8)
    assert torch.allclose(in_blocks(network, images), network(images), atol=1e-5)
    assert seen == [3, 3, 1, 7]


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize(("px", "norm"), [(8, "instance"), (32, "instance"), (64, "none")])
def test_the_network_ends_at_four_pixels_a_side(px: int, norm: str) -> None:
    network = ConvNet(5, px, width=8, norm=norm)
    images = torch.randn(3, 3, px, px)
    assert network.features(images).shape == (3, 128)
    assert network(images).shape == (3, 5)


def test_the_literatures_network_has_its_parameters() -> None:
    """320,010 with ten classes, as Zhao et al. publish it."""
    assert sum(weight.numel() for weight in ConvNet(10, 32).parameters()) == 320_010


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("method", ["dm", "dsa", "frepo"])
def test_a_killed_learning_goes_on_as_if_it_had_never_been(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distill(spots(), method=method, image_px=8, steps=6)
    monkeypatch.setattr(learning, "_LOOK_EVERY_S", 0.0)
    real, steps = ways.WAYS[method], iter(range(100))

    def dies(*given: object) -> Tensor:
        if next(steps) == 3:
            raise SystemError("killed")
        return real.step(*given)  # type: ignore[arg-type]

    monkeypatch.setitem(ways.WAYS, method, ways.Way(**{**vars(real), "step": dies}))  # type: ignore[arg-type]
    with pytest.raises(SystemError):
        distill(spots(), method=method, image_px=8, steps=6, out=tmp_path / "made")
    assert (tmp_path / "made" / "grid.png").is_file()
    resumed = distill(spots(), method=method, image_px=8, steps=6, out=tmp_path / "made")
    assert next(steps) == 7  # 3 steps before, the one that died, and 3 after
    assert whole.lesson is not None
    assert resumed.lesson is not None
    assert torch.equal(whole.lesson.images, resumed.lesson.images)
    assert torch.equal(whole.lesson.labels, resumed.lesson.labels)


@pytest.mark.parametrize("method", ["real-labels", "dm", "dsa", "frepo"])
def test_a_step_is_on_the_device_of_the_space(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tensors without numbers, which refuse to be mixed with others as those of a GPU do."""
    monkeypatch.setattr(Task, "autocast", lambda _: nullcontext())
    way, pixels = ways.WAYS[method], squares(20)
    task = Task(
        read=lambda rows: pixels[rows].permute(0, 2, 3, 1).numpy(),
        rows=[np.arange(10), np.arange(10, 20)],
        space=fit_space(pixels, whitened=way.whitened).on(torch.device("meta")),
        image_px=8,
        per_class=1,
        formation=2,
        mirror_ok=True,
        precision=torch.float32,
    )
    pool = way.pool(task, way.norm) if way.pool else None
    labels = one_hot(task.first_labels(), 2).requires_grad_(way.label_rate > 0)
    for seed in range(8):  # each draws another change
        images = task.first_images(seeded(seed)).requires_grad_(way.image_rate > 0)
        loss = way.step(task, pool, unfold(images, 2), labels, seeded(seed))
        assert loss.device.type == "meta"


def test_ctrl_c_ends_the_learning_not_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, steps = ways.WAYS["frepo"], iter(range(100))

    def interrupted(*given: object) -> Tensor:
        if next(steps) == 2:
            raise KeyboardInterrupt
        return real.step(*given)  # type: ignore[arg-type]

    monkeypatch.setitem(ways.WAYS, "frepo", ways.Way(**{**vars(real), "step": interrupted}))  # type: ignore[arg-type]
    made = distill(spots(), method="frepo", image_px=8, steps=6)
    assert made.status == "interrupted"
    assert made.steps == 2
    assert "Stopped by Ctrl-C after 2 of 6 steps." in made.notes


def test_seconds_end_it_too() -> None:
    made = distill(spots(), method="frepo", image_px=8, steps=10_000, max_seconds=1.0)
    assert made.steps is not None
    assert made.steps < 10_000
    assert any("were spent after" in note for note in made.notes)


def test_a_loss_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ways.WAYS["frepo"]
    broken = ways.Way(**{**vars(real), "step": lambda *_: torch.tensor(float("nan"))})  # type: ignore[arg-type]
    monkeypatch.setitem(ways.WAYS, "frepo", broken)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="became nan at step 1"):
        distill(spots(), method="frepo", image_px=8, steps=3)


def test_learning_labels_alone_leaves_the_images() -> None:
    made = distill(spots(), method="real-labels", image_px=8, steps=4)
    assert made.lesson is not None
    shown = {item.tobytes() for item in spots().items}  # type: ignore[union-attr]
    assert all(made.items[row].tobytes() in shown for row in made.rows("train"))  # type: ignore[union-attr]
    assert not torch.equal(made.lesson.labels, one_hot(torch.tensor([0, 1]), 2))


def test_k_center_takes_what_is_usual_and_then_what_is_not() -> None:
    images = spots()
    odd = {int(images.rows("train")[labels][-1]) for labels in (slice(0, 6), slice(6, 12))}
    for row in images.rows("train"):
        usual = images.items[int(images.labels[row]) * 6]
        images.items[row][:] = usual if row not in odd else 255 - np.asarray(usual)  # type: ignore[index]
    made = distill(images, method="k-center", per_class=2, image_px=8)
    for label in (0, 1):
        first, second = (made.items[row] for row in made.rows("train") if made.labels[row] == label)
        assert np.array_equal(first, images.items[label * 6])
        assert np.array_equal(second, 255 - np.asarray(images.items[label * 6]))


def test_formation_makes_four_of_half_the_side() -> None:
    made = distill(spots(), method="frepo", image_px=8, formation=2, steps=2)
    rows = made.rows("train")
    assert [made.items[row].shape for row in rows] == [(4, 4, 3)] * 8  # type: ignore[union-attr]
    assert made.lesson is not None
    assert made.lesson.images.shape == (2, 3, 8, 8)
    assert made.lesson.tiles().shape == (8, 3, 8, 8)
    assert made.lesson.bytes == 4 * (2 * 3 * 8 * 8 + 8 * 2)


# ---------------------------------------------------------------- saving


def test_what_is_saved_is_what_was_learned(tmp_path: Path) -> None:
    made = distill(spots(), method="frepo", image_px=8, steps=2, out=tmp_path)
    lesson = load_lesson(tmp_path)
    assert made.lesson is not None
    assert torch.equal(lesson.tiles(), made.lesson.tiles())
    assert torch.equal(lesson.labels, made.lesson.labels)
    facts = json.loads((tmp_path / "distilled.json").read_text())
    assert facts["whole"]
    assert facts["steps"] == 2
    assert facts["cost"]["seconds"] > 0
    assert facts["png_bytes"] == sum(path.stat().st_size for path in (tmp_path / "train").rglob("*.png"))


def test_a_folder_of_other_images_is_not_written_over(tmp_path: Path) -> None:
    distill(spots(), image_px=8, out=tmp_path)
    with pytest.raises(SettingError, match="holds images already"):
        distill(spots(), image_px=8, per_class=2, out=tmp_path)


def test_no_tensors_where_nothing_was_learned(tmp_path: Path) -> None:
    distill(spots(), image_px=8, out=tmp_path)
    with pytest.raises(NotFound, match="only methods that learn write one"):
        load_lesson(tmp_path)
    (tmp_path / "distilled.safetensors").write_bytes(b"something else entirely")
    with pytest.raises(ImageError, match="is not what 'scrimp distill' writes"):
        load_lesson(tmp_path)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "frepo", "image_px": 24}, "learns at 8, 16, 32"),
        ({"method": "real", "formation": 2}, "formation=2 is for methods that learn"),
        ({"method": "mean", "steps": 5}, "steps=5 is for methods that learn"),
        ({"method": "frepo", "formation": 3}, "formation=3 does not divide image_px=32"),
    ],
)
def test_what_contradicts_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Distillation(**given)


def test_a_method_that_is_not_there() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'frepo'"):
        Distillation(method="freppo")


# ---------------------------------------------------------------- trained on one, tested on another


def test_val_and_test_come_from_elsewhere(photos: Path, tmp_path: Path) -> None:
    distill(find_images(photos), image_px=8, out=tmp_path / "made")
    real, found = find_images(photos), find_images(tmp_path / "made", test=photos)
    assert len(found.rows("train")) == len(real.classes)
    assert all(str(found.items[row]).endswith(".png") for row in found.rows("train"))
    for split in ("val", "test"):
        assert [found.items[row] for row in found.rows(split)] == [real.items[row] for row in real.rows(split)]
        assert found.labels[found.rows(split)].tolist() == real.labels[real.rows(split)].tolist()
    assert found.fingerprint != real.fingerprint
    assert found.notes[-1] == f"Val and test come from '{photos}'."


def test_classes_must_agree(photos: Path, tmp_path: Path) -> None:
    distill(find_images(photos), image_px=8, out=tmp_path / "made")
    name = find_images(photos).classes[0]
    (tmp_path / "made" / "train" / name).rename(tmp_path / "made" / "train" / "zebra")
    with pytest.raises(ImageError, match=rf"Only in the first: 'zebra'; only in the second: '{name}'"):
        find_images(tmp_path / "made", test=photos)


def test_folds_are_not_for_them(photos: Path) -> None:
    from scrimp.images import ImageSource

    with pytest.raises(SettingError, match="folds=3 is not for images that are tested on others"):
        ImageSource(source="made", test=str(photos), folds=3)
