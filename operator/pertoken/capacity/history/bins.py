"""From bins of some minutes to hours: a rate is the mean of the bins that are there, and too few of them are a gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pertoken.capacity.bursts.stream import Stretch
from pertoken.capacity.history.value import Floats, History, HistoryError, ServiceHistory
from pertoken.capacity.tuning import HISTORY
from pertoken.units import DAYS_PER_YEAR, HOURS_PER_DAY, SECONDS_PER_HOUR

FIGURES = ("requests", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """One service's bins as the source has them.

    Attributes:
        times: begins of the bins, seconds, ascending.
        values: of `FIGURES`, in this order, one array each: amounts in the bin, NaN for what is not told.
        stretches: of single requests, where there are any.
    """

    name: str
    times: Floats
    values: tuple[Floats, Floats, Floats]
    stretches: tuple[Stretch, ...] = ()


def step_of(times: Floats) -> float:
    """Length of the bins in seconds: the most frequent distance; 0 for fewer than two.

    Raises:
        HistoryError: two bins begin at once, or they do not ascend.
    """
    distances = np.diff(times)
    if len(distances) == 0:
        return 0.0
    if float(distances.min()) <= 0:
        raise HistoryError("times must ascend")
    lengths, counts = np.unique(np.round(distances, 3), return_counts=True)
    return float(lengths[np.argmax(counts)])


def check_span(first_s: float, last_s: float) -> None:
    """Refuse times that are too far apart to be those of one history.

    Raises:
        HistoryError: they are.
    """
    years = (last_s - first_s) / SECONDS_PER_HOUR / HOURS_PER_DAY / DAYS_PER_YEAR
    if years > HISTORY.most_years:
        most = f"seconds, at most {HISTORY.most_years} years apart"
        raise HistoryError(f"1: times from {first_s:.15g} to {last_s:.15g} s: expected {most}")


def hourly(bins: list[Bins], step: float, remarks: tuple[str, ...] = ()) -> History:
    """Hours of all services on one clock. The last hour counts once enough of its bins are there.

    Raises:
        HistoryError: bins are longer than an hour, or nothing fills an hour.
    """
    check_span(min(float(each.times[0]) for each in bins), max(float(each.times[-1]) for each in bins))
    if not 0.0 < step <= SECONDS_PER_HOUR:
        raise HistoryError(f"bins of {step:g} s: expected more than 0 s and at most {SECONDS_PER_HOUR} s")
    per_hour = SECONDS_PER_HOUR / step
    first = min(int(each.times[0] // SECONDS_PER_HOUR) for each in bins)
    last = max(_last_hour(each.times, step) for each in bins)
    if last <= first:
        raise HistoryError("not one hour is told; expected a day of bins or more")
    services = tuple(_service(each, step, per_hour, (first, last)) for each in bins)
    return History(first * SECONDS_PER_HOUR, services, remarks)


def _last_hour(times: Floats, step: float) -> int:
    """Hour after the last one that is told well enough."""
    hour = int(times[-1] // SECONDS_PER_HOUR)
    told = int((times >= hour * SECONDS_PER_HOUR).sum())
    return hour + 1 if told * step >= HISTORY.least_told * SECONDS_PER_HOUR else hour


def _service(bins: Bins, step: float, per_hour: float, hours: tuple[int, int]) -> ServiceHistory:
    first, last = hours
    count = last - first
    places = (bins.times // SECONDS_PER_HOUR).astype(np.int64) - first
    inside = places < count
    places = places[inside]
    requests, inputs, outputs = (_amounts(values[inside], places, count, per_hour) for values in bins.values)
    busiest = requests if np.isfinite(requests).any() else inputs
    values = next((values for values in bins.values if np.isfinite(values).any()), bins.values[0])[inside]
    peak = _peak(values, places, busiest, max(1, round(HISTORY.burst_seconds / step)) if step else 1, per_hour)
    return ServiceHistory(bins.name, requests, inputs, outputs, peak, bins.stretches)


def _amounts(values: Floats, places: np.ndarray, count: int, per_hour: float) -> Floats:
    """Sum by hour, scaled to the whole hour where some bins are missing; NaN where too many are."""
    known = np.isfinite(values)
    told = np.bincount(places[known], minlength=count).astype(np.float64)
    sums = np.bincount(places[known], weights=values[known], minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = sums / told * max(per_hour, 1.0)
    whole[told < HISTORY.least_told * per_hour] = np.nan
    return whole


def _peak(values: Floats, places: np.ndarray, hour: Floats, together: int, per_hour: float) -> Floats:
    """Busiest stretch of `together` bins over the hour's mean; NaN without bins inside the hour."""
    peak = np.full(len(hour), np.nan)
    if per_hour < 2 * together:
        return peak
    rates = np.where(np.isfinite(values), values, 0.0)
    if together > 1:
        summed = np.concatenate([[0.0], np.cumsum(rates)])
        ends = np.minimum(np.arange(len(rates)) + together, len(rates))
        rates = (summed[ends] - summed[:-1]) / together
    busiest = np.zeros(len(hour))
    np.maximum.at(busiest, places, rates)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = busiest / (hour / per_hour)
    usable = np.isfinite(ratio) & (hour > 0)
    peak[usable] = np.maximum(ratio[usable], 1.0)
    return peak
