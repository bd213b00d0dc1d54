"""`python -m pertoken_bench.plan_check`: the plan's fleets on realised days, into docs/capacity.md."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pertoken_bench.plan_check.page import section, with_section
from pertoken_bench.plan_check.trial import trial
from pertoken_bench.scenarios.scenario import Scenario, load

PAGE: Final = Path(__file__).parents[3] / "docs" / "capacity.md"
SCENARIOS: Final = Path(__file__).parents[2] / "scenarios"
HOURS: Final = (3, 9, 14, 20)


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario at another scale.

    Attributes:
        series: in place of the scenario's own; empty for that.
        scale: of the series' rate.
        clients: that send it.
        days: of history.
    """

    name: str
    file: str
    scale: float
    clients: int
    days: int
    series: str = ""

    def scenario(self) -> Scenario:
        """As it is simulated."""
        base = load(SCENARIOS / self.file)
        name = base.services[0].key.name
        source = base.traffic[name]
        path = SCENARIOS / "data" / self.series if self.series else source.path
        cut = replace(source.cut, rate_scale=self.scale)
        return replace(base, traffic={name: replace(source, path=path, cut=cut, clients=self.clients)})


CASES: Final = (
    Case("azure-code", "azure-code-week.yaml", 0.2, 600, 4),
    Case("servegen-m-large", "long/two-days-large.yaml", 0.15, 960, 10),
    Case("burstgpt-all", "long/two-days-large.yaml", 60.0, 960, 40, "burstgpt_61d_hourly_rate.csv.gz"),
)


def main() -> int:
    """Exit 1 where a fleet of the plan does not keep the objectives over its day."""
    trials = [trial(case.name, case.scenario(), case.days, HOURS) for case in CASES]
    part = section(trials, time.strftime("%Y-%m-%d", time.gmtime()))
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), part), encoding="utf-8")
    sys.stdout.write(f"{part}\n")
    return int(any(min(each.kept, each.kept_usual) < each.required for each in trials))


if __name__ == "__main__":
    sys.exit(main())
