"""The OpenAPI document, by its own standard and against what the service does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.testclient import TestClient

from api.routes.docs import STATIC
from darkroom.params import GenerationRequest
from darkroom.schedulers import SCHEDULERS

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    spec: dict[str, Any] = client.get("/openapi.json").json()
    return spec


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, op) for path, item in document["paths"].items() for method, op in item.items()]


def test_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for path, method, operation in _operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                assert answer["content"] == content, (path, method, status)
        assert "500" in operation["responses"], (path, method)


def test_routes_that_need_a_key_say_so(document: dict[str, Any]) -> None:
    open_to_all = {"/livez", "/readyz", "/metrics", "/objects/{key}"}

    for path, method, operation in _operations(document):
        assert ("security" in operation) == (path not in open_to_all), (path, method)
        assert ("401" in operation["responses"]) == (path not in open_to_all), (path, method)


def test_request_body_lists_what_this_service_has(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["GenerationRequest"]

    assert set(schema["properties"]) == set(GenerationRequest.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["model"]["anyOf"][0]["enum"] == ["tiny", "other", "painter"]
    assert schema["properties"]["scheduler"]["anyOf"][0]["enum"] == list(SCHEDULERS)
    assert set(document["paths"]["/generate"]["post"]["responses"]) >= {"202", "400", "401", "413", "415", "422", "503"}


def test_examples_are_accepted_in_form(document: dict[str, Any]) -> None:
    content = document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]

    assert len(content["examples"]) >= 3
    for example in content["examples"].values():
        GenerationRequest.model_validate(example["value"])


def test_no_shape_of_the_frameworks_is_left(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in str(document)


def test_documentation_page_fetches_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")

    used = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    local = [name for name in used if name.startswith("docs/assets/")]
    assert {client.get(f"/{name}").status_code for name in local} == {200}
    assert [name for name in used if "//" in name] == []
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    assert (STATIC / "swagger-ui.LICENSE").read_text(encoding="utf-8").strip().startswith("Apache License")


def test_docs_list_every_route(document: dict[str, Any]) -> None:
    text = DOCS.read_text(encoding="utf-8")

    for path, method, _operation in _operations(document):
        assert f"`{method.upper()} {path.replace('job_id', 'id')}`" in text, (method, path)
