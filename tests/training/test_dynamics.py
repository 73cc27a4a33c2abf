"""What was answered while a model learnt, counted by hand."""

import numpy as np
import pytest
import torch

from scrimp.batches import prepare
from scrimp.images import find_images
from scrimp.training import Recipe, train
from scrimp.training.dynamics import Dynamics

ROWS = np.array([4, 1, 7])


def logits(*answers):
    """Sure of these classes, of three."""
    return 50.0 * torch.eye(3)[list(answers)]


def test_forgetting_is_right_and_then_wrong():
    dynamics = Dynamics(9)
    truth = torch.tensor([0, 1, 2])
    for answers in ((0, 0, 2), (1, 0, 2), (0, 0, 2), (2, 0, 2), (0, 0, 2)):
        dynamics.add(ROWS, logits(*answers), truth)
    assert dynamics.forgetting(ROWS).tolist() == [2, 5, 0]  # never right counts as five times


def test_el2n_is_the_mean_distance_from_the_truth():
    dynamics = Dynamics(9)
    outputs = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0], [3.0, -1.0, 2.0]])
    truth = torch.tensor([0, 1, 2])
    dynamics.add(ROWS, outputs, truth)
    dynamics.add(ROWS, logits(0, 1, 0), truth)
    for place, (scores, label, then) in enumerate(zip(outputs.numpy(), [0, 1, 2], [0, 0, 2**0.5], strict=True)):
        chances = np.exp(scores) / np.exp(scores).sum()
        first = np.linalg.norm(chances - np.eye(3)[label])
        assert dynamics.el2n(ROWS[[place]]).item() == pytest.approx((first + then) / 2, rel=1e-5)
    assert dynamics.el2n(np.array([0])).item() == 0


def test_training_fills_it_and_learns_the_same(photos, tmp_path):
    ready = prepare(find_images(photos), image_px=16)
    recipe = Recipe(model="simple_cnn", pretrained=False, epochs=3)
    dynamics, rows = Dynamics(len(ready.images)), ready.images.rows("train")
    watched = train(ready, recipe, out=tmp_path / "watched", dynamics=dynamics)
    alone = train(ready, recipe, out=tmp_path / "alone")
    assert [epoch.val_loss for epoch in watched.history] == [epoch.val_loss for epoch in alone.history]
    assert dynamics._times[rows].tolist() == [3.0] * len(rows)
    assert not dynamics._times[ready.images.rows("val")].any()
