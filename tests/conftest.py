"""What several tests need: a small folder of photos that any classifier can tell apart by colour."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch: tiny work is slower on two threads

import pytest
from make_photos import COLOURS, save_photo


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked slow runs only where it is asked for."""
    if not config.getoption("-m"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))


@pytest.fixture(scope="session")
def _photos_made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "photos"
    for number, (name, colour) in enumerate(COLOURS.items()):
        for index in range(20):
            save_photo(root / name / f"{index:03d}.jpg", colour, seed=100 * number + index)
    return root


@pytest.fixture
def photos(_photos_made_once: Path) -> Path:
    """A folder of 3 class folders of 20 JPEGs each, 48 x 40 pixels; not to be changed."""
    return _photos_made_once


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SCRIMP_CACHE", str(folder))
    return folder


class FakeSensor:
    """Counts a watt-hour at every reading, so that bills can be told apart without waiting for a real sensor."""

    source = "fake"

    def __init__(self) -> None:
        self.wh = 0.0

    def read_wh(self) -> float:
        self.wh += 1.0
        return self.wh


@pytest.fixture(autouse=True)
def fake_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test starts CodeCarbon, which takes seconds."""
    monkeypatch.setattr("scrimp.cost.CodeCarbonSensor", FakeSensor)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server: the one that SCRIMP_TEST_S3 names, with its keys in AWS's variables, or moto's."""
    given = os.environ.get("SCRIMP_TEST_S3")
    if given:
        yield given
        return
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a bucket that is not there yet; the environment leads to the server."""
    nothing = tmp_path_factory.mktemp("aws") / "none"
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nothing))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nothing))
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, os.environ.get(name, value))
    return f"s3://scrimp-{uuid.uuid4().hex[:12]}"
