"""Whole fits are played here on a bench with a fake clock and made-up learning curves, so every decision is known."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from scrimp.errors import BudgetError, SettingError, TrainingError, WeightsError
from scrimp.fitting import Budget, fit
from scrimp.fitting import candidates as room
from scrimp.fitting.budget import Purse
from scrimp.fitting.candidates import Candidate, recipe_for
from scrimp.fitting.curves import expected, power
from scrimp.fitting.deciding import SHOWN, Game, Tried, Weighed, play
from scrimp.fitting.working import Workbench, some_of, within_labels
from scrimp.images import find_images
from scrimp.models import MODELS
from scrimp.scores import MEASURES

TRAIN, VAL = 100, 20


# ---------------------------------------------------------------- what may be spent


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10min", 600), ("10 m", 600), ("1.5h", 5400), (".5h", 1800), ("30sec", 30)],
)
def test_budgets_as_people_write_them(text, seconds):
    assert Budget.parse(text).in_seconds() == seconds


def test_money_becomes_seconds_at_a_rate():
    assert Budget.parse("$0.50").in_seconds(usd_per_hour=0.25) == 7200
    assert Budget(minutes=3, usd=1.0).in_seconds(usd_per_hour=36.0) == 100
    assert Budget.parse("3min", "$1", max_mb=10).in_seconds(usd_per_hour=36.0) == 100
    with pytest.raises(SettingError, match="--instance"):
        Budget.parse("$0.50").in_seconds()


@pytest.mark.parametrize("text", ["", "10", "ten minutes", "-5min", "0s", "$", "5 years", "1.2.3s", "$0", "0 Wh"])
def test_other_budgets_are_refused(text):
    with pytest.raises(SettingError):
        Budget.parse(text)


def test_two_sums_of_a_kind_are_refused():
    with pytest.raises(SettingError, match="second sum"):
        Budget.parse("90s", "2min")


def test_energy_becomes_seconds_at_the_power_that_is_seen():
    now, wh = [0.0], [0.0]
    purse = Purse(Budget.parse("20 Wh"), began=-10.0, read_wh=lambda: wh[0], clock=lambda: now[0])
    now[0], wh[0] = 36.0, 1.0  # 100 W, and ten seconds before the sensor began
    # By hand: 20 Wh at 100 W are 720 s, of which 36 + 10 are gone.
    assert purse.left() == pytest.approx(720 - 46)
    now[0] = 36.5
    assert purse.left() == pytest.approx(720 - 46.5), "what is spent between two looks at the sensor counts too"
    now[0], wh[0] = 72.0, 1.5  # less power since: it may rise again, so the highest counts
    assert purse.left() == pytest.approx((20 - 1.5) * 36 - 10)


def test_energy_without_a_sensor_is_refused():
    with pytest.raises(SettingError, match="sensor"):
        Purse(Budget(wh=5), began=0.0)


def test_energy_that_the_sensor_does_not_see_is_no_budget(photos, tmp_path):
    with pytest.raises(
        SettingError, match=r"wh=20 is read off this machine's sensor, .*on='ray://head:10001'.* time or"
    ):
        fit(find_images(photos), Budget(wh=20), out=tmp_path, on="ray://head:10001")
    assert not list(tmp_path.iterdir()), "before anything begins"


# ---------------------------------------------------------------- curves


def test_a_curve_goes_on_as_it_went_and_as_is_usual():
    assert expected([(10, 0.6)], 160) == pytest.approx(1 - 0.4 / 2)  # 16 ** 0.25
    # 0.4 to 0.2 over twice the time: a power of 1; half of the way to 0.25: 0.625
    assert power([(10, 0.6), (20, 0.8)]) == pytest.approx(0.625)
    assert power([(10, 0.6), (20, 0.6)]) == pytest.approx(0.125), "no progress: half of what is usual"
    assert power([(10, 0.6), (20, 1.0)]) == pytest.approx(0.625), "no more than a power of 1 is believed"
    assert expected([(10, 0.6), (20, 0.8)], 5) == 0.8, "less time than was spent changes nothing"


# ---------------------------------------------------------------- decisions


class Stage:
    """A bench with a clock of its own; a candidate's accuracy is a curve over the seconds that it has trained.

    curves and heads: by model, or by name with the size. rates: seconds to learn from an image. sure: of the truth,
    by model.
    """

    measure = MEASURES["classify"]

    def __init__(self, budget, curves, *, heads=None, rates=None, mb=None, pause=0.0, slots=1, sure=None):
        self.budget, self.now, self.slots = budget, 0.0, slots
        self.curves, self.heads, self.rates, self.mb, self.pause = curves, heads or {}, rates or {}, mb or {}, pause
        self.sure, self.calls, self.spent_on = sure or {}, [], {}

    def left(self):
        return self.budget - self.now

    def spent(self):
        return self.now

    def side_by_side(self, tasks):
        """As many at a time as there are slots: the clock goes on by the longest of each turn."""
        for first in range(0, len(tasks), self.slots):
            start, ends = self.now, []
            for task in tasks[first : first + self.slots]:
                self.now = start
                task()
                ends.append(self.now)
            self.now = max(ends)

    def to_finish(self, entrants):
        return 2.0 + 0.5 * len(entrants)

    def seconds_for(self, entrant, split):
        return entrant.weighed.train_s * TRAIN if split == "train" else entrant.weighed.eval_s * VAL

    def to_solve(self, entrant):
        return entrant.weighed.eval_s * (TRAIN + VAL)

    def to_pack(self, px):
        return 0.0

    def weigh(self, candidate):
        self.now += 0.1
        if self.curves.get(candidate.model) is None:
            raise WeightsError("its weights are not here")
        rate = self.rates.get(candidate.model, 0.01)
        return Weighed(rate, rate / 3, self.mb.get(candidate.model, 5.0), 100 * rate)

    def solve(self, candidate):
        self.now += 1.0
        self.calls.append(("solve", candidate.name))
        val = self.heads.get(candidate.name, self.heads.get(candidate.model, 0.5))
        return Tried(val, 0.01, self.sure.get(candidate.model, 0.0))

    def train(self, candidate, seconds):
        self.now += seconds + self.pause
        self.calls.append((candidate.name, seconds))
        self.spent_on[candidate] = self.spent_on.get(candidate, 0.0) + seconds
        curve = self.curves[candidate.model]
        val = curve(self.spent_on[candidate]) - (0.2 if candidate.lr_times > 1 else 0.0)
        if val is math.nan or math.isnan(val):
            raise TrainingError("the loss became nan")
        return Tried(val, 0.01, self.sure.get(candidate.model, 0.0))


def rising(top, pace):
    return lambda seconds: top * (1 - math.exp(-seconds / pace))


def played(stage, *, pretrained=False, sizes=(32,), **ceilings):
    game = Game(bench=stage, budget=Budget(seconds=stage.budget, **ceilings))
    play(game, [Candidate(model=m, px=sizes[0], pretrained=pretrained) for m in stage.curves], list(sizes))
    return game


def test_each_round_keeps_the_better_half_and_the_last_gets_the_rest():
    stage = Stage(
        100.0,
        {
            "vgg8": rising(0.70, 1.0),  # quick, but low: ahead in round 1, passed later
            "ultralight": rising(0.95, 8.0),
            "simple_cnn": rising(0.40, 1.0),
            "resnet18": rising(0.90, 40.0),  # too slow to show what it could do
        },
        rates=dict.fromkeys(("vgg8", "ultralight", "simple_cnn", "resnet18"), 0.004),
    )
    game = played(stage)
    # By hand: 100 s less 0.4 s of weighing. Five enter (the leader, the first of equals, at thrice the rate too) and
    # 2 + 5 x 0.5 s are kept to finish: 95.1 s to train, 60 % of it for the last. Three rounds: 95.1 * 0.4 / 3 / 5.
    first = [seconds for _, seconds in stage.calls[:5]]
    assert first == pytest.approx([95.1 * 0.4 / 3 / 5] * 5)
    assert {name for name, _ in stage.calls[:5]} == {*(f"{m} @ 32 px" for m in stage.curves), "vgg8 @ 32 px, lr x 3"}
    # At 2.54 s: vgg8 0.64, its twin 0.44, simple_cnn 0.37, ultralight 0.26, resnet18 0.06: one point each, so that the
    # order is that of now. Three stay; after round 2, at 6.8 s: vgg8 0.70, ultralight 0.54 but rising fast.
    assert {name for name, _ in stage.calls[5:8]} == {"vgg8 @ 32 px", "vgg8 @ 32 px, lr x 3", "simple_cnn @ 32 px"}
    assert stage.calls[-1][0] == "vgg8 @ 32 px"
    assert stage.now == pytest.approx(100 - 4.5), "all but what the finish takes is spent"
    assert game.tried()[0].val == pytest.approx(0.7, abs=0.001)


def test_on_two_machines_two_go_on_to_the_end():
    curves = {
        "vgg8": rising(0.7, 1),
        "ultralight": rising(0.9, 2),
        "simple_cnn": rising(0.4, 1),
        "vgg16": rising(0.1, 9),
    }
    stage = Stage(100.0, curves, slots=2)
    game = played(stage)
    # By hand: 95.1 s to train, as on one machine. Five candidates in three turns, two rounds until two are left.
    assert [seconds for _, seconds in stage.calls[:5]] == pytest.approx([95.1 * 0.4 / 2 / 3] * 5)
    first, second = stage.calls[-2:]
    assert {first[0], second[0]} == {"ultralight @ 32 px", "vgg8 @ 32 px"}
    assert first[1] == second[1] == pytest.approx(0.6 * 95.1), "what two rounds leave"
    assert stage.now == pytest.approx(100 - 4.5), "the clock of the wall counts, not that of each machine"
    assert [one.verdict for one in game.decisions].count("last") == 2


def test_who_rises_is_preferred_to_who_is_ahead():
    stage = Stage(60.0, {"vgg8": lambda s: 0.60, "ultralight": lambda s: 0.55 if s < 9 else 0.9})
    game = played(stage)
    rounds = [one for one in game.decisions if one.verdict == "round"]
    assert len(rounds) == 2
    # Both have two points after round 2; who did not move is expected at 1 - 0.4 x (60 / t) ** -0.125 at most.
    assert stage.calls[-1][0] == "ultralight @ 32 px"


def test_heads_decide_who_is_trained_at_all():
    heads = {"mobilenet_v2": 0.90, "squeezenet1_0": 0.70, "resnet18": 0.88}
    stage = Stage(60.0, {m: rising(0.95, 1) for m in heads}, heads=heads)
    game = played(stage, pretrained=True)
    # squeezenet: half of its errors less is 0.85 and two standard errors of 0.01 are no 0.05.
    trained = {name for name, _ in stage.calls if name != "solve"}
    assert "squeezenet1_0 @ 32 px" not in trained
    assert {"mobilenet_v2 @ 32 px", "resnet18 @ 32 px"} <= trained
    out = next(one for one in game.decisions if one.verdict == "out")
    assert out.candidate == "squeezenet1_0 @ 32 px"
    assert out.evidence["hoped"] == pytest.approx(0.85 + math.hypot(0.01, 0.01))
    assert out.evidence["best"] == 0.90


def test_heads_that_val_cannot_tell_apart_are_told_apart_by_their_certainty():
    heads = {"squeezenet1_0": 0.910, "mobilenet_v2": 0.900, "resnet18": 0.880}
    sure = {"squeezenet1_0": 0.70, "mobilenet_v2": 0.80, "resnet18": 0.95}
    stage = Stage(60.0, {m: lambda _: 0.8 for m in heads}, heads=heads, sure=sure)
    game = played(stage, pretrained=True, sizes=(32, 64))
    # squeezenet and mobilenet are 0.010 apart, sqrt(2) * 0.01 is a standard error of that; resnet18 is further away.
    assert [entrant.name for entrant in game.tried() if " 32 px" in entrant.name and "lr" not in entrant.name] == [
        "mobilenet_v2 @ 32 px",
        "squeezenet1_0 @ 32 px",
        "resnet18 @ 32 px",
    ]
    other_sizes = {name for what, name in stage.calls if what == "solve" and "64 px" in name}
    assert other_sizes == {"mobilenet_v2 @ 64 px", "squeezenet1_0 @ 64 px"}


def test_what_has_no_weights_is_not_judged_by_a_head():
    stage = Stage(80.0, {"mobilenet_v2": rising(0.9, 1), "simple_cnn": rising(0.99, 2)}, heads={"mobilenet_v2": 0.9})
    game = Game(bench=stage, budget=Budget(seconds=80))
    both = [Candidate(model=m, px=32, pretrained=m == "mobilenet_v2") for m in stage.curves]
    play(game, both, [32])
    assert [name for what, name in stage.calls if what == "solve"] == ["mobilenet_v2 @ 32 px"]
    assert game.tried()[0].name == "simple_cnn @ 32 px"


def test_only_the_better_half_is_looked_at_in_other_sizes():
    heads = {"mobilenet_v2": 0.90, "squeezenet1_0": 0.88, "mobilenet_v2 @ 64 px": 0.93}
    stage = Stage(90.0, {m: rising(0.95, 1) for m in ("mobilenet_v2", "squeezenet1_0")}, heads=heads)
    game = played(stage, pretrained=True, sizes=(32, 64))
    solved = [name for what, name in stage.calls if what == "solve"]
    assert solved == ["mobilenet_v2 @ 32 px", "squeezenet1_0 @ 32 px", "mobilenet_v2 @ 64 px"]
    larger = next(e for e in game.entrants + game.dropped if e.candidate.px == 64)
    assert larger.weighed.train_s == pytest.approx(0.04), "four times the pixels"


def test_heads_get_all_the_time_where_the_best_could_not_be_trained_in_it():
    heads = {"mobilenet_v2": 0.90, "squeezenet1_0": 0.80, "mobilenet_v2 @ 64 px": 0.93}
    models, slow = ("mobilenet_v2", "squeezenet1_0"), {"mobilenet_v2": 0.1, "squeezenet1_0": 0.1}
    # By hand: half of 6.8 s may go into heads. Two take 1 s each; the third is expected to take 4 s, of 4.3 s that are
    # left, in which nobody can see every image once, which takes 11.3 s.
    stage = Stage(10.0, {m: rising(0.95, 1) for m in models}, heads=heads, rates=slow)
    assert played(stage, pretrained=True, sizes=(32, 64)).tried()[0].name == "mobilenet_v2 @ 64 px"
    # Where the best one can be trained, that is what the second half is for.
    stage = Stage(20.0, {m: rising(0.95, 1) for m in models}, heads=heads, rates=slow)
    assert "mobilenet_v2 @ 32 px" in [name for name, _ in played(stage, pretrained=True, sizes=(32, 64)).bench.calls]


def test_the_best_head_is_trained_where_there_is_time_for_one_alone():
    heads = {"mobilenet_v2": 0.90, "squeezenet1_0": 0.86}
    # 18.8 s are left to train, 3.8 s each in a first round; to see every image once takes the better one 4.5 s.
    stage = Stage(24.0, {m: rising(0.95, 1) for m in heads}, heads=heads, rates={"mobilenet_v2": 0.04})
    played(stage, pretrained=True)
    assert [name for name, _ in stage.calls if name != "solve"] == ["mobilenet_v2 @ 32 px"]


def test_a_head_is_kept_where_nothing_more_fits():
    stage = Stage(4.5, {"mobilenet_v2": rising(0.9, 1)}, heads={"mobilenet_v2": 0.8})
    game = played(stage, pretrained=True)
    assert [what for what, _ in stage.calls] == ["solve"]
    assert game.tried()[0].val == 0.8
    assert game.decisions[-1].verdict == "stays", "too few seconds are left to train"


@pytest.mark.parametrize("budget", [30.0, 60.0, 300.0])
@pytest.mark.parametrize("pause", [0.0, 0.7])
@pytest.mark.parametrize("pretrained", [False, True])
def test_the_budget_is_kept_even_when_every_training_runs_over(budget, pause, pretrained):
    names = ("vgg8", "ultralight", "simple_cnn", "resnet18", "vgg16", "resnet34")
    stage = Stage(budget, {name: rising(0.5, 9) for name in names}, pause=pause)
    game = played(stage, pretrained=pretrained)
    shown = game.tried()[:SHOWN]
    assert stage.now + stage.to_finish(shown) <= budget + pause
    assert stage.now + stage.to_finish(shown) >= budget - 0.01


def test_more_training_never_makes_it_worse():
    game = played(Stage(100.0, {"vgg8": lambda s: 0.8 if s < 30 else 0.2, "simple_cnn": lambda s: 0.3}))
    assert game.tried()[0].val == 0.8


def test_one_that_breaks_is_told_and_the_others_go_on():
    game = played(Stage(100.0, {"vgg8": lambda s: math.nan, "ultralight": rising(0.9, 5)}))
    assert game.tried()[0].name == "ultralight @ 32 px"
    assert any("vgg8 @ 32 px is out: it failed: the loss became nan" in one.why for one in game.decisions)


def test_whatever_breaks_one_leaves_the_others():
    def refused(seconds):
        raise SettingError("a node said no")

    game = played(Stage(100.0, {"vgg8": refused, "ultralight": rising(0.9, 5)}))
    assert game.tried()[0].name == "ultralight @ 32 px"
    assert any("vgg8 @ 32 px is out: it failed: a node said no" in one.why for one in game.decisions)


def test_the_better_head_that_nothing_can_be_made_of_makes_way_for_one_that_can_be_trained():
    class Quick(Stage):
        def solve(self, candidate):
            self.now -= 0.9
            return super().solve(candidate)

    heads = {"mobilenet_v2": 0.90, "squeezenet1_0": 0.86}
    # 8 s are left to train: to see every image once takes the better one 23 s, the other one 1.1 s.
    stage = Quick(12.0, {m: rising(0.95, 1) for m in heads}, heads=heads, rates={"mobilenet_v2": 0.2})
    game = played(stage, pretrained=True)
    assert [name for name, _ in stage.calls if name != "solve"] == ["squeezenet1_0 @ 32 px"]
    assert {entrant.name for entrant in game.tried()} == {"mobilenet_v2 @ 32 px", "squeezenet1_0 @ 32 px"}


def test_the_other_rate_goes_on_from_the_head_and_not_from_what_the_usual_one_made_of_it(digits_ready, tmp_path):
    purse = Purse(Budget(seconds=60), time.perf_counter())
    bench = Workbench(images=digits_ready.images, purse=purse, out=tmp_path, seed=0)
    usual = Candidate(model="simple_cnn", px=16, pretrained=False)
    bench.solve(usual)
    head = bench.solved[usual].best
    bench.train(usual, 1.0)
    bench.train(replace(usual, lr_times=3.0), 1e-3)
    epochs = {candidate.lr_times: work.trained.history for candidate, work in bench.worked.items()}
    assert epochs[3.0][0] == epochs[1.0][0], "the solved head"
    assert bench.solved[usual].best is head
    assert len(epochs[3.0]) <= 2


def test_pretrained_images_grow_only_as_far_down_as_the_model_works():
    small, large = (recipe_for(Candidate(model="vgg16", px=px, pretrained=True), 100, seed=0) for px in (32, 64))
    assert (small.px_start, large.px_start) == (1.0, 0.75)


def test_without_any_weights_the_reason_is_passed_on():
    with pytest.raises(WeightsError, match="not here"):
        played(Stage(100.0, {"vgg8": None}))


def test_ctrl_c_keeps_what_the_stretch_had_learnt():
    class Stopped(Stage):
        def train(self, candidate, seconds):
            return super().train(candidate, seconds)._replace(stopped=True)

    stage = Stopped(100.0, {"vgg8": rising(0.9, 1)})
    game = Game(bench=stage, budget=Budget(seconds=100))
    with pytest.raises(KeyboardInterrupt):
        play(game, [Candidate(model="vgg8", px=32, pretrained=False)], [32])
    assert len(stage.calls) == 1
    assert game.tried()[0].val > 0.8


def test_the_slow_are_out_before_a_second_is_trained():
    stage = Stage(100.0, dict.fromkeys(("vgg8", "resnet152"), rising(0.5, 1)), rates={"resnet152": 1.0})
    game = played(stage)
    assert "resnet152 @ 32 px" not in {name for name, _ in stage.calls}
    assert any("resnet152 @ 32 px is out" in one.why for one in game.decisions)


def test_a_ceiling_is_checked_before_a_second_is_trained():
    curves = {"vgg8": rising(0.9, 1), "simple_cnn": rising(0.5, 1)}
    stage = Stage(50.0, curves, mb={"vgg8": 30.0})
    game = played(stage, max_mb=10.0)
    assert {name.split(" @")[0] for name, _ in stage.calls} == {"simple_cnn"}
    assert any("30 MB is above the ceiling of 10" in one.why for one in game.decisions)
    # 100 times the rate in ms: 4 ms at 64 px, 1 ms at 32 px, which comes in in its place
    stage = Stage(50.0, {"simple_cnn": rising(0.5, 1)}, rates={"simple_cnn": 0.04})
    game = played(stage, max_ms=2.0, sizes=(64, 32))
    assert {entrant.candidate.px for entrant in game.tried()} == {32}
    # 100 times the rate in ms: 1 ms at 32 px, 4 ms at 64 px
    stage = Stage(50.0, {"simple_cnn": rising(0.5, 1)})
    game = played(stage, max_ms=2.0, sizes=(32, 64))
    assert {entrant.candidate.px for entrant in game.tried()} == {32}
    with pytest.raises(BudgetError, match=r"None of 1 models is within 0.5 ms an image: .* takes 1 ms"):
        played(Stage(50.0, {"simple_cnn": rising(0.5, 1)}), max_ms=0.5)


def test_a_budget_too_small_for_any_says_what_would_do():
    # 100 images at 1 s and 20 at 1/3 s twice: 113.3 s, and 0.1 s of weighing and 2.5 s to finish
    with pytest.raises(BudgetError, match=r"vgg8 @ 32 px, takes 113.3 s .* about 116 s"):
        played(Stage(20.0, {"vgg8": rising(0.9, 1)}, rates={"vgg8": 1.0}))


# ---------------------------------------------------------------- what is used


def test_where_not_all_can_be_tried_those_named_first_are():
    rates = {"fast_cnn": 0.03, "ultralight": 0.01, "resnet18": 0.05, "simple_cnn": 0.01}
    stage = Stage(30.0, {m: rising(0.9, 5) for m in rates}, rates=rates)
    played(stage)
    # fast_cnn takes 15.4 s to see every image five times, of 25.6 s: more than a share of any first round.
    assert [name for name, _ in stage.calls] == ["fast_cnn @ 32 px"]
    stage = Stage(14.0, {m: rising(0.9, 5) for m in rates}, rates=rates)
    played(stage)
    assert {name for name, _ in stage.calls} == {"ultralight @ 32 px"}, "there is no time for fast_cnn at all"


def test_labels_are_shared_between_learning_and_choosing():
    images = find_images("digits")
    fewer = within_labels(images, 100, seed=0)
    counts = {split: len(fewer.rows(split)) for split in ("train", "val", "test")}
    assert counts["train"] + counts["val"] == 100
    assert counts["test"] == len(images.rows("test"))
    share = len(images.rows("val")) / (len(images.rows("val")) + len(images.rows("train")))
    assert counts["val"] == round(100 * share)
    by_class = np.bincount(fewer.labels[fewer.rows("train")])
    assert by_class.max() - by_class.min() <= 1
    assert within_labels(images, 10_000, seed=0) is images
    with pytest.raises(BudgetError, match="fewer than one for each of 10 classes"):
        within_labels(images, 9, seed=0)


def test_some_images_are_in_no_split(digits_ready):
    fewer = some_of(digits_ready, 50, seed=0)
    assert len(fewer.images.rows("train")) == 50
    assert np.array_equal(fewer.images.rows("val"), digits_ready.images.rows("val"))
    assert fewer.images.fingerprint != digits_ready.images.fingerprint
    assert some_of(digits_ready, 5000, seed=0) is digits_ready


@pytest.fixture
def digits_ready():
    from scrimp.batches import prepare

    return prepare(find_images("digits"), image_px=8)


def test_small_images_start_from_scratch_and_photos_from_weights():
    assert set(room.FROM_SCRATCH) <= set(MODELS)
    assert set(room.PRETRAINED) <= set(MODELS)
    assert all(MODELS[name].weights for name in room.PRETRAINED)


# ---------------------------------------------------------------- for real


def test_a_real_fit_of_a_few_seconds(photos, tmp_path):
    from scrimp.meter import load_run

    chosen = fit(
        find_images(photos), Budget(seconds=30), models=["simple_cnn", "ultralight"], image_sizes=[16], out=tmp_path
    )
    assert chosen.best.val.top1 > 0.8
    assert chosen.best.test is not None
    names = {f"{model} @ 16 px{rate}" for model in ("simple_cnn", "ultralight") for rate in ("", ", lr x 3")}
    assert {candidate.name for candidate in chosen.candidates} <= names, "as the story calls them"
    assert np.isfinite(chosen.bill.seconds)
    assert sum(candidate.best_run.test is not None for candidate in chosen.candidates) == 1, "only the winner looks"
    kept = load_run(chosen.best.folder).decisions
    assert [one.why for one in kept] == list(chosen.story)
    assert {"weigh", "promote", "finish"} <= {one.stage for one in kept}


def test_a_sensor_that_is_silent_for_a_moment_ends_nothing():
    now, wh = [0.0], [0.0]
    purse = Purse(Budget.parse("20 Wh"), began=0.0, read_wh=lambda: wh[0], clock=lambda: now[0])
    now[0], wh[0] = 36.0, 1.0
    assert purse.left() == pytest.approx(720 - 36)
    now[0], wh[0] = 72.0, None
    assert purse.left() == pytest.approx(720 - 72), "charged as before"


@pytest.mark.parametrize("wrong", [{"prefer": "fast"}, {"max_mb": -1}, {"max_labels": 1}])
def test_ceilings_that_make_no_sense_are_named(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        Budget.parse("1min", **wrong)
