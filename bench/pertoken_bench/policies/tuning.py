"""Choose a policy's settings on a training window: least cost among those that keep the objective.

One rule and one budget for all policies, pertoken included: the same number of trials on the same window, which no
scored window overlaps. Every trial is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pertoken_bench.policies.registry import GRID_SIZE, digest
from pertoken_bench.policy import Settings

BUDGET = GRID_SIZE + 1  # the grid and the documented defaults
DEFAULTS: Settings = {}
ENOUGH = 1e-9


@dataclass(frozen=True, slots=True)
class TraceWindow:
    """Part of a trace, seconds from its beginning."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Length."""
        return self.end - self.start

    def overlaps(self, other: TraceWindow) -> bool:
        """Whether the two share any time."""
        return self.start < other.end and other.start < self.end


def windows(start: float, seconds: float, training_share: float = 1.0 / 3.0) -> tuple[TraceWindow, TraceWindow]:
    """Training and scored window, in this order, disjoint.

    Raises:
        ValueError: the share leaves one of them empty.
    """
    if not 0.0 < training_share < 1.0 or seconds <= 0:
        raise ValueError(
            f"training share {training_share} of {seconds} s: expected a share in (0, 1) of a positive time"
        )
    cut = start + seconds * training_share
    return TraceWindow(start, cut), TraceWindow(cut, start + seconds)


@dataclass(frozen=True, slots=True)
class TrialScore:
    """What one trial cost (USD) and the share of requests within the objectives, means over the seeds."""

    usd: float
    attainment: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One run on the training window."""

    settings: Settings
    outcome: TrialScore


@dataclass(frozen=True, slots=True)
class Tuned:
    """Outcome of one policy's search.

    Attributes:
        kept: whether the chosen settings kept the objective on the training window.
    """

    policy: str
    chosen: Trial
    trials: tuple[Trial, ...]
    kept: bool

    @property
    def settings(self) -> Settings:
        """What to run on the scored window."""
        return self.chosen.settings

    def log(self) -> list[dict[str, Any]]:
        """One record per trial."""
        return [
            {
                "policy": self.policy,
                "trial": number,
                "budget": BUDGET,
                "usd": trial.outcome.usd,
                "slo_attainment": trial.outcome.attainment,
                "chosen": trial is self.chosen,
                "knobs": dict(trial.settings),
                "grids": digest(),
            }
            for number, trial in enumerate(self.trials, 1)
        ]


def choose(trials: Sequence[Trial], required: float) -> Trial:
    """The cheapest trial that attains `required`; without one, the best attainment, the cheaper of equals.

    The earlier of equals wins, so that the same trials always give the same choice.

    Raises:
        ValueError: there is no trial.
    """
    if not trials:
        raise ValueError("no trial to choose from")
    able = [trial for trial in trials if trial.outcome.attainment >= required - ENOUGH]
    if able:
        return min(able, key=lambda trial: (trial.outcome.usd, -trial.outcome.attainment))
    return min(trials, key=lambda trial: (-trial.outcome.attainment, trial.outcome.usd))


def tune(policy: str, grid: Sequence[Settings], evaluate: Callable[[Settings], TrialScore], required: float) -> Tuned:
    """Try the documented defaults and every point of the grid once on the training window.

    Args:
        policy: name for the log.
        grid: settings over the defaults, `BUDGET` - 1 of them.
        evaluate: one run on the training window (mean over the seeds).
        required: attainment to keep, in [0, 1].

    Raises:
        ValueError: the grid has another size than everyone's.
    """
    candidates = (DEFAULTS, *grid)
    if len(candidates) != BUDGET:
        raise ValueError(f"policy {policy}: {len(grid)} settings to try, every grid has {BUDGET - 1}")
    trials = tuple(Trial(settings, evaluate(settings)) for settings in candidates)
    chosen = choose(trials, required)
    return Tuned(policy, chosen, trials, chosen.outcome.attainment >= required - ENOUGH)
