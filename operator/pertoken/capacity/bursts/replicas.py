"""Replicas that serve single requests, compiled to machine code: a fluid model of continuous batching.

A step computes prompts up to the token budget and one token of every decoding sequence; between two events (an arrival,
a first token, an end) all steps of a replica are taken to be alike. A request goes to the replica with the fewest
requests. `pertoken.capacity.bursts.carried` is the only one that loads this file: numba is an extra of the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from pertoken.performance.first_token import LEAST_ROOM

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
FOREVER = np.inf


def _compiled(function: FunctionT) -> FunctionT:
    """Compiled on first use; kept on disk where that can be written."""
    try:
        return cast("FunctionT", numba.njit(cache=True, error_model="numpy")(function))
    except RuntimeError:
        return cast("FunctionT", numba.njit(error_model="numpy")(function))


class Engine(NamedTuple):
    """One engine.

    Attributes:
        decode: seconds of a decode step by the number of sequences; the last is the most that run at once.
        budget: tokens of one step.
        token_seconds: that a prompt's token adds to a step.
    """

    decode: Floats
    budget: float
    token_seconds: float


class Fleet(NamedTuple):
    """Engines at work, by their index; requests by theirs.

    Attributes:
        clock: seconds; steps: decode steps so far; batch: decoding sequences; pending: prompt tokens that wait.
        head, tail: of each engine's `queue`; `running` has its decoding requests.
        left: prompt tokens of each request that are not computed; goal: engine's step at which it ends.
        first, done: seconds of its first and last token.
    """

    clock: Floats
    steps: Floats
    batch: Ints
    pending: Floats
    head: Ints
    tail: Ints
    queue: Ints
    running: Ints
    left: Floats
    goal: Floats
    first: Floats
    done: Floats


@_compiled
def serve(arrival: Floats, prompts: Floats, steps: Floats, engines: int, engine: Engine) -> tuple[Floats, Floats]:
    """Time to first token, and mean seconds per further token, of each request.

    Args:
        arrival: seconds, ascending.
        prompts: tokens to compute of each.
        steps: decode steps of each, 1 or more.
        engines: how many.
        engine: what each is like.
    """
    count = len(arrival)
    fleet = Fleet(
        np.zeros(engines),
        np.zeros(engines),
        np.zeros(engines, np.int64),
        np.zeros(engines),
        np.zeros(engines, np.int64),
        np.zeros(engines, np.int64),
        np.zeros((engines, count), np.int64),
        np.zeros((engines, len(engine.decode)), np.int64),
        prompts.copy(),
        np.full(count, FOREVER),
        np.full(count, FOREVER),
        np.full(count, FOREVER),
    )
    turn = 0
    for request in range(count):
        for index in range(engines):
            _advance(fleet, index, arrival[request], engine, steps)
        best = _fewest(fleet, engines, turn)
        turn = (best + 1) % engines
        fleet.queue[best, fleet.tail[best]] = request
        fleet.tail[best] += 1
        fleet.pending[best] += prompts[request]
    for index in range(engines):
        _advance(fleet, index, FOREVER, engine, steps)
    return fleet.first - arrival, (fleet.done - fleet.first) / steps


@_compiled
def _fewest(fleet: Fleet, engines: int, turn: int) -> int:
    """Engine with the fewest requests; of equals the next in turn."""
    best, least = turn % engines, np.iinfo(np.int64).max
    for offset in range(engines):
        index = (turn + offset) % engines
        load = fleet.batch[index] + fleet.tail[index] - fleet.head[index]
        if load < least:
            best, least = index, load
    return best


@_compiled
def _advance(fleet: Fleet, index: int, now: float, engine: Engine, steps: Floats) -> None:
    """Let one engine work until `now`, or until nothing is left."""
    while fleet.clock[index] < now:
        batch = fleet.batch[index]
        waiting = fleet.tail[index] > fleet.head[index]
        if batch == 0 and not waiting:
            if now < FOREVER:
                fleet.clock[index] = now
            return
        prompts = waiting and batch < len(engine.decode) - 1
        step = engine.decode[max(batch, 1)]
        drain, first = 0.0, FOREVER
        if prompts:
            room = max(min(max(engine.budget - batch, LEAST_ROOM), fleet.pending[index]), 1.0)
            step += room * engine.token_seconds
            drain = room / step
            first = fleet.left[fleet.queue[index, fleet.head[index]]] / drain
        place, end = _next_end(fleet, index, batch, step)
        seconds = min(first, end, now - fleet.clock[index])
        fleet.clock[index] += seconds
        fleet.steps[index] += seconds / step
        if prompts:
            fleet.left[fleet.queue[index, fleet.head[index]]] -= seconds * drain
            fleet.pending[index] -= seconds * drain
        if seconds == first:
            _begin(fleet, index, steps)
        elif seconds == end:
            _end(fleet, index, place)


@_compiled
def _next_end(fleet: Fleet, index: int, batch: int, step: float) -> tuple[int, float]:
    """Which decoding request ends first, and in how many seconds at this step's time."""
    place, goal = -1, FOREVER
    for each in range(batch):
        if fleet.goal[fleet.running[index, each]] < goal:
            place, goal = each, fleet.goal[fleet.running[index, each]]
    return place, max(goal - fleet.steps[index], 0.0) * step


@_compiled
def _begin(fleet: Fleet, index: int, steps: Floats) -> None:
    """The first of the queue has its first token and decodes."""
    request = fleet.queue[index, fleet.head[index]]
    fleet.head[index] += 1
    if fleet.head[index] == fleet.tail[index]:
        fleet.pending[index] = 0.0
    fleet.first[request] = fleet.clock[index]
    fleet.goal[request] = fleet.steps[index] + steps[request]
    fleet.running[index, fleet.batch[index]] = request
    fleet.batch[index] += 1


@_compiled
def _end(fleet: Fleet, index: int, place: int) -> None:
    """A decoding request has its last token."""
    fleet.done[fleet.running[index, place]] = fleet.clock[index]
    fleet.batch[index] -= 1
    fleet.running[index, place] = fleet.running[index, fleet.batch[index]]
