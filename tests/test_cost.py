import time
from itertools import pairwise

import pytest

from scrimp import cost
from scrimp.cost import (
    FREE,
    USD_PER_HOUR,
    CodeCarbonSensor,
    Cost,
    MeterReading,
    Stopwatch,
    dollars,
    hourly_rate,
    shared_sensor,
    use_watts,
)
from scrimp.errors import SettingError, UnknownName


class Counter:
    """A sensor and a clock in one: each reading is the next number of a list."""

    source = "counter"

    def __init__(self, *readings):
        self.readings = list(readings)

    def read_wh(self):
        return self.readings.pop(0)

    __call__ = read_wh


@pytest.mark.parametrize(
    ("seconds", "usd"),
    # the light-model study's table: total seconds on ml.c5.9xlarge, dollars paid
    [
        (491.716955, 0.334368),
        (491.7, 0.334),
        (635.1, 0.432),
        (381.5, 0.259),
        (378.2, 0.257),
        (429.7, 0.292),
        (902.7, 0.614),
    ],
)
def test_dollars_are_those_of_the_light_model_study(seconds, usd):
    digits = len(str(usd).split(".")[1])
    assert round(dollars(seconds, hourly_rate("ml.c5.9xlarge")), digits) == usd


def test_a_sum_with_an_unknown_part_is_unknown():
    known = Cost(seconds=1, cpu_seconds=2, wh=0.5, wh_source="rapl", usd=0.1)
    unknown = Cost(seconds=3, cpu_seconds=4)
    assert known + unknown == Cost(seconds=4, cpu_seconds=6, wh=None, wh_source="rapl", usd=None)


def test_nothing_is_the_zero_of_addition():
    unknown = Cost(seconds=3)
    assert sum([unknown, FREE], FREE) == unknown
    assert sum([], FREE) == FREE


def test_sources_of_energy_are_named_once_each():
    rapl, guess = Cost(wh=1.0, wh_source="rapl"), Cost(wh=2.0, wh_source="guess")
    assert (rapl + guess + rapl).wh_source == "rapl; guess"
    assert (rapl + guess + rapl).wh == 4.0


def test_stopwatch_bills_the_differences():
    watch = Stopwatch(Counter(1.0, 1.5), clock=Counter(10.0, 14.0), cpu_clock=Counter(100.0, 106.0))
    with watch:
        pass
    assert watch.cost == Cost(seconds=4.0, cpu_seconds=6.0, wh=0.5, wh_source="counter")


@pytest.mark.parametrize("sensor", [None, Counter(None, 3.0), Counter(3.0, None)])
def test_energy_without_a_reading_is_unknown_not_zero(sensor):
    with Stopwatch(sensor) as watch:
        pass
    assert watch.cost.wh is None
    assert watch.cost.wh_source is None


def test_the_real_sensor_counts_on_from_reading_to_reading():
    sensor = CodeCarbonSensor()
    readings = [sensor.read_wh()]
    for _ in range(3):
        end = time.perf_counter() + 0.2
        while time.perf_counter() < end:
            pass
        readings.append(sensor.read_wh())
    assert readings == sorted(readings)
    assert len(set(readings)) == 4, readings
    # 0.2 s at anything from 1 to 1,000 W
    assert all(0.2 / 3600 < b - a < 200 / 3600 for a, b in pairwise(readings))
    assert sensor.source.startswith("CodeCarbon (")


def test_no_rate_means_unknown_dollars():
    assert Cost(seconds=3600, usd=5.0).priced(None).usd is None
    assert Cost(seconds=1800).priced(2.0).usd == 1.0


def test_rates():
    assert hourly_rate() is None
    assert hourly_rate(usd_per_hour=0.0) == 0.0
    assert all(rate > 0 for rate in USD_PER_HOUR.values())
    with pytest.raises(UnknownName, match=r"'c5.xlarg'.*'c5.xlarge'"):
        hourly_rate("c5.xlarg")
    with pytest.raises(SettingError, match="one of them"):
        hourly_rate("c5.xlarge", 1.0)
    with pytest.raises(SettingError, match="-1"):
        hourly_rate(usd_per_hour=-1)


def test_a_meter_reading_counts_its_watts_for_as_long_as_it_takes():
    """512 GPUs of 250 W for nine days: 250 x 512 x 9 x 24 / 1000 = 27,648 kWh, as the study of birds has it."""
    clock = Counter(100.0, 100.0, 100.0 + 9 * 24 * 3600)
    meter = MeterReading(250, clock)
    assert meter.read_wh() == 0
    assert 512 * meter.read_wh() / 1000 == pytest.approx(27_648)
    assert meter.source == "meter reading: 250 W"


@pytest.fixture
def no_sensor(monkeypatch):
    """No sensor has been started, and none stays."""
    monkeypatch.setenv("SCRIMP_WATTS", "")
    monkeypatch.delenv("SCRIMP_WATTS")
    cost._starting_sensor.cache_clear()
    yield
    cost._starting_sensor.cache_clear()


@pytest.mark.usefixtures("no_sensor")
def test_a_meter_reading_takes_the_place_of_the_sensor(monkeypatch):
    monkeypatch.setattr(cost, "CodeCarbonSensor", lambda: Counter(1.0))
    assert shared_sensor().source == "counter"
    use_watts(None)
    assert shared_sensor().source == "counter"
    use_watts(35.5)
    assert shared_sensor().source == "meter reading: 35.5 W"


@pytest.mark.usefixtures("no_sensor")
@pytest.mark.parametrize("said", ["0", "-3", "inf", "nan", "35W"])
def test_a_meter_reading_that_cannot_be_is_refused(said, monkeypatch):
    monkeypatch.setenv("SCRIMP_WATTS", said)
    with pytest.raises(SettingError, match="SCRIMP_WATTS is"):
        shared_sensor()
    if said != "35W":
        with pytest.raises(SettingError, match="watts of this machine at work"):
            use_watts(float(said))


def test_a_sensor_that_fails_on_the_way_says_nothing(monkeypatch):
    sensor = CodeCarbonSensor()
    assert sensor.read_wh() is not None

    def fails(*_):
        raise OSError("the counter is gone")

    monkeypatch.setattr(sensor._tracker, "_do_measurements", fails)
    with Stopwatch(sensor) as watch:
        time.sleep(0.06)
    assert (watch.cost.wh, watch.cost.wh_source) == (None, None)


def test_a_share_of_a_machine_is_a_share_of_what_its_sensor_saw():
    whole = Cost(seconds=9, wh=4.0, wh_source="meter reading: 100 W", usd=1.0).of_share(0.5)
    assert whole == Cost(seconds=9, wh=2.0, wh_source="meter reading: 100 W, of which 50%", usd=1.0)
    own = Cost(wh=4.0, wh_source="CodeCarbon (estimate: TDP x load)")
    assert own.of_share(0.5) == own
    assert Cost().of_share(0.5) == Cost()
