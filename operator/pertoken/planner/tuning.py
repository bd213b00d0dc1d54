"""Every number that decides in the planner, with its unit and where it comes from.

`plan` takes the numbers as one value, so that `bench` can lay out what half and double of each would do
(`docs/tuning.md`, written by `make tuning`). Administrators set what differs between clusters in `PlannerSettings`;
these numbers are the same everywhere.

Provenance is one of: measured (on what), convention (of whom), by contract or by definition, guess (nobody has
measured it yet).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pertoken.forecast.tuning import BUDGET, FORECASTING, KNEE, LOSSES, Budget, Forecasting, Knee, LossNumbers
from pertoken.numbers import number

# Guards against absurd input, which decide nothing in use.
MOST_PROMISED: Final = 10_000  # replicas without pods for which room is kept
MOST_PREFILL_SHARE: Final = 0.99  # of a replica's time


@dataclass(frozen=True, slots=True)
class Evidence:
    """When measurements say enough to be acted upon."""

    few_requests: float = number(3.0, "requests in a rate window", "guess: a mean of fewer is one request's length")
    enough_requests: float = number(
        20.0, "requests in a rate window", "convention: the 95th percentile of 20 is the largest of them"
    )
    calibrated_samples: int = number(
        15, "observations", "guess: before them neither the SLO knee nor a restart for a cap rests on the model"
    )
    warmup_windows: float = number(
        2.0, "rate windows", "guess: a router sends fresh pods a rush of prompts, which their latencies tell of"
    )
    independent_pods: float = number(4.0, "pods", "guess: pods of one template err together")
    sure_share: float = number(0.1, "share of requests", "guess: wider histogram buckets do not teach the SLO knee")
    far_from_objective: float = number(1.5, "times the objective", "guess: decides even inside one histogram bucket")


@dataclass(frozen=True, slots=True)
class Panic:
    """A queue that calls for replicas at once and forbids that any go."""

    backlog_per_replica: float = number(8.0, "waiting requests per serving replica", "guess")
    seconds: float = number(60.0, "s", "convention: Knative leaves panic mode after a stable window of 60 s")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a cycle teaches."""

    most_flow: float = number(
        8.0, "times the finished requests' length", "guess: beyond it arrivals have all but stopped"
    )
    flowing_share: float = number(0.25, "of the mean rate of the last minutes", "guess: below it, what is left drains")
    idle_utilization: float = number(0.01, "share of a GPU", "guess: driver noise is below it")
    least_context: float = number(0.5, "times the modelled resident context", "guess")
    most_context: float = number(3.0, "times the modelled resident context", "guess")
    prompt_spread: float = number(
        1.0, "squared coefficient of variation", "measured on five public traces: 0.8 to 1.6, reasoning 8"
    )
    answer_spread: float = number(
        1.0, "squared coefficient of variation", "measured on five public traces: 0.6 to 1.4, code completion 4.6"
    )
    longest_residence: float = number(300.0, "s", "guess: the load that older requests met is no longer known")
    utilization_kept: float = number(600.0, "s", "guess: rate window and longest residence time, with room")
    steady_share: float = number(0.5, "of the measured batch", "guess: below it the batch is being drained")
    full_cache: float = number(0.95, "use of the KV cache", "guess: from there on sequences may be preempted")
    shortest_start: float = number(1.0, "s", "guess: less is a clock that jumped")
    longest_start: float = number(3600.0, "s", "guess: more is a pod that hung")
    start_memory: float = number(50.0, "s", "guess: over it the slowest start of the present pods counts in full")
    least_tail: float = number(0.8, "measured / modelled percentile", "guess")
    most_tail: float = number(1.6, "measured / modelled percentile", "guess")
    tail_seconds: float = number(300.0, "s", "guess: memory of the measured tail")


@dataclass(frozen=True, slots=True)
class DeliveredCapacity:
    """What replicas under a growing queue show of their real capacity."""

    never_idle_waiting: float = number(1.0, "waiting requests on a pod", "by definition: it is never without work")
    full_waiting: float = number(4.0, "waiting requests per replica", "guess: more than what arrivals by chance leave")
    half_life: float = number(7200.0, "s", "guess: an idle replica cannot show that it was wrong")
    least_share: float = number(
        0.05, "of the modelled capacity", "guess: an engine that hangs would ask for any number of replicas"
    )
    better_seconds: float = number(50.0, "s", "guess: memory of a share, where a better one shows: it may be chance")


@dataclass(frozen=True, slots=True)
class Sizing:
    """Replicas for the demand that is expected."""

    feedback_utilization: float = number(
        0.5, "of the modelled capacity", "guess: below it more replicas do not explain high latency"
    )
    added_share: float = number(0.1, "of the replicas", "guess: what late answers or a growing queue add at a time")
    waiting_per_replica: float = number(2.0, "requests", "guess: a queue above it that stands or grows asks for more")
    safe_share: float = number(0.95, "of the objective", "guess: what fewer replicas may reach")
    eased_percentile: int = number(50, "percentile", "by contract: what KeepCost falls back to before the hard limit")


@dataclass(frozen=True, slots=True)
class Saturation:
    """Sizing by use of resources where no performance model knows the engine."""

    gpu_target: float = number(0.75, "GPU utilization", "guess")
    kv_target: float = number(0.75, "KV cache use", "guess")
    batch_target: float = number(0.8, "of the cap", "guess")
    queued_share: float = number(0.5, "waiting requests per replica", "guess: from there low use takes none away")
    drained_per_replica: float = number(8.0, "waiting requests", "guess: they justify one more replica")
    most_step: float = number(
        2.0, "times the serving replicas", "convention: HPA's default scale-up policy doubles at most"
    )


@dataclass(frozen=True, slots=True)
class Stabilization:
    """How fast replicas move where the user said nothing."""

    unproven_seconds: float = number(300.0, "s", "convention: HPA's stabilization window")
    proven_trust: float = number(0.5, "of the forecast's cases", "guess: learnt, not guessed")
    looked_ahead: float = number(
        0.25, "of the lead", "measured on four hours of traffic: 8 % cheaper to 3 % dearer than the whole lead"
    )
    least_window: float = number(0.4, "of the lead", "measured on four hours of traffic, with the number above")
    down_percent: int = number(
        50, "% per start-up", "convention: rent or buy, half may go in the time that one comes back"
    )


@dataclass(frozen=True, slots=True)
class Rails:
    """Other managers, and pods that nothing can schedule."""

    reverts: int = number(3, "changes taken back", "by contract")
    revert_seconds: float = number(600.0, "s", "by contract")
    hands_off_seconds: float = number(1800.0, "s", "guess: a person looks within half an hour")
    unschedulable_factor: float = number(2.0, "times the pool's provisioning time", "by contract")
    unknown_provisioning: float = number(300.0, "s", "by contract: the default of a pool's provisioningSeconds")
    most_doublings: int = number(4, "doublings of the back-off", "guess: sixteen times")


@dataclass(frozen=True, slots=True)
class Running:
    """When replicas that do not serve are a fault."""

    start_factor: float = number(3.0, "times the learnt start-up", "guess: images and weights may not be on the node")
    least_patience: float = number(120.0, "s", "guess")
    progress_seconds: float = number(600.0, "s", "convention: Kubernetes' progressDeadlineSeconds")
    absent_seconds: float = number(60.0, "s", "guess: controllers create pods within seconds")


@dataclass(frozen=True, slots=True)
class Reclaim:
    """The pace at which a lower priority gives replicas up."""

    share: float = number(0.25, "of the loser's replicas", "guess: the others take its traffic over")
    seconds: float = number(
        30.0, "s between two cuts", "guess: pods end in one cycle, the winner's are placed in the next"
    )


@dataclass(frozen=True, slots=True)
class Cap:
    """The batch cap and its roll over the pods."""

    binding_share: float = number(0.8, "of the cap in use", "guess: the cap holds requests back")
    few_preemptions: float = number(0.02, "per request", "guess")
    rate_kept: float = number(
        0.97, "of a replica's rate", "measured on a 70B model: a chunk at 0.87 cost more than it gave"
    )
    prompts_slower: float = number(
        1.5, "times the time per prompt token", "measured on two hours: chat gained at 1.4, reasoning lost 30 % at 1.9"
    )
    least_step: float = number(0.5, "full step / inter-token objective", "guess: a larger chunk would serve TTFT")
    most_step: float = number(1.1, "full step / inter-token objective", "guess: no restart for the model's error")
    patience_seconds: float = number(21_600.0, "s", "guess: most fleets breathe within a few hours")
    least_history: float = number(600.0, "s of demand", "guess: the first requests are not like the later ones")
    spare_canaries: float = number(5.0, "canary times", "guess: patience for a spare replica before an extra one")
    block_intervals: float = number(10.0, "cap intervals", "guess: a value that failed is not tried again before")
    seen_seconds: float = number(60.0, "s", "guess: a write shows in the watch within seconds")
    rush_lifetimes: float = number(2.0, "mean residence times", "guess: those that began in the rush are out by then")
    most_rush: float = number(120.0, "s", "guess")
    clear_breach: float = number(1.1, "times the objective", "guess: where histogram edges do not decide")


@dataclass(frozen=True, slots=True)
class Answers:
    """What is tried to answer a cost target that is out of reach. It is told and decides nothing."""

    slower: float = number(3.0, "times the latency objectives", "guess: slower than that is another service")
    slower_step: float = number(0.05, "times the latency objectives", "guess: nobody sets them more finely")


@dataclass(frozen=True, slots=True)
class Tuning:
    """All groups; `TUNING` is what the operator runs with."""

    forecasting: Forecasting = FORECASTING
    knee: Knee = KNEE
    budget: Budget = BUDGET
    losses: LossNumbers = LOSSES
    evidence: Evidence = Evidence()
    panic: Panic = Panic()
    estimate: Estimate = Estimate()
    delivered: DeliveredCapacity = DeliveredCapacity()
    sizing: Sizing = Sizing()
    saturation: Saturation = Saturation()
    stabilization: Stabilization = Stabilization()
    rails: Rails = Rails()
    running: Running = Running()
    reclaim: Reclaim = Reclaim()
    cap: Cap = Cap()
    answers: Answers = Answers()


TUNING: Final = Tuning()
