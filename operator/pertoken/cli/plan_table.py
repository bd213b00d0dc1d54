"""The capacity plan as tables for a terminal, every figure with its unit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pertoken.cli.rendering import print_table

Json = dict[str, Any]


def print_plan(document: Json) -> None:
    """Services, pools, purchase, what-ifs, and what has to be known of them."""
    confidence = f"P{document['confidence_percent']:g}"
    start = _time(document["start_s"])
    print(f"{document['horizon_days']} days from {start} UTC, {document['futures']} futures, GPUs at {confidence}")
    services = ("service", "tok/s mean P50", "peak P50", "peak P90", "WAPE", "naive", "P90 held", "model")
    _table(services, [_service_cells(service) for service in document["services"]])
    pools = ("pool", "GPUs mean P50", "peak P50", f"peak {confidence}", "existing", "short", "first short", "order by")
    _table(pools, [_pool_cells(pool) for pool in document["pools"]])
    _print_purchase(document["purchase"])
    if document["what_ifs"]:
        what_ifs = ("what if", "GPUs", "short", "USD/month", "change")
        _table(what_ifs, [_what_if_cells(entry) for entry in document["what_ifs"]])
    changes = [(entry, change) for entry in document["advice"] for change in entry["changes"]]
    if changes:
        heads = ("service", "variant", "saved USD/month", "how sure", "change")
        _table(heads, [_advice_cells(*each) for each in changes])
    _print_remarks(document)


def _table(heads: Sequence[str], rows: list[list[str]]) -> None:
    print()
    print_table([*heads, ""], [[*row, ""] for row in rows])


def _service_cells(service: Json) -> list[str]:
    p50 = [hour["p50_tokens_per_s"] for hour in service["forecast"]]
    p90 = [hour["p90_tokens_per_s"] for hour in service["forecast"]]
    test = service["backtest"]
    shares = [_share(test[key]) for key in ("wape", "seasonal_naive_wape", "p90_coverage")]
    return [
        service["name"],
        f"{sum(p50) / len(p50):,.0f}",
        f"{max(p50):,.0f}",
        f"{max(p90):,.0f}",
        *shares,
        test["model"],
    ]


def _pool_cells(pool: Json) -> list[str]:
    p50 = pool["gpus_by_hour"]["p50"]
    short, order_by = pool["first_shortfall_s"], pool["order_by_s"]
    return [
        pool["name"],
        f"{sum(p50) / len(p50):.1f}",
        str(max(p50)),
        str(pool["peak_gpus"]),
        "unknown" if pool["existing_gpus"] is None else str(pool["existing_gpus"]),
        "" if pool["short_gpus"] is None else str(pool["short_gpus"]),
        "" if short is None else _time(short),
        "" if order_by is None else _time(order_by) + (" (overdue)" if pool["overdue"] else ""),
    ]


def _print_purchase(purchase: Json) -> None:
    rows = [
        [
            entry["pool"],
            f"reserved: {entry['offer']}",
            f"{entry['gpus']} GPUs",
            f"{entry['usd_per_month']:,.2f}",
            _time(entry["order_by_s"]),
            f"{entry['used_share']:.0%} used, idle {entry['idle_usd_per_day']:,.2f} USD/day",
        ]
        for entry in purchase["reserved"]
    ]
    for way in ("on_demand", "spot"):
        rows += [
            [
                entry["pool"],
                way.replace("_", " "),
                f"up to {entry['peak_gpus']} GPUs",
                f"{entry['usd_per_month']:,.2f}",
                "",
                f"{entry['gpu_hours_per_month']:,.0f} GPU-hours/month",
            ]
            for entry in purchase[way]
        ]
    _table(("pool", "bought", "how many", "USD/month", "order by", "use"), rows)
    print(
        f"{purchase['usd_per_month']:,.2f} USD per month of 730 hours "
        f"(not above {purchase['usd_per_month_high']:,.2f}); all on demand "
        f"{purchase['all_on_demand_usd_per_month']:,.2f}"
    )
    if "budget" in purchase:
        print(purchase["budget"]["message"])


def _what_if_cells(entry: Json) -> list[str]:
    return [
        entry["what_if"],
        ", ".join(f"{pool['name']} {pool['peak_gpus']}" for pool in entry["pools"]),
        ", ".join(f"{pool['name']} {pool['short_gpus']}" for pool in entry["pools"] if pool["short_gpus"]),
        f"{entry['usd_per_month']:,.2f}",
        f"{entry['change_usd_per_month']:+,.2f}",
    ]


def _advice_cells(entry: Json, change: Json) -> list[str]:
    note = f" ({change['note']})" if change["note"] else ""
    return [
        entry["service"],
        entry["variant"],
        f"{change['saved_usd_per_month']:,.2f}",
        change["how_sure"],
        f"{change['change']}: {change['before']} -> {change['after']}{note}",
    ]


def _print_remarks(document: Json) -> None:
    lines = [f"{service['name']}: {remark}" for service in document["services"] for remark in service["remarks"]]
    for entry in document["what_ifs"]:
        lines += [f"what if {entry['what_if']}: {text}" for text in (*entry["unplanned"], *entry["remarks"])]
    lines += [*document["unplanned"], *document["remarks"]]
    if lines:
        print()
    for line in lines:
        print(line)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
