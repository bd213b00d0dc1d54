"""What policies with a performance model know: the planner's catalog, or a calibration of it, the same for all.

Publications give each such policy its own profile (aiconfigurator tables, offline benchmarks, fitted parameters). Here
all get one: step times of `pertoken.performance.step_time` for the variant's model, GPU and parallelism, times the
gains of the `Profile`. It is a prior of another class than the simulated truth, as an offline profile is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from pertoken.catalog.architecture import from_config
from pertoken.catalog.lookup import SHIPPED, Unknown, quantization_of
from pertoken.performance.steady import Engine, Load, Sustainable, Targets, best_effort_rate, sustainable_rate
from pertoken.performance.step_time import NO_GAINS, Gains, engine_model, iteration_time, prefill_time
from pertoken_bench.policies.queueing import StepTime
from pertoken_bench.policies.view import View


@dataclass(frozen=True, slots=True)
class Profile:
    """Calibration by (service, variant); what is not named has none."""

    gains: Mapping[tuple[str, str], Gains] = field(default_factory=dict)


UNCALIBRATED = Profile()


def engine_of(view: View, profile: Profile = UNCALIBRATED) -> Engine | None:
    """The variant's replica in the planner's model; None when the catalog does not know model or GPU."""
    spec, variant = view.service.spec.model, view.variant
    gpu = SHIPPED.gpu(variant.accelerator)
    model = from_config(spec.id, spec.architecture) if spec.architecture else SHIPPED.model(spec.id)
    if isinstance(model, Unknown) or isinstance(gpu, Unknown):
        return None
    quantization = variant.spec.quantization
    if quantization in {"", "bf16"}:
        quantization = quantization_of(spec.id) or quantization
    base = engine_model(model, gpu, variant.spec.parallelism, quantization)
    gains = profile.gains.get((view.service.name, variant.spec.name), NO_GAINS)
    return Engine(
        base.with_batched_tokens(variant.max_batched_tokens), gains, variant.cap, float(variant.kv_capacity_tokens)
    )


def prefill_rate(engine: Engine) -> float:
    """Prompt tokens per second of an idle replica: one step's token budget over the time that it takes alone."""
    tokens = float(engine.model.batched_tokens)
    return tokens / (engine.gains.prefill * prefill_time(engine.model, tokens))


def step_seconds(engine: Engine, batch: float, context: float) -> float:
    """Seconds of a decode step of `batch` sequences with `context` tokens each."""
    return engine.gains.decode * iteration_time(engine.model, 0.0, 0.0, batch, batch * context)


@lru_cache(maxsize=4096)
def capacity(engine: Engine, load: Load, targets: Targets) -> float | None:
    """Requests per second that one replica sustains; an objective that no size keeps is left out, as the planner does.

    None when nothing is left.
    """
    sustained = sustainable_rate(engine, load.rounded(), targets)
    if isinstance(sustained, Sustainable):
        return sustained.rate
    eased = best_effort_rate(engine, load.rounded(), targets, sustained.what)
    return eased.rate if isinstance(eased, Sustainable) else None


@lru_cache(maxsize=64)
def linear_step(engine: Engine) -> StepTime:
    """Least-squares ``alpha + beta * computed + gamma * resident`` (ms) of the replica's step time.

    Points: 1 to 256 decoding sequences with 256 to 4,096 tokens each, without a prompt and with up to 1,024 tokens of
    one. Relative errors are minimised, so that small batches count.
    """
    rows, times = [], []
    for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        for context in (256, 1024, 4096):
            for prompt in (0, 256, 1024):
                resident = float(batch * context)
                if resident > engine.kv_tokens:
                    continue
                seconds = iteration_time(engine.model, prompt, 0.0, batch, resident)
                gain = engine.gains.prefill if prompt else engine.gains.decode
                rows.append((1.0, float(batch + prompt), resident))
                times.append(1e3 * gain * seconds)
    weights = 1.0 / np.array(times)
    solution, *_ = np.linalg.lstsq(np.array(rows) * weights[:, None], np.ones(len(times)), rcond=None)
    alpha, beta, gamma = (max(float(value), 1e-9) for value in solution)
    return StepTime(alpha, beta, gamma)
