"""Schemathesis: no request that the API's own description allows, and none that it forbids, breaks the server."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, negative_data_rejection, status_code_conformance
from served import TALKER, live, tiny_hub

from selfsame.serve.desk import Limits

CHECKS = [not_a_server_error, content_type_conformance, negative_data_rejection, status_code_conformance]
OPERATIONS = (
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("GET", "/health"),
    ("GET", "/metrics"),
)


@pytest.fixture(scope="module")
def schema(tiny_models):
    with live(tiny_hub(tiny_models("llama"), most_tokens=2), Limits(seconds=20)) as server:
        # 413, for a body of a megabyte, is none of the refusals that schemathesis knows by itself.
        config = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}})
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=config)


def sensible(body):
    """The body with a model that exists, and messages that can be answered: else nearly every request is refused for these."""
    if isinstance(body, dict):
        body["model"] = TALKER
        for message in body.get("messages", ()):
            message["role"] = {"tool": "user", "function": "assistant"}.get(message["role"], message["role"])
            message.setdefault("content", "")
        body.get("messages", []).append({"role": "user", "content": "Hi."})


def test_all_operations_are_tried(schema):
    assert sorted((o.ok().method.upper(), o.ok().path) for o in schema.get_all_operations()) == sorted(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_request_has_an_answer(schema, method, path):
    operation, statuses = schema[path][method], set()
    modes = [GenerationMode.POSITIVE]
    if method == "POST":  # a GET has nothing to get wrong
        modes.append(GenerationMode.NEGATIVE)

    @hypothesis.settings(max_examples=25, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(cases=st.tuples(*(operation.as_strategy(generation_mode=mode) for mode in modes)))
    def check(cases):
        sensible(cases[0].body)
        for case in cases:
            statuses.add(case.call_and_validate(checks=CHECKS).status_code)

    check()
    assert statuses >= ({200, 400} if method == "POST" else {404 if "{" in path else 200})
