"""The record as Redis holds it, and back."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from darkroom.costs import Cost, Price
from darkroom.errors import SealBroken
from darkroom.job_record import cost, decode_flat, decode_job, encode_job
from darkroom.jobs import SCHEMA, JobError, JobStatus, Progress, ReviewStep, Texts, Tier
from darkroom.judgements import Judgement, Score, Waived
from darkroom.params import WebhookChoice
from darkroom.sealing import Sealer
from tests.darkroom.factories import make_image, make_job, make_params
from tests.fixtures.secret_file import KEY, SEALER

FULL = make_job(
    status=JobStatus.BLOCKED,
    tier=Tier.QUALITY,
    params=make_params(prompt='"a"\n{é} \U0001f600', seed=2**63 - 9, guidance_scale=7.1),
    attempt=3,
    progress=Progress(step=4, steps=50),
    images=(make_image(), make_image(index=1, decision="review")),
    error=JobError("prompt_blocked", "The prompt was refused."),
    warnings=("one", "two"),
    metadata={"ref": "é"},
    policy="default@1",
    held="prompt_review",
    priority=4,
    cancel_requested=True,
    webhook=WebhookChoice(url="https://hooks.example.com/amsel", events=("job.failed",)),
    findings=(
        Judgement("prompt", "block", "prompt_hate", "hate", policy="default@1", scores=(Score("hate", "list", 1.0),)),
        Judgement("image", "review", "image_custom", "custom", index=1),
    ),
    review=(ReviewStep(at=1.5, by="ann", action="decided", code="hate", note="sealed"),),
    appeal_of="job_01m8z6k2q4v7x9b3n5c8d1f0ga",
    waived=(Waived("hate", "list"),),
    withheld=(0,),
    route="best@01234567",
    shadow=True,
    rating=4,
    original=Texts("zarn", "amsel"),
    key="0123456789ab",
    request_id="req_1",
    price=Price(600_000, "EUR"),
    region="eu-1",
    cost=Cost(device_us=3, billed_us=2, spent=5, billed=4),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
TIMES = {"created_at": "1.5", "started_at": "2.5", "finished_at": "3.5", "deadline_at": "4.5"}


def test_record_round_trips() -> None:
    record = encode_job(FULL) | TIMES

    expected = replace(FULL, created_at=1.5, started_at=2.5, finished_at=3.5, deadline_at=4.5)
    assert decode_job(record) == expected
    assert decode_flat([part for pair in record.items() for part in pair]) == expected


def test_sealed_record_round_trips_and_shows_no_prompt() -> None:
    webhook = WebhookChoice(url="https://hooks.example.com/amsel")
    params = make_params(prompt="kanarienvogel", negative_prompt="amsel")
    job = make_job(params=params, webhook=webhook, original=Texts("kanarienvogel"))

    record = encode_job(job, SEALER) | {"created_at": "0"}

    assert decode_job(record, SEALER) == job
    assert "kanarienvogel" not in str(record)
    assert "amsel" not in str(record)


def test_record_from_before_sealing_is_read() -> None:
    record = encode_job(FULL) | TIMES | {"schema": "2"}
    del record["sealed"]

    assert decode_job(record, SEALER).params == FULL.params


def test_record_from_before_reviews_is_read() -> None:
    record = encode_job(FULL) | TIMES | {"schema": "3"}
    for name in ("findings", "review", "appeal_of", "waived", "withheld"):
        del record[name]

    job = decode_job(record)

    assert (job.findings, job.review, job.appeal_of, job.waived, job.withheld) == ((), (), None, (), ())


def test_record_from_before_routes_is_read() -> None:
    record = encode_job(FULL) | TIMES
    for name in ("route", "shadow", "rating"):
        del record[name]

    job = decode_job(record)

    assert (job.route, job.shadow, job.rating) == (None, False, None)


@pytest.mark.parametrize("sealer", [None, Sealer([bytes(32)])])
def test_sealed_record_opens_with_its_key_only(sealer: Sealer | None) -> None:
    record = encode_job(make_job(), SEALER) | {"created_at": "0"}

    with pytest.raises(SealBroken):
        decode_job(record, sealer)
    assert decode_job(record, Sealer([bytes(32), KEY])).params == make_job().params


def test_prompts_sealed_for_one_job_do_not_open_in_another() -> None:
    record, other = (encode_job(make_job(), SEALER) | {"created_at": "0"} for _ in range(2))

    with pytest.raises(SealBroken):
        decode_job(record | {"sealed": other["sealed"]}, SEALER)


def test_full_job_leaves_no_field_at_its_default() -> None:
    """Or the round trip above would prove nothing about that field."""
    plain = make_job(id=FULL.id)

    same = {f.name for f in fields(FULL) if getattr(FULL, f.name) == getattr(plain, f.name)}
    assert same == {"id", "owner", "schema", *TIMES}


@pytest.mark.parametrize("name", ["started_at", "finished_at", "deadline_at"])
@pytest.mark.parametrize("empty", [{}, {"value": ""}])
def test_unset_time_is_none(name: str, empty: dict[str, str]) -> None:
    record = encode_job(make_job()) | {"created_at": "1"}
    record |= {name: empty["value"]} if empty else {}

    assert getattr(decode_job(record), name) is None


def test_newer_record_is_readable_and_keeps_its_number() -> None:
    record = encode_job(make_job(schema=SCHEMA + 1)) | {"created_at": "1", "unheard_of": "x"}
    record["params"] = json.dumps(json.loads(record["params"]) | {"not_thought_of_yet": "k"})

    job = decode_job(record)

    assert job.schema == SCHEMA + 1
    assert job.params == make_job().params


def test_cost_is_step_pixels_of_all_images() -> None:
    assert cost(make_params(num_images=2, num_inference_steps=3, width=8, height=16)) == 2 * 3 * 8 * 16
