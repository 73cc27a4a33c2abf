"""Keeps a part of the training images, and bills the choosing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import mean
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from scrimp.cost import Cost, Stopwatch, shared_sensor
from scrimp.errors import SettingError, UnknownName
from scrimp.images import Images
from scrimp.images.fingerprint import fingerprint, hash_ranks
from scrimp.images.kept import Kept, read_kept, training_print
from scrimp.images.kinds import images_per_class
from scrimp.images.printable import printable
from scrimp.models import MODELS
from scrimp.progress import bar
from scrimp.settings import Settings, to_toml
from scrimp.subset.chance import at_random, best_draw
from scrimp.subset.coverage import probcover, pure_radius
from scrimp.subset.difficulty import coverage_centric
from scrimp.subset.dispersion import diversity, representative
from scrimp.subset.exporting import export_images
from scrimp.subset.features import FILE, PIXELS, TRAINED, Seen, see, see_scores, unseen
from scrimp.subset.herding import herding
from scrimp.subset.k_center import k_center
from scrimp.subset.pool import Method, Pool, Rows, Vectors, unit
from scrimp.subset.submodular import facility_location, graph_cut
from scrimp.subset.typicality import typiclust

METHODS: Mapping[str, Method] = {
    "random": Method(at_random, needs="keys", nested=True),
    "best-draw": Method(best_draw, least=2),
    "diversity": Method(diversity, least=2),
    "representative": Method(representative, least=2),
    "k-center": Method(k_center, nested=True, least=2),
    "facility-location": Method(facility_location, nested=True),
    "graph-cut": Method(graph_cut, nested=True),
    "herding": Method(herding, nested=True),
    "typiclust": Method(typiclust),
    "probcover": Method(probcover, needs="radius", nested=True),
    "el2n": Method(coverage_centric, needs="el2n"),
    "forgetting": Method(coverage_centric, needs="forgetting"),
}
"""Every method of selection by name."""


class Selection(Settings):
    """Which training images are kept."""

    keep: int = Field(ge=1)
    """Training images to keep; val and test stay whole."""
    method: str = "random"
    """A name from the table of methods; "random" is what the others must beat."""
    features: str = PIXELS
    """What images are compared by, where the method compares any: "pixels" (their principal components), "trained" (a
    small network learns from all of them first), a pretrained model, or a .npy file with a row for each."""
    image_px: int | None = Field(default=None, ge=8, le=1024)
    """Side at which they are looked at; by default 32 px for pixels and the small network, 96 px for other models."""
    balance: Literal["equal", "fill", "none"] = "equal"
    """As many of each class as of any other, and a class that has fewer is refused; "fill" takes all that such a class
    has and more of the others; "none", and any task but classify, takes any images, but is refused where they leave a
    class without one."""
    seed: int = Field(default=0, ge=0)
    """Which of the possible choices; the same number gives the same one."""

    @field_validator("method")
    @classmethod
    def _method_is_known(cls, method: str) -> str:
        if method not in METHODS:
            raise UnknownName("selection method", method, METHODS)
        return method

    @field_validator("features")
    @classmethod
    def _features_are_known(cls, features: str) -> str:
        own = (PIXELS, TRAINED)
        if not (features in own or features in MODELS or features.startswith("timm:") or features.endswith(FILE)):
            where = f"Take {PIXELS}, {TRAINED}, a model of 'scrimp models' that is pretrained, or a {FILE} file."
            raise UnknownName("features", features, (*own, *MODELS), where)
        return features


@dataclass(frozen=True, kw_only=True, eq=False)
class Selected(Images):
    """The images with a part of the training images kept; the cost includes finding and choosing.

    objective: the method's own measure of what it chose, the mean over the classes; None where it has none.
    choosing: what choosing alone cost, features included. chosen_from: how many training images there were, and
    training_print: which.
    """

    selection: Selection
    objective: float | None
    choosing: Cost
    chosen_from: int
    training_print: str

    def save(self, path: str | Path) -> Kept:
        """Writes the kept list, which `find_images(…, subset=path)` and `--subset` take, and returns it.

        Raises `SettingError` for what was selected in a fold: folds are cut from what a list keeps.
        """
        if self.source.folds is not None:
            raise SettingError(
                f"A kept list is of all training images, but folds={self.source.folds} left a part of them to choose "
                "from: select without folds, and give them beside the list."
            )
        names = _names_at_home(self)
        kept = Kept(
            source=self.source.source,
            chosen_from=self.chosen_from,
            fingerprint=self.training_print,
            keys=tuple(names[row] for row in self.rows("train")),
            method=self.selection.method,
            seed=self.selection.seed,
            selection=self.selection.model_dump(),
            objective=self.objective,
            cost=self.choosing,
        )
        kept.write(path)
        return kept

    def export(self, folder: str | Path) -> None:
        """Writes the training images that are kept as a folder of class folders, which must be new or empty."""
        export_images(self, self.rows("train"), folder)


def select(
    images: Images,
    *,
    keep: int,
    method: str = "random",
    features: str = PIXELS,
    image_px: int | None = None,
    balance: Literal["equal", "fill", "none"] = "equal",
    seed: int = 0,
) -> Selected:
    """Keep the `keep` training images that a method chooses; val and test do not change, and test is not looked at.

    The arguments are those of `Selection`. Raises `SettingError` for more images than there are to train on or in a
    class, fewer than the method can compare, a class that would lose all its images, and features that are not
    numbers. Cost: that of the features, once, and of the method, added to the bill; 4 n d bytes for the features, and
    no table of n x n.

    >>> import scrimp
    >>> images = scrimp.find_images("digits")
    >>> kept = scrimp.select(images, keep=100, method="diversity")
    >>> len(kept.rows("train")), len(kept.rows("test")) == len(images.rows("test"))
    (100, True)
    """
    selection = Selection(keep=keep, method=method, features=features, image_px=image_px, balance=balance, seed=seed)
    with Stopwatch(shared_sensor()) as watch:
        _check(images, images.rows("train"), selection)
        seen = _seen(images, selection)
        _check(images, seen.rows, selection)
        chosen, objective = _choose(images, seen, selection)
        _check_classes(images, chosen, selection)
        kept = np.sort(np.concatenate([chosen, images.rows("val"), images.rows("test")]))
        cut = images.only(kept)
    before, chosen_from, which = _earlier(images)
    cost = seen.paid_before + watch.cost
    selected = Selected(
        **{part.name: getattr(cut, part.name) for part in fields(Images)},
        selection=selection,
        objective=objective,
        choosing=cost if before is None else before + cost,
        chosen_from=chosen_from,
        training_print=which,
    )
    return replace(
        selected,
        notes=(*images.notes, *seen.notes, *_notes(images, selected)),
        fingerprint=fingerprint(cut.fingerprint, to_toml(selection)),
        cost=images.cost + cost,
    )


def some_at_random(images: Images, rows: Rows, keep: int, seed: int) -> Rows:
    """`keep` of these rows by chance, as many of each class, as far as they go; more of them extend fewer."""
    return _choose(images, unseen(rows), Selection(keep=keep, balance="fill", seed=seed))[0]


def _check(images: Images, rows: Rows, selection: Selection) -> None:
    """Refuses what cannot be kept of these training images."""
    keep, method, least = selection.keep, selection.method, METHODS[selection.method].least
    if keep > len(rows):
        raise SettingError(
            f"keep={keep:,} is more than the {len(rows):,} training images that can be chosen "
            f"(of {len(images):,}, the others are val and test, or cannot be read)."
        )
    present = len(np.unique(images.labels[rows])) if images.task == "classify" else 1
    if keep < present:
        raise SettingError(
            f"keep={keep:,} is fewer than one for each of the {present:,} classes: keep at least {present:,}."
        )
    groups = _groups(images, rows, selection.balance)
    counts = np.array([len(group) for group in groups])
    shares, fewest = _shares(counts, keep, selection.seed), int(counts.min())
    if selection.balance == "equal" and shares.max() - fewest > 1:
        small = images.classes[images.labels[rows[groups[int(counts.argmin())][0]]]]
        raise SettingError(
            f"keep={keep:,} is {keep / len(counts):,.4g} for each of {len(counts):,} classes, but '{small}' has "
            f"{fewest:,} to choose from: keep at most {fewest * len(counts):,}, or let others have more with "
            "balance='fill', or take any with balance='none'."
        )
    if (shares[shares < counts] < least).any():
        of_class = f" of some of {len(counts):,} classes" if len(counts) > 1 else ""
        raise SettingError(
            f"method='{method}' compares the images that it keeps with one another, and keep={keep:,} leaves a single "
            f"one{of_class}: keep at least {least * len(counts):,}, or take another method, such as 'random'."
        )


def _check_classes(images: Images, chosen: Rows, selection: Selection) -> None:
    """Refuses a choice that leaves a class without an image to learn from, which no training would take."""
    had, kept = (np.unique(images.labels[rows]) for rows in (images.rows("train"), chosen))
    if images.task == "classify" and len(kept) < len(had):
        lost = [images.classes[label] for label in np.setdiff1d(had, kept)]
        raise SettingError(
            f"keep={selection.keep:,} by method='{selection.method}' with balance='{selection.balance}' leaves no "
            f"image of {len(lost):,} of {len(had):,} classes, which could then not be learnt: {_some(lost)}. Keep "
            "more, or some of each with balance='equal' or 'fill'."
        )


def _seen(images: Images, selection: Selection) -> Seen:
    match METHODS[selection.method].needs:
        case "keys":
            return unseen(images.rows("train"))
        case "el2n" | "forgetting" as score:
            return see_scores(images, score, selection.image_px)
        case _:
            return see(images, selection.features, selection.image_px)


def _choose(images: Images, seen: Seen, selection: Selection) -> tuple[Rows, float | None]:
    """The rows of `images` that are kept, and the mean of the method's measure over the classes that left a choice."""
    method, seed = METHODS[selection.method], selection.seed
    groups = _groups(images, seen.rows, selection.balance)
    shares = _shares(np.array([len(group) for group in groups]), selection.keep, seed)
    features = unit(seen.values)
    radius = _radius(images, seen, features, selection)
    kept: list[Rows] = []
    objectives: list[float] = []
    with bar(f"choosing by {selection.method}", len(groups)) as advance:
        for group, share in zip(groups, shares.tolist(), strict=True):
            if share == len(group):
                kept.append(seen.rows[group])
            elif share:
                pool = Pool(
                    keys=tuple(images.keys[row] for row in seen.rows[group]),
                    features=features if len(groups) == 1 else features[group],
                    scores=seen.scores[group] if len(seen.scores) else seen.scores,
                    radius=radius,
                )
                choice = method.choose(pool, share, seed)
                kept.append(seen.rows[group[choice.rows]])
                objectives += [] if choice.objective is None else [choice.objective]
            advance(1, "")
    return np.concatenate(kept), mean(objectives) if objectives else None


def _radius(images: Images, seen: Seen, features: Vectors, selection: Selection) -> float | None:
    if METHODS[selection.method].needs != "radius":
        return None
    if images.task != "classify":
        raise SettingError(f"method='{selection.method}' asks for classes, and task='{images.task}' has none.")
    return pure_radius(features, images.labels[seen.rows], selection.seed)


def _groups(images: Images, rows: Rows, balance: str) -> list[Rows]:
    """The places in `rows` of each class that has any; all of them, where classes are not balanced."""
    if balance == "none" or images.task != "classify":
        return [np.arange(len(rows))]
    labels = images.labels[rows]
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _shares(counts: npt.NDArray[np.int64], keep: int, seed: int) -> npt.NDArray[np.int64]:
    """How many of each class: dealt in rounds, the last of them in an order by chance; who has no more is passed over.

    More to keep takes none away from any class.
    """
    rounds = bisect_right(range(int(counts.max()) + 1), keep, key=lambda most: int(np.minimum(counts, most).sum())) - 1
    shares = np.minimum(counts, rounds)
    order = np.argsort(hash_ranks([str(number) for number in range(len(counts))], f"share/{seed}"), kind="stable")
    shares[order[counts[order] > rounds][: keep - int(shares.sum())]] += 1
    return shares


def _earlier(images: Images) -> tuple[Cost | None, int, str]:
    """What an earlier selection of the same images had cost, and the training images that all was chosen from."""
    if isinstance(images, Selected):
        return images.choosing, images.chosen_from, images.training_print
    if images.source.subset is not None:
        kept = read_kept(images.source.subset)
        return kept.cost, kept.chosen_from, kept.fingerprint
    return None, len(images.rows("train")), training_print(replace(images, keys=_names_at_home(images)))


def _names_at_home(images: Images) -> tuple[str, ...]:
    """The keys, without the place that stands before those of training images which are tested on others."""
    here = f"{printable(images.source.source)}/"
    return images.keys if images.source.test is None else tuple(key.removeprefix(here) for key in images.keys)


def _notes(images: Images, selected: Selected) -> list[str]:
    """What a user who asked for equal shares, or for all classes, did not get."""
    names, n = images.classes, len(images.classes)
    had = images_per_class(images.labels[images.rows("train")], n)
    kept = images_per_class(selected.labels[selected.rows("train")], n)
    notes = []
    if images.task != "classify":
        notes.append("Selected without regard to labels: an image has no one class to balance.")
    lost = [names[i] for i in np.flatnonzero((had > 0) & (kept == 0))]
    if lost:
        notes.append(f"{len(lost):,} of {n:,} classes have no image selected: {_some(lost)}.")
    short = [names[i] for i in np.flatnonzero((kept == had) & (kept < kept.max(initial=0) - 1))]
    if short and selected.selection.balance != "none" and images.task == "classify":
        notes.append(
            f"{len(short):,} of {n:,} classes have fewer images than their share, so all of theirs are kept "
            f"and others have more: {_some(short)}."
        )
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "")
