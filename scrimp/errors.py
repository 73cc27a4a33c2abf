"""Everything Scrimp refuses, and why.

    ScrimpError
    ├── SettingError      (ValueError)         a setting is out of range, or two settings contradict
    │   └── UnknownName   (LookupError)        a name that no table holds; the nearest is offered
    ├── ImageError        (ValueError)         what was found is not a set of labelled images
    ├── NotFound          (FileNotFoundError)  a path or URI that leads nowhere
    ├── StorageError      (OSError)            a folder that cannot be written, a disk that is full
    ├── WeightsError      (RuntimeError)       weights that cannot be fetched, or do not fit the model
    ├── TrainingError     (ArithmeticError)    a run that cannot go on: the loss is not a number
    ├── BudgetError       (ValueError)         a budget too small for what was asked
    └── MissingExtra      (ImportError)        an optional part that is not installed

A message says what was looked for, what was found, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


class ScrimpError(Exception):
    """The root: catch this to catch everything that Scrimp refuses on purpose."""


class SettingError(ScrimpError, ValueError):
    """A setting is out of range, or two settings contradict each other."""


class UnknownName(SettingError, LookupError):  # noqa: N818 - reads better without "Error"
    """A name that the table in question does not hold."""

    def __init__(self, kind: str, name: str, known: Collection[str], where: str = "") -> None:
        """`kind` is what was looked up ("model"); `where` is the sentence that says where all are listed."""
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
        listing = where or f"Known: {', '.join(sorted(known))}."
        super().__init__(f"No {kind} called '{name}'.{hint} {listing}")


class ImageError(ScrimpError, ValueError):
    """What was found is not a set of labelled images that a classifier can learn from."""


class NotFound(ScrimpError, FileNotFoundError):  # noqa: N818
    """A path or URI that leads nowhere."""


class StorageError(ScrimpError, OSError):
    """A folder that cannot be written, or a disk that is full."""


class WeightsError(ScrimpError, RuntimeError):
    """Weights that cannot be fetched, or do not fit the model."""


class TrainingError(ScrimpError, ArithmeticError):
    """A run that cannot go on, for example because its loss is not a number."""


class BudgetError(ScrimpError, ValueError):
    """A budget too small for what was asked."""


class MissingExtra(ScrimpError, ImportError):  # noqa: N818
    """An optional part that is not installed; the message holds the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an extra: run  pip install "scrimp[{extra}]"')
