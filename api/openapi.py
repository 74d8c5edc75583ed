"""Completes the OpenAPI document: the problem body of every error, and the request bodies that a route reads itself.

`POST /generate` parses its own body (so that a caller without a key never gets that far, and one name given twice is
refused), so FastAPI does not know its schema; names that only this service's catalogue knows are listed in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.oversight_schemas import OVERSIGHT_BODIES
from api.problems import MEDIA_TYPE, FieldError, Problem
from api.rating_schemas import RATING_BODIES
from api.webhook_schemas import REQUEST_BODIES
from darkroom.catalogue import Catalogue
from darkroom.params import AdapterChoice, GenerationRequest, WebhookChoice
from darkroom.schedulers import SCHEDULERS

SCHEMAS = "#/components/schemas/"
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": f"{SCHEMAS}Problem"}}}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "What is missing.", "schema": {"type": "string"}}}

_LIMITS = _RETRY | {
    name: {"description": "The limit, by draft-ietf-httpapi-ratelimit-headers.", "schema": {"type": "string"}}
    for name in ("RateLimit", "RateLimit-Policy")
}

_ERRORS: Mapping[int, dict[str, Any]] = {
    400: {"description": "The request can't be read."},
    401: {"description": "There is no valid API key in the request.", "headers": _CHALLENGE},
    403: {"description": "The API key lacks the scope.", "headers": _CHALLENGE},
    404: {"description": "There is no such thing, or it is somebody else's."},
    409: {"description": "What it is about is not in a state that allows it."},
    410: {"description": "The job was deleted, or its time of retention has passed."},
    413: {"description": "The body is too large."},
    415: {"description": "The body is sent neither as JSON nor as multipart/form-data."},
    422: {"description": "One or more fields are not valid; `errors` has one entry for each."},
    429: {"description": "Too much at once; try again later.", "headers": _LIMITS},
    500: {"description": "A fault of the service. Quote the request id."},
    503: {"description": "A part of the service is away for the moment.", "headers": _RETRY},
}

# One white pixel.
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4//8/AAX+Av4zEpUUAAAAAElFTkSuQmCC"
_EXAMPLES = {
    "least": {"summary": "Only a prompt", "value": {"prompt": "a red circle on a blue background"}},
    "full": {
        "summary": "Every common field",
        "value": {
            "prompt": "a yellow star above a green square",
            "negative_prompt": "text",
            "num_inference_steps": 25,
            "guidance_scale": 5.0,
            "scheduler": "dpmpp_2m",
            "seed": 42,
            "num_images": 2,
            "tier": "standard",
            "output_format": "png",
            "deadline_seconds": 600,
            "metadata": {"order": "1234"},
        },
    },
    "image": {
        "summary": "From an image, painted anew where the mask is white",
        "value": {
            "prompt": "a green circle on a white background",
            "init_image": _PIXEL,
            "mask_image": _PIXEL,
            "strength": 0.9,
            "mask_blur": 2,
            "guidance_rescale": 0.3,
            "guidance_stop": 0.8,
        },
    },
}
_BINARY = {"type": "string", "contentMediaType": "application/octet-stream"}
_FORM: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {
            "request": {"$ref": f"{SCHEMAS}GenerationRequest"},
            "init_image": {"description": "The file itself, instead of base64 in the request.", **_BINARY},
            "mask_image": {"description": "The file itself, instead of base64 in the request.", **_BINARY},
        },
        "required": ["request"],
        "additionalProperties": False,
    },
    "encoding": {
        "request": {"contentType": "application/json"},
        "init_image": {"contentType": "image/png, image/jpeg, image/webp"},
        "mask_image": {"contentType": "image/png, image/jpeg, image/webp"},
    },
}

#: `openapi_extra` of the route that reads a GenerationRequest.
GENERATION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": f"{SCHEMAS}GenerationRequest"}, "examples": _EXAMPLES},
            "multipart/form-data": _FORM,
        },
    }
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems; 500 may come from anywhere."""
    return {status: {**_ERRORS[status], "content": _PROBLEM} for status in (*statuses, 500)}


def document(app: FastAPI, catalogue: Catalogue) -> dict[str, Any]:
    """The whole OpenAPI document."""
    spec = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    _drop_framework_errors(spec)
    schemas = spec.setdefault("components", {}).setdefault("schemas", {})
    bodies: tuple[type[BaseModel], ...] = (FieldError, Problem, *REQUEST_BODIES, *OVERSIGHT_BODIES, *RATING_BODIES)
    for model in bodies:
        schemas[model.__name__] = _schema_of(model)
    schemas["AdapterChoice"] = _schema_of(AdapterChoice)
    schemas["WebhookChoice"] = _schema_of(WebhookChoice)
    schemas["GenerationRequest"] = _request_schema(catalogue)
    return spec


def _drop_framework_errors(spec: dict[str, Any]) -> None:
    """FastAPI gives a 422 of its own shape to every route with parameters; ours are declared where they can happen."""
    for operations in spec["paths"].values():
        for operation in operations.values():
            declared = operation["responses"]
            if "application/json" in declared.get("422", {}).get("content", {}):
                del declared["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        spec["components"]["schemas"].pop(name, None)


def _request_schema(catalogue: Catalogue) -> dict[str, Any]:
    schema = _schema_of(GenerationRequest)
    for field, names in (("model", catalogue.names), ("scheduler", SCHEDULERS)):
        described = schema["properties"][field]["description"]
        choices: list[dict[str, Any]] = [{"type": "string", "enum": list(names)}, {"type": "null"}]
        schema["properties"][field] = {"description": described, "anyOf": choices, "default": None}
    return schema


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
    schema.pop("$defs", None)  # each has an entry of its own
    return schema
