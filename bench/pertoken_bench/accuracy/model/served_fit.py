"""The fit behind `catalog/served`: three parameters per class of weights, then factors per engine on them.

A class is dense or experts in one precision. Its parameters start from the mean over all classes, which is also what a
class without a row gets: so a model left out is judged as one never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from pertoken.catalog.served import LINEAR_LAYERS, SPARSE_LAYERS
from pertoken.performance.step_time import marginal_prefill_time, mean_decode_step
from pertoken_bench.accuracy.model.error_tables import Miss, figures, grouped, label, say, table
from pertoken_bench.accuracy.model.serving import MeasuredRun

MEAN: Final = np.log([1.0, 20e-6, 0.85, 250e-6])  # decode gain, layer seconds, prefill gain, prompt seconds per layer
MEAN_SPREAD: Final = np.array([0.15, 0.5, 0.3, 0.5])
SPREAD: Final = np.array([0.12, 0.25, 0.2])  # of a class around the mean
SPECIAL: Final = np.log([SPARSE_LAYERS, LINEAR_LAYERS, 1.5])  # sparse attention, recurrent layers, spread experts
SPECIAL_SPREAD: Final = np.array([0.35, 0.35, 0.15])
ENGINE_SPREAD: Final = np.array([0.1, 0.4, 0.3])
NOISE: Final = 0.12


@dataclass(frozen=True, slots=True)
class FitTerms:
    """What the parameters multiply, by row."""

    kinds: list[str]
    engines: list[str]
    step: np.ndarray
    layers: np.ndarray
    prompts: np.ndarray
    joined: np.ndarray
    sparse: np.ndarray
    recurrent: np.ndarray
    spread: np.ndarray
    measured: np.ndarray


@dataclass(frozen=True, slots=True)
class FitParameters:
    """Logarithms: the mean, deviations by class, and the special factors."""

    mean: np.ndarray
    classes: dict[str, np.ndarray]
    special: np.ndarray

    def parts(self, terms: FitTerms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seconds per token by row: steps, their overhead, prompts."""
        nothing = np.zeros(3)
        own = np.array([self.classes.get(kind, nothing) for kind in terms.kinds]) + self.mean[:3]
        overhead = own[:, 1] + self.special[0] * terms.sparse + self.special[1] * terms.recurrent
        prefill = (
            np.exp(own[:, 2] + self.special[2] * terms.spread) * terms.joined + np.exp(self.mean[3]) * terms.layers
        )
        return np.exp(own[:, 0]) * terms.step, np.exp(overhead) * terms.layers, terms.prompts * prefill

    def misses(self, terms: FitTerms) -> np.ndarray:
        """ln(modelled / measured)."""
        return np.log(sum(self.parts(terms)) / terms.measured)


def kind(row: MeasuredRun) -> str:
    """The class of a row's weights."""
    deployment = row.deployment
    native = " native" if deployment.precision == "mxfp4" and deployment.gpu.flops_fp4 else ""
    return f"{'experts' if deployment.model.experts else 'dense'} {deployment.precision}{native}"


def terms_of(rows: Sequence[MeasuredRun]) -> FitTerms:
    """Evaluate the kernel model once."""
    term_rows = []
    for row in rows:
        engine, clients = row.deployment.coefficients, row.deployment.share(row.clients)
        term_rows.append(
            (
                mean_decode_step(engine, clients.concurrency, clients.context),
                engine.layers,
                max(clients.concurrency - 1.0, 0.0) / max(clients.output_tokens, 1.0),
                marginal_prefill_time(engine, clients.input_tokens, clients.concurrency),
                float(bool(row.deployment.model.sparse_tokens)),
                row.deployment.model.linear_layers / row.deployment.model.layers,
                float(row.deployment.parallelism.expert > 1),
                row.inter_token,
            )
        )
    columns = np.array(term_rows).T
    return FitTerms([kind(row) for row in rows], [row.backend for row in rows], *columns)


def fit(terms: FitTerms) -> FitParameters:
    """Most probable parameters, outliers damped."""
    names = sorted(set(terms.kinds))

    def made(x: np.ndarray) -> FitParameters:
        classes = {name: x[7 + 3 * i : 10 + 3 * i] for i, name in enumerate(names)}
        return FitParameters(MEAN + x[:4], classes, SPECIAL + x[4:7])

    scale = np.concatenate([MEAN_SPREAD, SPECIAL_SPREAD, np.tile(SPREAD, len(names))])
    solution = least_squares(
        lambda x: np.concatenate([_damped(made(x).misses(terms)), x / scale]), np.zeros(len(scale)), max_nfev=60
    )
    return made(solution.x)


def fit_engines(terms: FitTerms, parameters: FitParameters) -> dict[str, np.ndarray]:
    """Factors of each engine on the three parts, the classes given."""
    parts = parameters.parts(terms)
    factors_of = {}
    for name in sorted(set(terms.engines)):
        mine = np.array([engine == name for engine in terms.engines])
        own, measured = [part[mine] for part in parts], terms.measured[mine]

        def residuals(x: np.ndarray, own: list[np.ndarray] = own, measured: np.ndarray = measured) -> np.ndarray:
            total = sum(np.exp(factor) * part for factor, part in zip(x, own, strict=True))
            return np.concatenate([_damped(np.log(total / measured)), x / ENGINE_SPREAD])

        factors_of[name] = np.exp(least_squares(residuals, np.zeros(3)).x)
    return factors_of


def _damped(misses: np.ndarray) -> np.ndarray:
    scaled = misses / NOISE
    return np.asarray(np.sign(scaled) * np.sqrt(2 * (np.sqrt(1 + scaled * scaled) - 1)))


def print_fit(rows: Sequence[MeasuredRun]) -> None:
    """Parameters as `catalog/served` holds them."""
    terms = terms_of(rows)
    parameters = fit(terms)
    for name, deviation in parameters.classes.items():
        decode, layer, prefill = np.exp(parameters.mean[:3] + deviation)
        say(f"{name}: decode {decode:.3f}, layer {layer * 1e6:.1f} us, prefill {prefill:.3f}")
    say(
        f"prompt, per layer {np.exp(parameters.mean[3]) * 1e6:.0f} us; "
        f"sparse, recurrent, spread {np.exp(parameters.special).round(2)}"
    )
    for name, factors in fit_engines(terms, parameters).items():
        say(f"{name}: decode, layer, prefill x {factors.round(3)}")


def leave_one_out(rows: Sequence[MeasuredRun]) -> None:
    """Refit without one model, and judge that model."""
    lines, everything = [], []
    for model, held in grouped(rows, lambda row: row.deployment.model.id).items():
        parameters = fit(terms_of([row for row in rows if row.deployment.model.id != model]))
        misses = [
            Miss(float(value), row.name) for value, row in zip(parameters.misses(terms_of(held)), held, strict=True)
        ]
        everything += misses
        lines.append((label(model), str(len(held)), figures(misses)))
    lines.append(("all", str(len(everything)), figures(everything)))
    table("Leave one model out: refitted without it", ("model", "rows", "inter-token latency %"), lines)
