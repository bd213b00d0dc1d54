"""What the dashboards fleet, service and pool show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pertoken_sandbox.dashboards.panels import Dashboard, Panel, Variable, dashboard_json, stat

FOLDER: Final = Path("charts/pertoken/files/dashboards")

_OF_SERVICE: Final = '{namespace=~"$namespace",service=~"$service"}'
_NAMED: Final = "{{namespace}}/{{service}}"
_VARIANT: Final = "{{service}}/{{variant}}"
_WRONG_WHEN_TRUE: Final = "Paused|Conflicted|ScalingLimited"
_BY_SERVICE: Final = "by (namespace, service)"

FLEET: Final = Dashboard(
    "pertoken-fleet",
    "pertoken / fleet",
    (),
    (
        stat("Services", "none", "count(pertoken_service_acting)", "InferenceServices that are accepted."),
        stat("Acting", "none", "sum(pertoken_service_acting)", "Services whose decisions are carried out."),
        stat("Spend", "currencyUSD", "sum(pertoken_service_spend_usd_per_hour)", "USD per hour of the GPUs held now."),
        stat(
            "Above cost target",
            "none",
            "count(pertoken_service_cost_index > 1) or vector(0)",
            "Services with a cost index above 1.",
            (1, 3),
        ),
        stat(
            "Missing their latency",
            "none",
            "count(pertoken_service_missed_requests_ratio > pertoken_service_allowed_misses_ratio) or vector(0)",
            "Services of which more recent requests missed an objective than may.",
            (1, 3),
        ),
        stat(
            "GPUs in use",
            "percentunit",
            "sum(pertoken_pool_used_gpus) / sum(pertoken_pool_capacity_gpus)",
            "Share of all pools' GPUs that pods hold.",
        ),
        Panel(
            "Cost index",
            "none",
            (("pertoken_service_cost_index", _NAMED),),
            "GPU bill over the tokens' value at the price list; at most 1 meets the target.",
            (1, 1.1),
        ),
        Panel(
            "Requests outside their objectives",
            "percentunit",
            (("pertoken_service_missed_requests_ratio", _NAMED),),
            "Of recent requests, with a half-life of half an hour.",
        ),
        Panel(
            "Spend by service",
            "currencyUSD",
            (("pertoken_service_spend_usd_per_hour", _NAMED),),
            "USD per hour of the GPUs held.",
            stacked=True,
        ),
        Panel(
            "What the spend buys",
            "currencyUSD",
            (
                (
                    (
                        "sum by (kind) (pertoken_service_bill_ratio * on (namespace, service) group_left ()"
                        " pertoken_service_spend_usd_per_hour)"
                    ),
                    "{{kind}}",
                ),
            ),
            "USD per hour: work, idle time, replicas that start, GPUs that no service's work explains.",
            stacked=True,
        ),
        Panel("GPUs in use by pool", "none", (("pertoken_pool_used_gpus", "{{pool}}"),), stacked=True),
        Panel(
            "GPUs that pods wait for",
            "none",
            (("pertoken_pool_pending_gpus", "{{pool}}"),),
            "Of pods that the scheduler has found no node for.",
        ),
        Panel(
            "Decisions by reason",
            "none",
            (("sum by (reason) (increase(pertoken_decisions_total[$__rate_interval]))", "{{reason}}"),),
            "docs/troubleshooting.md explains each reason.",
            stacked=True,
        ),
        Panel(
            "Actions",
            "none",
            (
                (
                    "sum by (kind, outcome) (increase(pertoken_actions_total[$__rate_interval])) > 0",
                    "{{kind}} {{outcome}}",
                ),
            ),
            "Writes to the cluster.",
            stacked=True,
        ),
        Panel(
            "Duration of a cycle, by phase",
            "s",
            (
                (
                    (
                        "sum by (phase) (rate(pertoken_cycle_duration_seconds_sum[$__rate_interval]))"
                        " / sum by (phase) (rate(pertoken_cycle_duration_seconds_count[$__rate_interval]))"
                    ),
                    "{{phase}}",
                ),
            ),
            "Mean over the interval.",
        ),
        Panel(
            "Age of cycle, metrics and lists",
            "s",
            (
                ("max(pertoken_cycle_age_seconds and on (instance) pertoken_leader == 1)", "last cycle"),
                ("max by (profile) (pertoken_metrics_data_age_seconds)", "metrics {{profile}}"),
                ("max(pertoken_inventory_resync_age_seconds)", "oldest list"),
            ),
        ),
        Panel(
            "Services by condition that is not as it should be",
            "none",
            (
                (
                    'count by (type) (pertoken_service_condition{type!~"' + _WRONG_WHEN_TRUE + '",status="False"})',
                    "{{type}} False",
                ),
                (
                    'count by (type) (pertoken_service_condition{type=~"' + _WRONG_WHEN_TRUE + '",status="True"})',
                    "{{type}} True",
                ),
            ),
        ),
        Panel(
            "Time until GPUs must be ordered",
            "s",
            (("pertoken_capacity_plan_order_by_timestamp_seconds - time()", "{{plan}}"),),
            "By the last capacity plan; below 0 it is overdue.",
        ),
    ),
)

SERVICE: Final = Dashboard(
    "pertoken-service",
    "pertoken / service",
    (
        Variable("namespace", "label_values(pertoken_service_acting, namespace)"),
        Variable("service", 'label_values(pertoken_service_acting{namespace=~"$namespace"}, service)'),
    ),
    (
        stat("Cost index", "none", f"max(pertoken_service_cost_index{_OF_SERVICE})", "At most 1.", (1, 1.1)),
        stat("Spend", "currencyUSD", f"sum(pertoken_service_spend_usd_per_hour{_OF_SERVICE})", "USD per hour."),
        stat(
            "Spent in the time shown",
            "currencyUSD",
            f"sum(increase(pertoken_service_bill_usd_total{_OF_SERVICE}[$__range]))",
        ),
        stat("Idle", "percentunit", f"max(pertoken_service_idle_ratio{_OF_SERVICE})", "Billed GPU time without work."),
        stat("1,000 answers", "currencyUSD", f"max(pertoken_service_cost_usd_per_thousand_requests{_OF_SERVICE})"),
        stat(
            "Acting", "bool_yes_no", f"min(pertoken_service_acting{_OF_SERVICE})", "Recommend, Off and paused do not."
        ),
        Panel(
            "Cost index",
            "none",
            (
                (f"pertoken_service_cost_index{_OF_SERVICE}", _NAMED),
                (f"pertoken_service_cost_reachable_index{_OF_SERVICE}", f"{_NAMED} within reach"),
            ),
            "Bill over the tokens' value at the price list, and the lowest index that the latency objectives allow.",
            (1, 1.1),
        ),
        Panel(
            "USD per million tokens",
            "currencyUSD",
            ((f"pertoken_service_cost_usd_per_million_tokens{_OF_SERVICE}", "{{service}} {{kind}}"),),
        ),
        Panel(
            "Time to first token",
            "s",
            (
                (f'pertoken_service_latency_seconds{{kind="ttft",{_OF_SERVICE[1:]}', "{{service}} p{{percentile}}"),
                (f'pertoken_service_latency_objective_seconds{{kind="ttft",{_OF_SERVICE[1:]}', "{{service}} objective"),
            ),
        ),
        Panel(
            "Inter-token latency",
            "s",
            (
                (
                    f'pertoken_service_latency_seconds{{kind="inter_token",{_OF_SERVICE[1:]}',
                    "{{service}} p{{percentile}}",
                ),
                (
                    f'pertoken_service_latency_objective_seconds{{kind="inter_token",{_OF_SERVICE[1:]}',
                    "{{service}} objective",
                ),
            ),
        ),
        Panel(
            "Requests outside their objectives",
            "percentunit",
            (
                (f"pertoken_service_missed_requests_ratio{_OF_SERVICE}", "{{service}}"),
                (f"pertoken_service_allowed_misses_ratio{_OF_SERVICE}", "{{service}} may miss"),
            ),
        ),
        Panel(
            "Replicas",
            "none",
            (
                (f"pertoken_variant_desired_replicas{_OF_SERVICE}", f"{_VARIANT} desired"),
                (f"pertoken_variant_current_replicas{_OF_SERVICE}", f"{_VARIANT} set"),
                (f"pertoken_variant_ready_replicas{_OF_SERVICE}", f"{_VARIANT} ready"),
            ),
        ),
        Panel(
            "Output tokens per second: demand, forecast, capacity",
            "none",
            (
                (f'pertoken_service_demand_tokens_per_second{{kind="output",{_OF_SERVICE[1:]}', "{{service}} demand"),
                (
                    f'pertoken_service_demand_tokens_per_second{{kind="forecast_output",{_OF_SERVICE[1:]}',
                    "{{service}} forecast",
                ),
                (
                    (
                        f"sum {_BY_SERVICE} (pertoken_variant_capacity_tokens_per_second{_OF_SERVICE}"
                        f" * pertoken_variant_ready_replicas{_OF_SERVICE})"
                    ),
                    "{{service}} capacity",
                ),
            ),
            "The forecast is for the time at which a replica that is ordered now would serve.",
        ),
        Panel(
            "Requests",
            "none",
            (
                (f"pertoken_service_running_requests{_OF_SERVICE}", "{{service}} running"),
                (f"pertoken_service_waiting_requests{_OF_SERVICE}", "{{service}} waiting"),
            ),
        ),
        Panel(
            "Arriving requests per second",
            "reqps",
            ((f"pertoken_service_demand_requests_per_second{_OF_SERVICE}", _NAMED),),
        ),
        Panel(
            "Batch",
            "none",
            (
                (f"pertoken_variant_operating_batch_sequences{_OF_SERVICE}", f"{_VARIANT} decoding"),
                (f"pertoken_variant_batch_cap_sequences{_OF_SERVICE}", f"{_VARIANT} cap"),
                (f"pertoken_variant_desired_batch_cap_sequences{_OF_SERVICE}", f"{_VARIANT} wanted cap"),
            ),
            "Sequences per replica that decode together, and the engine's cap on them.",
        ),
        Panel(
            "GPU utilization and KV cache",
            "percentunit",
            (
                (f"pertoken_variant_gpu_utilization_ratio{_OF_SERVICE}", f"{_VARIANT} GPU"),
                (f"pertoken_variant_kv_cache_usage_ratio{_OF_SERVICE}", f"{_VARIANT} KV cache"),
            ),
            most=1,
        ),
        Panel(
            "What the bill bought",
            "percentunit",
            (
                (
                    (
                        f"sum by (kind) (pertoken_service_bill_ratio{_OF_SERVICE})"
                        f" / scalar(sum(pertoken_service_bill_ratio{_OF_SERVICE}))"
                    ),
                    "{{kind}}",
                ),
            ),
            most=1,
            stacked=True,
        ),
    ),
)

_OF_POOL: Final = '{pool=~"$pool"}'

POOL: Final = Dashboard(
    "pertoken-pool",
    "pertoken / pool",
    (Variable("pool", "label_values(pertoken_pool_capacity_gpus, pool)"),),
    (
        stat("GPUs", "none", f"sum(pertoken_pool_capacity_gpus{_OF_POOL})"),
        stat("In use", "none", f"sum(pertoken_pool_used_gpus{_OF_POOL})"),
        stat("Free where a replica fits", "none", f"sum(pertoken_pool_placeable_gpus{_OF_POOL})"),
        stat("Waited for", "none", f"sum(pertoken_pool_pending_gpus{_OF_POOL})", "By pods without a node.", (1, 8)),
        stat(
            "Spend", "currencyUSD", f"sum(pertoken_pool_spend_usd_per_hour{_OF_POOL})", "USD per hour of what is held."
        ),
        stat(
            "Short in the plan",
            "none",
            f"max(pertoken_capacity_plan_short_gpus{_OF_POOL})",
            "GPUs missing in the worst hour of the capacity plan.",
            (1, 8),
        ),
        Panel(
            "GPUs",
            "none",
            (
                (f"pertoken_pool_capacity_gpus{_OF_POOL}", "{{pool}} exist"),
                (f"pertoken_pool_used_gpus{_OF_POOL}", "{{pool}} in use"),
                (f"pertoken_pool_free_gpus{_OF_POOL}", "{{pool}} free"),
                (f"pertoken_pool_pending_gpus{_OF_POOL}", "{{pool}} waited for"),
            ),
        ),
        Panel(
            "Share in use",
            "percentunit",
            ((f"pertoken_pool_used_gpus{_OF_POOL} / pertoken_pool_capacity_gpus{_OF_POOL}", "{{pool}}"),),
            most=1,
        ),
        Panel("Spend", "currencyUSD", ((f"pertoken_pool_spend_usd_per_hour{_OF_POOL}", "{{pool}}"),), stacked=True),
        Panel(
            "Planned peak against what exists",
            "none",
            (
                (f"pertoken_capacity_plan_peak_gpus{_OF_POOL}", "{{plan}}: {{pool}} peak"),
                (f"pertoken_pool_capacity_gpus{_OF_POOL}", "{{pool}} exist"),
            ),
            "Most GPUs of any hour of the capacity plan.",
        ),
    ),
)

BOARDS: Final = {"fleet": FLEET, "service": SERVICE, "pool": POOL}


def artifacts() -> Iterator[tuple[Path, str]]:
    """Every dashboard's file with its text."""
    for name, board in BOARDS.items():
        yield FOLDER / f"{name}.json", json.dumps(dashboard_json(board), indent=1, ensure_ascii=False) + "\n"
