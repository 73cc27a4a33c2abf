import pytest

from scrimp.training import Epoch, Recipe
from scrimp.training.stopping import why_stop


def recipe(**changes):
    return Recipe(model="simple_cnn", **changes)


def history(val, train=None):
    pairs = enumerate(zip(train or [1.0] * len(val), val, strict=True), start=1)
    return [
        Epoch(epoch=i, train_loss=t, train_score=None, val_loss=v, val_score=0.5, seconds=1, lr=0.1)
        for i, (t, v) in pairs
    ]


def stops_after(val, **changes):
    """The first epoch after which it says so; None when it never does."""
    told = (i for i in range(1, len(val) + 1) if why_stop(history(val[:i]), recipe(**changes)))
    return next(told, None)


def test_it_waits_for_its_patience():
    val = [1.0, 0.8, 0.9, 0.8, 0.7, 0.75, 0.75, 0.75, 0.75]
    assert stops_after(val, patience=1) == 3
    assert stops_after(val, patience=2) == 4  # 0.8 again is no better
    assert stops_after(val, patience=3) == 8
    assert stops_after(val, patience=5) is None
    assert stops_after(val) is None
    assert why_stop([], recipe(patience=1)) == ""


def test_small_gains_do_not_count_but_add_up():
    val = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75]
    assert stops_after(val, patience=2, min_delta=0.08) is None  # 0.9 and 0.8 count
    assert stops_after(val, patience=2, min_delta=0.12) == 3
    assert why_stop(history(val[:3]), recipe(patience=2, min_delta=0.12)) == (
        "validation loss did not fall by more than 0.12 for 2 epochs"
    )
    assert stops_after(val, patience=3, min_delta=0.12) is None


def test_overshooting_is_told_with_its_slopes():
    # Lines through the last three: val 0.5, 0.6, 0.9 rises by 0.2 an epoch; training 1, 0.9, 0.6 falls by 0.2.
    told = why_stop(history([2.0, 0.5, 0.6, 0.9], [3.0, 1.0, 0.9, 0.6]), recipe(patience=2))
    assert told == (
        "validation loss did not fall for 2 epochs; it rose by 0.2 an epoch while training loss fell by 0.2: "
        "training images learnt by heart"
    )


@pytest.mark.parametrize(
    ("val", "train"),
    [([0.5, 0.6, 0.9], [1.0, 1.0, 1.0]), ([0.5, 0.6, 0.9], [0.1, 0.2, 0.3]), ([0.5, 0.5, 0.5], [3.0, 2.0, 1.0])],
    ids=["training stands still", "both rise", "val stands still"],
)
def test_what_is_no_overshoot_is_not_told_as_one(val, train):
    assert why_stop(history(val, train), recipe(patience=2)) == "validation loss did not fall for 2 epochs"


def test_val_alone_decides():
    val = [1.0, 0.8, 0.9, 0.85, 0.95, 0.7]
    for end in range(1, len(val) + 1):
        said = {
            bool(why_stop(history(val[:end], train[:end]), recipe(patience=2)))
            for train in ([1.0, 0.5, 0.3, 0.2, 0.1, 0.0], [0.0, 0.1, 0.2, 0.3, 0.5, 1.0], [float("nan")] * 6)
        }
        assert len(said) == 1


def test_a_loss_that_is_no_number_is_no_gain():
    assert stops_after([1.0, float("nan"), float("nan"), 0.5], patience=2) == 3
    assert stops_after([float("nan")], patience=1) == 1
    assert "for 1 epoch" in why_stop(history([1.0, 2.0]), recipe(patience=1))


def test_an_epoch_before_the_first_has_no_training_loss_to_compare():
    told = "validation loss did not fall for {} epoch{}"
    assert why_stop(history([0.5, 0.6], [None, 1.0]), recipe(patience=1)) == told.format(1, "")
    # Through the last two alone: val rises by 0.3, training falls by 0.5.
    grown = why_stop(history([0.5, 0.6, 0.9], [None, 1.0, 0.5]), recipe(patience=2))
    assert grown.startswith(told.format(2, "s") + "; it rose by 0.3 an epoch while training loss fell by 0.5")
