"""What things cost: the bill that travels with every result, the clock and sensors that fill it, the prices.

1 MB = 1,000,000 bytes; 1 Wh = 3,600 J. What was not measured is None, never 0.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from types import TracebackType
from typing import Protocol, Self

from scrimp.errors import SettingError, UnknownName


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A bill. Adding two bills adds what both know; a sum with an unknown part is unknown.

    seconds: wall-clock time. cpu_seconds: processor time of this process, summed over cores.
    wh: energy, and `wh_source`: which sensor or estimate said so. usd: money at a stated rate.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    wh: float | None = None
    wh_source: str | None = None
    usd: float | None = None

    def __add__(self, other: Cost) -> Cost:
        if other == FREE:
            return self
        if self == FREE:
            return other
        sources = dict.fromkeys(s for part in (self, other) if part.wh_source for s in part.wh_source.split("; "))
        return Cost(
            seconds=self.seconds + other.seconds,
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            wh=None if self.wh is None or other.wh is None else self.wh + other.wh,
            wh_source="; ".join(sources) or None,
            usd=None if self.usd is None or other.usd is None else self.usd + other.usd,
        )

    def priced(self, usd_per_hour: float | None) -> Cost:
        """The same bill with dollars at an hourly rate, or with unknown dollars when there is no rate."""
        return replace(self, usd=None if usd_per_hour is None else dollars(self.seconds, usd_per_hour))

    @property
    def sees_machine(self) -> bool:
        """Whether its energy is that of the whole machine, as most sensors have it, and not of the process alone."""
        return self.wh_source is not None and ("NVML" in self.wh_source or "TDP" not in self.wh_source)

    def of_share(self, share: float) -> Cost:
        """The bill of one of those that share a machine: its part (0 to 1) of energy that is the whole machine's."""
        if self.wh is None or not self.sees_machine or share == 1:
            return self
        return replace(self, wh=share * self.wh, wh_source=f"{self.wh_source}, of which {share:.0%}")


FREE = Cost(wh=0.0, usd=0.0)
"""The bill of nothing at all: the zero of addition."""


# ---------------------------------------------------------------- clocks and sensors


class EnergySensor(Protocol):
    """Anything that counts watt-hours: a real meter, CodeCarbon, or a counter in a test."""

    source: str

    def read_wh(self) -> float | None:
        """Watt-hours since the sensor was started, or None when it cannot tell."""
        ...


class CodeCarbonSensor:
    """Energy of this process by CodeCarbon: RAPL and NVML where they can be read, else an estimate.

    Starting costs a few seconds (hardware detection), reading about 0.1 s; so one is shared by the process.
    """

    def __init__(self) -> None:
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.core.cpu import is_rapl_available
        from codecarbon.output_methods.base_output import BaseOutput
        from codecarbon.output_methods.emissions_data import EmissionsData

        class Latest(BaseOutput):
            kwh: float | None = None

            def out(self, total: EmissionsData, delta: EmissionsData) -> None:
                self.kwh = total.energy_consumed

            live_out = out  # of the tracker's own timer; `out` is of a flush

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it speaks before it reads its log_level
        self._latest = Latest()
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="USA",  # only decides grams of CO2, which we do not report
            output_methods=[],
            log_level="critical",
            tracking_mode="process",
            allow_multiple_runs=True,
            output_handlers=[self._latest],
        )
        self._tracker.start()
        cpu = "RAPL" if is_rapl_available() else "estimate: TDP x load"
        gpu = " + NVML" if (self._tracker.get_detected_hardware() or {}).get("gpu_count") else ""
        self.source = f"CodeCarbon ({cpu}{gpu})"

    def read_wh(self) -> float | None:
        """Watt-hours of processor, memory and GPU since the start."""
        self._latest.kwh = None  # a flush that fails says nothing, and would leave what was read before
        self._tracker.flush()
        return None if self._latest.kwh is None else self._latest.kwh * 1000.0


class MeterReading:
    """Energy by what a meter at the plug showed while the machine worked: so many watts, for as long as it takes."""

    def __init__(self, watts: float, clock: Callable[[], float] = time.perf_counter) -> None:
        if not 0 < watts < math.inf:
            raise SettingError(f"A meter reading of {watts:g} W cannot be: give the watts of this machine at work.")
        self.source = f"meter reading: {watts:g} W"
        self._watts, self._clock, self._start = watts, clock, clock()

    def read_wh(self) -> float:
        """Watt-hours since the start."""
        return self._watts * (self._clock() - self._start) / 3600


def use_watts(watts: float | None) -> None:
    """Has energy counted by a meter reading from now on, in processes started from here, too; None changes nothing."""
    if watts is not None:
        MeterReading(watts)
        os.environ["SCRIMP_WATTS"] = str(watts)  # it is of the machine, and not of the plan
        _starting_sensor.cache_clear()


def _new_sensor() -> EnergySensor:
    said = os.environ.get("SCRIMP_WATTS")
    if said is None:
        return CodeCarbonSensor()
    try:
        return MeterReading(float(said))
    except ValueError:  # which a SettingError is, too
        raise SettingError(f"SCRIMP_WATTS is '{said}': it must be the watts of this machine at work.") from None


@cache
def _starting_sensor() -> Future[EnergySensor]:
    return ThreadPoolExecutor(1, "energy").submit(_new_sensor)


def warm_up_sensor() -> None:
    """Starts the shared energy sensor in the background, while there is something else to do."""
    _starting_sensor()


def shared_sensor() -> EnergySensor:
    """The energy sensor of this process, started at first use (a few seconds)."""
    return _starting_sensor().result()


@dataclass
class Stopwatch:
    """Measures what a block costs: `with Stopwatch() as watch: ...` and then `watch.cost`.

    Without a sensor, energy stays unknown. Clocks are arguments so that tests need not wait.
    """

    sensor: EnergySensor | None = None
    clock: Callable[[], float] = time.perf_counter
    cpu_clock: Callable[[], float] = time.process_time
    _start: tuple[float, float, float | None] = field(default=(0.0, 0.0, None), init=False)
    _end: Cost | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        wh = self.sensor.read_wh() if self.sensor else None
        self._start = (self.clock(), self.cpu_clock(), wh)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end = self.cost

    @property
    def seconds(self) -> float:
        """Seconds since the start, or of the whole block once it has ended."""
        return self._end.seconds if self._end else self.clock() - self._start[0]

    @property
    def cost(self) -> Cost:
        """The bill so far, or of the whole block once it has ended."""
        if self._end:
            return self._end
        start_seconds, start_cpu, start_wh = self._start
        seconds, cpu_seconds = self.clock() - start_seconds, self.cpu_clock() - start_cpu
        now_wh = self.sensor.read_wh() if self.sensor else None
        wh = None if now_wh is None or start_wh is None else now_wh - start_wh
        source = self.sensor.source if self.sensor and wh is not None else None
        return Cost(seconds=seconds, cpu_seconds=cpu_seconds, wh=wh, wh_source=source)


# ---------------------------------------------------------------- prices

PRICES_DATE = "2024-06"
"""When the table below was written down: list prices, on demand, Linux, US regions. Check before you spend."""

USD_PER_HOUR: dict[str, float] = {
    # AWS EC2, us-east-1
    "t3.medium": 0.0416,
    "t3.xlarge": 0.1664,
    "c5.large": 0.085,
    "c5.xlarge": 0.17,
    "c5.2xlarge": 0.34,
    "c5.4xlarge": 0.68,
    "c5.9xlarge": 1.53,
    "c6i.xlarge": 0.17,
    "c6i.4xlarge": 0.68,
    "c7i.xlarge": 0.1785,
    "m5.xlarge": 0.192,
    "m5.4xlarge": 0.768,
    "g4dn.xlarge": 0.526,
    "g4dn.8xlarge": 2.176,
    "g5.xlarge": 1.006,
    "g6.xlarge": 0.8048,
    "p3.2xlarge": 3.06,
    "p4d.24xlarge": 32.7726,
    # AWS SageMaker, as the light-model study paid it
    "ml.c5.xlarge": 0.204,
    "ml.c5.9xlarge": 2.448,
    "ml.g4dn.xlarge": 0.7364,
    # Google Cloud, us-central1
    "n2-standard-4": 0.1942,
    "c2-standard-8": 0.4176,
    "e2-standard-4": 0.1340,
    "a2-highgpu-1g": 3.6734,
    "g2-standard-4": 0.7069,
    # Azure, East US
    "Standard_F4s_v2": 0.169,
    "Standard_D4s_v5": 0.192,
    "Standard_NC4as_T4_v3": 0.526,
    "Standard_NC24ads_A100_v4": 3.673,
}


def hourly_rate(instance: str | None = None, usd_per_hour: float | None = None) -> float | None:
    """Dollars per hour of a named machine type, or the rate as given; None when neither is known.

    Raises `UnknownName` for a machine type that is not in the table, `SettingError` for a negative rate
    or for both at once.
    """
    if instance is not None and usd_per_hour is not None:
        raise SettingError(f"Both instance '{instance}' and usd_per_hour={usd_per_hour} set a price: give one of them.")
    if instance is None:
        if usd_per_hour is not None and not 0 <= usd_per_hour < float("inf"):
            raise SettingError(f"usd_per_hour={usd_per_hour} must be 0 or more.")
        return usd_per_hour
    if instance not in USD_PER_HOUR:
        raise UnknownName("machine type", instance, USD_PER_HOUR, "Or give its price with --usd-per-hour.")
    return USD_PER_HOUR[instance]


def dollars(seconds: float, usd_per_hour: float) -> float:
    """What `seconds` cost at an hourly rate, billed by the second: `seconds / 3600 * usd_per_hour`."""
    return seconds / 3600.0 * usd_per_hour


def watt_hours(seconds: float, watts: float, devices: int = 1) -> float:
    """Energy of devices that draw so many watts each: `devices * watts * seconds / 3600`; reckoned, not measured.

    >>> watt_hours(9 * 24 * 3600, 250, devices=512) / 1000  # kWh
    27648.0
    """
    return devices * watts * seconds / 3600.0
