"""Every number of the planner's tuning at half and at double, beside the shipped ones with the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from math import fsum, sqrt
from statistics import mean, stdev
from typing import Any, Final

import joblib  # type: ignore[import-untyped]

from pertoken.numbers import Number, numbers_of
from pertoken.planner.tuning import TUNING, Tuning
from pertoken_bench.sensitivity.pieces import CostAndAttainment, Piece, run_piece

TOLD: Final = frozenset({"answers"})  # groups that no replica and no cap depends on
HALF: Final = 0.5
DOUBLE: Final = 2.0
NOISE_SEEDS: Final = 4  # runs of the shipped numbers from which the noise is taken
SURE: Final = 2.0  # standard deviations


@dataclass(frozen=True, slots=True)
class FigureChange:
    """Of a run against another with the same seed, mean over the seeds.

    Attributes:
        usd: per cent.
        attained: points.
    """

    usd: float
    attained: float

    def beyond(self, noise: FigureChange) -> bool:
        """Whether one of the two is more than noise."""
        return abs(self.usd) > noise.usd or abs(self.attained) > noise.attained


@dataclass(frozen=True, slots=True)
class Variation:
    """One number at another value than the shipped one, with the changes by piece."""

    value: float
    by_piece: Mapping[str, FigureChange]

    @property
    def overall(self) -> FigureChange:
        """Mean over the pieces."""
        changes = self.by_piece.values()
        return FigureChange(mean(change.usd for change in changes), mean(change.attained for change in changes))


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What came of it.

    Attributes:
        noise: by piece, what other arrivals alone change: two standard deviations of a difference of two runs.
        variations: by number, half and double; a value that cannot be halved has one entry.
        pieces: that were run.
        seeds: of each run.
    """

    noise: Mapping[str, FigureChange]
    variations: Mapping[tuple[str, ...], tuple[Variation, ...]]
    pieces: tuple[Piece, ...]
    seeds: tuple[int, ...]

    def matters(self, path: tuple[str, ...]) -> bool:
        """Whether half or double of a number changes more than noise in one piece at least."""
        return any(
            change.beyond(self.noise[name])
            for variation in self.variations[path]
            for name, change in variation.by_piece.items()
        )


def varied_numbers() -> list[Number]:
    """Numbers that decide; those of `TOLD` only shape what is said."""
    return [number for number in numbers_of(TUNING) if number.path[0] not in TOLD]


def varied(number: Number) -> Iterator[float]:
    """Half and double; a share above one half is moved half way to 1 instead, and counts stay whole ones."""
    value = number.value
    more = (1.0 + value) / 2.0 if isinstance(value, float) and HALF <= value < 1.0 else value * DOUBLE
    for other in (value * HALF, more):
        whole = round(other) if isinstance(value, int) else other
        if whole > 0 and whole != value:
            yield whole


def with_number(tuning: Any, path: Sequence[str], value: float) -> Any:
    """The same tuning with one number changed.

    Raises:
        KeyError: there is no such number.
    """
    name, *rest = path
    if name not in {field.name for field in fields(tuning)} or bool(rest) != is_dataclass(getattr(tuning, name)):
        raise KeyError(".".join(path))
    return replace(tuning, **{name: with_number(getattr(tuning, name), rest, value) if rest else value})


@dataclass(frozen=True, slots=True)
class _Case:
    """One run; without a path, of the shipped numbers."""

    piece: Piece
    seed: int
    path: tuple[str, ...] = ()
    value: float = 0.0

    def run(self) -> CostAndAttainment:
        tuning: Tuning = with_number(TUNING, self.path, self.value) if self.path else TUNING
        return run_piece(self.piece, self.seed, tuning)


def sensitivity(
    pieces: Sequence[Piece], seeds: Sequence[int], jobs: int, progress: Callable[[int, int], None]
) -> Sensitivity:
    """Run all of it, in local processes.

    Args:
        pieces: of scenarios.
        seeds: of each variation.
        jobs: processes.
        progress: told of the runs done, and of all.
    """
    numbers = varied_numbers()
    more_seeds = sorted({*seeds, *range(NOISE_SEEDS)})
    shipped = [_Case(piece, seed) for piece in pieces for seed in more_seeds]
    changed = [
        _Case(piece, seed, number.path, value)
        for number in numbers
        for value in varied(number)
        for piece in pieces
        for seed in seeds
    ]
    cases = [*shipped, *changed]
    parallel = joblib.Parallel(n_jobs=jobs, backend="loky", return_as="generator")
    scores: list[CostAndAttainment] = []
    for score in parallel(joblib.delayed(_Case.run)(case) for case in cases):
        scores.append(score)
        progress(len(scores), len(cases))
    by_case = {
        (case.piece.scenario, case.seed, case.path, case.value): s for case, s in zip(cases, scores, strict=True)
    }

    def change(piece: Piece, path: tuple[str, ...], value: float) -> FigureChange:
        pairs = [(by_case[piece.scenario, seed, (), 0.0], by_case[piece.scenario, seed, path, value]) for seed in seeds]
        return FigureChange(
            mean(100.0 * (after.usd / before.usd - 1.0) for before, after in pairs),
            mean(after.attained - before.attained for before, after in pairs),
        )

    return Sensitivity(
        noise={
            piece.scenario: noise([by_case[piece.scenario, seed, (), 0.0] for seed in more_seeds], len(seeds))
            for piece in pieces
        },
        variations={
            number.path: tuple(
                Variation(value, {piece.scenario: change(piece, number.path, value) for piece in pieces})
                for value in varied(number)
            )
            for number in numbers
        },
        pieces=tuple(pieces),
        seeds=tuple(seeds),
    )


def noise(scores: Sequence[CostAndAttainment], seeds: int) -> FigureChange:
    """What a mean over `seeds` differences of two runs differs by, where only arrivals differ."""
    usd = [score.usd for score in scores]
    factor = SURE * sqrt(2.0 / seeds)
    return FigureChange(
        factor * 100.0 * stdev(usd) / mean(usd),
        factor * stdev([score.attained for score in scores]),
    )


def overall(noises: Mapping[str, FigureChange]) -> FigureChange:
    """Noise of a mean over the pieces."""
    count = len(noises)
    return FigureChange(
        sqrt(fsum(each.usd**2 for each in noises.values())) / count,
        sqrt(fsum(each.attained**2 for each in noises.values())) / count,
    )
