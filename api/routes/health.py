"""For probes and scrapers: is the process alive, can it serve, what has it counted. No key is needed."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.dependencies import ServicesDep
from api.openapi import errors
from api.problems import RETRY_SECONDS, problem_response
from api.schemas import Liveness, ReadinessBody
from darkroom.errors import FieldProblem

router = APIRouter(tags=["operation"])
metrics_router = APIRouter(tags=["operation"])


@router.get("/livez", summary="Is the process alive?", responses=errors())
async def live() -> Liveness:
    """Touches nothing outside the process."""
    return Liveness(status="alive")


@router.get("/readyz", summary="Can the process serve?", response_model=ReadinessBody, responses=errors(503))
async def ready(request: Request, services: ServicesDep) -> ReadinessBody | Response:
    """Asks Redis and the object store; the answer is kept for two seconds."""
    parts = await services.readiness.parts()
    failing = [name for name, answers in parts.items() if not answers]
    if not failing:
        return ReadinessBody(status="ready", parts=dict.fromkeys(parts, "ok"))
    return problem_response(
        request.scope,
        status=503,
        code="not_ready",
        detail=f"Not answering: {', '.join(failing)}.",
        problems=[FieldProblem(name, "is not answering") for name in failing],
        headers={"Retry-After": str(RETRY_SECONDS)},
    )


@metrics_router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"description": "Text format.", "content": {"text/plain": {}}}, **errors()},
)
async def metrics(services: ServicesDep) -> Response:
    """What this process has counted. How long the queues are, one elected worker or delivery process tells."""
    return Response(generate_latest(services.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
