"""Calls made up from the OpenAPI document, right ones and wrong ones, against a real server: no 5xx, no surprises."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from darkroom.keys import KeyStore, Scope
from tests.api.service import LiveApi

pytestmark = pytest.mark.slow
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
    ignored_auth,
    missing_required_header,
]
OPERATIONS = [
    ("POST", "/generate"),
    ("GET", "/jobs"),
    ("GET", "/jobs/{job_id}"),
    ("GET", "/jobs/{job_id}/events"),
    ("DELETE", "/jobs/{job_id}"),
    ("POST", "/jobs/{job_id}/cancel"),
    ("POST", "/jobs/{job_id}/rating"),
    ("GET", "/usage"),
    ("GET", "/models"),
    ("GET", "/schedulers"),
    ("GET", "/adapters"),
    ("GET", "/webhooks"),
    ("POST", "/webhooks"),
    ("POST", "/webhooks/secret"),
    ("GET", "/webhooks/undelivered"),
    ("POST", "/webhooks/undelivered/replay"),
    ("GET", "/webhooks/{endpoint_id}"),
    ("PATCH", "/webhooks/{endpoint_id}"),
    ("DELETE", "/webhooks/{endpoint_id}"),
    ("POST", "/webhooks/{endpoint_id}/rotate"),
    ("POST", "/webhooks/{endpoint_id}/test"),
    ("POST", "/webhooks/{endpoint_id}/replay"),
    ("GET", "/webhooks/{endpoint_id}/attempts"),
    ("POST", "/jobs/{job_id}/appeal"),
    ("GET", "/jobs/{job_id}/appeal"),
    ("GET", "/review/items"),
    ("POST", "/review/next"),
    ("GET", "/review/items/{job_id}"),
    ("POST", "/review/items/{job_id}/lease"),
    ("GET", "/review/items/{job_id}/images/{index}"),
    ("POST", "/review/items/{job_id}/decide"),
    ("POST", "/review/items/{job_id}/escalate"),
    ("GET", "/review/appeals"),
    ("GET", "/review/appeals/{job_id}"),
    ("POST", "/review/appeals/{job_id}/decide"),
    ("GET", "/review/sealed"),
    ("GET", "/review/sealed/{job_id}"),
    ("DELETE", "/review/sealed/{job_id}"),
    ("POST", "/admin/takedown"),
    ("GET", "/admin/holds"),
    ("PUT", "/admin/jobs/{job_id}/hold"),
    ("DELETE", "/admin/jobs/{job_id}/hold"),
    ("POST", "/verify"),
    ("GET", "/jobs/{job_id}/recipe"),
    ("GET", "/objects/{key}"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
]
WITHOUT_INPUT = {"/livez", "/readyz", "/metrics"}  # there is no wrong way to call them
CASES = [
    (method, path, mode)
    for method, path in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or path not in WITHOUT_INPUT
]
MANY, FEW = 120, 25  # calls of each mode; most routes have little to vary


@pytest.fixture(scope="module")
def document(live_api: LiveApi) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{live_api.url}/openapi.json")


def test_every_operation_is_tried(document: schemathesis.BaseSchema) -> None:
    found = {(result.ok().method.upper(), result.ok().path) for result in document.get_all_operations()}

    assert found == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_every_answer_is_documented(
    document: schemathesis.BaseSchema,
    live_api: LiveApi,
    keys: KeyStore,
    *,
    method: str,
    path: str,
    mode: GenerationMode,
) -> None:
    headers = {"Authorization": f"Bearer {keys.create('schemathesis', 'test', set(Scope)).token}"}
    strategy = document[path][method].as_strategy(generation_mode=mode)

    @given(case=strategy)
    @settings(
        max_examples=MANY if path == "/generate" else FEW,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def call(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=live_api.url, headers=headers, checks=CHECKS)

    call()
