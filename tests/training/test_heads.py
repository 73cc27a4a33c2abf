"""Heads against scikit-learn, and against what can be worked out on paper."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from scrimp.training import heads
from scrimp.training.heads import Head, solve_head

N, D, CLASSES = 240, 12, 3


def some_classes(seed=0, n=N, d=D, distance=1.0):
    """Features of three overlapping classes, on scales that differ by a thousand."""
    numbers = np.random.default_rng(seed)
    labels = numbers.permutation(np.arange(n) % CLASSES)
    centres = np.random.default_rng(99).normal(0, distance, (CLASSES, d))
    values = (centres[labels] + numbers.normal(0, 1, (n, d))) * np.geomspace(0.1, 100, d) + np.arange(d)
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels)


def standardised(values):
    return StandardScaler().fit_transform(values.double().numpy())


@pytest.fixture
def to_the_end(monkeypatch):
    """L-BFGS goes on until nothing is gained."""
    monkeypatch.setattr(heads, "_ENOUGH", 1e-10)
    monkeypatch.setattr(heads, "_STEPS", 1000)


def usual(strengths):
    return strengths[heads._USUAL]


@pytest.mark.usefixtures("to_the_end")
def test_logistic_is_that_of_another_library():
    values, labels = some_classes()
    solved = solve_head(values, labels, "classify", CLASSES, method="logistic")
    other = LogisticRegression(C=1 / (usual(heads._LOGISTIC) * N), tol=1e-8, max_iter=1000)
    other.fit(standardised(values), labels)
    expected = other.predict_log_proba(standardised(values))
    np.testing.assert_allclose(solved.outputs(values).log_softmax(1), expected, atol=5e-3)


def test_it_stops_where_there_is_little_left_to_gain(monkeypatch):
    """The penalised loss, worked out from the outside, of the head as it is found and of the best there is."""
    values, labels = some_classes(n=2000)

    def objective():
        solved = solve_head(values, labels, "classify", CLASSES, method="logistic")
        weight = solved.weight * values.std(0, correction=0)
        return solved.score(values, labels, "classify")[0] + usual(heads._LOGISTIC) / 2 * weight.square().sum().item()

    found = objective()
    monkeypatch.setattr(heads, "_ENOUGH", 1e-10)
    assert found == pytest.approx(objective(), rel=1e-3)


@pytest.mark.usefixtures("to_the_end")
def test_labels_are_independent_logistic_regressions():
    values, classes = some_classes()
    labels = torch.stack([classes == 0, classes != 1, torch.arange(N) % 5 == 0], 1).to(torch.uint8)
    solved = solve_head(values, labels, "multilabel", 3, method="logistic")
    for label in range(3):
        other = LogisticRegression(C=1 / (usual(heads._LOGISTIC) * N), tol=1e-8, max_iter=1000)
        other.fit(standardised(values), labels[:, label])
        expected = other.decision_function(standardised(values))
        np.testing.assert_allclose(solved.outputs(values)[:, label], expected, atol=5e-3)


@pytest.mark.parametrize("task", ["classify", "multilabel"])
def test_ridge_is_that_of_another_library_times_a_scale(task):
    values, labels = some_classes()
    wanted = np.eye(CLASSES)[labels]
    given = labels if task == "classify" else torch.from_numpy(wanted.astype(np.uint8))
    solved = solve_head(values, given, task, CLASSES, method="ridge")
    other = Ridge(alpha=usual(heads._RIDGE) * N).fit(standardised(values), wanted)
    expected = heads._SCALES[0] * (other.predict(standardised(values)) - 0.5)
    np.testing.assert_allclose(solved.outputs(values), expected, atol=1e-3)


@pytest.mark.parametrize("method", ["logistic", "ridge"])
def test_a_target_is_a_ridge_regression(method):
    values, labels = some_classes()
    targets = (labels * 2.0 + values[:, 0]).float()
    solved = solve_head(values, targets, "regress", 1, method=method)
    other = Ridge(alpha=usual(heads._RIDGE) * N).fit(standardised(values), targets)
    np.testing.assert_allclose(solved.outputs(values)[:, 0], other.predict(standardised(values)), atol=1e-4)
    loss, r2 = solved.score(values, targets, "regress")
    assert loss == pytest.approx(np.mean((other.predict(standardised(values)) - targets.numpy()) ** 2), rel=1e-3)
    assert r2 == pytest.approx(other.score(standardised(values), targets), abs=1e-3)


@pytest.mark.parametrize("method", ["logistic", "ridge"])
def test_val_chooses_the_penalty_that_gives_it_the_lowest_loss(method):
    """Few images in many dimensions that say nothing, so that the penalty matters; every choice made by hand."""
    values, labels = some_classes(1, n=60, d=40, distance=0.5)
    val, truth = some_classes(2, n=300, d=40, distance=0.5)
    scaler = StandardScaler().fit(values)
    losses = {}
    for strength in heads._LOGISTIC if method == "logistic" else heads._RIDGE:
        if method == "logistic":
            other = LogisticRegression(C=1 / (strength * 60), tol=1e-8, max_iter=5000)
            scores = [other.fit(scaler.transform(values), labels).predict_log_proba(scaler.transform(val))]
        else:
            other = Ridge(alpha=strength * 60).fit(scaler.transform(values), np.eye(CLASSES)[labels])
            scores = [scale * other.predict(scaler.transform(val)) for scale in heads._SCALES]
        logs = [torch.from_numpy(score).log_softmax(1).numpy() for score in scores]
        losses[strength] = min(-log[np.arange(300), truth].mean() for log in logs)
    best = min(losses, key=losses.__getitem__)
    assert best not in (heads._LOGISTIC[0], heads._LOGISTIC[-1], heads._RIDGE[0], heads._RIDGE[-1]), "no choice at all"
    solved = solve_head(values, labels, "classify", CLASSES, method=method, val_features=val, val_labels=truth)
    assert solved.score(val, truth, "classify")[0] == pytest.approx(losses[best], abs=3e-3)
    assert sorted(losses.values())[1] > losses[best] + 6e-3, "the next best cannot be told from the best"


@pytest.mark.parametrize("method", ["logistic", "ridge"])
def test_neither_scale_nor_offset_of_a_feature_matters(method):
    values, labels = some_classes()
    moved = values * torch.linspace(0.01, 30, D) - 7
    one, other = (
        solve_head(some, labels, "classify", CLASSES, method=method).outputs(some) for some in (values, moved)
    )
    np.testing.assert_allclose(one.log_softmax(1), other.log_softmax(1), atol=5e-3)


@pytest.mark.parametrize("method", ["logistic", "ridge"])
def test_what_never_changes_gets_no_weight(method):
    values, labels = some_classes()
    values[:, 3] = 5.0
    values[:, 4] = 0.0
    solved = solve_head(values, labels, "classify", CLASSES, method=method)
    assert solved.weight[:, 3:5].abs().max() == 0
    assert solved.weight.isfinite().all()
    assert solved.bias.isfinite().all()


@pytest.mark.parametrize("method", ["logistic", "ridge"])
def test_fewer_images_than_features_and_a_class_without_images(method):
    values, labels = some_classes(n=9, d=30)
    solved = solve_head(values, labels, "classify", 5, method=method)
    assert solved.weight.shape == (5, 30)
    assert solved.outputs(values).argmax(1).tolist() == labels.tolist()


def test_score_by_hand():
    # Logits (2, 0) and (-1, 3) of features 1 and -2: right with ln(1 + e^-2), wrong with ln(1 + e^4).
    head = Head(torch.tensor([[1.0], [-1.0]]), torch.tensor([1.0, 1.0]))
    features = torch.tensor([[1.0], [-2.0]])
    assert head.outputs(features).tolist() == [[2, 0], [-1, 3]]
    loss, accuracy = head.score(features, torch.tensor([0, 0]), "classify")
    assert accuracy == 0.5
    assert loss == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(4))) / 2)


@pytest.mark.parametrize("factor", [0.25, 1.0, 6.0])
def test_the_temperature_undoes_a_factor_and_changes_no_answer(factor):
    """Labels are drawn from known chances, so that the best temperature is the factor that the logits were given."""
    from scrimp.batches import prepare
    from scrimp.images import find_images
    from scrimp.models import build
    from scrimp.training.evaluate import predict
    from scrimp.training.heads import calibrate

    ready = prepare(find_images("digits"), image_px=8)
    model = build("simple_cnn", classes=10, image_px=8, pretrained=False, seed=1)
    rows = ready.images.rows("val")
    with torch.no_grad():
        logits = predict(model, ready, rows)
        model.head.weight.mul_(factor * 2 / logits.std())
        model.head.bias.mul_(factor * 2 / logits.std())
    scaled = predict(model, ready, rows)
    drawn = torch.multinomial((scaled / factor).softmax(1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    ready.images.labels[rows] = drawn.numpy()
    found = calibrate(model, ready)
    assert found == pytest.approx(factor, rel=0.25)
    after = predict(model, ready, rows)
    torch.testing.assert_close(after, scaled / found, rtol=1e-3, atol=1e-4)


def test_without_a_mistake_no_temperature_is_believed():
    from scrimp.batches import prepare
    from scrimp.images import find_images
    from scrimp.models import build
    from scrimp.training.evaluate import predict
    from scrimp.training.heads import calibrate

    ready = prepare(find_images("digits"), image_px=8)
    model = build("simple_cnn", classes=10, image_px=8, pretrained=False, seed=1)
    rows = ready.images.rows("val")
    before = predict(model, ready, rows)
    ready.images.labels[rows] = before.argmax(1).numpy()
    assert calibrate(model, ready) is None
    torch.testing.assert_close(predict(model, ready, rows), before)
