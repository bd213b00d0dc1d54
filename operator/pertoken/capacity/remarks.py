"""What a reader must know of one service's plan: what was assumed, what cannot be known, what is out of reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pertoken.capacity.demand import Demand
from pertoken.capacity.gpus.replicas import NotSized, Replica
from pertoken.capacity.history.value import ServiceHistory
from pertoken.capacity.tuning import BACKTEST
from pertoken.units import HOURS_PER_DAY, MILLISECONDS


def demand_remarks(demand: Demand, history: ServiceHistory) -> list[str]:
    """Of its past."""
    remarks = []
    if demand.assumed:
        shape = f"{demand.load.input_tokens:.0f} input and {demand.load.output_tokens:.0f} output tokens a request"
        remarks.append(f"history tells no {', '.join(demand.assumed)}: taken with {shape}")
    if not np.isfinite(history.peak).any():
        remarks.append(f"history has no bins inside the hour: bursts taken as {demand.usual_peak:g} times its mean")
    told = np.flatnonzero(np.isfinite(demand.tokens))
    gaps = int(told[-1] - told[0] + 1 - len(told))
    if gaps:
        remarks.append(f"{gaps} hours of the history are gaps")
    late = len(demand.tokens) - 1 - int(told[-1])
    if late:
        remarks.append(f"history ends {late} hours before the others'")
    days = (len(demand.tokens) - int(told[0])) / HOURS_PER_DAY
    if days < BACKTEST.week_days:
        remarks.append(f"{days:.0f} days of history: what differs from week to week cannot be told")
    elif days < BACKTEST.long_days:
        remarks.append(f"{days:.0f} days of history: what differs from month to month cannot be told")
    return remarks


def replica_remarks(replicas: Sequence[Replica], refused: Sequence[NotSized], most: Sequence[int]) -> list[str]:
    """Of its variants."""
    remarks = [f"variant {r.variant}: not sized: {r.field}: {r.value!r}: expected {r.expectation}" for r in refused]
    for replica, count in zip(replicas, most, strict=True):
        name = replica.variant.name
        if replica.missed is not None:
            missed = replica.missed
            remarks.append(
                f"variant {name}: no number of replicas keeps {missed.what}: an idle one takes "
                f"{missed.seconds * MILLISECONDS:.0f} ms, the objective is {missed.objective * MILLISECONDS:.0f} ms"
            )
        if count > replica.variant.max_replicas:
            bound = replica.variant.max_replicas
            remarks.append(f"variant {name}: up to {count} replicas are needed, maxReplicas is {bound}")
    return remarks
