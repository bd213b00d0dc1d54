"""One replica in steady state: batch, latencies and the highest request rate that keeps the objectives.

Open loop with continuous batching and chunked prefill. A prompt adds T seconds to the steps, a decode step of batch B
takes d(B), a request needs O decode steps. Prefill takes the share ``u = rate * T``, so

    time per output token = d(B) / (1 - u),   B = rate * O * time per output token     (Little's law)
    =>  rate = B / (O d(B) + B T),   time per output token = d(B) + B T / O

which gives the rate for a batch in closed form; the batch for a rate follows by bisection.
"""

from __future__ import annotations

from dataclasses import field
from math import inf, log, log2, sqrt
from statistics import NormalDist
from typing import Final

from pertoken.frozen import dataclass, derived, replace
from pertoken.performance.clumps import Prefills, Spread, late_share
from pertoken.performance.first_token import Prompts
from pertoken.performance.results import Results
from pertoken.performance.stalls import Steps, share_late
from pertoken.performance.step_time import (
    NO_GAINS,
    EngineModel,
    Gains,
    kv_sequences,
    marginal_prefill_time,
    mean_decode_step,
)
from pertoken.performance.tuning import CLUMPS, SUSTAINED

OUTPUT_CV2: Final = 0.5  # squared coefficient of variation of output lengths where second moments are not known
PERSISTENCE: Final = 0.86  # of batch fluctuations (M/G/inf) in a mean over one request's lifetime: sqrt(2/e)
_STEPS: Final = 18


@dataclass(frozen=True, slots=True)
class Load:
    """What an average request looks like.

    Attributes:
        input_tokens: prompt tokens, cached ones included.
        output_tokens: generated tokens.
        cached_share: of prompt tokens served from the prefix cache.
        context: mean resident tokens of a decoding sequence as measured, None to derive it.
        prompt_spread: squared coefficient of variation of prompt lengths, for the wait for a first token.
        spread: of the lengths of prompts and answers; None where each is taken to be like the mean.
    """

    input_tokens: float
    output_tokens: float
    cached_share: float = 0.0
    context: float | None = None
    prompt_spread: float = 1.0
    spread: Spread | None = None

    @property
    def computed_tokens(self) -> float:
        """Prompt tokens that the engine has to compute."""
        return self.input_tokens * (1.0 - self.cached_share)

    @property
    def steps(self) -> float:
        """Decode steps per request (the first token comes from the prefill); embeddings occupy one step too."""
        return max(self.output_tokens - 1.0, 1.0)

    @property
    def resident(self) -> float:
        """Mean resident context: ``E[O (I + O/2)] / E[O]``; lengths taken as independent with variance OUTPUT_CV2."""
        if self.context is not None:
            return self.context
        return self.input_tokens + self.output_tokens * (1.0 + OUTPUT_CV2) / 2.0

    def rounded(self) -> Load:
        """On a grid of about 2 %, so that small drifts neither move decisions nor defeat memoisation."""
        return Load(
            _grid(self.input_tokens),
            _grid(self.output_tokens),
            round(self.cached_share * SUSTAINED.share_steps) / SUSTAINED.share_steps,
            None if self.context is None else _grid(self.context),
            self.prompt_spread,
            self.spread,
        )

    def coarse(self) -> Load:
        """Its lengths to the nearest powers of two: for what moves slowly with them."""
        return Load(
            2.0 ** round(log2(max(self.input_tokens, 1.0))),
            2.0 ** round(log2(max(self.output_tokens, 1.0))),
            round(self.cached_share * 4) / 4,
        )


def _grid(value: float) -> float:
    ratio = SUSTAINED.grid
    return float(f"{ratio ** round(log(value) / log(ratio)):.6g}") if value > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Latency to keep, seconds; None promises nothing. `stall` is of single gaps, `inter_token` of a request's mean."""

    inter_token: float | None = None
    ttft: float | None = None
    percentile: int = 95
    stall: float | None = None
    # Standard normal quantile of the percentile.
    z: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work the quantile out once."""
        object.__setattr__(self, "z", NormalDist().inv_cdf(min(max(self.percentile, 50), 99.9) / 100.0))

    @property
    def mean_gap(self) -> float:
        """Seconds of a mean gap between tokens beyond which no objective holds; infinite without one."""
        return min((seconds for seconds in (self.inter_token, self.stall) if seconds is not None), default=inf)

    @property
    def miss(self) -> float:
        """Share that may miss an objective."""
        return 1.0 - self.percentile / 100.0

    def times(self, factor: float, percentile: int | None = None) -> Targets:
        """Objectives longer by a factor, perhaps owed at another percentile."""
        each = (None if seconds is None else seconds * factor for seconds in (self.inter_token, self.ttft, self.stall))
        inter_token, ttft, stall = each
        return Targets(inter_token, ttft, self.percentile if percentile is None else percentile, stall)


NO_TARGETS: Final = Targets()


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One replica at work.

    Attributes:
        rate: requests per second.
        batch: mean decoding sequences.
        inter_token, inter_token_tail: per-request mean time per output token, mean and at the percentile.
        ttft, ttft_tail: seconds.
        prefill_share: of the engine's time.
        prompt_load: share of the steps' room that prompts fill; none can be added beyond 1.
        late: share of answers that prompts would hold up beyond the objective, did they arrive at random.
    """

    rate: float
    batch: float
    inter_token: float
    inter_token_tail: float
    ttft: float
    ttft_tail: float
    prefill_share: float
    prompt_load: float = 0.0
    late: float = 0.0


@dataclass(frozen=True, slots=True)
class Sustainable:
    """Highest rate that one replica carries.

    Attributes:
        point: the operating point at that rate.
        binding: what stops it: ``inter-token``, ``stall``, ``ttft``, ``kv``, ``cap`` or ``compute``.
    """

    point: OperatingPoint
    binding: str

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.point.rate


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Even an otherwise idle replica misses the objective: no number of replicas helps."""

    what: str
    seconds: float
    objective: float


@dataclass(frozen=True, slots=True)
class Engine:
    """A replica as it is: coefficients, learnt gains, cap and KV capacity.

    Attributes:
        cap: `max_num_seqs`; None when nothing limits the batch.
        kv_capacity: tokens, from the engine's own metric where there is one; None for the modelled one.
        clumping: how much of what prompts at random would hold up is true here (`pertoken.performance.clumps`).
    """

    model: EngineModel
    gains: Gains = NO_GAINS
    cap: int | None = None
    kv_capacity: float | None = None
    clumping: float = 1.0

    @property
    def kv_tokens(self) -> float:
        """KV cache size in tokens."""
        return self.model.kv_capacity if self.kv_capacity is None else self.kv_capacity

    def rounded(self) -> Engine:
        """Gains to half a percent, so that results can be memoised and decisions do not follow noise."""
        gains = Gains(
            round(self.gains.decode * SUSTAINED.gain_steps) / SUSTAINED.gain_steps,
            round(self.gains.prefill * SUSTAINED.gain_steps) / SUSTAINED.gain_steps,
            round(self.gains.ttft_offset, SUSTAINED.offset_places),
        )
        capacity = None if self.kv_capacity is None else float(round(self.kv_capacity))
        clumping = round(self.clumping * CLUMPS.share_steps) / CLUMPS.share_steps
        return replace(self, gains=gains, kv_capacity=capacity, clumping=clumping)


@dataclass(frozen=True)
class _Subject:
    """An engine with its requests and objectives, and what of them is the same at every batch.

    Attributes:
        context: resident tokens of a sequence.
        computed, cached: prompt tokens of a request.
        steps: decode steps of a request.
        by_spread: seconds that the spread of lengths adds to a prompt.
    """

    engine: Engine
    load: Load
    targets: Targets
    context: float
    computed: float
    cached: float
    steps: float
    by_spread: float

    @derived
    def answers(self) -> tuple[float, ...]:
        """Decode steps of answers that stand for equal parts of all; none where their spread is not known."""
        spread = self.load.spread
        return () if spread is None else tuple(self.steps * part for part in spread.answers)

    def at(self, batch: float) -> _AtBatch:
        """What the operating point at this mean batch is made of."""
        engine, spread = self.engine, self.load.spread
        model, gains = engine.model, engine.gains
        high = batch + self.targets.z * PERSISTENCE * sqrt(batch)
        if engine.cap is not None:
            high = max(batch, min(high, float(engine.cap)))
        even = marginal_prefill_time(model, self.computed, batch, self.cached)
        uneven = even + self.by_spread
        varied = spread is not None and even > 0.0
        return _AtBatch(
            self,
            batch,
            prefill=gains.prefill * uneven,
            decode=gains.decode * mean_decode_step(model, batch, self.context),
            high=high,
            decode_high=gains.decode * mean_decode_step(model, high, self.context),
            prefill_spread=(
                spread.prompt * (uneven / even) ** 2 if varied and spread is not None else self.load.prompt_spread
            ),
        )


def _subject(engine: Engine, load: Load, targets: Targets) -> _Subject:
    return _Subject(
        engine,
        load,
        targets,
        context=load.resident,
        computed=load.computed_tokens,
        cached=load.input_tokens * load.cached_share,
        steps=load.steps,
        by_spread=seconds_by_spread(engine.model, load),
    )


@dataclass(frozen=True, slots=True)
class _AtBatch:
    """What an operating point is made of; figures that a search does not ask for are not worked out.

    Attributes:
        prefill: seconds that a prompt adds to the steps.
        decode: seconds of a decode step.
        high: decoding sequences at the percentile.
        decode_high: seconds of their step.
        prefill_spread: squared coefficient of variation of `prefill`.
    """

    subject: _Subject
    batch: float
    prefill: float
    decode: float
    high: float
    decode_high: float
    prefill_spread: float

    @property
    def rate(self) -> float:
        return self.batch / (self.subject.steps * self.decode + self.batch * self.prefill)

    @property
    def inter_token_tail(self) -> float:
        return self.decode_high + self.high * self.prefill / self.subject.steps

    def prompts(self, rate: float) -> Prompts:
        subject = self.subject
        budget = subject.engine.model.batched_tokens
        return Prompts(rate, self.prefill, self.decode, self.batch, subject.computed, budget, self.prefill_spread)

    def ttft_tail(self, first: Prompts) -> float:
        targets = self.subject.targets
        return first.tail(targets.miss, targets.z, self.decode_high) + self.subject.engine.gains.ttft_offset

    def stalls(self, objective: float) -> bool:
        if self.decode_high > objective:
            return True
        subject = self.subject
        steps = Steps(subject.engine.model, subject.engine.gains, self.batch, subject.context)
        gap = self.decode + self.batch * self.prefill / subject.steps
        return share_late(steps, objective, self.rate, subject.computed, gap) > subject.targets.miss

    @property
    def held_up(self) -> float:
        """Time per output token of the mean answer while one prompt is computed, seconds."""
        return self.decode + self.prefill / self.subject.steps

    def late(self, first: Prompts) -> float:
        """Share of answers that prompts at random hold up; none where full steps keep the objective.

        Prompts shorter than a step join each other's: they come in no clumps.
        """
        objective, answers = self.subject.targets.inter_token, self.subject.answers
        clumps = min(max((first.steps - CLUMPS.joined) / (CLUMPS.alone - CLUMPS.joined), 0.0), 1.0)
        if objective is None or not answers or clumps <= 0.0 or self.decode + self.prefill / first.steps <= objective:
            return 0.0
        prefills = Prefills(first.rate, self.prefill, self.prefill_spread)
        return clumps * late_share(prefills, answers, self.decode, objective)

    @property
    def broken(self) -> str:
        """What is beyond its limit here, as `Sustainable` names it; empty if nothing is."""
        targets = self.subject.targets
        if targets.inter_token is not None and self.inter_token_tail > targets.inter_token:
            return "inter-token"
        if targets.stall is not None and self.stalls(targets.stall):
            return "stall"
        rate = self.rate
        first = self.prompts(rate)
        if self.subject.engine.clumping * self.late(first) > 1.0 - targets.percentile / 100.0:
            return "inter-token"
        if targets.ttft is not None and self.ttft_tail(first) > targets.ttft:
            return "ttft"
        if rate * self.prefill > SUSTAINED.most_prefill_share or first.load > SUSTAINED.most_prompt_load:
            return "compute"
        return ""

    def point(self) -> OperatingPoint:
        rate = self.rate
        first = self.prompts(rate)
        return OperatingPoint(
            rate=rate,
            batch=self.batch,
            inter_token=self.decode + self.batch * self.prefill / self.subject.steps,
            inter_token_tail=self.inter_token_tail,
            ttft=first.mean + self.subject.engine.gains.ttft_offset,
            ttft_tail=self.ttft_tail(first),
            prefill_share=rate * self.prefill,
            prompt_load=first.load,
            late=self.late(first),
        )


def prompt_seconds(model: EngineModel, load: Load, batch: float) -> float:
    """Mean seconds that a prompt adds to the steps of an engine that decodes `batch` sequences."""
    cached = load.input_tokens * load.cached_share
    return marginal_prefill_time(model, load.computed_tokens, batch, cached) + seconds_by_spread(model, load)


def seconds_by_spread(model: EngineModel, load: Load) -> float:
    """What the spread of lengths adds to the mean prompt's seconds: attention grows with the square of the length.

    Of a prompt of L tokens the part c is cached: ``(1 - c) L`` tokens attend to ``(c + (1 - c) / 2) L`` on average, so
    the variance of L adds ``(1 - c^2) / 2`` times itself. Windows and sparse attention bound what a token attends to.
    """
    if load.spread is None or model.sparse_tokens is not None:
        return 0.0
    whole = 1.0 if model.window is None else 1.0 - model.windowed_share
    attended = (1.0 - load.cached_share**2) / 2.0 * load.spread.prompt * load.input_tokens**2
    return model.attention_flops / model.attention_compute * whole * attended


def at_batch(engine: Engine, load: Load, batch: float, targets: Targets = NO_TARGETS) -> OperatingPoint:
    """The operating point at which `batch` sequences decode on average."""
    return _subject(engine, load, targets).at(batch).point()


def stalled(engine: Engine, load: Load, targets: Targets, batch: float) -> bool:
    """Whether more gaps between tokens are longer than `targets.stall` than may be, at this mean batch."""
    return targets.stall is not None and _subject(engine, load, targets).at(batch).stalls(targets.stall)


def at_rate(engine: Engine, load: Load, rate: float, targets: Targets = NO_TARGETS) -> OperatingPoint | None:
    """The operating point at `rate` requests per second; None when the replica cannot keep up.

    Raises:
        ValueError: the rate is negative.
    """
    if rate < 0:
        raise ValueError(f"negative rate {rate}")
    top = min(
        float(engine.cap or SUSTAINED.largest_batch),
        kv_sequences(engine.kv_tokens, load.resident, 0.0, 0.0),
        SUSTAINED.largest_batch,
    )
    low, high = 0.0, max(top, 1.0)
    if _rate(engine, load, high) < rate:
        return None
    for _ in range(_STEPS + 10):
        middle = (low + high) / 2
        if _rate(engine, load, middle) < rate:
            low = middle
        else:
            high = middle
    point = at_batch(engine, load, max(high, 1e-6), targets)
    return point if point.prompt_load < 1.0 else None


def _rate(engine: Engine, load: Load, batch: float) -> float:
    if batch <= 0:
        return 0.0
    prefill = engine.gains.prefill * prompt_seconds(engine.model, load, batch)
    decode = engine.gains.decode * mean_decode_step(engine.model, batch, load.resident)
    return batch / (load.steps * decode + batch * prefill)


def batch_limit(engine: Engine, load: Load) -> tuple[float, str]:
    """Largest mean batch that cap and KV cache admit, and which of the two binds."""
    by_cap = inf if engine.cap is None else _below(float(engine.cap), SUSTAINED.cap_full_z)
    by_kv = kv_sequences(engine.kv_tokens, load.resident, SUSTAINED.context_spread, SUSTAINED.kv_overflow_z)
    limit, name = min((by_kv, "kv"), (by_cap, "cap"), (SUSTAINED.largest_batch, "compute"))
    return max(limit, SUSTAINED.least_batch), name


def _below(cap: float, z: float) -> float:
    """Mean batch whose fluctuations (Poisson) reach `cap` with the probability of `z`: ``b + z sqrt(b) = cap``."""
    root = (-z + sqrt(z * z + 4.0 * cap)) / 2.0
    return root * root


def sustainable_rate(engine: Engine, load: Load, targets: Targets) -> Sustainable | Unreachable:
    """Largest rate per replica that keeps the latency targets, the KV cache and the cap.

    Both tails grow with the batch, so bisection over the batch finds the edge.
    """
    limit, limit_name = batch_limit(engine, load)
    subject = _subject(engine, load, targets)
    alone = subject.at(SUSTAINED.least_batch)
    broken = alone.broken
    if broken == "inter-token" and targets.inter_token is not None:
        return Unreachable(broken, max(alone.inter_token_tail, alone.held_up), targets.inter_token)
    if broken == "stall" and targets.stall is not None:
        return Unreachable(broken, alone.decode_high, targets.stall)
    if broken == "ttft" and targets.ttft is not None:
        return Unreachable(broken, alone.point().ttft_tail, targets.ttft)
    top = subject.at(limit)
    stop = top.broken
    if not stop:
        return Sustainable(top.point(), limit_name)
    low, high, best = SUSTAINED.least_batch, limit, alone
    for _ in range(_STEPS):
        middle = (low + high) / 2
        tried = subject.at(middle)
        broken = tried.broken
        if broken:
            high, stop = middle, broken
        else:
            low, best = middle, tried
    return Sustainable(best.point(), stop)


@dataclass(frozen=True, slots=True)
class Eased:
    """The sustainable rate without the objectives that no number of replicas keeps.

    Attributes:
        targets: those that are kept.
        missed: the first that cannot be kept; None when all can.
    """

    point: Sustainable
    targets: Targets
    missed: Unreachable | None = None


def eased_rate(engine: Engine, load: Load, targets: Targets, results: Results | None = None) -> Eased | None:
    """Sustainable rate; objectives that cannot be kept at any size are named and left out. None without KV cache.

    Rates are taken from `results`, where they are given: others ask for the same ones.
    """
    if engine.kv_tokens <= 0:
        return None
    missed: Unreachable | None = None
    while True:
        if results is None:
            point = sustainable_rate(engine, load, targets)
        else:
            point = results.of(sustainable_rate, engine, load, targets)
        if isinstance(point, Sustainable):
            return Eased(point, targets, missed) if point.rate > 0 else None
        missed, targets = missed or point, without(targets, point.what)


def best_effort_rate(engine: Engine, load: Load, targets: Targets, missed: str) -> Sustainable | Unreachable:
    """Sustainable rate without the objective that cannot be kept at any size."""
    return sustainable_rate(engine, load, without(targets, missed))


def without(targets: Targets, missed: str) -> Targets:
    """All but the objective that cannot be kept, as `Unreachable` names it."""
    return Targets(
        None if missed == "inter-token" else targets.inter_token,
        None if missed == "ttft" else targets.ttft,
        targets.percentile,
        None if missed == "stall" else targets.stall,
    )
