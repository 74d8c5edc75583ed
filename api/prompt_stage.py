"""The prompt stage of a submission: which policy judges it, what the checks say, which texts are used in the end.

Blocks its thread while checks compute. Knows no HTTP and stores nothing.
"""

from __future__ import annotations

from api.services import Services
from darkroom.errors import CheckUnavailable, FieldProblem, InvalidParams
from darkroom.logs import get_logger
from darkroom.names import nearest_name
from darkroom.params import GenerationParams
from safety.counting import count_findings
from safety.narrowing import is_at_least_as_strict
from safety.policy import Policy
from safety.subjects import subject_of
from safety.verdict import Stage, Verdict

log = get_logger(__name__)


class PromptStage:
    """Judges the texts of requests."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def policy_for(self, owner: str, wanted: str | None) -> Policy:
        """The owner's policy, or the one that the request narrows it to.

        Raises:
            InvalidParams: the request names no policy, or one that would let more pass in some respect.
        """
        policies = self._services.policies
        own = policies.of(self._services.owners.of(owner).policy)
        if wanted is None or wanted == own.name:
            return own
        usable = [name for name, file in policies.now().items() if is_at_least_as_strict(file.policy, own)]
        if wanted not in usable:
            limit, nearest = f"one of: {', '.join(sorted(usable))}", nearest_name(wanted, usable)
            message = "names no policy that is at least as strict in everything as your own"
            raise InvalidParams([FieldProblem("policy", message, limit=limit, nearest=nearest)])
        return policies.of(wanted)

    def judge(self, params: GenerationParams, policy: Policy) -> Verdict:
        """The verdict on a recipe's texts.

        Raises:
            CheckUnavailable: there is none.
        """
        services, subject = self._services, subject_of(params, self._services.catalogue.adapters)
        try:
            verdict = services.safety.check_prompt(subject, policy)
        except CheckUnavailable as error:
            services.metrics.check_errors.labels(str(Stage.PROMPT)).inc()
            log.warning("prompt_not_checked", reason=error.detail)
            raise
        services.metrics.verdicts.labels(str(Stage.PROMPT), str(verdict.decision)).inc()
        count_findings(services.metrics, Stage.PROMPT, verdict)
        if verdict.shadow:
            instead = policy.judge(Stage.PROMPT, verdict.shadow, checks=()).decision
            services.metrics.shadow_verdicts.labels(str(Stage.PROMPT), str(instead)).inc()
        return verdict
