import io
from collections import OrderedDict

import pytest
import torch
from torch import nn

from scrimp.errors import ImageError
from scrimp.models import Classifier, build
from scrimp.training.averaging import Average, reestimate_batch_norm


def small(value=0.0):
    """Every weight and every statistic of batch norm is `value`."""
    return fill(build("ultralight", classes=3, image_px=32, pretrained=False), value)


def fill(model, value, batches=0):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.fill_(value)
        if "num_batches" in name:
            buffer.fill_(batches)
    return model


def value_of(average):
    values = {
        number
        for name, tensor in average.weights().items()
        for number in tensor.unique().tolist()
        if "body" in name and "num_batches" not in name
    }
    assert len(values) == 1
    return values.pop()


def test_exponential_average_by_hand():
    model = small(0.0)
    average = Average(model, "ema", 0.2)
    assert value_of(average) == 0
    expected = 0.0
    # Of the old stays a tenth at first, then two elevenths, and from the third time on (not 3/12) the fifth asked for.
    for value, stays in ((1.0, 0.1), (2.0, 2 / 11), (5.0, 0.2), (0.0, 0.2)):
        average.update(fill(model, value))
        expected = stays * expected + (1 - stays) * value
        assert value_of(average) == pytest.approx(expected)
    assert average.updates == 4


def test_plain_mean_by_hand_has_nothing_of_the_start():
    model = small(7.0)
    average = Average(model, "swa", 0.99)
    for value, mean in ((1.0, 1.0), (2.0, 1.5), (6.0, 3.0)):
        average.update(fill(model, value))
        assert value_of(average) == pytest.approx(mean)


@pytest.mark.parametrize("how", ["ema", "swa"])
def test_counts_are_copied_and_constants_stay(how):
    model = small()
    average = Average(model, how, 0.99)
    for batches in (3, 11):
        average.update(fill(model, 1.0, batches))
    weights = average.weights()
    assert {int(value) for name, value in weights.items() if "num_batches" in name} == {11}
    assert torch.equal(weights["mean"], model.mean)
    assert weights.keys() == model.state_dict().keys()
    model.load_state_dict(weights)


def test_the_average_lives_apart_from_the_model():
    model = small(1.0)
    average = Average(model, "ema", 0.99)
    fill(model, 5.0)
    assert value_of(average) == 1.0
    average.update(model)
    fill(model, 9.0)
    assert value_of(average) == pytest.approx(4.6)


@pytest.mark.parametrize("how", ["ema", "swa"])
def test_a_saved_average_goes_on_to_the_bit(how):
    def noise(number):
        return build("ultralight", classes=3, image_px=32, pretrained=False, seed=number)

    average = Average(noise(0), how, 0.9)
    for number in (1, 2):
        average.update(noise(number))
    file = io.BytesIO()
    torch.save(average.state_dict(), file)
    later = Average(noise(7), how, 0.9)
    file.seek(0)
    later.load_state_dict(torch.load(file, weights_only=True))
    for number in (3, 4):
        average.update(noise(number))
        later.update(noise(number))
    assert later.updates == 4
    assert all(torch.equal(value, later.weights()[name]) for name, value in average.weights().items())


def normed(dropout=0.0):
    layers = OrderedDict(
        drop=nn.Dropout(dropout), norm=nn.BatchNorm2d(3, momentum=0.3), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()
    )
    body = nn.Sequential(layers | {"head": nn.Linear(3, 2)})
    return Classifier(body, name="normed", head="head", mean=(0, 0, 0), std=(1, 1, 1))


def pixels(seed, n=4):
    return torch.randint(0, 256, (n, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_batch_norm_learns_the_plain_mean_over_batches():
    model = normed(dropout=0.5)
    norm = model.body.norm
    norm.running_mean.fill_(9.0)
    norm.num_batches_tracked.fill_(7)
    model.train()
    model.body.head.eval()
    weights = [parameter.clone() for parameter in model.parameters()]
    reestimate_batch_norm(model, (pixels(seed) for seed in range(3)))
    seen = [pixels(seed).double().div(255).transpose(0, 1).flatten(1) for seed in range(3)]  # without dropout
    assert torch.allclose(norm.running_mean.double(), sum(each.mean(1) for each in seen) / 3, atol=1e-6)
    assert torch.allclose(norm.running_var.double(), sum(each.var(1) for each in seen) / 3, atol=1e-6)
    assert norm.momentum == 0.3
    assert (model.training, norm.training, model.body.drop.training, model.body.head.training) == (True,) * 3 + (False,)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_modes_and_momenta_come_back_after_a_failure_too():
    model = normed().eval()
    with pytest.raises(RuntimeError):
        reestimate_batch_norm(model, [torch.zeros(2, 7, 5, 5)])
    assert model.body.norm.momentum == 0.3
    assert not any(module.training for module in model.modules())


def test_no_images_no_statistics():
    model = normed()
    model.body.norm.running_mean.fill_(9.0)
    with pytest.raises(ImageError, match="from no images at all"):
        reestimate_batch_norm(model, [])
    assert (model.body.norm.running_mean == 9).all()


def test_without_batch_norm_no_image_is_asked_for():
    drawn = (pytest.fail("an image was drawn") for _ in range(1))
    reestimate_batch_norm(build("simple_cnn", classes=2, image_px=16, pretrained=False), drawn)
