"""What images are compared by: their pixels, what a pretrained or a small trained network sees, or a file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from scrimp.cost import FREE, Cost, Stopwatch, shared_sensor
from scrimp.errors import ImageError, NotFound, SettingError, TrainingError
from scrimp.images import Images
from scrimp.images.fingerprint import fingerprint

if TYPE_CHECKING:
    from torch import Tensor

    from scrimp.batches import Prepared
    from scrimp.training import Recipe

PIXELS, TRAINED, FILE = "pixels", "trained", ".npy"
SMALL_PX = 32
"""Side of the squares that pixels are taken from, and that the small network learns from."""
MODEL_PX = 96
"""Side of the squares that a pretrained model is shown."""

Score = Literal["el2n", "forgetting"]

_VERSION = 1  # of what is kept
_COMPONENTS = 128  # of the pixels
_TO_FIT = 5_000  # images that the components are found from, where they are small
_BLOCK = 4096  # images whose pixels are held as floats at once, where they are small
_HELD_BYTES = 512_000_000  # of pixels as floats at once, at most, but for as many images as there are components
_EPOCHS = 10  # of the small network
_BATCH = (16, 512)  # images per step, least and most, else a fiftieth of an epoch


class Seen(NamedTuple):
    """What is known of the m training images that can be read.

    rows: int64 (m,), which of all images they are. values: float32 (m, d). scores: float32 (m,). Either may be empty.
    paid_before: what an earlier run, whose results came from the cache, had paid for them. notes: what else is worth
    telling.
    """

    rows: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    paid_before: Cost = FREE
    notes: tuple[str, ...] = ()


def unseen(rows: npt.NDArray[np.int64]) -> Seen:
    """Images for a method that looks at names alone."""
    return Seen(rows, np.empty((len(rows), 0), dtype=np.float32), np.empty(0, dtype=np.float32))


def see(images: Images, features: str, image_px: int | None) -> Seen:
    """The features of every training image, from the cache where they were computed before; test is not looked at.

    features: "pixels" (the 128 principal components of small squares), "trained", a model of the table, or a .npy file
    of (training images, d) in their order. image_px: side of the squares. Raises `SettingError` for features that do
    not fit or are not numbers.
    Cost: a decode per image, and for a model a forward pass; for "trained", ten epochs of a small network.
    """
    if features.endswith(FILE):
        rows = images.rows("train")
        seen = unseen(rows)._replace(values=_from_file(features, len(rows)))
    else:
        seen = _look(images, features, image_px)
    _all_are_numbers(seen.values, images, seen.rows, features)
    return seen


def see_scores(images: Images, score: Score, image_px: int | None) -> Seen:
    """How hard each training image was for the small network to learn, by one of two scores; else as `see`."""
    if images.task != "classify":
        raise SettingError(f"method='{score}' asks how often the class was known, and task='{images.task}' has none.")
    return _look(images, TRAINED, image_px, score)


def _look(images: Images, features: str, image_px: int | None, score: Score | None = None) -> Seen:
    from scrimp.batches import prepare

    small = features in (PIXELS, TRAINED)
    held = np.sort(np.concatenate([images.rows("train"), images.rows("val")]))
    ready = prepare(images.only(held), image_px=image_px or (SMALL_PX if small else MODEL_PX))
    paid = ready.cost if ready.from_cache and ready.pack is not None else FREE
    row_of = dict(zip(images.keys, range(len(images)), strict=True))
    readable = ready.images.rows("train")
    rows = np.array([row_of[ready.images.keys[row]] for row in readable], dtype=np.int64)
    lost = len(images.rows("train")) - len(rows)
    notes = [f"{lost:,} training images cannot be read, so they cannot be chosen."] if lost else []
    tensors, before, note = _by_model(ready, features) if not small else _by_own(ready, features)
    values = tensors["values"].numpy()
    scores = np.empty(0, dtype=np.float32) if score is None else tensors[score].numpy()
    return Seen(rows, values, scores, paid + before, tuple([*notes, note] if note else notes))


def _by_model(ready: Prepared, name: str) -> tuple[dict[str, Tensor], Cost, str]:
    """What a model with published weights sees."""
    from scrimp.models import build
    from scrimp.training.features import features_of

    model = build(name, classes=ready.images.outputs, image_px=ready.image_px)
    if model.start.startswith("from scratch"):
        raise SettingError(f"features='{name}': it has no published weights; 'trained' trains a network here.")
    found = features_of(model, ready, ready.images.rows("train"))
    return {"values": found.values}, found.cost if found.from_cache else FREE, found.note


def _by_own(ready: Prepared, features: str) -> tuple[dict[str, Tensor], Cost, str]:
    """What pixels, or a network trained here, say; from the cache, or into it."""
    from scrimp.training.keeping import identity_of, keep, read_kept
    from scrimp.training.together import from_first

    asked = _small_recipe(ready).model_dump_json() if features == TRAINED else f"{_COMPONENTS} {_TO_FIT}"
    name = fingerprint(f"{features} {_VERSION} {asked}", identity_of(ready), ready.images.fingerprint)[:32]
    kept = from_first(read_kept(name))  # what one has, all must have, who would else wait for it to train with them
    if kept is not None:
        return kept.tensors, kept.cost, ""
    with Stopwatch(shared_sensor()) as watch:
        tensors = _train(ready) if features == TRAINED else _components(ready)
    return tensors, FREE, keep(name, tensors, watch.cost)


def _components(ready: Prepared) -> dict[str, Tensor]:
    """The principal components of the pixels of the training images, block by block."""
    import torch
    from sklearn.decomposition import PCA

    rows = ready.images.rows("train")

    def floats(some: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        found = ready.pixels[some].reshape(len(some), -1).astype(np.float32)
        ready.let_go()
        return found * np.float32(1 / 255)

    held = max(_COMPONENTS, _HELD_BYTES // (4 * 3 * ready.image_px**2))
    fitted, block = min(len(rows), _TO_FIT, held), min(_BLOCK, held)
    sample = rows[np.linspace(0, len(rows) - 1, fitted).astype(np.int64)]
    count = min(_COMPONENTS, fitted, 3 * ready.image_px**2)
    pca = PCA(count, svd_solver="randomized", random_state=0).fit(floats(sample))
    blocks = [pca.transform(floats(rows[start : start + block])) for start in range(0, len(rows), block)]
    return {"values": torch.from_numpy(np.concatenate(blocks).astype(np.float32))}


def _train(ready: Prepared) -> dict[str, Tensor]:
    """What a small network sees once it has learnt from every training image, and what it found hard on the way."""
    from scrimp.training import train
    from scrimp.training.dynamics import Dynamics
    from scrimp.training.features import features_of

    rows = ready.images.rows("train")
    dynamics = Dynamics(len(ready.images)) if ready.images.task == "classify" else None
    with tempfile.TemporaryDirectory() as folder:
        trained = train(ready, _small_recipe(ready), out=folder, dynamics=dynamics)
    if trained.status == "interrupted":
        raise KeyboardInterrupt
    if trained.status == "failed":
        raise TrainingError(f"The network for features='trained' failed: {trained.reason}.")
    tensors = {"values": features_of(trained.model, ready, rows).values}
    if dynamics is not None:
        tensors |= {"el2n": dynamics.el2n(rows), "forgetting": dynamics.forgetting(rows)}
    return tensors


def _small_recipe(ready: Prepared) -> Recipe:
    """Always of the same seed, so that choices of all seeds share one training."""
    from scrimp.training.recipes import from_scratch_small

    batch = min(max(len(ready.images.rows("train")) // 50, _BATCH[0]), _BATCH[1])
    return from_scratch_small(
        epochs=_EPOCHS, batch_size=batch, label_smoothing=0.0, px_start=0.75, augment="basic", flip_test=False
    )


def _from_file(path: str, n: int) -> npt.NDArray[np.float32]:
    try:
        with Path(path).open("rb") as file:
            values: npt.NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise NotFound(f"No file of features at '{path}'.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"'{path}' is not a file of features that NumPy can read: {error}.") from None
    if values.ndim != 2 or len(values) != n or not np.issubdtype(values.dtype, np.floating):
        raise SettingError(
            f"'{path}' holds {values.dtype} {values.shape}, but floats ({n:,}, d) are wanted: a row for each training "
            "image, in the order of images.rows('train')."
        )
    return values.astype(np.float32)


def _all_are_numbers(
    values: npt.NDArray[np.float32], images: Images, rows: npt.NDArray[np.int64], features: str
) -> None:
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(wrong):
        raise SettingError(
            f"features='{features}' are not finite numbers (NaN or infinite) for {len(wrong):,} of {len(values):,} "
            f"training images; the first is '{images.keys[rows[wrong[0]]]}'. Images cannot be compared by them."
        )
