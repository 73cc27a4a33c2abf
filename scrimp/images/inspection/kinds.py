"""What an inspection found, as plain data: everything but the pictures is in its JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from scrimp.cost import FREE, Cost
from scrimp.images.kinds import LeftOut, Split, Task

FaultKind = Literal["blank", "dark", "bright", "blurry", "small", "long", "outlier"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(_Record):
    """One image: its key, its split, and its label in words."""

    key: str
    split: Split
    label: str


class Amount(_Record):
    """How many readable images there are of something, and the megabytes of their files, None where unknown."""

    images: int
    mb: float | None


class ClassCount(_Record):
    """One class: what each split holds of it, and how many files of it cannot be read."""

    name: str
    splits: dict[Split, Amount]
    unreadable: int


class Imbalance(_Record):
    """The largest and the smallest class of train, in readable images, and how many times one is the other.

    ratio is None where the smallest class is empty.
    """

    largest: str
    smallest: str
    most: int
    fewest: int
    ratio: float | None


class Quantiles(_Record):
    """The 0th, 5th, 50th, 95th and 100th percentile of something."""

    least: float
    p5: float
    median: float
    p95: float
    most: float


class Bin(_Record):
    """A range of values in words, and how many images lie in it."""

    label: str
    images: int


class Sizes(_Record):
    """Width and height in pixels, upright; aspect is width / height.

    common: the most frequent sizes; different: how many sizes there are; the bins cover every readable image.
    """

    width: Quantiles
    height: Quantiles
    aspect: Quantiles
    common: tuple[Bin, ...]
    different: int
    short_sides: tuple[Bin, ...]
    aspects: tuple[Bin, ...]


class Group(_Record):
    """Images that show the same.

    exact: all have the same pixels. likeness: the least correlation of any with the first, 1 for exact copies; low
    where each is near to the next only, as the frames of a film are.
    """

    members: tuple[Named, ...]
    exact: bool
    likeness: float

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits it reaches into, in the order of its members."""
        return tuple(dict.fromkeys(member.split for member in self.members))

    @property
    def labels(self) -> tuple[str, ...]:
        """The different labels of its members."""
        return tuple(dict.fromkeys(member.label for member in self.members))


class Leak(_Record):
    """Images of one split that are also in another, which should know nothing of it.

    images: readable ones of `split`; exact: those with an exact copy in `other`; near: those with none, but a
    near duplicate.
    """

    split: Split
    other: Split
    images: int
    exact: int
    near: int

    @property
    def share(self) -> float:
        """The part of the split that is known elsewhere, 0 to 1."""
        return (self.exact + self.near) / self.images if self.images else 0.0


class Duplicates(_Record):
    """Groups of images that show the same, those that reach from train or val into test first.

    exact: groups of the same pixels. near: groups that look the same without being all equal; an exact copy is in
    the near group of its original, too. leaks: what that means for each pair of splits.
    unsearched: images too plain or too small to be told apart, which near duplicates were not looked for among.
    """

    exact: tuple[Group, ...]
    near: tuple[Group, ...]
    leaks: tuple[Leak, ...]
    unsearched: int

    @property
    def two_labels(self) -> tuple[Group, ...]:
        """Groups whose images do not all have the same label; copies that are in a near group count with that."""
        near = {member.key for group in self.near for member in group.members}
        exact = [group for group in self.exact if group.members[0].key not in near]
        return tuple(group for group in (*exact, *self.near) if len(group.labels) > 1)


class Flagged(_Record):
    """An image with a fault, and the figure that gave it away."""

    image: Named
    value: float


class Fault(_Record):
    """One way to be a bad image: the rule in words, why it is the rule, and who breaks it, the worst first."""

    kind: FaultKind
    rule: str
    reason: str
    images: tuple[Flagged, ...]


class Eigenfaces(_Record):
    """The principal components of a sample of the training images at `px` x `px` pixels.

    shares: the part of the variance that each component holds, the largest first. needed: how many components hold
    50, 80, 90 and 95 % of it, None where more than were computed.
    """

    images: int
    px: int
    shares: tuple[float, ...]
    needed: dict[str, int | None]


class Score(_Record):
    """How often one of the cheapest models is right, 0 to 1, None for a split without images.

    setting: what was chosen on val. seconds: training and trying every setting; test was only looked at afterwards.
    """

    name: str
    setting: str
    val: float | None
    n_val: int
    test: float | None
    n_test: int
    seconds: float


class Baseline(_Record):
    """The cheapest models, on the pixels of a sample: images of train at `px` x `px` pixels.

    chance: how often the most frequent class of train is right on val.
    """

    images: int
    of: int
    px: int
    chance: float | None
    scores: tuple[Score, ...]


class Direction(_Record):
    """A principal component of the images of a class, as a data URI, and the part of their variance that it holds."""

    image: str
    share: float


class Pictures(_Record):
    """What a page shows, as data URIs: images by key, and the mean image of classes by name.

    examples: keys of some training images of each class that is shown. directions: how those of a class differ from
    their mean, by name, the directions in which they do so most first.
    """

    images: dict[str, str] = {}
    examples: dict[str, tuple[str, ...]] = {}
    means: dict[str, str] = {}
    eigenfaces: tuple[str, ...] = ()
    directions: dict[str, tuple[Direction, ...]] = {}


class Finding(_Record):
    """One thing to know, the images or classes it is about, and what to do."""

    kind: str
    text: str
    advice: str
    count: int


class Inspection(_Record):
    """Everything that a look at labelled images shows, before anything is learnt from them.

    findings: what to know, the gravest first. splits and classes count what can be read; unreadable: the rest, with
    reasons. left_out: files that were found and are no images of the set. oddities: how many images are greyscale,
    turned by EXIF, animated, …. targets: their quantiles per split, for task regress; classes are empty then.
    eigenfaces and baseline are None where there was too little to compute them from; notes say why.
    """

    source: str
    task: Task
    splits: dict[Split, Amount]
    classes: tuple[ClassCount, ...]
    targets: dict[Split, Quantiles] | None
    imbalance: Imbalance | None
    sizes: Sizes | None
    unreadable: tuple[LeftOut, ...]
    left_out: tuple[LeftOut, ...]
    oddities: dict[str, int]
    duplicates: Duplicates
    faults: tuple[Fault, ...]
    eigenfaces: Eigenfaces | None
    baseline: Baseline | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    pictures: Pictures = Pictures()
    cost: Cost = FREE

    @property
    def images(self) -> int:
        """Readable images of all splits."""
        return sum(amount.images for amount in self.splits.values())

    @property
    def mb(self) -> float | None:
        """Megabytes of the readable images, None where unknown."""
        parts = [amount.mb for amount in self.splits.values()]
        return None if any(part is None for part in parts) else sum(part for part in parts if part is not None)

    def to_json(self) -> dict[str, Any]:
        """The whole of it but the pictures, as what `json.dumps` takes."""
        return self.model_dump(mode="json", exclude={"pictures"})
