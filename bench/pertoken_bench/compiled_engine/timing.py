"""Step times: tables, graph padding, speed of a replica, noise. Compiled; milliseconds inside, seconds outside."""

from __future__ import annotations

import math

import numpy as np

from pertoken.catalog.engines import LARGEST_GRAPH
from pertoken_bench.compiled_engine import layout as at
from pertoken_bench.compiled_engine.compiled import Ints, Reals, compiled

_SMALLEST = 0.9  # of the table's smallest value: no extrapolation goes below


@compiled
def mixed(value: int) -> int:
    """splitmix64: a well mixed 63-bit number of any number."""
    z = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((z ^ (z >> np.uint64(31))) >> np.uint64(1))


@compiled
def uniform(seed: int, first: int, second: int) -> float:
    """A number in (0, 1) that depends on nothing but its arguments."""
    return (mixed(mixed(mixed(seed) + first) + second) + 0.5) / 9223372036854775808.0


@compiled
def normal(seed: int, first: int, second: int) -> float:
    """A standard normal number that depends on nothing but its arguments (Box-Muller)."""
    radius = math.sqrt(-2.0 * math.log(uniform(seed, first, second)))
    return radius * math.cos(2.0 * math.pi * uniform(seed + 1, first, second))


@compiled
def noise_factor(ints: Ints, reals: Reals, s: int, number: int) -> float:
    """Speed factor of replica `s` in one noise slot: its own speed, autocorrelated noise, slow start."""
    seed, uid = ints[at.H_SEED], ints[s + at.UID]
    r, c = ints[s + at.REALS_AT], ints[at.H_CONFIG]
    coarse = number // at.NOISE_COARSE
    share = (number % at.NOISE_COARSE) / at.NOISE_COARSE
    drawn = (1.0 - share) * normal(seed, uid, coarse) + share * normal(seed, uid, coarse + 1)
    drawn /= math.sqrt((1.0 - share) ** 2 + share**2)
    drawn = min(max(drawn, -at.NOISE_CLIP), at.NOISE_CLIP)
    factor = reals[r + at.SPEED] * math.exp(reals[c + at.C_NOISE] * drawn)
    age = max(0.0, number * at.NOISE_SECONDS - reals[r + at.STARTED])
    slow_seconds = reals[c + at.C_SLOW_SECONDS]
    if age < slow_seconds:
        factor *= 1.0 + reals[c + at.C_SLOW_START] * (1.0 - age / slow_seconds)
    return factor


@compiled
def _cell(reals: Reals, axis: int, count: int, value: float) -> int:
    """Index of the interval of the axis that holds `value` (the outer ones reach beyond the axis)."""
    index = 0
    while index < count - 2 and value >= reals[axis + index + 1]:
        index += 1
    return index


@compiled
def decode_line(ints: Ints, reals: Reals, k: int, batch: int, context: int) -> tuple[float, float, float]:
    """Pure decode step of `batch` sequences that hold `context` tokens in all, on an engine of kind `k`.

    Returns:
        Milliseconds of the step; growth per step while the batch stands (its context grows by one token per sequence);
        steps until the table's next column (that many steps follow the line).
    """
    x = ints[k + at.K_REALS_AT]
    factor = reals[x + at.X_DECODE]
    padded = float(batch)
    if batch <= LARGEST_GRAPH:
        padded = float(ints[ints[at.H_PADDED] + batch])
    else:
        factor *= reals[x + at.X_EAGER]
    n_rows, n_columns = ints[k + at.K_DECODE], ints[k + at.K_DECODE + 1]
    rows = x + at.X_TABLES
    columns, table = rows + at.AXIS, rows + 2 * at.AXIS
    column = context / padded
    i, j = _cell(reals, rows, n_rows, padded), _cell(reals, columns, n_columns, column)
    u = (padded - reals[rows + i]) / (reals[rows + i + 1] - reals[rows + i])
    low, high = table + i * at.AXIS + j, table + (i + 1) * at.AXIS + j
    left = (1.0 - u) * reals[low] + u * reals[high]
    right = (1.0 - u) * reals[low + 1] + u * reals[high + 1]
    slope = (right - left) / (reals[columns + j + 1] - reals[columns + j])
    value = left + slope * (column - reals[columns + j])
    smallest = reals[table] * _SMALLEST
    if value <= smallest or slope < 0.0:
        return max(value, smallest) * factor, 0.0, 1.0
    per_step = batch / padded
    steps = 1e18 if j == n_columns - 2 else math.floor((reals[columns + j + 1] - column) / per_step) + 1.0
    return value * factor, slope * per_step * factor, steps


@compiled
def prefill_ms(ints: Ints, reals: Reals, k: int, chunk: float, past: float) -> float:
    """Milliseconds of a step that computes `chunk` prompt tokens behind `past` tokens in the cache."""
    x = ints[k + at.K_REALS_AT]
    rows = x + at.X_TABLES + at.TABLE_REALS
    columns, table = rows + at.AXIS, rows + 2 * at.AXIS
    i = _cell(reals, rows, ints[k + at.K_PREFILL], chunk)
    j = _cell(reals, columns, ints[k + at.K_PREFILL + 1], past)
    u = (chunk - reals[rows + i]) / (reals[rows + i + 1] - reals[rows + i])
    v = (past - reals[columns + j]) / (reals[columns + j + 1] - reals[columns + j])
    low, high = table + i * at.AXIS + j, table + (i + 1) * at.AXIS + j
    value = (1.0 - u) * ((1.0 - v) * reals[low] + v * reals[low + 1])
    value += u * ((1.0 - v) * reals[high] + v * reals[high + 1])
    return max(value, reals[table] * _SMALLEST) * reals[x + at.X_PREFILL]


@compiled
def run_seconds(step: float, growth: float, count: float) -> float:
    """Duration of `count` steps of which the first takes `step` and each takes `growth` more than the one before."""
    return count * step + growth * (count * (count - 1.0) * 0.5)


@compiled
def steps_within(step: float, growth: float, seconds: float) -> int:
    """Most steps whose total duration is at most `seconds` (0 or more); growth is not negative."""
    if seconds < step:
        return 0
    half = 0.5 * growth
    linear = step - half
    # Solves half n^2 + linear n = seconds without cancellation.
    root = 2.0 * seconds / (linear + math.sqrt(linear * linear + 4.0 * half * seconds))
    count = int(root)
    while run_seconds(step, growth, count + 1.0) <= seconds:
        count += 1
    while count > 0 and run_seconds(step, growth, float(count)) > seconds:
        count -= 1
    return count
