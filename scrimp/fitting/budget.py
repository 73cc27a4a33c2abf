"""What may be spent, and what is left of it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from scrimp.errors import SettingError
from scrimp.settings import Settings

Prefer = Literal["accuracy", "speed", "size"]

_SPANS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SETTLED_S = 1.0  # from one look at the energy to the next, at the least, for the power between them to be believed


class Budget(Settings):
    """What may be spent, everything counted, and what the winner may weigh.

    Where several sums are given, the first to run out ends the fit.
    """

    seconds: float | None = Field(default=None, gt=0)
    """Wall-clock seconds."""
    minutes: float | None = Field(default=None, gt=0)
    """Wall-clock minutes."""
    usd: float | None = Field(default=None, gt=0)
    """Dollars, at the machine's hourly rate."""
    wh: float | None = Field(default=None, gt=0)
    """Watt-hours, by the sensor that the machine has, or by an estimate where it has none."""
    max_mb: float | None = Field(default=None, gt=0)
    """Megabytes that the winner may weigh."""
    max_ms: float | None = Field(default=None, gt=0)
    """Milliseconds that the winner may take for one image, on this machine."""
    max_labels: int | None = Field(default=None, ge=2)
    """Labels that may be used, to learn from and to choose by together; looking at test is not counted."""
    prefer: Prefer = "accuracy"
    """Of candidates that cannot be told apart on val: the most accurate, the fastest or the smallest."""

    @model_validator(mode="after")
    def _something_is_given(self) -> Self:
        if all(sum_ is None for sum_ in (self.seconds, self.minutes, self.usd, self.wh)):
            raise SettingError("A budget needs seconds, minutes, usd or wh.")
        return self

    @classmethod
    def parse(cls, *texts: str, **others: Any) -> Budget:
        """Sums as people write them, such as "90s", "10min", "1.5h", "$0.50" or "20Wh"; others: further fields."""
        sums: dict[str, Any] = {}
        for text in texts:
            unit, value = _sum_of(text.strip())
            if unit in sums:
                raise SettingError(f"Budget: '{text}' is a second sum of the same kind, {unit}; give one of each.")
            sums[unit] = value
        return cls(**{**sums, **{name: value for name, value in others.items() if value is not None}})

    def in_seconds(self, usd_per_hour: float | None = None) -> float:
        """The seconds that time and money allow; infinite where only energy is limited.

        Raises `SettingError` for dollars without a rate.
        """
        limits = [self.seconds or math.inf, (self.minutes or math.inf) * 60]
        if self.usd is not None:
            if not usd_per_hour:
                raise SettingError(f"A budget of ${self.usd:g} needs a price: give --instance or --usd-per-hour.")
            limits.append(self.usd / usd_per_hour * 3600)
        return min(limits)


def _sum_of(text: str) -> tuple[str, float]:
    """The field of a budget and its value."""
    number = r"([0-9]+\.?[0-9]*|\.[0-9]+)"
    if (money := re.fullmatch(rf"\$\s*{number}", text)) and float(money[1]) > 0:
        return "usd", float(money[1])
    if (energy := re.fullmatch(rf"{number}\s*(k?)wh", text, re.IGNORECASE)) and float(energy[1]) > 0:
        return "wh", float(energy[1]) * (1000 if energy[2] else 1)
    if (span := re.fullmatch(rf"{number}\s*(s|sec|min|m|h)", text)) and float(span[1]) > 0:
        return "seconds", float(span[1]) * _SPANS[span[2]]
    raise SettingError(f"Budget '{text}' is not understood: write 90s, 10min, 1.5h, '$0.50' or 20Wh.")


@dataclass
class Purse:
    """What is left of a budget, all of it as seconds.

    began: what `clock` said when spending began. read_wh: the sensor's count since it was started, which is soon after
    the beginning; what it has not seen is added at the power that it has seen.
    """

    budget: Budget
    began: float
    usd_per_hour: float | None = None
    read_wh: Callable[[], float | None] = lambda: None
    clock: Callable[[], float] = time.perf_counter
    _looked: tuple[float, float] | None = field(default=None, init=False)  # when the sensor was read, what it said
    _first: tuple[float, float] | None = field(default=None, init=False)
    _watts: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.seconds = self.budget.in_seconds(self.usd_per_hour)
        if self.budget.wh is not None:
            self._look()

    def spent(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self.began

    def left(self) -> float:
        """Seconds until the first of the sums has run out; for energy at the highest power seen so far."""
        left = self.seconds - self.spent()
        if self.budget.wh is None:
            return left
        self._look()
        assert self._first is not None
        assert self._looked is not None
        if not self._watts:
            return left
        unseen_s = (self._first[0] - self.began) + (self.clock() - self._looked[0])
        return min(left, (self.budget.wh - self._looked[1] + self._first[1]) / self._watts * 3600 - unseen_s)

    def _look(self) -> None:
        """Reads the sensor, and takes the power since it was read before, where that is long enough to tell."""
        said = self.read_wh()
        if said is None and self._looked:  # this once: what it has not seen is charged at the highest power
            return
        if said is None:
            raise SettingError("A budget of watt-hours needs a power sensor, and none tells anything here: give time.")
        now = self.clock()
        if self._first is None or self._looked is None:
            self._first = self._looked = (now, said)
        elif now - self._looked[0] >= _SETTLED_S:
            self._watts = max(self._watts, (said - self._looked[1]) / (now - self._looked[0]) * 3600)
            self._looked = (now, said)
