import pytest
import torch
from torch import nn

from scrimp.training.sharpness import climbed, same_statistics


def parameter(*values, gradient=None):
    made = nn.Parameter(torch.tensor(values))
    made.grad = None if gradient is None else torch.tensor(gradient)
    return made


def test_weights_climb_along_the_gradient_of_all_of_them_and_come_back():
    # ||(3, 4, 0)|| = 5 over both parameters: 0.5 * (3, 4, 0) / 5 = (0.3, 0.4, 0).
    first, second = parameter(1.0, gradient=[3.0]), parameter(2.0, -1.0, gradient=[4.0, 0.0])
    with climbed([first, second], 0.5):
        assert torch.cat([first, second]).tolist() == pytest.approx([1.3, 2.4, -1.0])
    assert torch.cat([first, second]).tolist() == [1.0, 2.0, -1.0]


def test_one_step_by_hand_on_a_parabola():
    # f(w) = w²: at 3 the gradient is 6, so it climbs to 3.1, where the gradient is 6.2: from 3 by 0.1 * 6.2 to 2.38.
    weight = parameter(3.0)
    optimiser = torch.optim.SGD([weight], lr=0.1)
    (weight**2).sum().backward()
    with climbed([weight], 0.1):
        optimiser.zero_grad(set_to_none=True)
        (weight**2).sum().backward()
    optimiser.step()
    assert weight.item() == pytest.approx(2.38)


def test_they_come_back_to_the_bit_whatever_happens_inside():
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(50, 40, generator=generator) * 10.0**i) for i in range(-6, 6)]
    for weight in weights:
        weight.grad = torch.randn(50, 40, generator=generator)
    before = [weight.detach().clone() for weight in weights]
    with climbed(iter(weights), 0.05):
        assert not torch.equal(weights[0], before[0])
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))
    with pytest.raises(ArithmeticError), climbed(weights, 1e9):
        raise ArithmeticError
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))


def test_what_has_no_gradient_stays_and_a_flat_place_has_no_up():
    frozen, flat = parameter(1.0), parameter(2.0, gradient=[0.0])
    with climbed([frozen, flat], 0.5):
        assert (frozen.item(), flat.item()) == (1.0, 2.0)
    with climbed([frozen], 0.5):
        assert frozen.item() == 1.0


def test_a_gradient_that_is_no_number_shows_inside_and_leaves_no_trace():
    weight = parameter(1.0, 2.0, gradient=[float("nan"), 1.0])
    with climbed([weight], 0.5):
        assert weight.isnan().all()
    assert weight.tolist() == [1.0, 2.0]


def test_a_second_look_at_a_batch_leaves_the_statistics_as_they_are():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, momentum=None))
    images = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    model(images)
    before = [model[i].running_mean.clone() for i in (1, 2)]
    with same_statistics(model):
        again = model(images + 3)
    assert all(torch.equal(model[i].running_mean, before[i - 1]) for i in (1, 2))
    assert again.mean((0, 2, 3)).tolist() == pytest.approx([0.0] * 4, abs=1e-5), "by the batch itself, as in learning"
    assert [model[i].momentum for i in (1, 2)] == [0.1, None]
    model(images + 3)
    assert not torch.equal(model[1].running_mean, before[0])


def test_statistics_survive_what_is_no_number():
    norm = nn.BatchNorm1d(2).train()
    norm(torch.randn(8, 2))
    before = norm.running_mean.clone()
    with same_statistics(norm):
        assert norm(torch.full((8, 2), float("nan"))).isnan().all()
    assert torch.equal(norm.running_mean, before)
    assert norm.track_running_stats
