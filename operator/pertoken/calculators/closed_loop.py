"""Latency of a replica under a closed loop: C clients, each sending its next request when the last one is answered.

Continuous batching with chunked prefill: C - 1 other prompts join the steps while a sequence generates its O tokens, so

    inter-token latency = d + (C - 1) / O x p
    d = g_d (gain x d(C) + layers x step overhead),   p = g_p (gain x T(C) + layers x prompt overhead)

with the kernel model's decode step d(C) at context I + O/2 and what a prompt adds to it, T(C). A first token waits for
the request's own prompt, for part of the prompts in front, and for a few steps. Gains g are a deployment's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Final

from pertoken.catalog.served import ServingFactors
from pertoken.performance.coefficients import EngineModel
from pertoken.performance.step_time import marginal_prefill_time, mean_decode_step

USUAL_CLIENTS: Final = 16.0
USUAL_INPUT: Final = 2048.0
MOST_RELATIVE: Final = 16.0


@dataclass(frozen=True, slots=True)
class Clients:
    """The load: how many clients, and what each asks for (tokens)."""

    concurrency: float
    input_tokens: float
    output_tokens: float

    @property
    def context(self) -> float:
        """Mean tokens that a decoding sequence holds."""
        return self.input_tokens + self.output_tokens / 2


def relative(clients: Clients) -> tuple[float, float]:
    """Logarithms of clients and prompt length relative to a usual load, bounded to a factor of 16 either way."""
    return _bounded(clients.concurrency / USUAL_CLIENTS), _bounded(clients.input_tokens / USUAL_INPUT)


def _bounded(ratio: float) -> float:
    return log(min(max(ratio, 1.0 / MOST_RELATIVE), MOST_RELATIVE))


@dataclass(frozen=True, slots=True)
class ClosedGains:
    """A deployment's own factors on the served model.

    Attributes:
        decode, prefill: on the two parts of the inter-token latency.
        ttft: on the time to first token at 16 clients and 2,048 prompt tokens.
        ttft_clients, ttft_input: how that factor changes, as powers of clients and prompt length.
        capacity: on the KV cache (its precision and the memory that the engine may use are seldom known).
    """

    decode: float = 1.0
    prefill: float = 1.0
    ttft: float = 1.0
    ttft_clients: float = 0.0
    ttft_input: float = 0.0
    capacity: float = 1.0

    def first_token(self, clients: Clients) -> float:
        """Factor on the time to first token under this load."""
        many, long = relative(clients)
        return self.ttft * exp(self.ttft_clients * many + self.ttft_input * long)


AS_SERVED: Final = ClosedGains()


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A deployment under a closed loop, seconds.

    Attributes:
        batch: sequences that run: the clients, or what the KV cache holds.
        decode: part of the inter-token latency in which nothing but decoding happens.
        prompts: the other part, in which prompts of others are computed.
        ttft: mean time to first token.
        prompt: what one prompt adds to the steps.
    """

    batch: float
    decode: float
    prompts: float
    ttft: float
    prompt: float

    @property
    def inter_token(self) -> float:
        """Mean time per output token after the first."""
        return self.decode + self.prompts


def closed_loop(
    engine: EngineModel, served: ServingFactors, clients: Clients, gains: ClosedGains = AS_SERVED
) -> ClosedLoop:
    """Latencies of one replica under `clients`.

    Clients beyond what the KV cache holds wait: their wait counts into the time to first token.
    """
    output = max(clients.output_tokens, 1.0)
    fits = gains.capacity * sequences_that_fit(engine, clients.context)
    batch = min(clients.concurrency, max(fits, 1.0)) if engine.kv_capacity > 0 else clients.concurrency
    step = mean_decode_step(engine, batch, clients.context)
    decode = gains.decode * (served.decode_gain * step + engine.layers * served.layer_seconds)
    joined = served.prefill_gain * marginal_prefill_time(engine, clients.input_tokens, batch)
    prompt = gains.prefill * (joined + engine.layers * served.prompt_layer_seconds)
    prompts = max(batch - 1.0, 0.0) / output * prompt
    own = served.ttft_prompts * prompt * (1.0 + served.ttft_queue * max(batch - 1.0, 0.0))
    queued = (clients.concurrency / batch - 1.0) * output * (decode + prompts)
    ttft = gains.first_token(clients) * (served.ttft_seconds + own + served.ttft_steps * decode) + queued
    return ClosedLoop(batch, decode, prompts, ttft, prompt)


def sequences_that_fit(engine: EngineModel, context: float) -> float:
    """Sequences of this mean context that the KV cache holds, recurrent state and windows counted."""
    return engine.kv_capacity / max(context + engine.sequence_tokens(context), 1.0)
