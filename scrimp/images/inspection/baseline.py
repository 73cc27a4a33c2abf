"""The cheapest models anyone can have: the nearest mean image, and a linear one on the leading eigenfaces."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scrimp.images.inspection.kinds import Baseline, Eigenfaces, Score
from scrimp.images.inspection.looking import THUMB_PX
from scrimp.images.kinds import Images, Split
from scrimp.progress import bar

SAMPLE = 5_000
"""Training images that the components and models are computed from: more would take minutes and gain little."""

COMPONENTS = 100
"""Components computed, at most."""

_SHARES = (0.5, 0.8, 0.9, 0.95)
_TRIED = tuple((components, c) for components in (20, COMPONENTS) for c in (0.01, 1.0))
_ROUNDS = 200  # of L-BFGS: where it has not settled by then, accuracy has

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Thumbs = npt.NDArray[np.uint8]


class Components(NamedTuple):
    """Principal components of pixels 0 to 1: mean (3072,), axes (k, 3072), and the variance along each."""

    mean: Floats
    axes: Floats
    variances: Floats
    facts: Eigenfaces


def sample_of(seen: Images) -> Ints:
    """The rows of at most `SAMPLE` training images, drawn with a fixed seed."""
    rows = seen.rows("train")
    return np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])


def components_of(thumbs: Thumbs, most: int | None = None) -> Components | None:
    """The leading principal components of thumbnails (n, 32, 32, 3); None for fewer than 2 different ones.

    most: how many at most, `COMPONENTS` by default. Cost: about 2 s for 5,000 on two cores, a tenth for a few of them.
    Turk and Pentland, "Eigenfaces for recognition", 1991.
    """
    if len(thumbs) < 2 or not thumbs.std(axis=0).any():
        return None
    from sklearn.decomposition import PCA

    pixels = _flat(thumbs)
    most = most or COMPONENTS
    count = min(most, len(pixels) - 1)
    found = PCA(count, svd_solver="randomized" if len(pixels) > 10 * most else "full", random_state=0).fit(pixels)
    summed = np.cumsum(found.explained_variance_ratio_)
    needed = {f"{share:.0%}": int(np.argmax(summed >= share)) + 1 if summed[-1] >= share else None for share in _SHARES}
    return Components(
        mean=found.mean_,
        axes=found.components_,
        variances=found.explained_variance_,
        facts=Eigenfaces(
            images=len(thumbs), px=THUMB_PX, shares=tuple(found.explained_variance_ratio_.tolist()), needed=needed
        ),
    )


def baseline_of(seen: Images, thumbs: Thumbs, sample: Ints, components: Components) -> Baseline:
    """Trains the two on the sample, chooses their settings on val, and looks at test once.

    Cost: seconds for ten classes, growing with their number; memory of 16 kB an image of the sample.
    """
    labels = seen.labels[sample]
    frequent = int(np.bincount(labels).argmax())
    val = seen.rows("val")
    return Baseline(
        images=len(sample),
        of=len(seen.rows("train")),
        px=THUMB_PX,
        chance=float((seen.labels[val] == frequent).mean()) if len(val) else None,
        scores=(
            _score(
                seen, thumbs, "nearest centroid", [("mean image of each class", _centroids(thumbs, sample, labels))]
            ),
            _score(seen, thumbs, "PCA + logistic regression", _regressions(thumbs, sample, labels, components)),
        ),
    )


Predict = Callable[[Thumbs], Ints]
Train = Callable[[], Predict]


def _score(seen: Images, thumbs: Thumbs, name: str, settings: list[tuple[str, Train]]) -> Score:
    """The setting with the best val accuracy, the first of equals; only that one sees test."""
    start = time.perf_counter()
    best: tuple[float, str, Predict] | None = None
    with bar(name, len(settings)) as advance:
        for setting, train in settings:
            predict = train()
            right = _accuracy(seen, thumbs, "val", predict) or 0.0
            if best is None or right > best[0]:
                best = (right, setting, predict)
            advance(1, "")
    assert best is not None
    seconds = time.perf_counter() - start
    return Score(
        name=name,
        setting=best[1],
        val=_accuracy(seen, thumbs, "val", best[2]),
        n_val=len(seen.rows("val")),
        test=_accuracy(seen, thumbs, "test", best[2]),
        n_test=len(seen.rows("test")),
        seconds=seconds,
    )


def _accuracy(seen: Images, thumbs: Thumbs, split: Split, predict: Predict) -> float | None:
    rows = seen.rows(split)
    parts = [rows[start : start + 4096] for start in range(0, len(rows), 4096)]
    right = sum(int((predict(thumbs[part]) == seen.labels[part]).sum()) for part in parts)
    return right / len(rows) if len(rows) else None


def _centroids(thumbs: Thumbs, sample: Ints, labels: Ints) -> Train:
    def train() -> Predict:
        pixels, present = _flat(thumbs[sample]), np.unique(labels)
        means = np.stack([pixels[labels == number].mean(axis=0) for number in present])
        halves = (means**2).sum(axis=1) / 2  # |x - mean|² is least where x · mean - |mean|² / 2 is greatest
        return lambda some: present[(_flat(some) @ means.T - halves).argmax(axis=1)]

    return train


def _regressions(thumbs: Thumbs, sample: Ints, labels: Ints, components: Components) -> list[tuple[str, Train]]:
    """One for each setting that there are components for, on components scaled to the same variance."""
    most = int((components.variances > 1e-6 * components.variances[0]).sum())
    scale = (1 / np.sqrt(components.variances[:most])).astype(np.float32)

    def project(some: Thumbs) -> Floats:
        along = (_flat(some) - components.mean) @ components.axes[:most].T
        return (along * scale).astype(np.float32, copy=False)

    projected = project(thumbs[sample])

    def training(count: int, c: float) -> Train:
        def train() -> Predict:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.linear_model import LogisticRegression

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
                model = LogisticRegression(C=c, max_iter=_ROUNDS).fit(projected[:, :count], labels)
            return lambda some: model.predict(project(some)[:, :count])

        return train

    tried = dict.fromkeys((min(count, most), c) for count, c in _TRIED)
    return [(f"{count} components, C={c:g}", training(count, c)) for count, c in tried]


def _flat(thumbs: Thumbs) -> Floats:
    """Pixels 0 to 1, one image a row."""
    return thumbs.reshape(len(thumbs), -1).astype(np.float32) / np.float32(255)
