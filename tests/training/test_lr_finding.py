"""The learning rate finder: what it suggests on curves with a known answer, and that it leaves no trace."""

import json
import math
from dataclasses import asdict
from itertools import chain, combinations, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from make_shapes import make_discs, make_shapes
from PIL import Image
from torch import nn

from scrimp.batches import prepare
from scrimp.images import ImageSource, find_images
from scrimp.models import Classifier, build
from scrimp.subset import select
from scrimp.training import Recipe, find_lr, lr_finding, train
from scrimp.training.lr_finding import longest_descent, range_test, smooth, suggest

RECIPE = Recipe(model="simple_cnn", batch_size=8)
LRS = np.geomspace(1e-6, 1, 60).tolist()


@pytest.fixture
def ready(photos):
    return prepare(find_images(photos), image_px=16)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIMP_CACHE", str(tmp_path_factory.mktemp("digits")))
        return prepare(select(find_images("digits"), keep=600), image_px=16)


@pytest.fixture
def spied(monkeypatch):
    """What the finder made and used: copies of the model, learning rates, rows."""
    seen = SimpleNamespace(models=[], lrs=[], rows=[])
    make, rates, feed = lr_finding.optimiser_for, lr_finding.set_rates, lr_finding.batches

    def optimiser_for(model, recipe, peak, **how):
        seen.models.append(model)
        return make(model, recipe, peak, **how)

    def set_rates(optimiser, lr, momentum):
        seen.lrs.append(lr)
        rates(optimiser, lr, momentum)

    def batches(*args, **options):
        for batch in feed(*args, **options):
            seen.rows.append(batch.rows.tolist())
            yield batch

    monkeypatch.setattr(lr_finding, "optimiser_for", optimiser_for)
    monkeypatch.setattr(lr_finding, "set_rates", set_rates)
    monkeypatch.setattr(lr_finding, "batches", batches)
    return seen


def plain(value):
    """Tensors as their bits, however deep they lie, so that two states can be compared."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def suggested(lrs, losses):
    return suggest(lrs, losses, smooth(losses, len(lrs)))


# ---------------------------------------------------------------- the curve


def test_smoothing_by_hand():
    """Of 20 steps it remembers 3, so that a loss counts 2/3 of the next: (2 + 3 * 2) / 5, (4 + 6 * 2 + 9 * 4) / 19."""
    assert smooth([1.0, 2.0, 4.0], 20) == pytest.approx([1, 8 / 5, 52 / 19])
    assert smooth([5.0] * 9, 60) == pytest.approx([5.0] * 9), "the missing past has no weight"
    assert smooth([], 60) == []


def test_the_longest_descent_is_that_of_brute_force():
    for seed in range(40):
        curve = np.random.default_rng(seed).integers(0, 8, 9).tolist()
        found = longest_descent(curve)
        assert found == sorted(found)
        assert all(curve[a] > curve[b] for a, b in pairwise(found))
        longer = combinations(curve, len(found) + 1)
        assert not any(all(a > b for a, b in pairwise(one)) for one in longer)
    assert longest_descent([]) == []


def test_it_stops_where_the_loss_diverges_or_is_no_number_or_the_time_is_up():
    def play(losses, **options):
        given = iter(losses)
        return range_test(lambda lr: next(given), LRS, **options)

    assert len(play([1.0] * 60)) == 60
    # It remembers 9 steps: the first loss of 100 lifts the average of the ones before it by over a ninth of 99.
    assert play([1.0] * 20 + [100.0] * 40) == [1.0] * 20 + [100.0]
    assert play([1.0, 2.0, math.nan, 1.0]) == [1.0, 2.0]
    assert play([math.inf]) == []
    times = iter([False, False, True])
    assert play([1.0] * 60, time_is_up=lambda: next(times)) == [1.0] * 3


def test_a_valley_with_known_places():
    """Flat, then down by the same amount a step from 20 to 40, then flat: both lie on the slope or soon after it."""
    losses = [3 - 2 * min(1, max(0, (i - 20) / 20)) for i in range(60)]
    found = suggested(LRS, losses)
    assert LRS[20] < found.steepest < LRS[42]
    assert LRS[30] < found.valley < LRS[59]
    assert found.lr == pytest.approx(math.sqrt(found.steepest * found.valley), rel=0.05), "it has two digits"
    for told in (found.lr, found.steepest, found.valley):
        assert f"{told:.2g}" in found.note


def test_noise_is_no_descent():
    """But for 1 in 150 curves, which these 300 may exceed by chance: 2 are expected, 7 are once in 200 suites."""
    noise = (2.3 + np.random.default_rng(seed).normal(0, 0.1, 60) for seed in range(300))
    assert sum(suggested(LRS, losses.tolist()).lr is not None for losses in noise) < 7


def test_a_descent_well_above_its_noise_is_seen():
    slope = np.clip((np.arange(60) - 30) / 15, 0, 1)
    for seed in range(200):
        losses = 2.3 - 0.4 * slope + np.random.default_rng(seed).normal(0, 0.1, 60)
        found = suggested(LRS, losses.tolist())
        assert found.lr is not None, f"seed {seed}"
        assert LRS[25] < found.lr < LRS[55], f"seed {seed}"


@pytest.mark.parametrize(
    "losses", [[], [2.0], [2.0, 9.0], [2.0] * 60, [2.0 + i / 50 for i in range(60)], [2.0 - i / 1e5 for i in range(60)]]
)
def test_curves_without_a_clear_descent_say_so(losses):
    found = suggested(LRS[: len(losses)], losses)
    assert found[:3] == (None, None, None)
    assert found.note.startswith("No clear descent: ")


# ---------------------------------------------------------------- problems with a known answer


@pytest.mark.parametrize("curvature", [0.02, 1.0, 50.0])
def test_gradient_descent_on_a_quadratic(curvature):
    """It is stable up to 2 / curvature: below that, and not far below, is the learning rate to take."""
    weights = np.ones(8)
    curvatures = curvature * np.geomspace(1e-2, 1, 8)

    def learn(lr):
        nonlocal weights
        loss = float(curvatures @ weights**2) / 2
        weights = weights - lr * curvatures * weights
        return loss

    lrs = np.geomspace(1e-4, 1e4, 60).tolist()
    losses = range_test(learn, lrs)
    for lr in suggested(lrs[: len(losses)], losses)[:3]:
        assert 2 / curvature / 30 < lr < 2 / curvature


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_linear_regression_on_images(tmp_path, momentum):
    """Least squares with all images at once. Their Hessian tells up to where Nesterov's momentum is stable:
    (2 + 2m) / (1 + 2m) over its largest eigenvalue (both roots of the recurrence inside the unit circle)."""
    source = ImageSource(source=str(make_discs(tmp_path / "discs", n=60)), task="regress")
    ready = prepare(find_images(source), image_px=8)
    body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1))
    nn.init.zeros_(body[1].weight)
    model = Classifier(body, name="linear", head="1")
    recipe = Recipe(
        model="simple_cnn", optimiser="sgd", momentum=momentum, weight_decay=0, batch_size=999, augment="none"
    )
    found = find_lr(ready, recipe, model=model)

    rows = ready.images.rows("train")
    pixels = np.asarray(ready.pixels[rows]).transpose(0, 3, 1, 2)
    inputs = ((pixels - model.mean.numpy()) / model.std.numpy()).reshape(len(rows), -1)
    inputs = np.hstack([inputs, np.ones((len(rows), 1))])
    curvature = np.linalg.eigvalsh(2 / len(rows) * inputs.T @ inputs)[-1]
    limit = (2 + 2 * momentum) / (1 + 2 * momentum) / curvature
    assert found.lr is not None
    assert limit / 30 < found.lr < limit
    assert limit / 30 < found.steepest < limit
    assert len(found.losses) < 60, "it diverged"


def test_on_digits_it_trains_better_than_a_hundredth_and_a_hundredfold(digits, tmp_path):
    recipe = Recipe(model="simple_cnn", pretrained=False, epochs=2)
    found = find_lr(digits, recipe)
    assert found.lr is not None
    scores = {
        times: train(digits, recipe.but(lr=found.lr * times), out=tmp_path / str(times)).history[-1].val_loss
        for times in (0.01, 1, 100)
    }
    assert scores[1] < 0.5 * min(scores[0.01], scores[100])


def test_images_without_a_signal_have_no_clear_descent(tmp_path):
    for name in ("this", "that"):
        (tmp_path / name).mkdir()
        for number in range(40):
            Image.new("RGB", (16, 16), (120, 120, 120)).save(tmp_path / name / f"{number}.png")
    ready = prepare(find_images(tmp_path), image_px=16)
    found = find_lr(ready, RECIPE.but(batch_size=32))
    assert (found.lr, found.steepest, found.valley) == (None, None, None)
    assert found.note.startswith("No clear descent: ")
    assert len(found.losses) == len(found.smoothed) == len(found.lrs) > 0


# ---------------------------------------------------------------- no trace


def test_model_optimiser_and_random_numbers_are_as_before_to_the_bit(ready):
    model = build("ultralight", classes=3, image_px=16, pretrained=False, dropout=0.5).eval()  # and batch norm
    model.head.train()
    next(iter(model.parameters())).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.rand(4, 3, 16, 16) * 255).sum().backward()
    optimiser.step()

    def state():
        return plain(
            [
                model.state_dict(),
                optimiser.state_dict(),
                [module.training for module in model.modules()],
                [(p.requires_grad, p.data_ptr(), p.grad) for p in model.parameters()],
                torch.get_rng_state(),
                np.random.get_state()[1].tolist(),
            ]
        )

    before = state()
    find_lr(ready, Recipe(model="ultralight", augment="crop,mirror"), model=model)
    assert before == state()


def test_the_same_seed_gives_the_same_curve_and_another_another(ready):
    recipe = RECIPE.but(dropout=0.5)  # which draws from PyTorch's own random numbers
    torch.manual_seed(1)
    first = find_lr(ready, recipe)
    torch.manual_seed(2)
    again, other = find_lr(ready, recipe), find_lr(ready, recipe.but(seed=1))
    assert first.losses == again.losses
    assert first.losses != other.losses


def test_a_model_of_ones_own_is_where_it_starts(ready):
    model = build("simple_cnn", classes=3, image_px=16, pretrained=False, seed=0)
    assert find_lr(ready, RECIPE, model=model).losses == find_lr(ready, RECIPE).losses
    other = build("simple_cnn", classes=3, image_px=16, pretrained=False, seed=7)
    assert find_lr(ready, RECIPE, model=other).losses != find_lr(ready, RECIPE).losses


# ---------------------------------------------------------------- what it obeys


@pytest.mark.parametrize("changes", [{}, {"freeze": "backbone"}, {"freeze": "backbone", "thaw_at": 0.5}])
def test_a_frozen_backbone_stays_frozen_unless_it_is_to_thaw(ready, spied, changes):
    model = build("ultralight", classes=3, image_px=16, pretrained=False)
    model.requires_grad_(False)  # as a caller who has frozen it already
    model.head.requires_grad_(True)
    find_lr(ready, Recipe(model="ultralight", batch_size=8, **changes), model=model)
    before, after = model.state_dict(), spied.models[0].state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    if changes == {"freeze": "backbone"}:
        assert moved == {"body.head.weight", "body.head.bias"}
    else:
        assert moved == before.keys() - {"mean", "std"}, "batch norm's statistics, too"


def test_few_training_images_come_again_in_another_order_and_no_others(ready, spied):
    find_lr(ready, RECIPE)
    train_rows = set(ready.images.rows("train").tolist())
    assert {row for rows in spied.rows for row in rows} == train_rows
    first, second = spied.rows[:6], spied.rows[6:12]  # 42 images are six batches of at most 8
    assert sorted(chain(*first)) == sorted(chain(*second)) == sorted(train_rows)
    assert first != second


def test_under_a_hundred_steps_ever_higher(ready, spied):
    found = find_lr(ready, RECIPE)
    assert len(spied.lrs) < 100
    assert spied.lrs[2:] == list(found.lrs)
    ratios = np.diff(np.log(found.lrs))
    assert ratios == pytest.approx(ratios[0])
    assert ratios[0] > 0


def test_a_batch_in_parts_gives_the_same_curve(ready):
    recipe = RECIPE.but(optimiser="sgd", precision="float32")  # Adam makes much of the rounding of small gradients
    whole, parts = find_lr(ready, recipe), find_lr(ready, recipe.but(accumulate=3))
    assert parts.losses[:40] == pytest.approx(whole.losses[:40], rel=1e-4)
    assert whole.losses[0] > 2 * whole.losses[39], "it learnt"


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw", "muon", "schedule-free"])
def test_every_optimiser_has_one(digits, optimiser):
    schedule = "constant" if optimiser == "schedule-free" else "one-cycle"
    found = find_lr(digits, Recipe(model="ultralight", optimiser=optimiser, schedule=schedule))
    assert found.lr is not None, found.note
    assert 1e-4 < found.lr < 1


@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_other_tasks(tmp_path, task):
    manifest = (make_shapes if task == "multilabel" else make_discs)(tmp_path / task, n=120)
    ready = prepare(find_images(ImageSource(source=str(manifest), task=task)), image_px=16)
    found = find_lr(ready, Recipe(model="ultralight", batch_size=16))
    assert found.lr is not None, found.note
    assert 1e-5 < found.lr < 0.5


# ---------------------------------------------------------------- time, and what is kept


def test_few_seconds_are_few_steps(monkeypatch):
    """By a clock on which every step takes 2 s after a first one of 10."""
    now, taken = 0.0, []

    def learn(lr):
        nonlocal now
        now += 2.0 if taken else 10.0
        taken.append(lr)
        return 1.0

    monkeypatch.setattr(lr_finding, "time", SimpleNamespace(perf_counter=lambda: now))
    for seconds, steps in ((1e9, 60), (12 + 60, 30), (12 + 7, 3), (5, 0), (math.inf, 60)):
        now, taken = 0.0, []
        assert lr_finding._steps_that_fit(learn, 1e-7, lambda left=seconds: left - now) == steps  # noqa: B023
        assert taken == [1e-7, 1e-7]


def test_too_few_seconds_find_nothing_and_say_so(ready, tmp_path):
    found = find_lr(ready, RECIPE, at_most_s=1e-3, out=tmp_path)
    assert (found.lr, found.lrs, found.losses) == (None, (), ())
    assert found.note == "No learning rate was looked for: 0.001 s are fewer than 20 steps."
    assert json.loads((tmp_path / "lr_find.json").read_text())["lr"] is None


def test_thirty_steps_find_about_the_same(digits, monkeypatch):
    recipe = Recipe(model="ultralight")
    whole = find_lr(digits, recipe).lr
    monkeypatch.setattr(lr_finding, "_steps_that_fit", lambda learn, low, time_left: 30)
    few = find_lr(digits, recipe)
    assert len(few.lrs) <= 30
    assert whole is not None
    assert few.lr is not None
    assert 1 / 6 < few.lr / whole < 6


def test_the_file_holds_what_was_found(ready, tmp_path):
    found = find_lr(ready, RECIPE, out=tmp_path / "new")
    kept = json.loads((tmp_path / "new" / "lr_find.json").read_text())
    assert kept == json.loads(json.dumps(asdict(found)))
    assert kept["cost"]["seconds"] > 0
    assert kept["cost"]["wh"] == 1.0, "the sensor counts one at each look"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lr_find.json"]
