"""What the page's figures come from: scenarios, policies, seeds. Results are kept by section until the code changes."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pertoken_bench.benchmark import bench, names
from pertoken_bench.policies.ablations import ABLATIONS, FORESIGHT
from pertoken_bench.scenarios.scenario import Scenario, load

ROOT: Final = Path(__file__).parents[3]
SCENARIOS: Final = ROOT / "bench" / "scenarios"
CODE: Final = (ROOT / "operator" / "pertoken", ROOT / "bench" / "pertoken_bench", SCENARIOS)
SEEDS: Final = 5
FEW_SEEDS: Final = 3
INSTANT_SECONDS: Final = 1.0
COMPARED: Final = (
    "pertoken", "clairvoyant", "static-peak", "static-best", "hpa-gpu", "hpa-queue", "hpa-running", "keda-waiting",
    "kpa", "aibrix-apa", "wva-v2", "wva-slo", "llmd-queue", "llmd-token", "llmd-slo", "dynamo-sla", "sageserve",
    "chiron",
)  # fmt: skip
TUNED: Final = (
    "pertoken", "pertoken:tuned", "hpa-running", "hpa-running:tuned", "keda-waiting", "keda-waiting:tuned",
    "llmd-queue", "llmd-queue:tuned", "dynamo-sla", "dynamo-sla:tuned",
)  # fmt: skip
OTHERS: Final = (
    "cold-start-30", "cold-start-300", "cold-start-600", "heterogeneous", "spot-reclaim", "scale-to-zero",
    "offline-beside-online", "nine-services", "long-context", "long-output",
)  # fmt: skip
BESIDE: Final = (
    "pertoken", "clairvoyant", "static-best", "hpa-gpu", "hpa-queue", "hpa-running", "keda-waiting", "wva-slo",
    "llmd-queue", "llmd-token", "llmd-slo", "dynamo-sla",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """One call of the benchmark.

    Attributes:
        scenario: file in `bench/scenarios`, without its ending.
        cold_start, router: instead of the scenario's, which then has them in its name.
        seconds: length of the traffic instead of the traces' own, to try a section.
    """

    name: str
    scenario: str
    policies: tuple[str, ...]
    seeds: int = SEEDS
    cold_start: float | None = None
    router: str | None = None
    seconds: float | None = None

    def load(self) -> Scenario:
        """The scenario with this section's changes.

        Raises:
            ScenarioError: the file has mistakes.
        """
        scenario = load(SCENARIOS / f"{self.scenario}.yaml")
        if self.cold_start is not None:
            scenario = replace(
                scenario,
                name=f"{scenario.name}-start-{self.cold_start:g}",
                timing=replace(scenario.timing, cold_start=self.cold_start),
            )
        if self.router is not None:
            scenario = replace(scenario, name=f"{scenario.name}-{self.router}", router=self.router)
        if self.seconds is not None:
            scenario = _shortened(scenario, self.seconds)
        return scenario


def sections() -> tuple[Section, ...]:
    """All of the page's."""
    everyone = names()
    return (
        Section("all", "azure-conv", everyone),
        Section("tuned", "azure-conv", TUNED),
        Section("larger", "azure-conv-16", COMPARED),
        Section("ablations", "azure-conv-16", (*ABLATIONS, FORESIGHT)),
        Section("instant", "azure-conv-16", ("pertoken",), cold_start=INSTANT_SECONDS),
        *(Section(f"other-{name}", name, BESIDE, FEW_SEEDS) for name in OTHERS),
    )


def code_digest() -> str:
    """Changes with the product's code and the scenarios."""
    digest = hashlib.sha256()
    for folder in CODE:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.suffix in {".py", ".yaml", ".gz"}:
                digest.update(str(file.relative_to(ROOT)).encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _shortened(scenario: Scenario, seconds: float) -> Scenario:
    """At most the first `seconds` of the traffic, scored after a tenth of them at the latest."""
    traffic = {
        name: replace(
            source, cut=replace(source.cut, duration_seconds=min(seconds, source.cut.duration_seconds or seconds))
        )
        for name, source in scenario.traffic.items()
    }
    return replace(scenario, traffic=traffic, warmup=min(scenario.warmup, seconds / 10.0))


def results(wanted: Sequence[Section], cache: Path, only: Sequence[str], jobs: int) -> dict[str, dict[str, Any]]:
    """Rows and timelines by section; what the cache holds of the same section and code is not run again."""
    code = code_digest()
    by_section: dict[str, dict[str, Any]] = {}
    for section in wanted:
        if only and not any(section.name.startswith(prefix) for prefix in only):
            continue
        file = cache / f"{section.name}.json"
        kept = json.loads(file.read_text()) if file.is_file() else {}
        if kept.get("digest") != code or kept.get("section") != repr(section):
            kept = _run(section, jobs) | {"digest": code, "section": repr(section)}
            cache.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(kept))
        by_section[section.name] = kept
    return by_section


def cached(wanted: Sequence[Section], cache: Path) -> dict[str, dict[str, Any]]:
    """Whatever the cache holds of these sections, of whichever code."""
    files = {section.name: cache / f"{section.name}.json" for section in wanted}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}


def _run(section: Section, jobs: int) -> dict[str, Any]:
    scenario = section.load()
    start, cpu = time.monotonic(), time.process_time()
    result = bench(scenario, section.policies, range(section.seeds), jobs=jobs)
    seconds = time.monotonic() - start
    sys.stderr.write(f"{section.name}: {seconds:.0f} s, {time.process_time() - cpu:.0f} s of CPU in this process\n")
    timelines = {
        name: {
            "times": scores[0].timeline.times,
            "demand": scores[0].timeline.demand,
            "ready": {place: list(values) for place, values in scores[0].timeline.ready.items()},
        }
        for name, scores in result.outcomes.items()
    }
    required = max(service.latency.percentile for service in scenario.services) / 100.0
    return {
        "scenario": scenario.name,
        "description": scenario.description,
        "required": required,
        "seeds": section.seeds,
        "seconds": seconds,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "jobs": jobs,
        "rows": list(result.rows),
        "timelines": timelines,
        "trials": len(result.trials),
    }
