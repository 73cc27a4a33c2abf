"""A whole fit is played here with a fake clock and made-up learning curves, so that every decision is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from make_runs import make_run

from scrimp import fitting as room
from scrimp.batches import prepare
from scrimp.errors import BudgetError, SettingError, TrainingError
from scrimp.fitting import Budget, fit
from scrimp.images import find_images
from scrimp.models import MODELS
from scrimp.training import Epoch
from scrimp.training.weigh import Weight


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10min", 600), ("10 m", 600), ("1.5h", 5400), ("0.5h", 1800), ("30sec", 30)],
)
def test_budgets_as_people_write_them(text, seconds):
    assert Budget.parse(text).in_seconds() == seconds


def test_money_becomes_seconds_at_a_rate():
    assert Budget.parse("$0.50").in_seconds(usd_per_hour=0.25) == 7200
    assert Budget(minutes=3, usd=1.0).in_seconds(usd_per_hour=36.0) == 100
    with pytest.raises(SettingError, match="--instance"):
        Budget.parse("$0.50").in_seconds()


@pytest.mark.parametrize("text", ["", "10", "ten minutes", "-5min", "0s", "$", "5 years", "1.2.3s"])
def test_other_budgets_are_refused(text):
    with pytest.raises(SettingError):
        Budget.parse(text)


class Theatre:
    """Stands in for the clock, the models and the training: each model's accuracy is a curve over its seconds."""

    def __init__(self, curves, rates, pause=0.0):
        self.now, self.curves, self.rates, self.pause = 1000.0, curves, rates, pause
        self.calls, self.spent, self.tested = [], dict.fromkeys(curves, 0.0), []

    def perf_counter(self):
        return self.now

    def build(self, name, **kwargs):
        return SimpleNamespace(name=name, load_state_dict=lambda state: None, state_dict=dict)

    def weigh(self, model, ready, recipe, at_most_s):
        self.now += 0.1
        return Weight(self.rates[model.name], self.rates[model.name] / 3)

    def train(self, ready, recipe, *, out, model):
        name = recipe.model
        if self.curves[name] is None:
            raise TrainingError("the loss became nan")
        self.calls.append((name, recipe.max_seconds))
        self.now += recipe.max_seconds + self.pause
        self.spent[name] += recipe.max_seconds
        accuracy = self.curves[name](self.spent[name])
        epoch = Epoch(
            epoch=1, train_loss=1, train_score=0, val_loss=1, val_score=accuracy, seconds=1, lr=0.1
        )  # fmt: skip
        return self.trained(recipe, epoch)

    def trained(self, recipe, epoch):
        from scrimp.cost import Cost
        from scrimp.training import Trained

        return Trained(
            model=self.build(recipe.model), recipe=recipe, ready=None, history=(epoch,), best_epoch=1,
            status="out of time", reason="", notes=(), cost=Cost(seconds=recipe.max_seconds), folder=None,
            peak_memory_mb=None, peak_gpu_memory_mb=None,
        )  # fmt: skip

    def measure(self, trained, *, usd_per_hour, test):
        self.now += 0.5
        if test:
            self.tested.append(trained.recipe.model)
        top = max(epoch.val_score for epoch in trained.history)
        return make_run(model=trained.recipe.model, val=top, test=top if test else None)


@pytest.fixture
def on_stage(photos, monkeypatch, tmp_path):
    images = find_images(photos)
    ready = prepare(images, image_px=16)

    def play(curves, *, budget=100.0, rates=None, pause=0.0):
        theatre = Theatre(curves, rates or dict.fromkeys(curves, 1e-3), pause)
        for name in ("build", "weigh", "train", "measure"):
            monkeypatch.setattr(room, name, getattr(theatre, name))
        monkeypatch.setattr(room, "time", theatre)
        monkeypatch.setattr(room, "_what_can_be_decoded", lambda game, px: images)
        monkeypatch.setattr(room, "prepare", lambda images, image_px: ready)
        chosen = fit(
            images, Budget(seconds=budget), models=list(curves), image_sizes=[16], out=tmp_path, started=theatre.now
        )
        return theatre, chosen

    return play


def rising(top, pace):
    return lambda seconds: top * (1 - math.exp(-seconds / pace))


def test_each_round_keeps_the_better_half_and_the_last_gets_the_rest(on_stage):
    curves = {
        "vgg8": rising(0.70, 1.0),  # quick, but low: ahead in round 1, passed later
        "ultralight": rising(0.95, 10.0),
        "simple_cnn": rising(0.40, 1.0),
        "resnet18": rising(0.90, 40.0),  # too slow to show what it could do
    }
    theatre, chosen = on_stage(curves)
    # By hand: 100 s, less 4 x 0.1 s of weighing, less 4 s to finish and 0.6 s to measure each: 93.2 s to train, all
    # but the looks at val and test. Half of it in two equal rounds: 23.3 s for four, then for two.
    names = [name for name, _ in theatre.calls]
    assert names[:4] == list(curves) or set(names[:4]) == set(curves)
    first = [seconds for _, seconds in theatre.calls[:4]]
    assert first == pytest.approx([93.2 / 4 / 4] * 4, rel=0.01)
    # at 5.8 s: vgg8 0.70, ultralight 0.42, simple_cnn 0.40, resnet18 0.12
    assert set(names[4:6]) == {"vgg8", "ultralight"}
    assert [seconds for _, seconds in theatre.calls[4:6]] == pytest.approx([93.2 / 4 / 2] * 2, rel=0.01)
    # at 17.5 s: ultralight 0.79, vgg8 0.70
    assert names[6:] == ["ultralight"]
    assert theatre.calls[6][1] == pytest.approx(93.2 / 2, rel=0.01)
    assert chosen.winner.runs[0].plan.recipe.model == "ultralight"
    assert sum("stay" in line for line in chosen.story) == 2


def test_only_the_winner_looks_at_test(on_stage):
    theatre, _ = on_stage({"vgg8": rising(0.7, 1), "ultralight": rising(0.9, 1), "simple_cnn": rising(0.3, 1)})
    assert theatre.tested == ["ultralight"]


@pytest.mark.parametrize("budget", [30.0, 60.0, 300.0])
@pytest.mark.parametrize("pause", [0.0, 0.7])
def test_the_budget_is_kept_even_when_every_training_runs_over(on_stage, budget, pause):
    names = ("vgg8", "ultralight", "simple_cnn", "resnet18", "vgg16", "resnet34")
    theatre, _ = on_stage({name: rising(0.5, 9) for name in names}, budget=budget, pause=pause)
    spent = theatre.now - 1000.0
    assert spent <= budget + pause
    assert spent >= budget - 5.0 - 0.02 * budget, "what is kept in reserve is no more than it must be"


def test_more_training_never_makes_it_worse(on_stage):
    fading = {"vgg8": lambda s: 0.8 if s < 30 else 0.2, "simple_cnn": lambda s: 0.3}
    _, chosen = on_stage(fading)
    assert chosen.best.val.top1 == 0.8


def test_one_that_breaks_is_told_and_the_others_go_on(on_stage):
    _, chosen = on_stage({"vgg8": None, "ultralight": rising(0.9, 5)})
    assert chosen.winner.runs[0].plan.recipe.model == "ultralight"
    assert any("vgg8 @ 16 px failed: the loss became nan" in line for line in chosen.story)
    with pytest.raises(TrainingError, match="loss became nan"):
        on_stage({"vgg8": None})


def test_the_slow_are_out_before_a_second_is_trained(on_stage):
    rates = {"vgg8": 1e-3, "ultralight": 1e-3, "resnet152": 10.0}
    theatre, chosen = on_stage(dict.fromkeys(rates, rising(0.5, 1)), rates=rates)
    assert "resnet152" not in {name for name, _ in theatre.calls}
    assert any("resnet152 @ 16 px is out" in line for line in chosen.story)


def test_a_budget_too_small_for_any_says_what_would_do(on_stage):
    # 42 training and 9 + 9 other images at 1 s (learning) and 1/3 s (looking): 42 + 2 x 3 s
    with pytest.raises(BudgetError, match=r"vgg8 @ 16 px, takes 48.0 s .* about 59 s"):
        on_stage({"vgg8": None}, rates={"vgg8": 1.0}, budget=20.0)


def test_small_images_start_from_scratch_and_photos_from_weights():
    assert set(room.FROM_SCRATCH) <= set(MODELS)
    assert set(room.PRETRAINED) <= set(MODELS)
    assert all(MODELS[name].weights for name in room.PRETRAINED)


def test_a_real_fit_of_a_few_seconds(photos, tmp_path):
    chosen = fit(
        find_images(photos), Budget(seconds=30), models=["simple_cnn", "ultralight"], image_sizes=[16], out=tmp_path
    )
    assert chosen.best.val.top1 > 0.8
    assert chosen.best.test is not None
    assert np.isfinite(chosen.bill.seconds)
