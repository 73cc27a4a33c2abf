"""The whole look at a set of labelled images, in the order in which it is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from scrimp.cost import Stopwatch, shared_sensor
from scrimp.images.inspection.baseline import baseline_of, components_of, sample_of
from scrimp.images.inspection.duplicates import find_duplicates
from scrimp.images.inspection.faults import find_faults
from scrimp.images.inspection.findings import find_what_matters
from scrimp.images.inspection.kinds import Amount, Bin, ClassCount, Imbalance, Inspection, Quantiles, Sizes
from scrimp.images.inspection.looking import Looks, look
from scrimp.images.inspection.naming import rows_of_class
from scrimp.images.inspection.pictures import take_pictures
from scrimp.images.kinds import SPLITS, Images, Split, images_per_class
from scrimp.images.overlap import overlap_with_imagenet

_COMMON = 10
_SIDES = (32, 64, 128, 224, 384, 640, 1024, 2048, 4096)
_ASPECTS = (0.5, 0.7, 0.95, 1.05, 1.4, 2.0)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Outliers = Callable[[npt.NDArray[np.uint8], Ints], npt.NDArray[np.float32]]
"""Of thumbnails (n, 32, 32, 3) and the rows to learn from: a figure for each, (n,), the greater the stranger."""


def inspect_images(images: Images, *, outliers: Outliers | None = None) -> Inspection:
    """Looks at every image before anything is learnt: what is there, what is wrong, what the cheapest model gets.

    Finds unreadable, duplicate, leaked, blank, dark, bright, blurry and misshapen images, and names them; counts
    classes and sizes; computes mean images, eigenfaces and two baselines. Trained on train, chosen on val; of the
    test split only accuracy is reported. Nothing in the data ends it.
    outliers: says how strange each image is, as `scrimp.models.autoencoder.strangeness` does; who stands out is named.
    Cost: one decode per image over all cores (about 2,000 tiny images or 300 photos a second on two), n**2 / 2 cheap
    comparisons, and some seconds for the baselines; about 3.7 kB of memory an image and 450 MB besides.

    >>> from scrimp import find_images
    >>> found = inspect_images(find_images("digits"))
    >>> found.images, len(found.unreadable)
    (1797, 0)
    """
    with Stopwatch(shared_sensor()) as watch:
        looks = look(images)
        seen = images.only(looks.rows)
        classes = _classes(images, seen, looks)
        imbalance = _imbalance(classes)
        unreadable = tuple(looks.unreadable.values())
        duplicates = find_duplicates(seen, looks)
        sample = sample_of(seen)
        faults = find_faults(seen, looks, outliers(looks.thumbs, sample) if outliers and len(sample) else None)
        overlap = overlap_with_imagenet(images.source.source, images.classes)
        components = components_of(looks.thumbs[sample])
        refused = _why_no_baseline(seen, sample, components is not None)
        baseline = baseline_of(seen, looks.thumbs, sample, components) if components and not refused else None
        pictures = take_pictures(seen, looks.thumbs, duplicates, faults, components)
    return Inspection(
        source=images.source.source,
        task=images.task,
        splits=_amounts(seen, np.arange(len(seen)), file_mb(seen)),
        classes=classes,
        targets=_targets(seen) if images.task == "regress" else None,
        imbalance=imbalance,
        sizes=_sizes(looks) if len(seen) else None,
        unreadable=unreadable,
        left_out=images.left_out,
        oddities=looks.oddities,
        duplicates=duplicates,
        faults=faults,
        eigenfaces=components.facts if components else None,
        baseline=baseline,
        findings=find_what_matters(
            task=images.task,
            images=len(seen),
            classes=classes,
            imbalance=imbalance,
            unreadable=unreadable,
            duplicates=duplicates,
            faults=faults,
            overlap=overlap,
        ),
        notes=(*(note for note in images.notes if note != overlap), *looks.notes, *([refused] if refused else [])),
        pictures=pictures,
        cost=images.cost + watch.cost,
    )


def _why_no_baseline(seen: Images, sample: Ints, components: bool) -> str | None:
    if seen.task != "classify":
        return f"No baseline: it is for one class an image, not for task '{seen.task}'."
    if not components:
        return "No eigenfaces and no baseline: they need two different readable images in train."
    if len(np.unique(seen.labels[sample])) < 2:
        return "No baseline: it needs readable training images of two classes."
    return None


# ---------------------------------------------------------------- counts


def file_mb(images: Images) -> Floats | None:
    """Megabytes of each image, (n,): of its file, or of its pixels where it lives in memory; None where unknown.

    A file that several images are cut from counts for the first of them.
    """
    arrays = [item.nbytes for item in images.items if isinstance(item, np.ndarray)]
    if arrays:
        return np.array(arrays) / 1e6 if len(arrays) == len(images) else None
    sizes = [stamp.partition(" ")[0] for stamp in images.stamps]
    if len(sizes) != len(images) or not all(size.isdigit() for size in sizes):
        return None
    first = dict(zip(reversed(images.items), reversed(range(len(images))), strict=True))
    return (
        np.array(
            [int(size) * (first[item] == n) for n, (size, item) in enumerate(zip(sizes, images.items, strict=True))]
        )
        / 1e6
    )


def _amounts(seen: Images, rows: Ints, sizes: Floats | None) -> dict[Split, Amount]:
    """Images and megabytes of some rows, per split."""
    parts = {split: rows[seen.splits[rows] == split] for split in SPLITS}
    return {
        split: Amount(images=len(part), mb=None if sizes is None else float(sizes[part].sum()))
        for split, part in parts.items()
    }


def _classes(images: Images, seen: Images, looks: Looks) -> tuple[ClassCount, ...]:
    sizes = file_mb(seen)
    broken = images_per_class(images.labels[list(looks.unreadable)], len(images.classes)).tolist()
    return tuple(
        ClassCount(name=name, splits=_amounts(seen, rows_of_class(seen, number), sizes), unreadable=broken[number])
        for number, name in enumerate(images.classes)
    )


def _targets(seen: Images) -> dict[Split, Quantiles]:
    """The quantiles of the targets of each split that has readable images."""
    rows = {split: seen.rows(split) for split in SPLITS}
    return {split: _quantiles(seen.labels[found]) for split, found in rows.items() if len(found)}


def _imbalance(classes: Sequence[ClassCount]) -> Imbalance | None:
    if not classes:
        return None
    by_size = sorted(classes, key=lambda one: one.splits["train"].images)
    fewest, most = by_size[0].splits["train"].images, by_size[-1].splits["train"].images
    return Imbalance(
        largest=by_size[-1].name,
        smallest=by_size[0].name,
        most=most,
        fewest=fewest,
        ratio=most / fewest if fewest else None,
    )


# ---------------------------------------------------------------- sizes


def _sizes(looks: Looks) -> Sizes:
    width, height = looks.sizes.T
    common = Counter(map(tuple, looks.sizes.tolist()))
    return Sizes(
        width=_quantiles(width),
        height=_quantiles(height),
        aspect=_quantiles(width / height),
        common=tuple(Bin(label=f"{w} x {h}", images=count) for (w, h), count in common.most_common(_COMMON)),
        different=len(common),
        short_sides=_bins(np.minimum(width, height), _SIDES, "px"),
        aspects=_bins(width / height, _ASPECTS, ""),
    )


def _quantiles(values: npt.NDArray[np.number]) -> Quantiles:
    least, p5, median, p95, most = np.percentile(values, (0, 5, 50, 95, 100)).tolist()
    return Quantiles(least=least, p5=p5, median=median, p95=p95, most=most)


def _bins(
    values: npt.NDArray[np.integer] | npt.NDArray[np.floating], edges: Sequence[float], unit: str
) -> tuple[Bin, ...]:
    """How many values lie below the first edge, from each edge to below the next, and from the last on."""
    counts = np.bincount(np.digitize(values, edges), minlength=len(edges) + 1).tolist()
    words = [f"below {edges[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(edges))]
    words.append(f"{edges[-1]:g} or more")
    return tuple(Bin(label=f"{word} {unit}".strip(), images=n) for word, n in zip(words, counts, strict=True))
