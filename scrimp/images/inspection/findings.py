"""What an inspection comes to: sentences on what is wrong and what to do, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scrimp.images.inspection.kinds import ClassCount, Duplicates, Fault, FaultKind, Finding, Imbalance, Leak
from scrimp.images.kinds import LeftOut, Split, Task

UNEVEN = 3.0
"""From this ratio of the largest class to the smallest, imbalance is a finding."""

FEW = 10
"""Classes with fewer training images than this are a finding."""

MANY = 0.1
"""Where more than this part of the images are near duplicates, it may be the kind of image that is alike."""

_COPIES_ADVICE = "Keep one of each group: copies count double, in training and in testing."
_MANY_NEAR_ADVICE = (
    "So many that it may be the kind of image: letters, drawings and frames of one film are near to one another "
    "without being the same. Look at the groups before you believe them, and the leaks."
)

_LEAK_ADVICE: dict[tuple[Split, Split], str] = {
    ("test", "train"): "Take one of each pair out: a model that remembers is taken for one that understands.",
    ("test", "val"): "Take one of each pair out: what was chosen on val is reported on the same images.",
    ("val", "train"): "Take one of each pair out: the choice goes to the model that remembers best.",
}

_FAULT_WORDS: dict[FaultKind, tuple[str, str]] = {
    "blank": ("blank", "Delete them: there is nothing to see."),
    "dark": ("too dark", "Look at them: brighten or delete those that a person could not label."),
    "bright": ("too bright", "Look at them: delete those that a person could not label."),
    "blurry": ("blurry", "Look at them: delete those that a person could not label."),
    "small": ("much smaller than the rest", "Look at them: they may be previews or icons that got in."),
    "long": ("very long or very tall", "Crop them to what counts: models are shown the middle square."),
    "outlier": ("unlike the rest", "Look at them: they may have got in by mistake, or be all there is of their kind."),
}


def find_what_matters(
    *,
    task: Task,
    images: int,
    classes: Sequence[ClassCount],
    imbalance: Imbalance | None,
    unreadable: Sequence[LeftOut],
    duplicates: Duplicates,
    faults: Sequence[Fault],
    overlap: str | None,
) -> tuple[Finding, ...]:
    """The findings; none where nothing is wrong. images: readable ones."""
    return (
        *(_leak(leak, duplicates) for leak in duplicates.leaks),
        *_two_labels(duplicates),
        *_unreadable(images, unreadable),
        *_lost_classes(classes),
        *_overlap(overlap),
        *_copies(duplicates, images),
        *(_fault(fault) for fault in faults if fault.images),
        *_uneven(imbalance, task),
        *_few(classes, task),
    )


def _leak(leak: Leak, duplicates: Duplicates) -> Finding:
    count = leak.exact + leak.near
    groups = (*duplicates.exact, *duplicates.near)
    group = next(group for group in groups if {leak.split, leak.other} <= set(group.splits))
    one, other = (next(m.key for m in group.members if m.split == split) for split in (leak.split, leak.other))
    return Finding(
        kind="leak",
        text=(
            f"{count:,} of {_of(leak.images, leak.split + ' image')} ({leak.share:.1%}) "
            f"{'is' if count == 1 else 'are'} in {leak.other} as well: {_of(leak.exact, 'exact copy')}, "
            f"{_of(leak.near, 'near duplicate')}. For example, '{one}' shows the same as '{other}'."
        ),
        advice=_LEAK_ADVICE[leak.split, leak.other],
        count=count,
    )


def _two_labels(duplicates: Duplicates) -> Iterator[Finding]:
    groups = duplicates.two_labels
    if groups:
        exact = sum(group.exact for group in groups)
        one = groups[0].members[0]
        two = next(member for member in groups[0].members if member.label != one.label)
        yield Finding(
            kind="two labels",
            text=(
                f"{_of(len(groups), 'group')} of images that show the same have different labels, {exact:,} of them "
                f"exact copies; for example '{one.key}' is '{one.label}' and '{two.key}' is '{two.label}'."
            ),
            advice="Decide which label is right: no model can learn both.",
            count=len(groups),
        )


def _unreadable(images: int, unreadable: Sequence[LeftOut]) -> Iterator[Finding]:
    if unreadable:
        yield Finding(
            kind="unreadable",
            text=(
                f"{len(unreadable):,} of {_of(images + len(unreadable), 'file')} cannot be read; the first: "
                f"{unreadable[0].reason}"
            ),
            advice="Replace or delete them: training leaves them out.",
            count=len(unreadable),
        )


def _lost_classes(classes: Sequence[ClassCount]) -> Iterator[Finding]:
    lost = [one.name for one in classes if not one.splits["train"].images]
    if lost:
        yield Finding(
            kind="lost classes",
            text=f"There is no training image of {_named(lost)} that can be read.",
            advice="Add or replace files, or delete the class: training refuses a class without images.",
            count=len(lost),
        )


def _overlap(overlap: str | None) -> Iterator[Finding]:
    if overlap:
        yield Finding(kind="imagenet", text=overlap, advice="Compare models with it, but do not quote it.", count=1)


def _copies(duplicates: Duplicates, images: int) -> Iterator[Finding]:
    for kind, groups in (("exact copies", duplicates.exact), ("near duplicates", duplicates.near)):
        if groups:
            count = sum(len(group.members) for group in groups)
            yield Finding(
                kind=kind,
                text=(
                    f"{count:,} images in {_of(len(groups), 'group')} are {kind} of one another, for example "
                    f"'{groups[0].members[0].key}' and '{groups[0].members[1].key}'."
                ),
                advice=_MANY_NEAR_ADVICE if kind == "near duplicates" and count > MANY * images else _COPIES_ADVICE,
                count=count,
            )


def _fault(fault: Fault) -> Finding:
    word, advice = _FAULT_WORDS[fault.kind]
    count = len(fault.images)
    worst = fault.images[0].image.key
    text = f"{_of(count, 'image')} {f'are {word}, most of all' if count > 1 else f'is {word}:'} '{worst}'."
    return Finding(kind=fault.kind, text=text, advice=advice, count=count)


def _uneven(imbalance: Imbalance | None, task: Task) -> Iterator[Finding]:
    if imbalance and imbalance.ratio is not None and imbalance.ratio >= UNEVEN:
        yield Finding(
            kind="imbalance",
            text=(
                f"The largest class of train, '{imbalance.largest}' ({imbalance.most:,} images), is "
                f"{imbalance.ratio:.1f} times the smallest, '{imbalance.smallest}' ({imbalance.fewest:,})."
            ),
            advice=(
                "Judge by macro F1 and the recall of each class, not by accuracy alone; add images to the small classes"
                + (
                    f", or cap the large ones with --per-class {max(imbalance.fewest, FEW)}."
                    if task == "classify"
                    else "."
                )
            ),
            count=1,
        )


def _few(classes: Sequence[ClassCount], task: Task) -> Iterator[Finding]:
    few = [one.name for one in classes if 0 < one.splits["train"].images < FEW]
    if few:
        yield Finding(
            kind="few images",
            text=(
                f"{_of(len(few), 'class')} {'has' if len(few) == 1 else 'have'} fewer than {FEW} training images: "
                f"{_named(few)}."
            ),
            advice=f"Add images{f', or leave them out with --min-per-class {FEW}' if task == 'classify' else ''}.",
            count=len(few),
        )


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (", …" if len(names) > 5 else "")


def _of(n: int, thing: str) -> str:
    """A number of things: `1 image`, `1,204 images`, `2 classes`, `3 copies`."""
    plural = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{n:,} {thing if n == 1 else plural}"
