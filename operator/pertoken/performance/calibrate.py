"""Learn how one deployment differs from the catalog: log-gains of decode and prefill, and a TTFT offset.

A Kalman filter in log space over x = (ln decode gain, ln prefill gain). Observed is the mean inter-token latency, which
the model puts at ``g_d d(B) / (1 - g_p u)``; its derivatives are 1 and ``u' / (1 - u')`` with ``u' = g_p u``. Prior
N(0, 0.25^2): with it three operating points bring the TPOT error from 11.7 % to 6.5 % on measured servers; without it
the 90th percentile of the error grows. On a GPU that nothing was measured on it is twice as wide.
"""

from __future__ import annotations

from math import exp, log
from typing import Final

from pertoken.frozen import dataclass, replace
from pertoken.performance.first_token import Prompts
from pertoken.performance.steady import Load, prompt_seconds
from pertoken.performance.step_time import EngineModel, Gains, mean_decode_step
from pertoken.performance.tuning import CALIBRATING

PRIOR_VARIANCE: Final = CALIBRATING.prior_deviation**2
UNMEASURED_VARIANCE: Final = CALIBRATING.unmeasured_deviation**2
STEP_NOISE: Final = CALIBRATING.step_deviation**2


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was learnt about one variant.

    Attributes:
        key: of the pod template that it belongs to; another key starts afresh.
        decode, prefill: natural logarithms of the gains.
        variance_decode, variance_prefill, covariance: of the two.
        ttft_offset: seconds that measured TTFT exceeds the modelled one (tokenizing, HTTP, scheduling).
        samples: accepted observations.
        outliers: rejected ones in a row.
        updated_at: instant of the last observation, 0 for none.
    """

    key: str = ""
    decode: float = 0.0
    prefill: float = 0.0
    variance_decode: float = PRIOR_VARIANCE
    variance_prefill: float = PRIOR_VARIANCE
    covariance: float = 0.0
    ttft_offset: float = 0.0
    samples: int = 0
    outliers: int = 0
    updated_at: float = 0.0

    @property
    def gains(self) -> Gains:
        """Factors for the performance model."""
        return Gains(exp(self.decode), exp(self.prefill), self.ttft_offset)


@dataclass(frozen=True, slots=True)
class Observation:
    """One pod over one rate window.

    Attributes:
        step_seconds: mean inter-token latency.
        batch: time-mean of decoding sequences.
        request_rate: prompts per second.
        load: the requests' shape.
        tokens: generated in the window.
        saturated: sequences are preempted: their latency then tells of recomputation, not of the engine.
        queued: requests wait: times to first token then tell of the queue, but steps are steps.
        ttft_seconds: mean, None where not measured.
        weight: information that it adds, 1 for an independent window. Pods of one variant share their errors and
            successive windows overlap, so each of them adds less.
    """

    step_seconds: float
    batch: float
    request_rate: float
    load: Load
    tokens: float
    saturated: bool = False
    queued: bool = False
    ttft_seconds: float | None = None
    weight: float = 1.0


def for_key(state: Calibration, key: str, *, measured: bool = True) -> Calibration:
    """The state if it was learnt under this key, a fresh one otherwise.

    Args:
        state: what is known.
        key: of the pod template.
        measured: the GPU's efficiencies come from measurements on it; else the prior is wide.
    """
    if state.key == key:
        return state
    prior = _prior(measured=measured)
    return Calibration(key=key, variance_decode=prior, variance_prefill=prior)


def _prior(*, measured: bool) -> float:
    """Variance that gains start from and return to."""
    return PRIOR_VARIANCE if measured else UNMEASURED_VARIANCE


def usable(observation: Observation) -> bool:
    """Enough tokens, a batch above nothing, no preemption, finite figures."""
    return (
        not observation.saturated
        and observation.batch >= CALIBRATING.least_batch
        and observation.tokens >= CALIBRATING.least_tokens
        and 0.0 < observation.step_seconds < CALIBRATING.longest_step
    )


def learn(state: Calibration, engine: EngineModel, observation: Observation, now: float) -> Calibration:
    """The state after one observation; unchanged when the observation cannot be used."""
    if not usable(observation):
        return state
    prior = _prior(measured=engine.measured)
    state = _forget(state, prior, now)
    load, gains = observation.load, state.gains
    # Sequences see the batch that they are part of: one more than the time-mean under random arrivals, but just the cap
    # while requests queue.
    batch = observation.batch + (0.0 if observation.queued else 1.0)
    decode = gains.decode * mean_decode_step(engine, batch, load.resident)
    prompt = gains.prefill * prompt_seconds(engine, load, batch)
    share = min(observation.request_rate * prompt, CALIBRATING.most_prefill_share)
    residual = log(observation.step_seconds) - log(decode / (1.0 - share))
    state = _measure(state, residual, _Slopes(1.0, share / (1.0 - share)), STEP_NOISE / observation.weight, prior)
    if observation.queued:
        return state
    prompts = Prompts(
        observation.request_rate, prompt, decode, batch, load.computed_tokens, engine.batched_tokens, load.prompt_spread
    )
    return _offset(state, observation, max(prompts.mean, prompt + CALIBRATING.first_steps * decode))


def _forget(state: Calibration, prior: float, now: float) -> Calibration:
    """Let the variances drift back to the prior."""
    elapsed = max(0.0, now - state.updated_at) if state.updated_at else 0.0
    grow = prior * min(1.0, elapsed / CALIBRATING.forget_seconds)
    return replace(
        state,
        variance_decode=max(state.variance_decode, min(prior, state.variance_decode + grow)),
        variance_prefill=max(state.variance_prefill, min(prior, state.variance_prefill + grow)),
        updated_at=now,
    )


@dataclass(frozen=True, slots=True)
class _Slopes:
    """By how much the log of the step time grows with the log of each gain."""

    decode: float
    prefill: float


def _innovation(state: Calibration, slopes: _Slopes, noise: float) -> float:
    """Variance of the residual: of the gains that are not known, and of the measurement."""
    return (
        state.variance_decode * slopes.decode * slopes.decode
        + 2 * state.covariance * slopes.decode * slopes.prefill
        + state.variance_prefill * slopes.prefill * slopes.prefill
        + noise
    )


def _measure(state: Calibration, residual: float, slopes: _Slopes, noise: float, prior: float) -> Calibration:
    """Update with an outlier gate."""
    innovation = _innovation(state, slopes, noise)
    if residual * residual / innovation > CALIBRATING.outlier:
        outliers = state.outliers + 1
        if outliers < CALIBRATING.outliers_to_widen:
            return replace(state, outliers=outliers)
        return replace(
            state,
            outliers=0,
            variance_decode=CALIBRATING.widened * prior,
            variance_prefill=CALIBRATING.widened * prior,
            covariance=0.0,
        )
    return _update(state, residual, slopes, noise)


def _update(state: Calibration, residual: float, slopes: _Slopes, noise: float) -> Calibration:
    """One scalar Kalman update."""
    cross_d = state.variance_decode * slopes.decode + state.covariance * slopes.prefill
    cross_p = state.covariance * slopes.decode + state.variance_prefill * slopes.prefill
    innovation = _innovation(state, slopes, noise)
    low, high = log(CALIBRATING.least_gain), log(CALIBRATING.most_gain)
    return replace(
        state,
        decode=min(max(state.decode + cross_d / innovation * residual, low), high),
        prefill=min(max(state.prefill + cross_p / innovation * residual, low), high),
        variance_decode=state.variance_decode - cross_d * cross_d / innovation,
        variance_prefill=state.variance_prefill - cross_p * cross_p / innovation,
        covariance=state.covariance - cross_d * cross_p / innovation,
        samples=state.samples + 1,
        outliers=0,
    )


def _offset(state: Calibration, observation: Observation, modelled: float) -> Calibration:
    if observation.ttft_seconds is None:
        return state
    excess = min(max(observation.ttft_seconds - modelled, 0.0), CALIBRATING.most_offset)
    return replace(state, ttft_offset=state.ttft_offset + CALIBRATING.offset_weight * (excess - state.ttft_offset))
