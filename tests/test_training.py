import csv
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scrimp.batches import prepare
from scrimp.errors import TrainingError
from scrimp.images import find_images
from scrimp.models import build
from scrimp.models.saved import load_model
from scrimp.training import Epoch, Recipe, loop, train
from scrimp.training.evaluate import loss_and_merit, predict
from scrimp.training.hardware import precision_for
from scrimp.training.history import to_csv
from scrimp.training.weigh import weigh

QUICK = Recipe(model="simple_cnn", epochs=3, batch_size=8, lr=3e-3)


@pytest.fixture
def ready(photos):
    return prepare(find_images(photos), image_px=16)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_three_colours_are_learnt_and_everything_is_kept(ready, tmp_path):
    trained = train(ready, QUICK, out=tmp_path)
    assert [epoch.epoch for epoch in trained.history] == [1, 2, 3]
    assert trained.history[-1].val_score > 0.9
    assert trained.status == "finished"
    assert trained.cost.seconds > 0
    assert trained.cost.wh is not None
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_accuracy"]) for row in rows] == [epoch.val_score for epoch in trained.history]
    loaded = load_model(tmp_path)
    assert same(loaded.model.state_dict(), trained.model.state_dict())
    assert (loaded.classes, loaded.image_px) == (("blue", "green", "red"), 16)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_best_epoch_on_val_is_the_one_that_is_kept(ready, tmp_path):
    trained = train(ready, QUICK.but(epochs=5, lr=0.03), out=tmp_path)
    best = max(trained.history, key=lambda epoch: (epoch.val_score, -epoch.val_loss))
    assert trained.best_epoch == best.epoch
    rows = ready.images.rows("val")
    labels = torch.from_numpy(ready.images.labels[rows])
    loss, accuracy = loss_and_merit(predict(trained.model, ready, rows), labels, "classify")
    assert (accuracy, loss) == (best.val_score, pytest.approx(best.val_loss, rel=1e-5))


def test_a_recipe_may_keep_the_last_epoch_whatever_val_says(ready, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_merit", lambda epoch: -epoch.epoch)  # each epoch worse than the one before
    assert train(ready, QUICK.but(epochs=3), out=tmp_path / "best").best_epoch == 1
    kept = train(ready, QUICK.but(epochs=3, keep="last"), out=tmp_path / "last")
    assert kept.best_epoch == 3
    rows = ready.images.rows("val")
    outputs, labels = predict(kept.model, ready, rows), torch.from_numpy(ready.images.labels[rows])
    assert loss_and_merit(outputs, labels, "classify")[0] == pytest.approx(kept.history[-1].val_loss, rel=1e-5)


def test_a_second_output_is_trained_around_and_saved(photos, tmp_path):
    ready = prepare(find_images(photos), image_px=32)
    train(ready, QUICK.but(model="vgg8_two", optimiser="adamw", weight_decay=0.1, average="ema"), out=tmp_path)
    model = load_model(tmp_path).model
    pixels = torch.rand(4, 3, 32, 32)
    logits, ones = model.body.both(pixels)
    assert torch.equal(ones, torch.ones(4, 1)), "neither the loss nor weight decay has moved it"
    assert torch.equal(logits, model.body(pixels))
    assert "body.second.bias" in model.state_dict()


def test_a_better_score_counts_for_more_than_a_lower_loss():
    def epoch(score, loss):
        return Epoch(epoch=1, train_loss=1, train_score=None, val_loss=loss, val_score=score, seconds=1, lr=0.1)

    assert loop._merit(epoch(0.9, 2.0)) > loop._merit(epoch(0.8, 1.0))
    assert loop._merit(epoch(0.9, 1.0)) > loop._merit(epoch(0.9, 2.0))


def test_epochs_written_before_there_were_tasks_can_be_read():
    row = {
        "epoch": 1,
        "train_loss": 1,
        "train_accuracy": 0.4,
        "val_loss": 1,
        "val_accuracy": 0.5,
        "seconds": 1,
        "lr": 0,
    }
    assert (Epoch(**row).train_score, Epoch(**row).val_score) == (0.4, 0.5)
    assert to_csv([Epoch(**row)], "classify").splitlines()[0] == ",".join([*row, "val_certainty"])
    assert to_csv([], "regress") == "epoch,train_loss,train_r2,val_loss,val_r2,seconds,lr,val_certainty\n"


def test_the_test_split_is_never_read_while_training(ready, tmp_path, monkeypatch):
    forbidden = set(ready.images.rows("test").tolist())
    real = loop.batches

    def watched(ready, rows, *args, **kwargs):
        assert not forbidden & set(rows.tolist())
        return real(ready, rows, *args, **kwargs)

    monkeypatch.setattr(loop, "batches", watched)
    monkeypatch.setattr("scrimp.training.evaluate.batches", watched)
    train(ready, QUICK.but(max_seconds=30.0), out=tmp_path)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(ready, tmp_path):
    first, again = (train(ready, QUICK, out=tmp_path / name).model for name in "ab")
    other = train(ready, QUICK.but(seed=1), out=tmp_path / "c").model
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_training_leaves_the_random_numbers_of_others_alone(ready, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(ready, QUICK.but(epochs=1), out=tmp_path)
    assert torch.equal(torch.rand(3), expected)


TECHNIQUES = [
    {"optimiser": "adamw"},
    {"optimiser": "sgd"},
    {"optimiser": "adam"},
    {"optimiser": "muon"},
    {"optimiser": "schedule-free", "schedule": "constant", "warmup": 0.2},
    {"schedule": "linear", "warmup": 0.3, "layer_decay": 0.5},
    {"accumulate": 2},
    {"sam": 0.05},
    {"augment": "crop,mirror", "mix": "both"},
    {"mix": "mixup", "label_smoothing": 0.1},
    {"model": "mobilenet_v3_small", "pretrained": False, "dropout": 0.4, "freeze": "backbone", "thaw_at": 0.5},
    {
        "dropout": 0.5,
        "optimiser": "sgd",
        "model": "mobilenet_v3_small",
        "pretrained": False,
        "freeze": "backbone",
        "thaw_at": 0.4,
    },
    {"px_start": 0.5, "px_end": 0.75},
    {"skip_easy": 0.5},
    {"average": "ema", "bn_reestimate": True, "model": "ultralight"},
    {"average": "swa"},
    {"flip_test": True, "fused": False, "channels_last": False},
]


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda technique: ",".join(technique))
def test_a_run_cut_off_after_an_epoch_ends_as_the_unbroken_one(ready, tmp_path, monkeypatch, technique):
    if "model" in technique:
        ready = prepare(ready.images, image_px=32)
    recipe = QUICK.but(**technique)
    unbroken = train(ready, recipe, out=tmp_path / "unbroken")

    class Killed(BaseException):
        """Like a kill: nothing in the package may catch it."""

    real = loop._keep

    def killed_after_two(stage, done, folder, resumable):
        real(stage, done, folder, resumable)
        if len(done.history) == 2:
            raise Killed

    monkeypatch.setattr(loop, "_keep", killed_after_two)
    monkeypatch.setattr(loop, "_CHECKPOINT_PAUSE", 0)
    with pytest.raises(Killed):
        train(ready, recipe, out=tmp_path / "cut")
    monkeypatch.setattr(loop, "_keep", real)
    resumed = train(ready, recipe, out=tmp_path / "cut")
    assert same(weights(resumed.model), weights(unbroken.model))
    assert [e.val_loss for e in resumed.history] == [e.val_loss for e in unbroken.history]
    assert any("Went on after epoch 2" in note for note in resumed.notes)


def test_short_epochs_are_not_spent_on_writing_checkpoints(ready, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(loop.checkpoint, "save", lambda done, folder: written.append(len(done.history)))
    monkeypatch.setattr(loop, "_CHECKPOINT_PAUSE", 1e9)
    train(ready, QUICK.but(epochs=3), out=tmp_path / "seldom")
    assert written == [1]
    monkeypatch.setattr(loop, "_CHECKPOINT_PAUSE", 0)
    train(ready, QUICK.but(epochs=3), out=tmp_path / "often")
    assert written == [1, 1, 2, 3]


def test_a_checkpoint_of_another_recipe_is_not_taken(ready, tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.unlink", lambda *a, **k: None)  # leaves checkpoint.pt behind
    train(ready, QUICK, out=tmp_path)
    trained = train(ready, QUICK.but(lr=1e-3), out=tmp_path)
    assert len(trained.history) == 3
    assert not any("Went on" in note for note in trained.notes)


def test_ctrl_c_leaves_a_usable_model_and_a_checkpoint(ready, tmp_path, monkeypatch):
    real, steps = loop._learn, []

    def interrupted(*step):
        real(*step)
        steps.append(1)
        if len(steps) == 7:  # in the second epoch: 42 images are six batches of at most 8
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_learn", interrupted)
    trained = train(ready, QUICK, out=tmp_path)
    assert (trained.status, len(trained.history)) == ("interrupted", 1)
    assert load_model(tmp_path).classes == ready.images.classes
    monkeypatch.setattr(loop, "_learn", real)
    again = train(ready, QUICK, out=tmp_path)
    assert [e.epoch for e in again.history] == [1, 2, 3]
    assert any("Went on after epoch 1" in note for note in again.notes)
    assert not (tmp_path / "checkpoint.pt").exists(), "the run has come to its end"


def test_ctrl_c_before_there_is_anything_to_keep_is_ctrl_c(ready, tmp_path, monkeypatch):
    def interrupted(*step):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(ready, QUICK, out=tmp_path)


def test_in_the_last_of_four_epochs_infobatch_leaves_nothing_out(ready, tmp_path, monkeypatch):
    real, seen = loop._choose, []

    def watched(stage, rows, part, order):
        chosen = real(stage, rows, part, order)
        seen.append((part, len(rows) - len(chosen)))
        return chosen

    monkeypatch.setattr(loop, "_choose", watched)
    train(ready, QUICK.but(epochs=4, skip_easy=0.9), out=tmp_path)
    assert [part for part, _ in seen] == [0.25, 0.5, 0.75, 1.0]
    assert seen[0][1] == seen[3][1] == 0
    assert min(seen[1][1], seen[2][1]) > 0


def test_ctrl_c_in_the_first_epoch_still_leaves_a_model(ready, tmp_path, monkeypatch):
    real, steps = loop._learn, []

    def interrupted(*step):
        real(*step)
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_learn", interrupted)
    trained = train(ready, QUICK, out=tmp_path)
    assert (trained.status, trained.best_epoch) == ("interrupted", 1)


def test_a_loss_that_is_not_a_number_ends_the_run_with_a_reason(ready, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss became nan in epoch 1 at lr=100, before"):
        train(ready, QUICK.but(optimiser="sgd", lr=100.0, schedule="constant", epochs=5), out=tmp_path)


def test_a_loss_that_fails_later_keeps_the_best_model_so_far(ready, tmp_path, monkeypatch):
    real = loop._learn

    def poisoned(stage, *step):
        real(stage, *step)
        if stage.validated_at:
            stage.loss_sum.fill_(math.nan)

    monkeypatch.setattr(loop, "_learn", poisoned)
    trained = train(ready, QUICK, out=tmp_path)
    assert trained.status == "failed"
    assert "the loss became nan in epoch 2" in trained.reason
    assert load_model(tmp_path).image_px == 16


def test_early_stop_waits_for_its_patience(ready, tmp_path):
    frozen = QUICK.but(epochs=50, lr=1e-12, patience=2, augment="none")
    trained = train(ready, frozen, out=tmp_path)
    assert trained.status == "stopped early"
    assert len(trained.history) < 50
    lowest = min(trained.history, key=lambda epoch: epoch.val_loss).epoch
    assert len(trained.history) - lowest == 2


def test_seconds_end_a_run_and_its_schedule(ready, tmp_path):
    trained = train(ready, QUICK.but(epochs=100_000, max_seconds=1.5), out=tmp_path)
    assert trained.status == "out of time"
    assert trained.cost.seconds < 3
    assert trained.history[-1].lr < 0.5 * QUICK.lr, "the learning rate has come down by the end"
    assert not (tmp_path / "checkpoint.pt").exists()


def test_progress_is_by_steps_or_by_seconds_whichever_is_further():
    def play(spent, limit):
        recipe = QUICK.but(max_seconds=limit)
        return SimpleNamespace(recipe=recipe, watch=SimpleNamespace(seconds=spent), val_seconds=2.0, began=0.0)

    assert loop._part_done(play(5.0, None), 0.3) == 0.3
    assert loop._part_done(play(5.0, 12.0), 0.3) == 0.5
    assert loop._part_done(play(1.0, 12.0), 0.3) == 0.3
    assert loop._part_done(play(99.0, 12.0), 0.3) == 1.0
    assert loop._part_done(play(5.0, 12.0), 0.3, ahead_s=2.0) == 0.7
    late = play(6.0, 12.0)  # the first step came after 4 s: 6 are left from there, of which 2 are behind
    late.began = 4.0
    assert loop._part_done(late, 0.0) == pytest.approx(1 / 3)
    assert loop._time_left(play(5.0, 12.0)) == 5.0
    assert loop._time_left(play(5.0, None)) == math.inf


def test_a_frozen_backbone_does_not_move(ready, tmp_path):
    model = build("mobilenet_v3_small", classes=3, image_px=32, pretrained=False)
    before = weights(model)
    ready = prepare(ready.images, image_px=32)
    recipe = Recipe(model="mobilenet_v3_small", pretrained=False, freeze="backbone", epochs=1, lr=0.1)
    after = weights(train(ready, recipe, out=tmp_path, model=model).model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"body.classifier.3.weight", "body.classifier.3.bias"}


def test_label_smoothing_and_plain_loss_by_hand():
    logits, labels = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([0, 2])
    first = -math.log(math.exp(2) / (math.exp(2) + 2))
    loss, accuracy = loss_and_merit(logits, labels, "classify")
    assert loss == pytest.approx((first + math.log(3)) / 2)
    assert accuracy == 0.5


def test_weighing_puts_the_weights_back(ready):
    model = build("simple_cnn", classes=3, image_px=16, pretrained=False)
    before = weights(model)
    seconds = weigh(model, ready, QUICK, at_most_s=0.05)
    assert same(before, weights(model))
    assert 0 < seconds.eval_s < seconds.train_s * 3


def test_steps_are_weighed_in_the_precision_that_they_are_trained_in(ready):
    model, seen = build("simple_cnn", classes=10, image_px=32, pretrained=False), set()
    model.head.register_forward_hook(lambda module, _, outputs: seen.add((module.training, outputs.dtype)))
    weigh(model, ready, QUICK.but(precision="bfloat16"), at_most_s=0.05)
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}


def test_precision_is_what_the_hardware_has(monkeypatch):
    cpu = torch.device("cpu")
    for flags, expected in ((set(), torch.float32), ({"amx_bf16"}, torch.bfloat16)):
        monkeypatch.setattr("scrimp.training.hardware._cpu_flags", lambda flags=flags: frozenset(flags))
        assert precision_for("auto", cpu)[0] == expected
    assert precision_for("bfloat16", cpu) == (torch.bfloat16, "bfloat16, as asked")


def test_predictions_come_in_the_order_of_the_rows(ready):
    model = build("simple_cnn", classes=3, image_px=16, pretrained=False).eval()
    rows = np.array([7, 3, 50, 3])
    together = predict(model, ready, rows, batch_size=3)
    single = torch.cat([predict(model, ready, rows[i : i + 1]) for i in range(4)])
    assert torch.allclose(together, single, atol=1e-5)
