"""The prompt stage once more, in the worker, with the checks that are too slow for the API.

All checks run, the quick ones too: what a slow rewriter proposes has to pass them as well, and a worker does not take
an API's word. Runs on the job's own thread before anything is made. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from darkroom.catalogue import AdapterSpec
from darkroom.errors import CheckUnavailable, ConfigurationError, JobStoreUnavailable
from darkroom.jobs import Job, Texts
from darkroom.logs import get_logger
from darkroom.metrics import Metrics
from darkroom.near_misses import NearMisses
from safety.counting import count_findings
from safety.judging import near_miss_weight, waivers_of
from safety.pipeline import SafetyPipeline
from safety.policy import Policy
from safety.policy_set import Policies
from safety.rewriting import with_texts
from safety.subjects import subject_of
from safety.verdict import Decision, Stage, Verdict

log = get_logger(__name__)


@dataclass(frozen=True)
class CheckedPrompt:
    """A job as its prompt's verdict leaves it: perhaps with other texts, perhaps held."""

    job: Job
    verdict: Verdict


class PromptChecks:
    """The prompt stage of one worker process."""

    def __init__(
        self,
        pipeline: SafetyPipeline,
        *,
        policies: Policies,
        adapters: Mapping[str, AdapterSpec],
        metrics: Metrics,
        near_misses: NearMisses,
        idle: bool,
    ) -> None:
        """`idle`: this worker has no slow checks, so that only policies that require one are asked."""
        self._pipeline = pipeline
        self._policies = policies
        self._adapters = adapters
        self._metrics = metrics
        self._near_misses = near_misses
        self._idle = idle

    def judge(self, job: Job) -> CheckedPrompt | None:
        """The verdict on the job's texts; None where there is nothing to check that the API has not.

        Raises:
            CheckUnavailable: there is no verdict, so nothing may be made.
        """
        policy = self._policy(job)
        if self._idle and not policy.prompt.required_slow_checks:
            return None
        subject = subject_of(job.params, self._adapters)
        try:
            verdict = self._pipeline.check_prompt(subject, policy, waived=waivers_of(job.waived))
        except CheckUnavailable:
            self._metrics.check_errors.labels(Stage.PROMPT).inc()
            raise
        self._metrics.verdicts.labels(Stage.PROMPT, verdict.decision).inc()
        count_findings(self._metrics, Stage.PROMPT, verdict)
        if verdict.shadow:
            instead = policy.judge(Stage.PROMPT, verdict.shadow, checks=()).decision
            self._metrics.shadow_verdicts.labels(Stage.PROMPT, instead).inc()
        self._note_near_miss(job, verdict)
        return CheckedPrompt(_obeying(job, verdict), verdict)

    def _note_near_miss(self, job: Job, verdict: Verdict) -> None:
        """Count it, unless the API or an earlier attempt has: then the job is held already."""
        weight = near_miss_weight(verdict)
        if not weight or job.key is None or job.held:
            return
        try:
            self._near_misses.note(job.key, weight)
        except JobStoreUnavailable:
            log.warning("near_miss_not_counted", key=job.key)

    def _policy(self, job: Job) -> Policy:
        try:
            return self._policies.at(job.policy)
        except ConfigurationError as error:
            raise CheckUnavailable(error.detail) from None


def _obeying(job: Job, verdict: Verdict) -> Job:
    held = job.held or (verdict.reason if verdict.decision is Decision.REVIEW else None)
    if verdict.rewrite is None:
        return replace(job, held=held)
    original = job.original or Texts(job.params.prompt, job.params.negative_prompt)
    return replace(job, held=held, original=original, params=with_texts(job.params, verdict.rewrite))
