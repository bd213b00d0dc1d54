"""Replicas that get lost (reclaimed spot nodes, failed nodes, evictions), and how many to keep in reserve for them.

A lost replica is replaced by its controller, but the replacement serves only after a start-up. How many are on their
way at an instant follows a Poisson distribution with mean `replicas x rate x start-up`, whatever the distribution of
start-ups (the number in service of an M/G/inf queue: Takacs, Introduction to the Theory of Queues, 1962, ch. 3). The
reserve is its quantile: the number of replicas that are missing for no more than a stated share of the time.
"""

from __future__ import annotations

from math import exp

from pertoken.forecast.tuning import LOSSES, LossNumbers
from pertoken.frozen import dataclass, replace
from pertoken.units import SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Losses:
    """Replicas of one variant that were replaced; what is longer ago counts less.

    Attributes:
        at: of the last look, seconds since the epoch; 0 before the first.
        asked: replicas asked for then.
        newest: when the newest pod seen then was created, seconds since the epoch.
        replaced: pods made beyond those that were asked for, in replicas, less those that are still to be made.
        hours: replica-hours watched.
    """

    at: float = 0.0
    asked: int = 0
    newest: float = 0.0
    replaced: float = 0.0
    hours: float = 0.0


@dataclass(frozen=True, slots=True)
class Pods:
    """One variant's pods at one instant.

    Attributes:
        asked: replicas asked for.
        created: when each pod that exists was created, seconds since the epoch.
        per_replica: pods of one replica.
        moving: pods are being replaced on purpose (a rollout, a change of the batch cap): no loss is told from them.
    """

    asked: int
    created: tuple[float, ...]
    per_replica: int = 1
    moving: bool = False


def counted(known: Losses, pods: Pods, now: float, tuning: LossNumbers = LOSSES) -> Losses:
    """The losses after one more look at the pods.

    The first look, one after a long gap and one at pods that are replaced on purpose tell of no loss: from there on
    pods are expected for all replicas that have none.
    """
    if not pods.asked and not pods.created and not known.asked:
        return known
    passed, living = max(0.0, now - known.at), len(pods.created) / pods.per_replica
    newest = max(known.newest, *pods.created) if pods.created else known.newest
    if pods.moving or passed > tuning.longest_look:
        lost = max(0.0, known.replaced) - max(0.0, pods.asked - living)
        return replace(known, at=now, asked=pods.asked, newest=newest, replaced=lost)
    kept = 2.0 ** (-passed / tuning.half_life)
    # A pod's creation and the order for it may be seen in different looks: the sum over both is right.
    made = sum(1 for created in pods.created if created > known.newest) / pods.per_replica
    ordered = float(pods.asked - known.asked)
    if ordered < 0:  # what has not been made yet is taken back first
        ordered = -min(-ordered, max(0.0, -known.replaced))
    return Losses(
        at=now,
        asked=pods.asked,
        newest=newest,
        replaced=known.replaced * kept + made - ordered,
        hours=known.hours * kept + passed * living / SECONDS_PER_HOUR,
    )


def loss_rate(known: Losses, prior: float, tuning: LossNumbers = LOSSES) -> float:
    """Losses per replica and hour.

    Args:
        known: what was watched.
        prior: losses per replica and hour that are taken for granted before anything was.
        tuning: the numbers that decide.
    """
    return (prior * tuning.prior_hours + max(0.0, known.replaced)) / (tuning.prior_hours + known.hours)


def reserve(replicas: int, rate: float, start_seconds: float, tuning: LossNumbers = LOSSES) -> int:
    """Replicas beyond those needed, so that fewer than these serve for no more than a small share of the time.

    Args:
        replicas: that are needed.
        rate: losses per replica and hour.
        start_seconds: until a lost replica's replacement serves.
        tuning: the numbers that decide.
    """
    mean = replicas * rate * start_seconds / SECONDS_PER_HOUR
    term = within = exp(-mean)
    spare = 0
    while within < 1.0 - tuning.short_share and spare < replicas:
        spare += 1
        term *= mean / spare
        within += term
    return spare
