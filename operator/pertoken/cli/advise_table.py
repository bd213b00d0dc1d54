"""Advice as a table: one line per change, figures first, every figure with its unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pertoken.cli.advise_document import Answered, answer_document
from pertoken.cli.rendering import plain_figure, print_lines

Json = dict[str, Any]
HEADS = ("saved USD/month", "replicas", "USD/1M", "USD/1M full", "USD/1k P50", "USD/1k P95", "how sure", "change")


def print_advice(answers: Sequence[Answered]) -> None:
    """One block per variant."""
    for number, answered in enumerate(answers):
        if number:
            print()
        _print_one(answered, answer_document(answered))


def _print_one(answered: Answered, told: Json) -> None:
    if told["service"]:
        print(f"{told['service']}, variant {told['variant']}")
    print(told["of"])
    present = told["present"]
    rows = [] if present is None else [_cells(present, "", "as it runs")]
    rows += [_cells(row, f"{row['saved_usd_per_month']:,.2f}", _words(row)) for row in told["changes"]]
    print_lines(HEADS, rows)
    tokens = told["answer_tokens"]
    print(
        "USD/1M: the month's bill over all tokens; full: the same of replicas that are used to the full; "
        f"USD/1k: of 1,000 answers of {tokens['p50']:.0f} tokens (P50) and of {tokens['p95']:.0f} (P95)"
    )
    for line in (*_remarks(told), *_context_lines(told), *_options(answered, told)):
        print(line)


def _cells(figures: Json, saved: str, words: str) -> list[str]:
    answer = figures["usd_per_thousand_answers"]
    return [
        saved,
        str(figures["replicas"]),
        f"{figures['usd_per_million_tokens']:.4f}",
        f"{figures['usd_per_million_tokens_at_full_use']:.4f}",
        f"{answer['p50']:.4f}",
        f"{answer['p95']:.4f}",
        figures["how_sure"],
        words,
    ]


def _words(row: Json) -> str:
    kinds = f"{row['change']} and GPUs per replica" if row["and_tensor_parallelism"] else row["change"]
    words = f"{kinds}: {row['before']} -> {row['after']}"
    return f"{words} ({row['note']})" if row["note"] else words


def _remarks(told: Json) -> list[str]:
    """What the present setup misses, how many replicas run, and whether anything is better."""
    lines, present = [], told["present"]
    if present is None:
        lines.append("the weights leave no KV cache on these GPUs: nothing can be served as it is")
    elif present["missed"]:
        lines.append(f"missed as it runs: {present['missed']}; it is sized without this objective")
    elif (present["cost_index"] or 0.0) > 1.0:
        lines.append(f"cost index {present['cost_index']:.2f} as it runs: above the cost target")
    if present is not None and told["replicas_ready"] not in {None, present["replicas"]}:
        lines.append(
            f"{told['replicas_ready']} replicas are ready now; savings compare with the {present['replicas']} "
            "that this load takes"
        )
    if not told["changes"]:
        lines.append("no single change keeps the latency objectives and costs less")
    return lines


def _context_lines(told: Json) -> list[str]:
    """What a longer context costs."""
    context, lines = told["per_thousand_context_tokens"], []
    for kind in ("computed", "cached"):
        price = context[kind]
        if price is not None:
            lines.append(
                f"1,000 more {kind} tokens of context per request: {price['usd_per_thousand_requests']:.4f} USD "
                f"per 1,000 requests, {price['usd_per_month']:,.2f} USD/month at full use"
            )
        elif told["present"] is not None:
            lines.append(f"1,000 more {kind} tokens of context per request: the latency objectives are missed")
    return lines


def _options(answered: Answered, told: Json) -> list[str]:
    """A budget and an API, for the present setup and for the change that saves most."""
    best = answered.best
    sides = [("as it runs", told["present"])]
    if best is not None:
        number = answered.advice.rows.index(best)
        sides.append((f"with {best.change.kind.value} {best.change.after}", told["changes"][number]))
    lines = []
    for name, figures in sides:
        if figures is None or (figures["missed"] and name == "as it runs"):
            continue
        if answered.budget is not None:
            lines.append(
                f"{answered.budget:g} USD/hour carries {_rate(figures['requests_per_second_at_budget'])} requests/s "
                f"within the objectives, {name}"
            )
        if answered.api is not None:
            lines.append(_api_line(name, figures))
    return lines


def _rate(value: float | None) -> str:
    """Any, where GPUs cost nothing."""
    return "any number of" if value is None else plain_figure(value, 4)


def _api_line(name: str, figures: Json) -> str:
    compared = figures["against_api"]
    bill = f"{compared['api_usd_per_month']:,.2f} USD/month at the API, {figures['usd_per_month']:,.2f} on own GPUs"
    first, always = (
        compared["break_even_requests_per_second"],
        compared["always_cheaper_from_requests_per_second"],
    )
    if first is None:
        return f"{bill} {name}: own GPUs never pay at these prices"
    share = f"{compared['utilization_at_break_even']:.0%} utilization"
    words = f"own GPUs pay from {plain_figure(first, 3)} requests/s on ({share})"
    if always is not None and always > first:
        words += f", always from {plain_figure(always, 3)}"
    return f"{bill} {name}: {words}; utilization now {compared['utilization']:.0%}"
