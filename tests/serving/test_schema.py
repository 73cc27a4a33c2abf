"""The API keeps what its own OpenAPI description promises, whatever is sent."""

from __future__ import annotations

import warnings
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings

from scrimp.serving.api import build_api
from scrimp.serving.predicting import Predictor
from scrimp.serving.service import Limits, Service

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")


from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402


def test_every_answer_is_as_described(predictor: Predictor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        service = Service(predictor, Limits())
        api = build_api(service)
        api.router.lifespan_context = _for_ever
        described = schemathesis.openapi.from_asgi("/openapi.json", api)
        operations = [result.ok() for result in described.get_all_operations()]
        assert {operation.path for operation in operations} == {"/predict", "/healthz", "/metrics"}
        for operation in operations:

            @given(case=operation.as_strategy())
            @settings(
                max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
            )
            def check(case) -> None:
                case.call_and_validate(excluded_checks=[positive_data_acceptance])  # no schema tells what is an image

            check()
        service.close()


@asynccontextmanager
async def _for_ever(app):
    """The client used here starts and stops the app for every request, which would close the service."""
    yield
