import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scrimp.batches import batches, prepare
from scrimp.cost import FREE
from scrimp.errors import SettingError, StorageError
from scrimp.images import find_images
from scrimp.models import build
from scrimp.training import Recipe, features
from scrimp.training.evaluate import loss_and_merit, predict
from scrimp.training.features import Views, best_head, features_of, head_first


@pytest.fixture
def ready(photos):
    return prepare(find_images(photos), image_px=32)


@pytest.fixture
def model():
    return build("simple_cnn", classes=3, image_px=32)


def one_by_one(model, ready, rows, change=lambda pixels: pixels):
    """The second route: every image by itself, in single precision, through the model as it is."""
    with torch.no_grad():
        eyes = copy.deepcopy(model).eval()
        squares = (torch.from_numpy(ready.pixels[[row]]).permute(0, 3, 1, 2) for row in rows)
        return torch.cat([eyes.features(change(square)) for square in squares])


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def fit_batch_norms(model, ready):
    """Statistics that are not 0 and 1, so that folding them in has something to do."""
    model.train()
    with torch.no_grad():
        for batch in batches(ready, ready.images.rows("train"), 16):
            model(batch.pixels)
    return model.eval()


@pytest.mark.parametrize(
    "name", ["simple_cnn", "ultralight", "mobilenet_v2", "squeezenet1_1", "resnet18", "mobilenetv4_conv_small"]
)
def test_they_are_what_the_head_is_given(ready, name):
    model = fit_batch_norms(build(name, classes=3, image_px=32, pretrained=False), ready)
    rows = ready.images.rows("train")[::-3]
    found = features_of(model, ready, rows, precision="float32")
    expected = one_by_one(model, ready, rows)
    np.testing.assert_allclose(found.values, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    assert found.values.dtype == torch.float32
    assert found.labels.tolist() == ready.images.labels[rows].tolist()
    assert (found.from_cache, found.note) == (False, "")
    assert found.cost.seconds > 0


def test_half_precision_is_near(ready):
    model = fit_batch_norms(build("mobilenet_v2", classes=3, image_px=32, pretrained=False), ready)
    rows = ready.images.rows("val")
    found, expected = features_of(model, ready, rows, precision="bfloat16").values, one_by_one(model, ready, rows)
    assert (found - expected).norm() / expected.norm() < 0.05


def test_the_model_is_left_as_it_was(ready):
    model = build("mobilenet_v2", classes=3, image_px=32, pretrained=False).train()
    model.flips = True
    before, modes = weights(model), [module.training for module in model.modules()]
    activations = [module.inplace for module in model.modules() if isinstance(module, nn.ReLU6)]
    features_of(model, ready, ready.images.rows("val"), precision="bfloat16")
    assert same(before, weights(model))
    assert modes == [module.training for module in model.modules()]
    assert activations == [module.inplace for module in model.modules() if isinstance(module, nn.ReLU6)]
    assert model.flips
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_further_views_are_changed_and_stay_in_order(ready, model):
    rows = ready.images.rows("train")[::2]
    n = len(rows)
    found = features_of(model, ready, rows, views=Views(3, "mirror"), precision="float32")
    plain = one_by_one(model, ready, rows)
    mirrored = one_by_one(model, ready, rows, lambda pixels: pixels.flip(3))
    assert found.values.shape == (3 * n, plain.shape[1])
    assert found.labels.tolist() == 3 * ready.images.labels[rows].tolist()
    torch.testing.assert_close(found.values[:n], plain, rtol=1e-3, atol=1e-3)
    flips = []
    for view in (1, 2):
        values = found.values[view * n : (view + 1) * n]
        as_it_is, flipped = ((values - other).abs().amax(1) < 1e-3 for other in (plain, mirrored))
        assert (as_it_is != flipped).all()
        flips.append(flipped.tolist())
    assert 0 < sum(flips[0]) < n
    assert flips[0] != flips[1]
    again = features_of(model, ready, rows, views=Views(3, "mirror", seed=1), precision="float32")
    assert torch.equal(again.values[:n], found.values[:n])
    assert not torch.equal(again.values, found.values)


def test_views_that_cannot_differ_are_refused(ready, model):
    for augment in ("none", "autoencoder"):
        with pytest.raises(SettingError, match=f"2 views with augment='{augment}' would be alike"):
            features_of(model, ready, ready.images.rows("val"), views=Views(2, augment))


def test_no_images_have_no_features(ready, model):
    found = features_of(model, ready, ready.images.rows("val")[:0])
    assert (found.values.shape, len(found.labels)) == ((0, 1024), 0)


# ---------------------------------------------------------------- kept


@pytest.fixture
def looked(monkeypatch):
    """Counts how often images are really looked at."""
    real, calls = features._compute, []

    def counted(*args):
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(features, "_compute", counted)
    return calls


def test_the_second_time_they_come_from_the_cache(ready, model, looked):
    rows = ready.images.rows("train")
    first = features_of(model, ready, rows)
    nn.init.normal_(model.head.weight)  # which has no part in them
    model.train()
    second = features_of(model, ready, rows)
    assert len(looked) == 1
    assert torch.equal(first.values, second.values)
    assert first.labels.tolist() == second.labels.tolist()
    assert (second.from_cache, second.cost) == (True, first.cost)
    features_of(model, ready, rows, views=Views(1, "mirror", seed=3))  # which decide nothing of the first view
    assert len(looked) == 1


def test_what_differs_is_looked_at_anew(ready, model, looked, photos):
    rows = ready.images.rows("train")
    features_of(model, ready, rows)
    features_of(model, ready, rows[1:])
    features_of(model, ready, rows[::-1].copy())
    features_of(model, ready, rows, precision="bfloat16")
    features_of(model, ready, rows, precision="float32")
    for views in (
        Views(2, "basic"),
        Views(2, "noise"),
        Views(2, "noise:0.5"),
        Views(3, "noise:0.5"),
        Views(2, "noise", seed=1),
    ):
        features_of(model, ready, rows, views=views)
    features_of(model, prepare(find_images(photos), image_px=32, pack="none"), rows)
    features_of(model, prepare(find_images(photos), image_px=32, pack="jpeg"), rows)
    features_of(model, prepare(find_images(photos), image_px=32, keep="whole"), rows)
    features_of(model, prepare(find_images(photos, split_seed=1), image_px=32), rows)
    asked = 14 - 1  # "auto" is one of the two precisions
    assert len(looked) == asked
    with torch.no_grad():
        next(iter(model.backbone_parameters()))[0, 0, 0, 0] += 1e-3
    features_of(model, ready, rows)
    assert len(looked) == asked + 1


def spoil(content, how):
    if how == "cut":
        return content[:-40]
    if how == "flipped":
        return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]
    return b"" if how == "empty" else b"not this" * 50


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "other"])
def test_what_is_damaged_is_looked_at_anew_and_kept_whole(ready, model, looked, own_cache, how):
    rows = ready.images.rows("val")
    first = features_of(model, ready, rows)
    (path,) = (own_cache / "features").iterdir()
    whole = path.read_bytes()
    path.write_bytes(spoil(whole, how))
    second = features_of(model, ready, rows)
    assert (len(looked), second.from_cache) == (2, False)
    assert torch.equal(first.values, second.values)
    assert features_of(model, ready, rows).from_cache


def test_a_cache_that_cannot_be_written_is_told_and_done_without(ready, model, looked, own_cache):
    (own_cache / "features").write_text("in the way")
    found = features_of(model, ready, ready.images.rows("val"))
    assert found.note.startswith("The features could not be kept for other runs: ")
    assert str(own_cache / "features") in found.note
    assert torch.equal(features_of(model, ready, ready.images.rows("val")).values, found.values)
    assert len(looked) == 2


def test_no_cache_folder_at_all_is_told_too(ready, model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path / "file" / "cache"))
    found = features_of(model, ready, ready.images.rows("val"))
    assert "could not be kept" in found.note
    assert len(found.values) == len(ready.images.rows("val"))


def test_a_bucket_that_cannot_be_read_is_no_cache_that_cannot_be_written(ready, model, monkeypatch):
    def fails(*args, **kwargs):
        raise StorageError("gone")
        yield

    monkeypatch.setattr(features, "batches", fails)
    with pytest.raises(StorageError, match="gone"):
        features_of(model, ready, ready.images.rows("val"))


def test_two_at_once_keep_the_same(ready, model, own_cache, monkeypatch):
    """Another process begins and ends while this one looks."""
    rows, real, others = ready.images.rows("val"), features._compute, []

    def overtaken(*args):
        with monkeypatch.context() as patch:
            patch.setattr(features, "_compute", real)
            others.append(features_of(model, ready, rows))
        return real(*args)

    monkeypatch.setattr(features, "_compute", overtaken)
    found = features_of(model, ready, rows)
    assert [other.from_cache for other in others] == [False]
    assert torch.equal(found.values, others[0].values)
    assert len(list((own_cache / "features").iterdir())) == 1
    assert features_of(model, ready, rows).from_cache


# ---------------------------------------------------------------- the head first


def val_of(ready):
    rows = ready.images.rows("val")
    return rows, torch.from_numpy(ready.images.labels[rows])


@pytest.mark.parametrize("method", ["logistic", "ridge"])
@pytest.mark.parametrize("name", ["simple_cnn", "resnet18", "squeezenet1_0"])
def test_the_model_answers_as_its_solved_head_does(ready, name, method):
    model = fit_batch_norms(build(name, classes=3, image_px=32, pretrained=False), ready)
    solved = best_head(model, ready, method, precision="float32")
    note = head_first(model, ready, Recipe(model=name, head_first=method, precision="float32"))[1]
    rows, labels = val_of(ready)
    outputs = predict(model, ready, rows)
    expected = solved.head.outputs(features_of(model, ready, rows, precision="float32").values)
    if name == "squeezenet1_0":  # some positions of val may lie below all of train's
        assert (outputs.argmax(1) == expected.argmax(1)).float().mean() > 0.85
    else:
        np.testing.assert_allclose(outputs.log_softmax(1), expected.log_softmax(1), atol=1e-2)
    _, accuracy = loss_and_merit(outputs, labels, "classify")
    assert accuracy == pytest.approx(solved.score, abs=0.12)
    assert accuracy > 0.85
    assert f"{solved.score:.1%}" in note


def test_what_was_paid_before_is_billed_once(ready, model):
    recipe = Recipe(model="simple_cnn", head_first="ridge")
    cost, note = head_first(model, ready, recipe)
    assert (cost, "earlier run" in note) == (FREE, False)
    paid = [features_of(model, ready, ready.images.rows(split)).cost for split in ("train", "val")]
    cost, note = head_first(model, ready, recipe)
    assert cost == paid[0] + paid[1]
    assert f"an earlier run, which took {cost.seconds:.1f} s" in note


def test_a_recipe_has_training_images_looked_at_in_several_views(ready, model):
    recipe = Recipe(model="simple_cnn", head_first="ridge", head_views=3, augment="mirror", precision="float32")
    note = head_first(model, ready, recipe)[1]
    train = ready.images.rows("train")
    assert f"frozen features of 3 views each of {len(train):,} images: " in note
    assert features_of(model, ready, train, views=Views(3, "mirror"), precision="float32").from_cache
    assert features_of(model, ready, val_of(ready)[0], precision="float32").from_cache, "val is looked at once"


def test_views_want_a_head_and_a_change():
    with pytest.raises(SettingError, match=r"head_views=2 is for a head that is solved: set head_first='logistic'\."):
        Recipe(model="simple_cnn", head_views=2)
    with pytest.raises(SettingError, match="head_views=2 with augment='none': the views would be alike"):
        Recipe(model="simple_cnn", head_views=2, head_first="ridge", augment="none")


def test_nothing_but_train_and_val_is_looked_at(ready, model, monkeypatch):
    real, seen = features.batches, set()

    def watched(ready, rows, *args, **kwargs):
        seen.update(rows.tolist())
        return real(ready, rows, *args, **kwargs)

    monkeypatch.setattr(features, "batches", watched)
    head_first(model, ready, Recipe(model="simple_cnn", head_first="logistic"))
    assert seen == {*ready.images.rows("train").tolist(), *ready.images.rows("val").tolist()}


def test_a_cache_that_failed_is_in_the_note(ready, model, own_cache):
    (own_cache / "features").write_text("in the way")
    note = head_first(model, ready, Recipe(model="simple_cnn", head_first="ridge"))[1]
    assert note.count("could not be kept") == 1


def manifest(photos, path, lines):
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("name", ["simple_cnn", "squeezenet1_0"])
def test_targets_come_out_in_their_own_unit(photos, tmp_path, name):
    """How red a photo is, in hundreds and far from 0: the red ones 900, the others 100."""
    # Relative, for names decide the split: the same images are val wherever the test runs.
    names = [Path(os.path.relpath(path, tmp_path)).as_posix() for path in sorted(photos.rglob("*.jpg"))]
    lines = [f"{file},{900 if '/red/' in file else 100}" for file in names]
    table = manifest(photos, tmp_path / "table.csv", ["path,target", *lines])
    ready = prepare(find_images(str(table), task="regress"), image_px=32)
    model = fit_batch_norms(build(name, classes=1, image_px=32, pretrained=False), ready)
    _, note = head_first(model, ready, Recipe(model=name, head_first="ridge", precision="float32"))
    rows, labels = val_of(ready)
    outputs = predict(model, ready, rows)
    assert (outputs[:, 0] - labels).abs().max() < 100
    r2 = loss_and_merit(outputs, labels, "regress", sd=model.target_sd)[1]
    assert r2 > 0.9
    solved = best_head(model, ready, "ridge", precision="float32")
    assert solved.score == pytest.approx(r2, abs=0.01)
    assert "R² " in note


def labelled(photos, tmp_path):
    lines = [
        f"{path},{path.parent.name};{'cold' if path.parent.name != 'red' else 'warm'}" for path in photos.rglob("*.jpg")
    ]
    table = manifest(photos, tmp_path / "table.csv", ["path,labels", *sorted(lines)])
    return prepare(find_images(str(table), task="multilabel"), image_px=32)


def test_several_labels(photos, tmp_path):
    ready = labelled(photos, tmp_path)
    model = build("simple_cnn", classes=5, image_px=32)
    note = head_first(model, ready, Recipe(model="simple_cnn", head_first="logistic"))[1]
    rows, labels = val_of(ready)
    assert ((predict(model, ready, rows) > 0) == labels.bool()).float().mean() > 0.95
    assert "mAP" in note


def test_a_squeezenet_cannot_say_no_to_a_label(photos, tmp_path):
    ready = labelled(photos, tmp_path)
    model = build("squeezenet1_0", classes=5, image_px=32, pretrained=False)
    before = weights(model)
    cost, note = head_first(model, ready, Recipe(model="squeezenet1_0", head_first="logistic"))
    assert same(before, weights(model))
    assert (cost, "kept the head it had" in note) == (FREE, True)


def test_a_head_without_a_bias_is_refused(ready, model):
    model.body.head = nn.Linear(1024, 3, bias=False)
    with pytest.raises(SettingError, match="simple_cnn has no bias"):
        head_first(model, ready, Recipe(model="simple_cnn", head_first="ridge"))
