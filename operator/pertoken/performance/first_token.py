"""Time to first token of one replica under random arrivals: the prompt's own steps, and the wait in front of them.

A prompt adds T seconds of arithmetic to the steps; a step takes d seconds besides, and has room for M - B prompt
tokens while B sequences decode. With f = I / (M - B) steps per prompt, a prompt occupies the engine for S = T + f d
seconds, and prompts queue like the customers of an M/G/1 server of that service time: their load ``rho = rate S``
reaches 1 where the token budget, not arithmetic alone, is used up. Prompts much shorter than a step (f < 1) are not
served one by one: all that arrived during a step join the next one.

Checked against an independent simulator of continuous batching (`pertoken_bench.accuracy.model`, figures in
`docs/model.md`).
"""

from __future__ import annotations

from dataclasses import field
from math import ceil, exp, log
from typing import Final

from pertoken.frozen import dataclass

LEAST_ROOM: Final = 256.0  # tokens per step left to prompts
PROMPT_SPREAD: Final = 0.7  # standard deviation of prompt length / mean, for the tail of one's own prefill
SMALLEST_GAP: Final = 1e-3  # of 1 - load


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts on their way to the first token.

    Attributes:
        rate: prompts per second.
        prefill: seconds that one adds to the steps (T).
        decode: seconds of a step without prompts (d).
        batch: decoding sequences (B).
        tokens: to compute per prompt (I).
        budget: tokens per step (M).
        spread: squared coefficient of variation of the prompts' lengths.
        steps: that a prompt fills (f).
        service: seconds of the engine that a prompt occupies (S).
        load: share of the engine's steps that prompts fill; the queue grows without end from 1 on.
        busy: probability that an arriving prompt meets a step under way.
        visits: steps that compute a part of the prompt; fewer when it meets an idle engine.
    """

    rate: float
    prefill: float
    decode: float
    batch: float
    tokens: float
    budget: float
    spread: float
    steps: float = field(init=False)
    service: float = field(init=False)
    load: float = field(init=False)
    busy: float = field(init=False)
    visits: float = field(init=False)

    def __post_init__(self) -> None:
        """Work out once what several figures are made of."""
        steps = self.tokens / max(LEAST_ROOM, self.budget - self.batch)
        service = self.prefill + steps * self.decode
        busy = 1.0 - exp(-self.batch)
        alone = max(1, ceil(self.tokens / self.budget))
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "service", service)
        object.__setattr__(self, "load", self.rate * service)
        object.__setattr__(self, "busy", busy)
        object.__setattr__(self, "visits", alone + busy * (max(1, ceil(steps)) - alone))

    @property
    def own(self) -> float:
        """Seconds from the first step that computes the prompt to its first token."""
        return self.prefill + self.visits * self.decode

    @property
    def mean(self) -> float:
        """Mean time to first token, seconds."""
        whole = min(max(2.0 * self.steps - 1.0, 0.0), 1.0)  # 0: joins a step with others, 1: fills steps of its own
        queue = whole * self._queue() if whole > 0.0 else 0.0
        return self.own + queue + ((1.0 - whole) * self._joined() if whole < 1.0 else 0.0)

    def tail(self, miss: float, z: float, decode_high: float) -> float:
        """Time to first token that a share `miss` of the requests exceeds, seconds.

        Args:
            miss: e.g. 0.05.
            z: the standard normal quantile that belongs to it.
            decode_high: a decode step at the batch's own high quantile.
        """
        waiting = self.service / self._gap() * max(0.0, log(max(self.load, 1e-9) / miss))
        own = self.prefill * (1.0 + PROMPT_SPREAD * z) + self.visits * decode_high
        return own + waiting + decode_high

    def _gap(self) -> float:
        return max(SMALLEST_GAP, 1.0 - self.load)

    def _queue(self) -> float:
        """Wait for prompts in front (Pollaczek-Khinchine), or for the step under way.

        A prompt that nobody follows holds its last step alone, one that is followed shares it.
        """
        free = max(0.0, 1.0 - self.load)
        service = self.service + free * max(0.0, self.visits - self.steps) * self.decode
        busy = self.rate * service
        queue = busy * service * (1.0 + self.spread) / (2.0 * max(SMALLEST_GAP, 1.0 - busy))
        return queue + free * self.busy * self.decode / 2.0

    def _joined(self) -> float:
        """Wait for the step under way, and the prompts that arrived during it, which join the next one too.

        A step takes d + T k seconds with the k prompts that arrived during the one before: on average d / (1 - rho),
        and seen by an arrival (longer steps meet more of them) by a further rate T^2 (1 + spread).
        """
        step = self.decode / self._gap()
        seen = step + self.rate * self.prefill * self.prefill * (1.0 + self.spread)
        return self.busy * seen / 2.0 + self.rate * self.prefill * seen
