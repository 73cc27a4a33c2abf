"""What images are compared by, and that it is computed once, billed always, and refused where it is no number."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from make_photos import COLOURS, save_photo

from scrimp.batches import prepare
from scrimp.errors import ImageError, NotFound, SettingError
from scrimp.images import find_images
from scrimp.subset import features, select
from scrimp.subset.features import see, see_scores
from scrimp.subset.selection import METHODS


def nearest_class(values, labels):
    """How often the nearest other image is of the same class."""
    scaled = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = scaled @ scaled.T
    np.fill_diagonal(cosines, -2)
    return (labels[cosines.argmax(axis=1)] == labels).mean()


def test_pixels_are_told_apart_by_colour(photos):
    images = find_images(photos)
    seen = see(images, "pixels", None)
    assert seen.rows.tolist() == images.rows("train").tolist()
    assert seen.values.shape == (42, 42)
    assert nearest_class(seen.values, images.labels[seen.rows]) == 1


def test_components_are_those_of_a_whole_decomposition(photos):
    images = find_images(photos)
    ready = prepare(images, image_px=8)
    pixels = ready.pixels[ready.images.rows("train")].reshape(42, -1) / 255
    centred = pixels - pixels.mean(axis=0)
    found = see(images, "pixels", 8).values
    np.testing.assert_allclose(found @ found.T, centred @ centred.T, atol=1e-3)


def test_memory_for_pixels_is_bounded(photos, monkeypatch):
    """Room for 30 of 42 images at a time; the components are found from these, and from no fewer than there are."""
    from sklearn.decomposition import PCA

    held = []
    for name in ("fit", "transform"):
        real = getattr(PCA, name)
        monkeypatch.setattr(PCA, name, lambda pca, x, real=real: held.append(len(x)) or real(pca, x))
    monkeypatch.setattr(features, "_HELD_BYTES", 30 * 4 * 3 * 8 * 8)
    monkeypatch.setattr(features, "_COMPONENTS", 5)
    values = see(find_images(photos), "pixels", 8).values
    assert held == [30, 30, 12]
    assert values.shape == (42, 5)
    monkeypatch.setattr(features, "_COMPONENTS", 40)
    assert see(find_images(photos), "pixels", 8).values.shape == (42, 40)


@pytest.mark.parametrize("kind", ["pixels", "trained"])
def test_it_is_computed_once_and_billed_twice(photos, kind, monkeypatch):
    monkeypatch.setattr(features, "_EPOCHS", 2)
    images = find_images(photos)
    first = see(images, kind, 16)
    monkeypatch.setattr(features, "_components", None)
    monkeypatch.setattr(features, "_train", None)
    second = see(images, kind, 16)
    assert np.array_equal(first.values, second.values)
    assert first.paid_before.seconds == 0
    assert second.paid_before.seconds > 0


def test_a_small_network_sees_classes_and_knows_what_was_hard(photos, monkeypatch):
    """Two photos have the label of another class: they are what is hardest, and still hard at the end."""
    monkeypatch.setattr(features, "_EPOCHS", 6)
    images = find_images(photos)
    train = images.rows("train")
    labels = images.labels.copy()
    wrong = train[[0, 20]]
    labels[wrong] = (labels[wrong] + 1) % 3
    images = replace(images, labels=labels, fingerprint="with two wrong labels")
    error = see_scores(images, "el2n", 16)
    assert set(error.rows[np.argsort(error.scores)[-2:]]) == set(wrong)
    assert (error.scores >= 0).all()
    assert (error.scores <= 2**0.5).all()
    forgotten = see_scores(images, "forgetting", 16)
    assert forgotten.paid_before.seconds > 0, "the same training"
    assert forgotten.scores[0] >= np.median(forgotten.scores)


def test_what_a_model_sees(photos, tmp_path, monkeypatch):
    import torch
    from torchvision.models import get_model

    file = tmp_path / "hub" / "checkpoints" / "mobilenet_v3_small-047dcff4.pth"
    file.parent.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    torch.save(get_model("mobilenet_v3_small", weights=None).state_dict(), file)
    images = find_images(photos)
    seen = see(images, "mobilenet_v3_small", 32)
    assert seen.values.shape == (42, 1024)
    assert see(images, "mobilenet_v3_small", 32).paid_before.seconds > 0
    kept = select(images, keep=9, method="herding", features="mobilenet_v3_small", image_px=32)
    assert kept.choosing.seconds > seen.paid_before.seconds


def test_a_model_without_weights_is_refused(photos):
    with pytest.raises(SettingError, match="features='vgg8': it has no published weights; 'trained'"):
        select(find_images(photos), keep=9, method="herding", features="vgg8")
    with pytest.raises(SettingError, match=r"No features called 'pixel'\. Did you mean 'pixels'"):
        select(find_images(photos), keep=9, method="herding", features="pixel")


def test_what_cannot_be_read_cannot_be_chosen(tmp_path):
    for number, (name, colour) in enumerate(COLOURS.items()):
        for index in range(8):
            save_photo(tmp_path / name / f"{index}.jpg", colour, seed=10 * number + index)
    images = find_images(tmp_path)
    broken = images.keys[images.rows("train")[2]]
    (tmp_path / broken).write_text("not an image")
    kept = select(images, keep=12, method="k-center")
    assert broken not in kept.keys
    assert "1 training images cannot be read, so they cannot be chosen." in kept.notes
    n = len(images.rows("train"))
    with pytest.raises(SettingError, match=f"keep={n} is more than the {n - 1} training images that can be chosen"):
        select(images, keep=n, method="k-center", balance="fill")


def test_numbers_from_a_file(photos, tmp_path):
    """One direction a class but for one image of each, which every diverse choice must have."""
    images = find_images(photos)
    labels = images.labels[images.rows("train")]
    values = np.eye(6)[labels]
    odd = [int(np.flatnonzero(labels == label)[3]) for label in range(3)]
    values[odd] = np.eye(6)[3:]
    np.save(tmp_path / "seen.npy", values)
    kept = select(images, keep=6, method="diversity", features=str(tmp_path / "seen.npy"))
    assert {images.keys[images.rows("train")[row]] for row in odd} < set(kept.keys)
    assert kept.objective == pytest.approx(1)  # of two a class, at right angles
    assert Counter(kept.labels[kept.rows("train")].tolist()) == {0: 2, 1: 2, 2: 2}


def test_a_file_that_does_not_fit_is_refused(photos, tmp_path):
    images, path = find_images(photos), tmp_path / "seen.npy"

    def choose():
        select(images, keep=6, method="herding", features=str(path))

    with pytest.raises(NotFound, match=r"seen\.npy"):
        choose()
    path.write_text("nothing of the kind")
    with pytest.raises(ImageError, match="is not a file of features"):
        choose()
    np.save(path, np.zeros((41, 3)))
    with pytest.raises(SettingError, match=r"holds float64 \(41, 3\), but floats \(42, d\) are wanted"):
        choose()
    values = np.ones((42, 3), dtype=np.float32)
    values[[5, 7], 1] = np.nan, np.inf
    np.save(path, values)
    first = images.keys[images.rows("train")[5]]
    with pytest.raises(SettingError, match=rf"not finite numbers .* for 2 of 42 .* '{first}'"):
        choose()


def test_other_tasks_have_no_class_to_ask_for(photos, tmp_path):
    lines = [f"{path},{number}" for number, path in enumerate(sorted(photos.rglob("*.jpg")))]
    (tmp_path / "table.csv").write_text("\n".join(["path,target", *lines]))
    images = find_images(tmp_path / "table.csv", task="regress")
    assert len(select(images, keep=5, method="diversity").rows("train")) == 5
    for method in ("el2n", "probcover"):
        with pytest.raises(SettingError, match=f"method='{method}' asks"):
            select(images, keep=5, method=method)


def test_nested_methods_extend_what_they_chose(photos):
    images = find_images(photos)
    for name in (name for name, method in METHODS.items() if method.nested):
        kept = [set(select(images, keep=keep, method=name).keys) for keep in (7, 8, 20)]
        assert kept[0] < kept[1] < kept[2], name
