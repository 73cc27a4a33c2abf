import io

import pytest
import torch

from scrimp.models import MODELS, Classifier, build
from scrimp.training import Recipe
from scrimp.training.optimiser import blocks_below, optimiser_for, parts_of, set_mode, set_rates

OPTIMISERS = ["sgd", "adam", "adamw", "muon", "schedule-free"]


def recipe(optimiser="adamw", **changes):
    schedule = "constant" if optimiser == "schedule-free" else "one-cycle"
    return Recipe(model="ultralight", optimiser=optimiser, schedule=schedule, **changes)


def small(seed=0):
    return build("ultralight", classes=4, image_px=32, pretrained=False, seed=seed)


def learning(optimiser):
    set_mode(optimiser, learning=True)
    return optimiser


def with_gradients(model, value=None):
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.grad = noise if value is None else torch.full_like(parameter, value)


def copies(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


# ---------------------------------------------------------------- which parameters


def test_biases_and_norms_stand_apart_and_do_not_decay():
    model = small()
    groups = optimiser_for(model, recipe(weight_decay=0.1), 1e-3).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decays == {id(p): 0.1 if p.ndim > 1 else 0.0 for p in model.parameters()}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_without_a_gradient_to_follow_weights_decay_alone_and_norms_not_at_all(name):
    model = small()
    optimiser = learning(optimiser_for(model, recipe(name, weight_decay=0.5), 0.1))
    before = copies(model)
    with_gradients(model, value=0.0)
    optimiser.step()
    for key, now in copies(model).items():
        if now.ndim == 1:
            assert torch.equal(now, before[key])
        elif name in ("adamw", "muon"):  # decoupled: times 1 - lr * decay
            assert torch.allclose(now, before[key] * 0.95, atol=1e-6)
        else:
            assert not torch.equal(now, before[key])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_is_frozen_neither_learns_nor_decays_until_it_is_thawed(name):
    model = small()
    for parameter in model.backbone_parameters():
        parameter.requires_grad_(False)
    optimiser = learning(optimiser_for(model, recipe(name, weight_decay=0.5), 0.1))
    before = copies(model)
    for _ in range(3):
        with_gradients(model)
        optimiser.step()
    moved = {key for key, now in copies(model).items() if not torch.equal(now, before[key])}
    assert moved == {"body.head.weight", "body.head.bias"}
    model.requires_grad_(True)
    with_gradients(model)
    optimiser.step()
    assert not any(torch.equal(now, before[key]) for key, now in copies(model).items())


def test_layers_learn_slower_the_deeper_they_lie():
    model = small()  # five numbered layers with weights, and the head
    optimiser = optimiser_for(model, recipe(layer_decay=0.5), 0.8)
    scales = {id(p): group["lr_scale"] for group in optimiser.param_groups for p in group["params"]}
    by_layer = {}
    for name, parameter in model.named_parameters():
        by_layer.setdefault(name.removeprefix("body.").removeprefix("layers.")[0], set()).add(scales[id(parameter)])
    assert by_layer == {"0": {1 / 32}, "2": {1 / 16}, "4": {1 / 8}, "6": {1 / 4}, "7": {1 / 2}, "h": {1.0}}
    assert sorted({group["lr"] for group in optimiser.param_groups}) == [0.025, 0.05, 0.1, 0.2, 0.4, 0.8]
    before = copies(model)
    with_gradients(model, value=1.0)  # Adam's first step is the learning rate, whatever the gradient
    optimiser.step()
    for name, depth in (("body.layers.0.1.weight", 5), ("body.layers.7.inner.1.1.bias", 1), ("body.head.bias", 0)):
        assert torch.allclose(before[name] - copies(model)[name], torch.tensor(0.8 / 2**depth), rtol=1e-4)


BLOCKS = {
    "mobilenet_v3_small": 1 + 11 + 1 + 1,  # stem, inverted residuals, last convolution, first dense layer
    "mobilenet_v3_large": 1 + 15 + 1 + 1,
    "mnasnet0_5": 3 + 16 + 1,
    "shufflenet_v2_x0_5": 1 + 4 + 8 + 4 + 1,
    "convnext_atto": 1 + 2 + 2 + 6 + 2 + 3,  # and a convolution that halves the maps between two stages
    "mobilenet_v2": 1 + 17 + 1,
    "efficientnet_b0": 1 + 16 + 1,
    "squeezenet1_0": 1 + 8,
    "resnet18": 1 + 8,
    "resnet50": 1 + 16,
    "resnet152": 1 + 50,
    "vgg16": 13 + 2,
    "vgg8": 6 + 1,
    "simple_cnn": 2,
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_its_published_blocks_in_order(name):
    with torch.device("meta"):  # shapes alone
        model = build(name, classes=3, image_px=224, pretrained=False)
    below = blocks_below(model)
    assert list(below) == [key for key, _ in model.named_parameters()]
    highest = max(below.values())
    of_head = {id(parameter) for parameter in model.head_parameters()}
    at_top = {key for key, parameter in model.named_parameters() if id(parameter) in of_head}
    assert {key for key, number in below.items() if number == highest} == at_top
    assert sorted(set(below.values())) == list(range(highest + 1)), "none is empty"
    assert next(iter(below.values())) == 0
    assert highest == BLOCKS.get(name, highest)
    assert 2 <= highest <= 60


# ---------------------------------------------------------------- what a step does


def test_rates_are_set_in_every_group_with_its_scale():
    for name in OPTIMISERS:
        optimiser = optimiser_for(small(), recipe(name, layer_decay=0.5), 1.0)
        set_rates(optimiser, 0.25, 0.85)
        assert {group["lr"] / group["lr_scale"] for group in optimiser.param_groups} == {0.25}
        if name in ("sgd", "muon"):
            assert {group["momentum"] for group in optimiser.param_groups} == {0.85}
        if name != "sgd":
            assert {group["betas"][0] for group in optimiser.param_groups} == {0.85}


def test_sgd_has_nesterovs_momentum():
    model = small()
    optimiser = optimiser_for(model, recipe("sgd", weight_decay=0.0, momentum=0.9), 0.1)
    before = copies(model)
    for _ in range(2):
        with_gradients(model, value=1.0)
        optimiser.step()
    # Velocities 1 and 1.9; each step is lr * (gradient + 0.9 * velocity): 0.19 and 0.271.
    for name, now in copies(model).items():
        assert torch.allclose(before[name] - now, torch.tensor(0.461), atol=1e-5)


def test_muon_moves_matrices_by_about_the_same_along_every_direction():
    model = small()
    optimiser = optimiser_for(model, recipe("muon", weight_decay=0.0), 0.01)
    before = copies(model)
    with_gradients(model)
    gradient = model.get_parameter("body.layers.4.inner.0.weight").grad.flatten(1)
    gradient[0] *= 20
    assert gradient.svd().S.max() / gradient.svd().S.min() > 20
    optimiser.step()
    now = copies(model)
    moves = {name: before[name] - now[name] for name in now}
    conv = moves["body.layers.4.inner.0.weight"].flatten(1)  # 64 x 576
    stretched = conv.svd().S / (0.01 * 0.2 * 576**0.5)
    assert 0.6 < stretched.min() < stretched.max() < 1.3, "Newton-Schulz brings singular values to about 1"
    spared = ("body.head.weight", "body.layers.7.inner.0.0.weight", "body.layers.0.1.bias")  # head, depthwise, norm
    for name in spared:  # by NAdamW, whose first step is as long for every number
        length = moves[name].abs()
        assert length.std() < 1e-4 * length.mean()
        assert 0.002 < length.mean() < 0.02


def test_muon_looks_ahead_as_nesterov_does():
    model = small()
    optimiser = optimiser_for(model, recipe("muon", weight_decay=0.0, momentum=0.9), 0.01)
    weight = model.get_parameter("body.layers.4.inner.0.weight")
    first, second = torch.randn(2, *weight.shape, generator=torch.Generator().manual_seed(3))
    for gradient in (first, second):
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        optimiser.step()

    def likeness(old, new):
        """Of the last step to the nearest orthogonal matrix of a sum of both gradients, from singular vectors."""
        left, _, right = torch.linalg.svd((old * first + new * second).flatten(1), full_matrices=False)
        return torch.cosine_similarity((left @ right).flatten(), (before - weight).flatten(), dim=0)

    # The mean gradient was 0.1 of the first, is 0.09 and 0.1 of both; a step ahead is 0.9 of that, 0.1 of the second.
    assert likeness(0.081, 0.19) > 0.97
    assert likeness(0.09, 0.1) < 0.96


def test_schedule_free_answers_with_the_mean_of_where_it_was():
    model = small()
    optimiser = optimiser_for(model, recipe("schedule-free", weight_decay=0.0), 0.1)
    before = copies(model)
    for _ in range(2):
        set_rates(learning(optimiser), 0.1, 0.9)
        with_gradients(model, value=1.0)
        optimiser.step()
    # Adam's steps of 0.1 lead to 0.1 and 0.2 below the start: 0.15 on average; it learns a tenth nearer to the last.
    for learns, expected in ((True, 0.9 * 0.15 + 0.1 * 0.2), (False, 0.15), (False, 0.15)):
        set_mode(optimiser, learning=learns)
        for name, now in copies(model).items():
            assert torch.allclose(before[name] - now, torch.tensor(expected), atol=1e-5)


def test_schedule_free_may_warm_up_from_zero():
    model = small()
    optimiser = learning(optimiser_for(model, recipe("schedule-free", weight_decay=0.0), 0.1))
    before = copies(model)
    set_rates(optimiser, 0.0, 0.9)
    with_gradients(model)
    optimiser.step()
    assert all(torch.equal(now, before[name]) for name, now in copies(model).items())


def steps(model, optimiser, count):
    pixels = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    for _ in range(count):
        learning(optimiser)
        optimiser.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(pixels), torch.tensor([0, 1, 2, 3, 0, 1])).backward()
        optimiser.step()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_fused_steps_are_the_same_steps(name):
    results = []
    for fused in (True, False):
        model = small().to(memory_format=torch.channels_last)
        optimiser = optimiser_for(model, recipe(name, fused=fused), 1e-3)
        assert bool(optimiser.param_groups[0]["fused"]) == fused
        steps(model, optimiser, 4)
        results.append(copies(model))
    for key, value in results[0].items():
        assert torch.allclose(value, results[1][key], atol=2e-5), key


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_saved_optimiser_goes_on_to_the_bit(name):
    def begun():
        model = small().to(memory_format=torch.channels_last)
        return model, optimiser_for(model, recipe(name, layer_decay=0.7), 1e-2)

    model, optimiser = begun()
    steps(model, optimiser, 2)
    set_mode(optimiser, learning=False)  # as before every validation
    file = io.BytesIO()
    torch.save((model.state_dict(), optimiser.state_dict()), file)
    steps(model, optimiser, 2)
    later, later_optimiser = begun()
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    later.load_state_dict(weights)
    later_optimiser.load_state_dict(state)
    steps(later, later_optimiser, 2)
    assert all(torch.equal(now, copies(later)[key]) for key, now in copies(model).items())


def test_a_head_that_is_a_convolution_is_a_head():
    with torch.device("meta"):
        model = build("squeezenet1_0", classes=3, image_px=64, pretrained=False)
    assert isinstance(model, Classifier)
    groups = optimiser_for(model, recipe("muon"), 1e-3).param_groups
    apart = [p for group in groups if group.get("use_fallback") for p in group["params"]]
    assert {id(p) for p in apart} == {id(p) for p in model.head_parameters()}


def test_no_part_of_a_batch_is_a_single_image():
    assert [parts_of(*asked) for asked in ((32, 4), (25, 8), (9, 8), (3, 2), (1, 4))] == [4, 8, 4, 1, 1]
    assert min(len(part) for part in torch.arange(25).tensor_split(parts_of(25, 8))) > 1


def test_sgd_is_not_fused_where_the_loss_is_scaled():
    model = build("simple_cnn", classes=3, image_px=16)
    assert optimiser_for(model, recipe("sgd"), 0.1).defaults["fused"]
    assert not optimiser_for(model, recipe("sgd"), 0.1, precision=torch.float16).defaults["fused"]
