"""What the four dashboards show: one line a panel, its unit and its expressions.

An expression shows something at any time after the first scrapes: what may never have happened (`or vector(0)`) is
zero. Gauges of the whole service come from one elected process, so `max` asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass

RATE = "5m"


@dataclass(frozen=True)
class Panel:
    """One graph: expressions by legend."""

    title: str
    unit: str  # as Grafana names units
    expressions: dict[str, str]
    text: str = ""  # what to make of it


@dataclass(frozen=True)
class Dashboard:
    """One page of graphs."""

    name: str  # of the file
    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "", where: str = "") -> str:
    """What a counter grows by in a second, by label; zero while nothing has been counted."""
    summed = f"sum by ({by})" if by else "sum"
    return f"{summed} (rate({metric}{_only(where)}[{RATE}])) or vector(0)"


def share(part: str, whole: str) -> str:
    """One sum of rates over another; zero while the other is."""
    return f"(({part}) / (({whole}) > 0)) or vector(0)"


def counted(metric: str, where: str = "") -> str:
    """A counter's rate over everything, for shares."""
    return f"sum (rate({metric}{_only(where)}[{RATE}]))"


def _only(where: str) -> str:
    return f"{{{where}}}" if where else ""


def quantiles(metric: str, by: str = "") -> dict[str, str]:
    """Median and 95th percentile of a histogram."""
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return {
        f"p{percent}{legend}": f"histogram_quantile({percent / 100:g}, sum by ({labels}) (rate({metric}_bucket[{RATE}])))"
        for percent in (50, 95)
    }


def largest(metric: str, by: str) -> str:
    """A gauge of the whole service."""
    return f"max by ({by}) ({metric})"


OVERVIEW = Dashboard(
    "overview",
    "Darkroom: service overview",
    (
        Panel("Jobs waiting", "short", {"{{tier}}": largest("darkroom_queue_depth_jobs", "tier")}),
        Panel("Age of the oldest waiting job", "s", {"{{tier}}": largest("darkroom_queue_oldest_seconds", "tier")}),
        Panel("Jobs running", "short", {"{{tier}}": largest("darkroom_running_jobs", "tier")}),
        Panel("Jobs accepted", "reqps", {"{{tier}}": rate("darkroom_jobs_submitted_total", "tier")}),
        Panel("Jobs ended", "reqps", {"{{status}}": rate("darkroom_jobs_ended_total", "status")}),
        Panel("Wait until claimed", "s", quantiles("darkroom_queue_wait_seconds", "tier")),
        Panel("Time to first step", "s", quantiles("darkroom_first_step_seconds", "tier")),
        Panel("Run time", "s", quantiles("darkroom_run_time_seconds", "tier")),
        Panel("HTTP requests", "reqps", {"{{route}}": rate("darkroom_http_requests_total", "route")}),
        Panel("HTTP errors of ours", "reqps", {"{{route}}": rate("darkroom_http_requests_total", "route", 'status=~"5.."')}),
        Panel("HTTP time, p95", "s", {"{{route}}": quantiles("darkroom_http_request_seconds", "route")["p95 {{route}}"]}),
        Panel(
            "Re-executions and lost runs", "reqps",
            {
                "claimed again": rate("darkroom_reexecutions_total"),
                "lost": rate("darkroom_attempts_total", where='outcome="lost"'),
            },
            "Above zero for long: workers die or stall.",
        ),
        Panel("Reaper actions", "reqps", {"{{action}}": rate("darkroom_reaper_actions_total", "action")}),
        Panel(
            "Tickets lost", "percentunit",
            {
                "replaced": share(
                    counted("darkroom_tickets_total", 'result="replaced"'),
                    counted("darkroom_tickets_total", 'result=~"issued|replaced"'),
                )
            },
            "Share that the reaper had to issue again; costs waiting time, no job.",
        ),
        Panel("Webhook attempts", "reqps", {"{{result}}": rate("darkroom_webhook_deliveries_total", "result")}),
        Panel("Webhook lag", "s", quantiles("darkroom_webhook_lag_seconds")),
        Panel(
            "Webhooks waiting", "short",
            {"waiting": "max(darkroom_webhooks_waiting)", "given up, too many": "max(darkroom_webhooks_overflow)"},
        ),
        Panel("Object store, p95", "s", {"{{operation}}": quantiles("darkroom_object_store_seconds", "operation")["p95 {{operation}}"]}),
        Panel("Object store failing", "reqps", {"{{operation}}": rate("darkroom_object_store_errors_total", "operation")}),
        Panel("Redis memory", "bytes", {"{{kind}}": largest("darkroom_redis_memory_bytes", "kind")}),
    ),
)  # fmt: skip
ENGINE = Dashboard(
    "engine",
    "Darkroom: engine",
    (
        Panel("Device busy with forwards", "percentunit", {"{{instance}}": f"sum by (instance) (rate(darkroom_engine_busy_seconds_total[{RATE}]))"}),
        Panel("Device utilisation", "percentunit", {"{{instance}} {{device}}": "max by (instance, device) (darkroom_device_utilisation_ratio)"}),
        Panel("Device memory", "bytes", {"{{instance}} {{kind}}": "max by (instance, kind) (darkroom_device_memory_bytes)"}),
        Panel("Step time", "s", quantiles("darkroom_step_time_seconds", "model")),
        Panel(
            "Rows per forward", "short",
            {"{{model}}": f"sum by (model) (rate(darkroom_batch_rows_sum[{RATE}])) / sum by (model) (rate(darkroom_batch_rows_count[{RATE}]))"},
        ),
        Panel(
            "Occupancy", "percentunit",
            {"{{model}}": f"sum by (model) (rate(darkroom_batch_occupancy_ratio_sum[{RATE}])) / sum by (model) (rate(darkroom_batch_occupancy_ratio_count[{RATE}]))"},
            "Low while jobs wait: they differ in size or model.",
        ),
        Panel("Most rows of a forward", "short", {"{{model}} {{size}}": "min by (model, size) (darkroom_row_cap)"}),
        Panel("Samples being denoised", "short", {"{{instance}}": "sum by (instance) (darkroom_engine_samples)"}),
        Panel("Images", "reqps", {"{{model}}": rate("darkroom_images_total", "model")}),
        Panel("Megapixel-steps", "short", {"{{model}}": rate("darkroom_megapixel_steps_total", "model")}),
        Panel("Device time by outcome", "percentunit", {"{{outcome}}": rate("darkroom_device_seconds_total", "outcome")}),
        Panel("Models in memory", "bytes", {"{{model}} {{memory}}": "sum by (model, memory) (darkroom_model_bytes)"}),
        Panel(
            "Loads and evictions", "reqps",
            {"loads": rate("darkroom_model_loads_total"), "evictions": rate("darkroom_model_evictions_total")},
            "Evictions for long: models take turns; raise DARKROOM_MODELS_BUDGET or split the workers.",
        ),
        Panel("Adapters in memory", "short", {"{{instance}}": "sum by (instance) (darkroom_adapters_resident)"}),
        Panel(
            "Prompt embeddings found", "percentunit",
            {"hits": share(counted("darkroom_embedding_lookups_total", 'result="hit"'), counted("darkroom_embedding_lookups_total"))},
        ),
        Panel("Previews", "reqps", {"{{outcome}}": rate("darkroom_previews_total", "outcome")}),
        Panel("Routes: jobs by arm", "reqps", {"{{alias}} {{model}} {{status}}": rate("darkroom_route_jobs_ended_total", "alias, model, status")}),
        Panel(
            "Routes: run time by arm, p95", "s",
            {"{{alias}} {{model}}": f"histogram_quantile(0.95, sum by (le, alias, model) (rate(darkroom_route_run_seconds_bucket[{RATE}]))) or vector(0)"},
        ),
        Panel("Routes: ratings by arm", "reqps", {"{{model}} {{rating}}": rate("darkroom_ratings_total", "model, rating")}),
        Panel("Routes: canaries taken out", "short", {"{{alias}} {{model}}": "max by (alias, model) (darkroom_canary_taken_out) or vector(0)"}),
    ),
)  # fmt: skip
SAFETY = Dashboard(
    "safety",
    "Darkroom: safety",
    (
        Panel("Verdicts", "reqps", {"{{stage}} {{decision}}": rate("darkroom_verdicts_total", "stage, decision")}),
        Panel(
            "Blocked", "percentunit",
            {
                stage: share(
                    counted("darkroom_verdicts_total", f'stage="{stage}", decision="block"'),
                    counted("darkroom_verdicts_total", f'stage="{stage}"'),
                )
                for stage in ("prompt", "image")
            },
        ),
        Panel("Findings by check", "reqps", {"{{stage}} {{layer}}": rate("darkroom_findings_total", "stage, layer")}),
        Panel("Findings by category", "reqps", {"{{category}}": rate("darkroom_findings_total", "category")}),
        Panel("Checks without an answer", "reqps", {"{{stage}}": rate("darkroom_check_errors_total", "stage")}, "Nothing unsafe left, but jobs wait or fail."),
        Panel("Check time, p95", "s", {"{{layer}}": quantiles("darkroom_check_seconds", "layer")["p95 {{layer}}"]}),
        Panel("Shadow verdicts", "reqps", {"{{stage}} {{decision}}": rate("darkroom_shadow_verdicts_total", "stage, decision")}),
        Panel("Waiting for review", "short", {"items": "max(darkroom_review_items)", "appeals": "max(darkroom_appeals_waiting)"}),
        Panel("Age of the oldest review", "s", {"oldest": "max(darkroom_review_oldest_seconds)"}),
        Panel("Review decisions", "reqps", {"{{decision}}": rate("darkroom_review_decisions_total", "decision")}),
        Panel("Denied because nobody decided", "reqps", {"expired": rate("darkroom_review_expired_total")}),
        Panel("Appeals decided", "reqps", {"{{decision}}": rate("darkroom_appeals_decided_total", "decision")}),
    ),
)  # fmt: skip
OWNERS = Dashboard(
    "owners",
    "Darkroom: owners and cost",
    (
        Panel("Jobs ended", "reqps", {"{{owner}}": rate("darkroom_owner_jobs_ended_total", "owner")}, "Listed owners by name, all others by plan."),
        Panel(
            "Jobs not succeeded", "reqps",
            {"{{owner}} {{status}}": rate("darkroom_owner_jobs_ended_total", "owner, status", 'status!="succeeded"')},
        ),
        Panel("Images", "reqps", {"{{owner}}": rate("darkroom_owner_images_total", "owner")}),
        Panel("Megapixel-steps", "short", {"{{owner}}": rate("darkroom_owner_megapixel_steps_total", "owner")}),
        Panel("Cost by owner, an hour", "short", {"{{owner}} {{currency}}": 'sum by (owner, currency) (increase(darkroom_cost_total{kind="billed"}[1h])) or vector(0)'}),
        Panel("Spent and billed, an hour", "short", {"{{kind}} {{currency}}": "sum by (kind, currency) (increase(darkroom_cost_total[1h])) or vector(0)"}),
        Panel("Device seconds by model, an hour", "s", {"{{model}}": "sum by (model) (increase(darkroom_device_seconds_total[1h])) or vector(0)"}),
        Panel(
            "Device time for nothing", "percentunit",
            {"not succeeded": share(counted("darkroom_device_seconds_total", 'outcome!="succeeded"'), counted("darkroom_device_seconds_total"))},
        ),
    ),
)  # fmt: skip
DASHBOARDS = (OVERVIEW, ENGINE, SAFETY, OWNERS)
