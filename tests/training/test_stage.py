"""What the techniques do inside a run: each is seen to change what it should, and to refuse what it cannot do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from scrimp.batches import prepare
from scrimp.errors import SettingError, TrainingError
from scrimp.images import find_images
from scrimp.models import build
from scrimp.training import Recipe, loop, stage, train
from scrimp.training.freezing import learn_mode
from scrimp.training.recipes import RECIPES, settings_of
from scrimp.training.stage import suited

QUICK = Recipe(model="simple_cnn", epochs=2, batch_size=8, lr=3e-3, pretrained=False)


@pytest.fixture
def ready(photos):
    return prepare(find_images(photos), image_px=16)


@pytest.fixture
def seen(monkeypatch):
    """The sides and kinds of all batches that were learnt from, and the learning rates."""
    found = []
    real = loop._learn

    def watched(on_stage, batch, px, order):
        found.append((px, on_stage.lr, on_stage.frozen, batch.rows))
        real(on_stage, batch, px, order)

    monkeypatch.setattr(loop, "_learn", watched)
    return found


def test_images_grow_and_are_judged_at_full_size(ready, seen, tmp_path):
    trained = train(ready, QUICK.but(px_start=0.5, epochs=4), out=tmp_path)
    sides = [px for px, *_ in seen]
    assert (sides[0], sides[-1]) == (8, 16)
    assert sides == sorted(sides)
    assert trained.history[-1].val_score > 0.9


def test_the_backbone_thaws_when_its_time_comes(ready, seen, tmp_path):
    ready = prepare(ready.images, image_px=32)
    model = build("mobilenet_v3_small", classes=3, image_px=32, pretrained=False)
    before = [parameter.clone() for parameter in model.backbone_parameters()]
    recipe = QUICK.but(model="mobilenet_v3_small", freeze="backbone", thaw_at=0.5, epochs=1, lr=0.1)
    after = train(ready, recipe, out=tmp_path, model=model).model
    frozen = [is_frozen for _, _, is_frozen, _ in seen]
    assert frozen == [True] * 3 + [False] * 3
    moved = [not torch.equal(a, b) for a, b in zip(before, after.backbone_parameters(), strict=True)]
    assert all(moved)


def test_easy_images_are_left_out_and_the_last_stretch_sees_all(ready, seen, tmp_path):
    rows = ready.images.rows("train")
    train(ready, QUICK.but(skip_easy=0.9, epochs=10, lr=1e-3), out=tmp_path)
    learnt = np.concatenate([batch for *_, batch in seen])
    assert len(learnt) < 10 * len(rows), "something was left out"
    assert sorted(learnt[-len(rows) :]) == sorted(rows), "the last epoch has every image once"
    assert set(learnt.tolist()) == set(rows.tolist())


def test_accumulated_parts_learn_what_the_whole_batch_does(ready, tmp_path):
    """Without batch norm the gradient of the mean is the mean of the gradients."""
    recipe = QUICK.but(augment="none", epochs=1, optimiser="sgd", lr=1e-4, schedule="constant")
    whole = train(ready, recipe, out=tmp_path / "whole").model.state_dict()
    parts = train(ready, recipe.but(accumulate=4), out=tmp_path / "parts").model.state_dict()
    moved = max((whole[name] - value).abs().max() for name, value in build_like(ready).items())
    assert moved > 1e-4
    assert all(torch.allclose(whole[name], parts[name], rtol=0, atol=2e-6) for name in whole)


def build_like(ready):
    return stage.build_model(ready, QUICK).state_dict()


def test_what_is_kept_is_the_average_and_what_learns_is_not(ready, tmp_path):
    plain = train(ready, QUICK, out=tmp_path / "plain").model.state_dict()
    averaged = train(ready, QUICK.but(average="ema", ema_decay=0.999), out=tmp_path / "ema").model.state_dict()
    assert not all(torch.equal(plain[name], averaged[name]) for name in plain)
    swa = train(ready, QUICK.but(average="swa"), out=tmp_path / "swa")
    assert swa.history[-1].val_score > 0.9


def test_a_model_that_asks_the_mirror_image_too_says_so_for_ever(ready, tmp_path):
    from scrimp.models.saved import load_model

    trained = train(ready, QUICK.but(flip_test=True), out=tmp_path)
    model, pixels = load_model(tmp_path).model, torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    assert model.flips
    assert torch.allclose(model(pixels), model(pixels.flip(3)), atol=1e-5)
    trained.model.flips = False
    assert not torch.allclose(trained.model.eval()(pixels), trained.model(pixels.flip(3)), atol=1e-5)


def test_a_mirror_that_changes_the_label_is_not_asked(tmp_path, monkeypatch):
    ready = prepare(find_images("digits", per_class=20), image_px=8)
    with pytest.raises(SettingError, match="flip_test"):
        train(ready, Recipe(model="vgg8", flip_test=True), out=tmp_path)
    monkeypatch.delattr(stage, "head_first")  # which takes minutes
    with pytest.raises(SettingError, match="leave mirror out"):
        train(ready, Recipe(model="vgg8", augment="mirror", head_first="ridge"), out=tmp_path)


def test_a_teacher_is_learnt_from(ready, tmp_path):
    taught = QUICK.but(teacher=str(tmp_path / "teacher"), teacher_weight=1.0, seed=5)
    train(ready, QUICK.but(epochs=3), out=tmp_path / "teacher")
    wrong = np.roll(ready.images.labels, 1)  # labels that say nothing: all that is learnt comes from the teacher
    object.__setattr__(ready.images, "labels", np.where(ready.images.splits == "train", wrong, ready.images.labels))
    assert train(ready, taught.but(epochs=6), out=tmp_path / "pupil").history[-1].val_score > 0.9


def test_a_found_learning_rate_is_used_told_and_billed(ready, seen, tmp_path):
    trained = train(ready, QUICK.but(lr="auto"), out=tmp_path)
    highest = max(lr for _, lr, *_ in seen)
    assert 1e-5 < highest < 1
    assert any("learning rate" in note.lower() for note in trained.notes)


def test_no_learning_rate_found_ends_the_run_with_the_way_out(ready, monkeypatch, tmp_path):
    monkeypatch.setattr(stage, "find_lr", lambda *a, **k: SimpleNamespace(lr=None, note="No clear descent."))
    with pytest.raises(TrainingError, match=r"No clear descent.*lr=0.001"):
        train(ready, QUICK.but(lr="auto"), out=tmp_path)


# ---------------------------------------------------------------- models that drop something


def test_dropout_is_set_where_the_model_has_it_and_before_the_head_where_not():
    (own,) = (
        m
        for m in build("mobilenet_v2", classes=3, dropout=0.7, pretrained=False).modules()
        if isinstance(m, nn.Dropout)
    )
    assert own.p == 0.7
    head = build("resnet18", classes=3, image_px=32, dropout=0.5, pretrained=False).head
    nn.init.constant_(head.weight, 1 / 512)
    nn.init.zeros_(head.bias)
    features = torch.ones(64, 512)
    assert torch.equal(head.eval()(features), torch.ones(64, 3))
    assert head.train()(features).std(0).min() > 0.01, "0.044 is what half of 512 dropped gives"


def test_dropouts_within_the_body_are_left_alone():
    model = build("convnext_atto", classes=3, image_px=32, dropout=0.5, pretrained=False)
    chances = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert {name for name, chance in chances.items() if chance} == {"body.head.drop"}


def test_while_the_backbone_is_frozen_the_dropout_before_the_head_works_all_the_same():
    model = build("mobilenet_v2", classes=3, image_px=32, pretrained=False)
    learn_mode(model, Recipe(model="mobilenet_v2", freeze="backbone"), frozen=True)
    learning = {name for name, module in model.named_modules() if module.training}
    assert learning == {"", "body.classifier.0", "body.classifier.1"}, "the whole: no mirror images while it learns"
    learn_mode(model, Recipe(model="mobilenet_v2", norm_stats="keep"), frozen=False)
    resting = {type(module) for module in model.modules() if not module.training}
    assert resting == {nn.BatchNorm2d}


def test_what_a_model_cannot_follow_is_left_out_and_told():
    notes = []
    told = suited(RECIPES["frugal"]("ultralight"), build("ultralight", classes=3, image_px=32), notes)
    assert (told.norm_stats, told.px_start) == ("learn", 0.75)
    fixed = SimpleNamespace(name="timm:vit_tiny_patch16_224", start="ImageNet weights")
    told = suited(RECIPES["frugal"]("mobilenet_v2"), fixed, notes)
    assert (told.norm_stats, told.px_start) == ("keep", 1.0)
    assert ["norm_stats='keep' was left out" in notes[0], "takes images of one size" in notes[1]] == [True, True]


@pytest.mark.parametrize(
    ("name", "kind", "own"), [("efficientnet_b0", "p", 0.1875), ("timm:tiny_vit_11m_224", "drop_prob", 0.1)]
)
def test_residuals_are_dropped_as_asked_or_as_the_model_has_it(name, kind, own):
    def deepest(drop_path):
        model = build(name, classes=3, drop_path=drop_path, pretrained=False)
        return max(getattr(m, kind) for m in model.modules() if type(m).__name__ in ("StochasticDepth", "DropPath"))

    assert [deepest(asked) for asked in (None, 0.0, 0.3)] == pytest.approx([own, 0, 0.3])
    assert Recipe(model=name).drop_path is None


@pytest.mark.parametrize("name", ["vgg8", "timm:vgg11"])
def test_nothing_is_dropped_where_there_are_no_residuals(name):
    with pytest.raises(SettingError, match=f"drop_path=0.1: {name} has no residuals"):
        build(name, classes=3, drop_path=0.1, image_px=32, pretrained=False)
    build("vgg8", classes=3, drop_path=0.0)


# ---------------------------------------------------------------- presets


@pytest.mark.parametrize("name", RECIPES)
def test_every_preset_is_a_recipe_and_changes_win(name):
    settings = settings_of(name)
    recipe = Recipe(**{"model": "resnet18", **settings, "seed": 7})
    assert recipe.seed == 7
    own = {"imagenet_resnet50": "resnet50", "from_scratch_small": "fast_cnn", "few_images": "fast_cnn"}
    assert settings.get("model") == own.get(name)


def test_images_too_small_for_the_model_are_refused_before_the_run(ready, tmp_path):
    with pytest.raises(SettingError, match="images of 8 px, and fast_cnn works from 9"):
        train(ready, QUICK.but(model="fast_cnn", px_start=0.5), out=tmp_path)
    large = SimpleNamespace(image_px=224, images=ready.images)
    with pytest.raises(SettingError, match="images of 44 px, and fast_cnn works from 45 when it is built for 224"):
        stage.check(large, QUICK.but(model="fast_cnn", px_start=0.2))
    with pytest.raises(SettingError, match="images of 24 px, and ultralight works from 32 when it is built for 224"):
        stage.check(large, QUICK.but(model="ultralight", px_start=0.1))
    stage.check(large, QUICK.but(model="ultralight", px_start=0.15))


def test_contradictions_are_refused_when_the_recipe_is_made():
    for wrong, told in [
        ({"thaw_at": 0.5}, "freeze='none'"),
        ({"px_start": 0.9, "px_end": 0.5}, "px_start=0.9"),
        ({"optimiser": "schedule-free"}, "schedule='one-cycle'"),
        ({"optimiser": "schedule-free", "schedule": "constant", "momentum": 0.0}, "momentum=0"),
        (
            {"optimiser": "schedule-free", "schedule": "constant", "freeze": "backbone", "thaw_at": 0.5},
            "thaw_at=0.5",
        ),
        ({"optimiser": "schedule-free", "schedule": "constant", "average": "ema"}, "average='ema'"),
        ({"bn_reestimate": True, "norm_stats": "keep"}, "norm_stats='keep'"),
        ({"bn_reestimate": True, "freeze": "backbone"}, "freeze='backbone'"),
        ({"skip_easy": 0.5, "mix": "mixup"}, "skip_easy=0.5"),
        ({"warmup": 0.1}, "warmup=0.1"),
        ({"accumulate": 9}, "accumulate=9"),
        ({"epochs": 0}, "epochs=0"),
        ({"lr": "fast"}, "'fast'"),
    ]:
        with pytest.raises(SettingError, match=told):
            QUICK.but(**wrong)


def test_the_imagenet_preset_runs_from_a_folder_at_toy_size(photos, seen, tmp_path):
    ready = prepare(find_images(photos), image_px=64, keep="whole")
    recipe = RECIPES["imagenet_resnet50"](epochs=2, batch_size=16, lr=0.02)
    trained = train(ready, recipe, out=tmp_path)
    assert trained.status == "finished"
    assert (min(px for px, *_ in seen), max(px for px, *_ in seen)) == (32, 48), "128 to 192 of 256"


def test_batch_norm_keeps_what_it_was_pretrained_with(photos, tmp_path):
    """A solved head is right for the statistics it was solved with: those of a model that learns otherwise drift."""
    from scrimp.models import build

    ready = prepare(find_images(photos), image_px=32)
    file = tmp_path / "weights.pth"
    torch.save(build("resnet18", classes=1000, image_px=32, pretrained=False, seed=3).body.state_dict(), file)
    start = torch.load(file, weights_only=True)
    for kind, same in (("keep", True), ("learn", False)):
        recipe = Recipe(model="resnet18", weights=str(file), epochs=1, norm_stats=kind)
        after = train(ready, recipe, out=tmp_path / kind).model.body.state_dict()
        assert torch.equal(after["bn1.running_mean"], start["bn1.running_mean"]) is same
        assert not torch.equal(after["bn1.weight"], start["bn1.weight"]), "what it is scaled by learns all the same"
    with pytest.raises(SettingError, match="no statistics to keep"):
        Recipe(model="resnet18", pretrained=False, norm_stats="keep")
