"""The benchmark: every policy on the same traffic, seed by seed, over local processes or an existing Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Final

import joblib  # type: ignore[import-untyped]
import numpy as np

from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.policies import tuning
from pertoken_bench.policies.ablations import ABLATIONS, FORESIGHT, foresight
from pertoken_bench.policies.clairvoyant import clairvoyant, first_replicas
from pertoken_bench.policies.fixed import ACTUAL, Schedule
from pertoken_bench.policies.pertoken_policy import pertoken
from pertoken_bench.policies.registry import ENTRIES, PERTOKEN_GRID
from pertoken_bench.policies.static import fleet_for, initial_replicas, keeps_everywhere, keeps_overall
from pertoken_bench.policy import Policy, PolicyEntry, Settings
from pertoken_bench.scenarios.prepare import Prepared, prepare
from pertoken_bench.scenarios.scenario import Scenario
from pertoken_bench.score.bound import Service, bounds_of, least_usd
from pertoken_bench.score.outcome import RunScore, Timeline, measure, over_seeds
from pertoken_bench.score.windows import worst_share
from pertoken_bench.simulation import Run, attainment

TUNED: Final = ":tuned"
TRAINING_SHARE: Final = 1.0 / 3.0
OWN: Final = PolicyEntry("pertoken", pertoken, PERTOKEN_GRID, "this repository")
FORESEEING: Final = ("clairvoyant", "static-peak", "static-best")


class UnknownPolicyError(LookupError):
    """A name on the command line is no policy."""


@dataclass(frozen=True, slots=True)
class Job:
    """One policy on one seed.

    Attributes:
        settings: over the policy's defaults.
        training: run on the training window alone.
        split: leave the training window out of the score.
    """

    scenario: Scenario
    policy: str
    seed: int
    settings: Settings = field(default_factory=dict)
    training: bool = False
    split: bool = False
    timeline: bool = False


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """What the benchmark found.

    Attributes:
        rows: one object of the contract per policy, in the order asked for.
        outcomes: single runs by policy.
        trials: the log of every search.
    """

    scenario: Scenario
    rows: tuple[dict[str, Any], ...]
    outcomes: Mapping[str, tuple[RunScore, ...]]
    trials: tuple[dict[str, Any], ...] = ()


def names() -> tuple[str, ...]:
    """All policies that can be asked for, without the suffix ``:tuned`` and without pertoken's ablations."""
    return (OWN.name, *FORESEEING, *ENTRIES)


def entry(name: str) -> PolicyEntry:
    """The policy of a name without ``:tuned``.

    Raises:
        UnknownPolicyError: there is none; the message names those that exist.
    """
    if name == OWN.name:
        return OWN
    if name in ENTRIES:
        return ENTRIES[name]
    known = ", ".join((*names(), *ABLATIONS, FORESIGHT))
    raise UnknownPolicyError(f"{name!r}: expected one of {known}; with suffix {TUNED} where it has knobs")


def check_names(policies: Sequence[str], *, recorded: bool = False) -> None:
    """Whether all names can be run; `actual` needs recorded replicas.

    Raises:
        UnknownPolicyError: for the first that cannot.
    """
    for name in policies:
        base = name.removesuffix(TUNED)
        if base == ACTUAL and recorded:
            continue
        if base in FORESEEING or base in ABLATIONS or base == FORESIGHT:
            if base != name:
                raise UnknownPolicyError(f"{name!r}: {base} has no knobs to tune")
            continue
        if not entry(base).grid and base != name:
            raise UnknownPolicyError(f"{name!r}: {base} has no knobs to tune")


@lru_cache(maxsize=4)
def _prepared(key: _Key) -> Prepared:
    """One scenario and seed per process, used by several policies in turn."""
    prepared = prepare(key.scenario, key.seed)
    cut = prepared.scenario.warmup + (prepared.end - prepared.scenario.warmup) * TRAINING_SHARE
    if key.training:
        kept = int(prepared.trace.arrival.searchsorted(cut))
        trace = prepared.trace.take(np.arange(kept))
        config = replace(prepared.config, score=(prepared.scenario.warmup, cut))
        return replace(prepared, trace=trace, end=cut, config=config)
    if key.split:
        scenario = replace(prepared.scenario, warmup=cut)
        return replace(prepared, scenario=scenario, config=replace(prepared.config, score=(cut, prepared.end)))
    return prepared


@dataclass(frozen=True, slots=True)
class _Key:
    """Identity of what `_prepared` makes."""

    scenario: Scenario = field(compare=False)
    name: str
    text: str
    seed: int
    training: bool
    split: bool


def _key(job: Job) -> _Key:
    return _Key(job.scenario, job.scenario.name, repr(job.scenario), job.seed, job.training, job.split)


@lru_cache(maxsize=4)
def _bounds(key: _Key) -> Mapping[int, Service]:
    return bounds_of(_prepared(key))


@lru_cache(maxsize=4)
def _initial(key: _Key) -> Mapping[str, int]:
    return initial_replicas(_prepared(key))


def run_job(job: Job) -> RunScore:
    """One policy on one seed."""
    key = _key(job)
    prepared = _prepared(key)
    policy, replicas = _policy(job, prepared, key)
    run = Run(prepared, policy, replicas)
    run.go()
    reached = {index: attainment(run.fleet, index) for index in range(len(prepared.scenario.services))}
    bounds = {
        index: least_usd(service, min(reached[index], _required(prepared, index)), prepared.scored)
        for index, service in _bounds(key).items()
    }
    figures = measure(job.policy, run.fleet, run.cluster, bounds)
    reals = run.fleet.state.services_f
    services = {
        service.key.name: {
            "slo_attainment": reached[index],
            "worst_ten_minutes": worst_share(run.fleet, index),
            "requests": float(reals[index, at.R_REQUESTS]),
            "usd": run.cluster.bill[index].usd if index in run.cluster.bill else 0.0,
        }
        for index, service in enumerate(prepared.scenario.services)
    }
    figures.pop("policy")
    timeline = run.timeline() if job.timeline else Timeline()
    return RunScore(job.policy, job.seed, figures, services, sum(bounds.values()), timeline)


def _required(prepared: Prepared, index: int) -> float:
    return prepared.scenario.services[index].latency.percentile / 100.0


def _policy(job: Job, prepared: Prepared, key: _Key) -> tuple[Policy, Mapping[str, int]]:
    """The policy and the replicas with which it begins."""
    name = job.policy.removesuffix(TUNED)
    if name == ACTUAL:
        schedule = Schedule(dict(prepared.scenario.recorded))
        return schedule, first_replicas(schedule)
    if name in ABLATIONS:
        return ABLATIONS[name](), _initial(key)
    if name == FORESIGHT:
        return foresight(prepared), _initial(key)
    if name == "clairvoyant":
        schedule = clairvoyant(prepared)
        return schedule, first_replicas(schedule)
    if name in FORESEEING:
        fleet = fleet_for(prepared, keeps_everywhere if name == "static-peak" else keeps_overall)
        schedule = Schedule({place: [(0.0, count)] for place, count in fleet.items()})
        return schedule, first_replicas(schedule)
    return entry(name).make(job.settings), _initial(key)


@contextmanager
def _where(jobs: int, dask: str | None) -> Iterator[None]:
    """Local processes, or the workers of an existing Dask cluster."""
    if dask is None:
        with joblib.parallel_config(backend="loky", n_jobs=jobs):
            yield
        return
    from distributed import Client  # noqa: PLC0415 - extra `dask`

    client = Client(dask, set_as_default=True)  # type: ignore[no-untyped-call]
    with client, joblib.parallel_config(backend="dask"):
        yield


Progress = Callable[[int, int, str], None]


def bench(
    scenario: Scenario,
    policies: Sequence[str],
    seeds: Sequence[int],
    *,
    jobs: int = 1,
    dask: str | None = None,
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Run every policy on every seed; the same bytes whatever `jobs` and `dask`.

    Raises:
        UnknownPolicyError: for a name that is no policy.
        TraceError, TableMissingError: the scenario cannot be run.
    """
    check_names(policies, recorded=bool(scenario.recorded))
    split = any(name.endswith(TUNED) for name in policies)
    with _where(jobs, dask):
        chosen, trials = _tune_all(scenario, [name for name in policies if name.endswith(TUNED)], seeds, progress)
        todo = [
            Job(scenario, name, seed, chosen.get(name, {}), split=split, timeline=seed == seeds[0])
            for seed in seeds
            for name in policies
        ]
        outcomes = _run_all(todo, progress)
    by_policy = {name: tuple(score for score in outcomes if score.policy == name) for name in dict.fromkeys(policies)}
    rows = []
    for name, scores in by_policy.items():
        row = over_seeds(scores)
        row["settings"] = dict(chosen.get(name, {}))
        rows.append(row)
    return BenchmarkResult(scenario, tuple(rows), by_policy, tuple(trials))


def _run_all(todo: Sequence[Job], progress: Progress | None) -> list[RunScore]:
    scores: list[RunScore] = []
    for outcome in joblib.Parallel(return_as="generator")(joblib.delayed(run_job)(job) for job in todo):
        scores.append(outcome)
        if progress is not None:
            progress(len(scores), len(todo), f"{outcome.policy}, seed {outcome.seed}")
    return scores


def _tune_all(
    scenario: Scenario, policies: Sequence[str], seeds: Sequence[int], progress: Progress | None
) -> tuple[dict[str, Settings], list[dict[str, Any]]]:
    """Search each policy's grid on the training window, with the same number of trials."""
    todo = [
        Job(scenario, name.removesuffix(TUNED), seed, settings, training=True)
        for name in policies
        for settings in (tuning.DEFAULTS, *entry(name.removesuffix(TUNED)).grid)
        for seed in seeds
    ]
    if not todo:
        return {}, []
    outcomes = _run_all(todo, progress)
    by_trial: dict[tuple[str, str], list[RunScore]] = {}
    for job, outcome in zip(todo, outcomes, strict=True):
        by_trial.setdefault((job.policy, repr(dict(job.settings))), []).append(outcome)
    required = max(service.latency.percentile for service in scenario.services) / 100.0
    chosen: dict[str, Settings] = {}
    log: list[dict[str, Any]] = []
    for name in policies:
        base = name.removesuffix(TUNED)
        best = tuning.tune(base, entry(base).grid, partial(_mean, by_trial, base), required)
        chosen[name] = best.settings
        log += best.log()
    return chosen, log


def _mean(by_trial: Mapping[tuple[str, str], Sequence[RunScore]], policy: str, settings: Settings) -> tuning.TrialScore:
    scores = by_trial[policy, repr(dict(settings))]
    usd = [float(score.figures["usd"]) for score in scores]
    share = [float(score.figures["slo_attainment"]) for score in scores]
    return tuning.TrialScore(sum(usd) / len(usd), sum(share) / len(share))
