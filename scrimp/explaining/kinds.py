"""What an explanation holds, as plain data: everything but the pictures is in its JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from scrimp.cost import Cost
from scrimp.images import LeftOut
from scrimp.images.kinds import Split, Task
from scrimp.scores import AnyScores

CorruptionKind = Literal["blur", "noise", "JPEG", "brightness"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pictures(_Record):
    """Small JPEGs of one image as data URIs: as the model is fed, and with heat over it.

    grad_cam, occlusion: what speaks for `about` of the image. grad_cam_truth: what speaks for the true class, where
    the model said another.
    """

    image: str
    grad_cam: str
    occlusion: str
    grad_cam_truth: str | None = None


class Looked(_Record):
    """One image that was looked at closely.

    key: its name, or the file as it was given. truth: in words; None where it is not known. said: what the model
    says, in words. about: the class or label that `probability` and the heat are about; "" for a target, which has
    no probability. agreement: correlation of the two heat maps over the pixels, -1 to 1; None where one of them is
    the same everywhere.
    """

    key: str
    truth: str | None
    said: str
    about: str
    probability: float | None
    agreement: float | None
    pictures: Pictures


class ClassQuality(_Record):
    """How well a class or label is told from the others; labels count from probability 0.5 on.

    images: how many have it; said: how many the model said to have it. recall: the part of the first, precision: the
    part of the second for which that is right; None where there are none.
    """

    name: str
    images: int
    said: int
    precision: float | None
    recall: float | None


class Bin(_Record):
    """Answers whose probability was from `low` to `high`.

    n: how many; said: their mean probability; right: the part of them that was right, both None without any.
    """

    low: float
    high: float
    n: int
    said: float | None
    right: float | None


class Calibration(_Record):
    """Whether probabilities mean what they say, on one split.

    For classes, an answer is the most probable class of an image and is right where that is true; of labels, every
    label of every image is one, and right where the image has it. ece: the mean distance of a bin's probability from
    the part that was right, weighted by answers, 0 to 1 (expected calibration error, 15 bins of equal width).
    ece_by_chance: what 95 % of models stay within on as many answers whose probabilities are honest.
    temperature: what outputs are to be divided by, fitted on val; None where there is no val to fit it on, or where it
    would be judged by the images that it was fitted on. at_limit: it would have been further from 1 still.
    ece_scaled, ece_scaled_by_chance, scaled: the same after that.
    """

    split: Split
    answers: int
    ece: float
    ece_by_chance: float
    bins: tuple[Bin, ...]
    temperature: float | None = None
    at_limit: bool = False
    ece_scaled: float | None = None
    ece_scaled_by_chance: float | None = None
    scaled: tuple[Bin, ...] = ()

    @property
    def excess(self) -> float:
        """Mean probability minus the part that was right: above 0, the model is surer than it should be."""
        known = [(one.n, one.said, one.right) for one in self.bins]
        return (
            sum(n * (said - right) for n, said, right in known if said is not None and right is not None) / self.answers
        )

    @property
    def honest(self) -> bool:
        """Whether these answers cannot tell its probabilities from honest ones."""
        return self.ece <= self.ece_by_chance

    @property
    def helps(self) -> bool | None:
        """Whether the temperature helps; None without one, and where these answers find no fault with it or without."""
        if self.ece_scaled is None or self.ece_scaled_by_chance is None:
            return None
        if self.honest and self.ece_scaled <= self.ece_scaled_by_chance:
            return None
        return not self.honest and self.ece_scaled < self.ece


class Corrupted(_Record):
    """The measure of the task on images made worse: one kind and strength, from 1 to 3; `setting` says how strong."""

    kind: CorruptionKind
    strength: int
    setting: str
    merit: float


class Robustness(_Record):
    """What is left of the measure when images are worse.

    n: images that were corrupted, out of `of` in the split; clean: the measure on the same images as they are.
    example: one of them after each corruption, as a data URI, in the order of `corrupted`; example_clean: before.
    """

    split: Split
    n: int
    of: int
    clean: float
    corrupted: tuple[Corrupted, ...]
    example: tuple[str, ...]
    example_clean: str


class Explanation(_Record):
    """Why a run's model is right or wrong.

    layer: what Grad-CAM looked at, a path in the model's body, and `grid` its positions along each side; "" and None
    where no image was looked at. split: where the figures come from: test, or val where there is no test to score;
    None where the run's images were not found. scores: on that split.
    given: the images that were asked for; unreadable: those of them that could not be opened.
    mistakes: images on which the model was surest and wrong, or furthest off; unsure: those it was least sure about.
    order: all classes, by number, so that those taken for one another stand side by side; empty without classes.
    notes: what the user should know. left_out: what an explanation of another task or another run would hold, and why
    this one does not. folder: where the run lies.
    """

    model: str
    folder: str
    task: Task
    classes: tuple[str, ...]
    image_px: int
    layer: str = ""
    grid: int | None = None
    split: Split | None = None
    scores: AnyScores | None = None
    given: tuple[Looked, ...] = ()
    unreadable: tuple[LeftOut, ...] = ()
    mistakes: tuple[Looked, ...] = ()
    unsure: tuple[Looked, ...] = ()
    qualities: tuple[ClassQuality, ...] = ()
    order: tuple[int, ...] = ()
    calibration: Calibration | None = None
    robustness: Robustness | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    cost: Cost

    def to_json(self) -> dict[str, Any]:
        """The whole of it but the pictures, as what `json.dumps` takes."""
        looked: Any = {"__all__": {"pictures"}}
        without = {"given": looked, "mistakes": looked, "unsure": looked, "robustness": {"example", "example_clean"}}
        return self.model_dump(mode="json", exclude=without)
