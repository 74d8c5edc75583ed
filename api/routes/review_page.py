"""`/review`: the review queue as plain pages, for a reviewer who signs in with a key. It does what the API does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse

from api.client_address import client_address
from api.dependencies import LimitsDep, ServicesDep, SettingsDep
from api.oversight_schemas import ItemBody, JudgementBody
from api.page_session import COOKIE, PATH, FormDep, PageRoute, SessionDep, read_form
from api.pages import HEADERS, Html, fill, link, options, page, rows, stylesheet
from api.reviewing import decide, escalate, open_image, open_item, take
from api.routes.appeals import carry_out, require_may_see
from darkroom.appeals import Decision, is_final
from darkroom.errors import FieldProblem, InvalidParams, NotAuthenticated
from darkroom.keys import Scope
from darkroom.params import GenerationParams
from darkroom.review import Ruling
from darkroom.review_sessions import Session
from safety.verdict import Category

router = APIRouter(include_in_schema=False, route_class=PageRoute)
LISTED = 50
_TEXTS = {"prompt", "negative_prompt"}


@router.get("/review")
async def queue(services: ServicesDep, session: SessionDep) -> Response:
    oversight, ttl = services.oversight, services.oversight.rules.review_ttl_seconds
    items = await run_in_threadpool(oversight.queue.oldest, LISTED)
    waiting, _ = await run_in_threadpool(oversight.queue.depth)
    appeals = await run_in_threadpool(oversight.appeals.open, LISTED, sealed=Scope.SEALED in session.key.scopes)
    body = fill(
        "queue.html",
        person=session.key.actor,
        csrf=session.csrf,
        waiting=waiting,
        items=rows(
            (
                link(f"/review/page/items/{item.job.id}", item.job.id),
                _time(item.entered_at),
                _time(item.entered_at + ttl),
                len(item.held),
                item.by,
                item.escalated_by,
            )
            for item in items
        ),
        appeals=rows(
            (
                link(f"/review/page/appeals/{appeal.job_id}", appeal.job_id),
                _time(appeal.at),
                appeal.reason,
                appeal.granted_by,
            )
            for appeal in appeals
        ),
    )
    return page("Review queue", body)


@router.post("/review/login")
async def sign_in(request: Request, services: ServicesDep, settings: SettingsDep, limits: LimitsDep) -> Response:
    form = await read_form(request)
    key = await services.keys.verify(form.get("key", "").strip())
    if key is None or Scope.REVIEW not in key.scopes:
        if limits.refusals:
            await limits.refusals.take(client_address(request.scope, settings.proxies))
        raise NotAuthenticated
    token = await services.sessions.open(key)
    await services.oversight.log.append(key.actor, "review.signed_in", key.id)
    answer = _to("/review")
    secure = request.url.scheme == "https" or services.public_url.startswith("https:")
    answer.set_cookie(
        COOKIE,
        token,
        max_age=services.oversight.rules.review_session_seconds,
        path=PATH,
        secure=secure,
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/review/logout")
async def sign_out(request: Request, services: ServicesDep, _form: FormDep) -> Response:
    await services.sessions.close(request.cookies[COOKIE])
    answer = _to("/review")
    answer.delete_cookie(COOKIE, path=PATH)
    return answer


@router.post("/review/page/next")
async def take_next(services: ServicesDep, session: SessionDep, _form: FormDep) -> Response:
    item = await take(services, session.key.actor)
    return _to("/review" if item is None else f"/review/page/items/{item.summary.id}")


@router.get("/review/page/items/{job_id}")
async def show_item(job_id: str, services: ServicesDep, session: SessionDep) -> Response:
    item = await open_item(services, session.key.actor, job_id)
    return page(f"Item {job_id}", _item(item, session))


@router.post("/review/page/items/{job_id}/lease")
async def take_item(job_id: str, services: ServicesDep, session: SessionDep, _form: FormDep) -> Response:
    await take(services, session.key.actor, job_id)
    return _to(f"/review/page/items/{job_id}")


@router.get("/review/page/items/{job_id}/images/{index}")
async def show_image(job_id: str, index: int, services: ServicesDep, session: SessionDep) -> Response:
    return await open_image(services, session.key.actor, job_id, index)


@router.post("/review/page/items/{job_id}/decide")
async def decide_item(job_id: str, services: ServicesDep, session: SessionDep, form: FormDep) -> Response:
    person, fence, note = session.key.actor, _number(form, "fence"), form.get("note", "")[:4_000]
    code = form.get("code") if form.get("code") in Category.__members__ else None
    if form.get("act") == "escalate":
        await escalate(services, person, job_id, fence=fence, code=code, note=note)
        return _to("/review")
    approved = {
        int(name.removeprefix("image_")): value == "approve"
        for name, value in form.items()
        if name.startswith("image_") and name.removeprefix("image_").isdecimal()
    }
    await decide(services, person, job_id, Ruling(approved, code=code, note=note), fence=fence)
    return _to("/review")


@router.get("/review/page/appeals/{job_id}")
async def show_appeal(job_id: str, services: ServicesDep, session: SessionDep) -> Response:
    appeal = await run_in_threadpool(services.oversight.appeals.get, job_id)
    job = await services.jobs.find(job_id)
    require_may_see(session.key, final=is_final(job))
    await services.oversight.log.append(session.key.actor, "appeal.read", job_id)
    body = fill(
        "appeal.html",
        id=job_id,
        csrf=session.csrf,
        owner=appeal.owner,
        reason=appeal.reason,
        refused_by=appeal.refused_by or "a check",
        proposed=f"{appeal.granted_by} proposes to grant it" if appeal.granted_by else "nobody has decided yet",
        text=appeal.text,
        prompt=job.params.prompt,
        negative_prompt=job.params.negative_prompt,
        scores=_scores(tuple(map(JudgementBody.from_judgement, job.findings))),
    )
    return page(f"Appeal {job_id}", body)


@router.post("/review/page/appeals/{job_id}/decide")
async def decide_appeal(job_id: str, services: ServicesDep, session: SessionDep, form: FormDep) -> Response:
    decision, answer = form.get("decision"), form.get("answer", "").strip()[:4_000]
    if decision not in {"granted", "denied"} or not answer:
        raise InvalidParams([FieldProblem("answer", "is needed, and a decision")])
    chosen: Decision = "granted" if decision == "granted" else "denied"
    await carry_out(services, session.key, job_id, chosen, answer=answer)
    return _to("/review")


@router.get("/review/page/style.css")
async def style() -> Response:
    return Response(stylesheet(), media_type="text/css")


def _item(item: ItemBody, session: Session) -> Html:
    summary = item.summary
    mine = summary.by == session.key.actor
    policy = item.policy
    return fill(
        "item.html",
        owner=item.owner,
        expires=f"{summary.expires_at:%Y-%m-%d %H:%M} UTC",
        hand=f"in the hands of {summary.by}" if summary.by and summary.until else "in nobody's hands",
        prompt=item.params.prompt,
        original_prompt=item.original_prompt or "the same",
        negative_prompt=item.params.negative_prompt,
        recipe=_recipe(item.params),
        held_because=item.held_because or "the images' own scores",
        policy=f"{policy.label}: {policy.description} Review from {policy.review:g}, block from {policy.block:g}."
        if policy
        else "The policy that judged this is not there any more.",
        scores=_scores(item.findings),
        history=rows(
            (f"{step.at:%Y-%m-%d %H:%M}", step.by, step.action, step.code, step.note) for step in item.history
        ),
        work=_work(item, session) if mine else fill("take.html", id=summary.id, csrf=session.csrf),
    )


def _work(item: ItemBody, session: Session) -> Html:
    job_id = item.summary.id
    images = [
        fill("image.html", id=job_id, index=image.index, width=image.width, height=image.height)
        for image in item.images
    ]
    return fill(
        "decide.html",
        id=job_id,
        csrf=session.csrf,
        fence=item.fence,
        images=Html("".join(images)),
        codes=options(category.name for category in Category),
    )


def _scores(findings: tuple[JudgementBody, ...]) -> Html:
    return rows(
        (found.stage, found.index, found.decision, score.category, score.layer, f"{score.score:.3f}")
        for found in findings
        for score in found.scores
    )


def _recipe(params: GenerationParams) -> str:
    values = params.model_dump(mode="json", exclude=_TEXTS, exclude_none=True)
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def _number(form: Mapping[str, str], name: str) -> int:
    text = form.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidParams([FieldProblem(name, "must be a number")])
    return int(text)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _to(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303, headers=HEADERS)
