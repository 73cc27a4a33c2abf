"""The API keeps what its own OpenAPI description promises, whatever is sent."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")

from hypothesis import HealthCheck, settings  # noqa: E402

from scrimp.serving.api import build_api  # noqa: E402
from scrimp.serving.predicting import Predictor  # noqa: E402
from scrimp.serving.service import Limits, Service  # noqa: E402


@pytest.fixture(scope="module")
def api(run_folder: Path):
    service = Service(Predictor(run_folder), Limits())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield schemathesis.openapi.from_asgi("/openapi.json", build_api(service))
    service.close()


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
def test_every_answer_is_as_described(case) -> None:
    case.call_and_validate()
