"""Schemathesis: no request that the API's own description allows, and none that it forbids, breaks the server."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, negative_data_rejection, status_code_conformance
from served import tiny_hub

from selfsame.serve.api import make_app
from selfsame.serve.desk import Limits


@pytest.fixture(scope="module")
def api(tiny_models):
    app = make_app(tiny_hub(tiny_models("llama"), most_tokens=2), Limits(seconds=20))
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    app.state.scheduler.close()


schema = schemathesis.pytest.from_fixture("api")
CHECKS = [not_a_server_error, content_type_conformance, negative_data_rejection, status_code_conformance]


@schema.parametrize()
@hypothesis.settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_every_request_has_an_answer(case):
    case.call_and_validate(checks=CHECKS)
