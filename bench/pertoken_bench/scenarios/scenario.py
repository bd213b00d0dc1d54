"""Scenario files of the benchmark: what is served, on what, under which traffic. All mistakes at once, by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pertoken.api.check import Severity, check
from pertoken.catalog.lookup import SHIPPED
from pertoken.domain.pool import PoolSpec
from pertoken.domain.service import ServiceSpec
from pertoken_bench.cluster.objects import Timing
from pertoken_bench.cluster.prometheus import ScrapeConfig
from pertoken_bench.hardware.truth import Truth
from pertoken_bench.policies.fixed import Steps
from pertoken_bench.traces.trace import Cut

GPUS_PER_NODE: Final = 8


class ScenarioError(ValueError):
    """A scenario cannot be used; `mistakes` has one line each: file, field, value, expectation."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=_camel, populate_by_name=True, frozen=True)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TraceModel(_Model):
    """Traffic of one service.

    A request trace is repeated or thinned by `rateScale`; a rate series is drawn from, request by request: `lengths`
    names a request trace whose input and output lengths are drawn in pairs, `burstiness` the coefficient of variation
    of the time between one client's requests, `clients` their number. Rows that are no requests are left out and
    counted, or refused where `strict`.
    """

    file: str
    rate_scale: Positive = 1.0
    length_scale: Positive = 1.0
    start_seconds: NotNegative = 0.0
    duration_seconds: Positive | None = None
    jitter_seconds: NotNegative = 10.0
    model: str = ""
    lengths: str = ""
    burstiness: Positive = 1.2
    clients: Annotated[int, Field(ge=1, le=10_000)] = 40
    offset_seconds: NotNegative = 0.0
    strict: bool = False


class TruthModel(_Model):
    """How the simulated hardware deviates from its step-time tables."""

    decode: Positive = 1.0
    prefill: Positive = 1.0
    spread: Annotated[float, Field(ge=0, lt=1)] = 0.04
    noise: Annotated[float, Field(ge=0, lt=1)] = 0.03
    slow_start: NotNegative = 0.15
    slow_start_seconds: NotNegative = 10.0


class ScenarioModel(_Model):
    """One scenario file. Times in seconds."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
    description: str = ""
    services: Annotated[list[str | dict[str, Any]], Field(min_length=1)]
    pools: Annotated[list[str | dict[str, Any]], Field(min_length=1)]
    traces: Annotated[dict[str, TraceModel], Field(min_length=1)]
    cold_start_seconds: NotNegative = 120.0
    cold_start_spread: Annotated[float, Field(ge=0, lt=1)] = 0.1
    provisioning_seconds: NotNegative = 0.0
    warmup_seconds: NotNegative = 0.0
    drain_seconds: NotNegative = 60.0
    router: Literal["least-loaded", "random", "affinity"] = "least-loaded"
    scrape_seconds: Positive = 15.0
    scrape_delay_seconds: NotNegative = 1.0
    gpus_per_node: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    initial_replicas: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.92
    failures_per_hour: NotNegative = 0.0
    reclaims_per_hour: dict[str, NotNegative] = Field(default_factory=dict)
    truth: TruthModel = TruthModel()


@dataclass(frozen=True, slots=True)
class TrafficSource:
    """Where one service's requests come from.

    Attributes:
        lengths: request trace with pairs of lengths, for a rate series; None for a request trace.
        drawn_lengths: a rate series without `lengths` gets log-normal ones around its own means.
        offset: seconds after the simulation's start at which the trace begins.
    """

    path: Path
    cut: Cut
    lengths: Path | None = None
    burstiness: float = 1.2
    clients: int = 40
    offset: float = 0.0
    drawn_lengths: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that can be run.

    Attributes:
        traffic: by the service's name.
        initial: replicas at the start by ``service/variant``; the others are found by simulation.
        warmup: seconds that are served and not scored.
        recorded: replicas that were there, by (service, variant), for the policy `actual`.
    """

    name: str
    services: tuple[ServiceSpec, ...]
    pools: tuple[PoolSpec, ...]
    traffic: Mapping[str, TrafficSource]
    truth: Truth
    timing: Timing
    scrape: ScrapeConfig
    router: str = "least-loaded"
    warmup: float = 0.0
    gpus_per_node: Mapping[str, int] = field(default_factory=dict)
    initial: Mapping[str, int] = field(default_factory=dict)
    memory_utilization: float = 0.92
    description: str = ""
    recorded: Mapping[tuple[str, str], Steps] = field(default_factory=dict)


def strictly(scenario: Scenario) -> Scenario:
    """The same scenario, whose traces are refused where a row is no request."""
    traffic = {name: replace(source, cut=replace(source.cut, strict=True)) for name, source in scenario.traffic.items()}
    return replace(scenario, traffic=traffic)


def load(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises:
        ScenarioError: with every mistake.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(content, dict):
        raise ScenarioError([f"{path}: expected a mapping with name, services, pools and traces"])
    return parse(content, path)


def parse(content: Mapping[str, Any], path: Path) -> Scenario:
    """A scenario from its content; relative paths are relative to `path`.

    Raises:
        ScenarioError: with every mistake.
    """
    try:
        model = ScenarioModel.model_validate(content)
    except ValidationError as error:
        raise ScenarioError([_mistake(path, mistake) for mistake in error.errors(include_url=False)]) from None
    manifests, mistakes = _manifests(model, path)
    checked = check(manifests, SHIPPED)
    mistakes += [str(finding) for finding in checked.findings if finding.severity is Severity.ERROR]
    services = tuple(accepted.spec for accepted in checked.services)
    pools = tuple(accepted.spec for accepted in checked.pools)
    mistakes += _cross_mistakes(model, path, services, pools)
    traffic = {name: _traffic(trace, path) for name, trace in model.traces.items()}
    for name, source in traffic.items():
        for kind, file in (("file", source.path), ("lengths", source.lengths)):
            if file is not None and not file.is_file() and not (kind == "file" and file.is_dir()):
                mistakes.append(f"{path}: traces.{name}.{kind}: {file}: there is no such file")
    if mistakes:
        raise ScenarioError(mistakes)
    truth = model.truth
    return Scenario(
        name=model.name,
        services=services,
        pools=pools,
        traffic=traffic,
        truth=Truth(**truth.model_dump()),
        timing=Timing(
            model.cold_start_seconds,
            model.cold_start_spread,
            model.provisioning_seconds,
            model.drain_seconds,
            model.failures_per_hour,
            model.reclaims_per_hour,
        ),
        scrape=ScrapeConfig(model.scrape_seconds, model.scrape_delay_seconds),
        router=model.router,
        warmup=model.warmup_seconds,
        gpus_per_node=model.gpus_per_node,
        initial=model.initial_replicas,
        memory_utilization=model.gpu_memory_utilization,
        description=model.description,
    )


def _mistake(path: Path, error: Any) -> str:
    place = ".".join(_camel(part) if isinstance(part, str) else str(part) for part in error["loc"])
    value = error.get("input")
    shown = "" if isinstance(value, (dict, list)) else f" {value!r}:"
    return f"{path}: {place}:{shown} {error['msg']}"


def _manifests(model: ScenarioModel, path: Path) -> tuple[dict[str, str], list[str]]:
    """Texts of all services and pools by the name under which mistakes are reported."""
    texts: dict[str, str] = {}
    mistakes: list[str] = []
    for kind, entries in (("services", model.services), ("pools", model.pools)):
        for number, entry in enumerate(entries):
            if isinstance(entry, dict):
                texts[f"{path}: {kind}[{number}]"] = yaml.safe_dump(entry, sort_keys=False)
                continue
            file = path.parent / entry
            try:
                texts[str(file)] = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "no UTF-8 text"
                mistakes.append(f"{path}: {kind}[{number}]: {entry}: cannot be read: {why}")
    return texts, mistakes


def _cross_mistakes(
    model: ScenarioModel, path: Path, services: tuple[ServiceSpec, ...], pools: tuple[PoolSpec, ...]
) -> Iterator[str]:
    names = [service.key.name for service in services]
    known = {pool.name for pool in pools}
    for twice in sorted({name for name in names if names.count(name) > 1}):
        yield f"{path}: services: {twice}: two services of this name (namespaces do not tell them apart here)"
    for name in model.traces:
        if name not in names:
            yield f"{path}: traces.{name}: no service of this name (have {', '.join(names) or 'none'})"
    for name in names:
        if name not in model.traces:
            yield f"{path}: traces: service {name} has no trace"
    for pool in pools:
        if pool.capacity_gpus is None:
            yield f"{path}: pool {pool.name}: capacity: give capacity.gpus, the simulation has no nodes to count"
    yield from _place_mistakes(model, path, services, known)


def _place_mistakes(
    model: ScenarioModel, path: Path, services: tuple[ServiceSpec, ...], pools: set[str]
) -> Iterator[str]:
    have = ", ".join(sorted(pools)) or "none"
    places = [(service.key.name, variant) for service in services for variant in service.variants]
    for service, variant in places:
        if variant.pool not in pools:
            yield f"{path}: service {service}, variant {variant.name}: pool {variant.pool!r}: have {have}"
    expected = sorted(f"{service}/{variant.name}" for service, variant in places)
    for place in model.initial_replicas:
        if place not in expected:
            yield f"{path}: initialReplicas.{place}: expected service/variant, one of {', '.join(expected)}"
    for table, given in (("gpusPerNode", model.gpus_per_node), ("reclaimsPerHour", model.reclaims_per_hour)):
        for name in given:
            if name not in pools:
                yield f"{path}: {table}.{name}: no pool of this name (have {have})"


def _traffic(trace: TraceModel, path: Path) -> TrafficSource:
    cut = Cut(
        trace.start_seconds,
        trace.duration_seconds,
        trace.rate_scale,
        trace.length_scale,
        trace.model,
        trace.jitter_seconds,
        trace.strict,
    )
    lengths = path.parent / trace.lengths if trace.lengths else None
    return TrafficSource(path.parent / trace.file, cut, lengths, trace.burstiness, trace.clients, trace.offset_seconds)
