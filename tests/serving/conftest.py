"""A small model that tells three colours apart, and servers of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from serve_tools import Served, start_server

import scrimp
import scrimp.cost
from scrimp.serving.predicting import Predictor


class NoSensor:
    """No test waits for the real one."""

    source = "none"

    def read_wh(self) -> None:
        return None


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def run_folder(_photos_made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the photos of three colours; not to be changed."""
    folder = tmp_path_factory.mktemp("served") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRIMP_CACHE", str(tmp_path_factory.mktemp("cache-of-run")))
        patch.setattr("scrimp.cost.CodeCarbonSensor", NoSensor)
        scrimp.cost._starting_sensor.cache_clear()
        ready = scrimp.prepare(scrimp.find_images(_photos_made_once), image_px=32)
        recipe = scrimp.Recipe(model="ultralight", pretrained=False, epochs=6, lr=3e-3, batch_size=8)
        scrimp.measure(scrimp.train(ready, recipe, out=folder))
        scrimp.cost._starting_sensor.cache_clear()
    return folder


@pytest.fixture
def predictor(run_folder: Path) -> Predictor:
    return Predictor(run_folder)


@pytest.fixture(scope="session")
def photo(_photos_made_once: Path) -> bytes:
    """A photo that is red."""
    return (_photos_made_once / "red" / "000.jpg").read_bytes()


@pytest.fixture(scope="session")
def served(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests that leave it running."""
    server = start_server(run_folder, tmp_path_factory.mktemp("served") / "log")
    yield server
    server.process.kill()
    server.process.communicate()
