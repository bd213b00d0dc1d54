"""Changes of a setup that are worth trying: what an engine, a pool or a service's limits could be instead.

Each is one change; another model, precision or GPU is tried with other tensor parallelism too, because it often asks
for fewer GPUs, or for more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from math import ceil

from pertoken.calculators.fleet import Requests, Setup
from pertoken.calculators.lengths import (
    answer_lengths,
    cut_answers,
    long_answer,
    longest,
    prompt_lengths,
    refused_prompts,
)
from pertoken.calculators.tuning import CUT_SHARES, AdviceTuning
from pertoken.catalog.engines import CHUNK_SIZES, GRAPH_SIZES
from pertoken.catalog.gpus import Gpu
from pertoken.catalog.models import Model
from pertoken.catalog.precisions import NARROWER
from pertoken.performance.lighter import Placed, lighter_models
from pertoken.performance.step_time import Gains


class Kind(StrEnum):
    """What is changed."""

    MODEL = "model"
    QUANTIZATION = "quantization"
    GPU = "gpu"
    WIDTH = "tensor parallelism"
    CONTEXT = "context limit"
    OUTPUT = "output cap"
    CAP = "batch cap"
    CHUNK = "prefill chunk"


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        before, after: of what is changed, in words with their unit.
        setup, requests: with the change.
        note: what it takes or gives up, empty for nothing.
        widened: the tensor parallelism is changed as well.
        unknown_quality: another model, of which nobody says whether its answers are good enough.
    """

    kind: Kind
    before: str
    after: str
    setup: Setup
    requests: Requests
    note: str = ""
    widened: bool = False
    unknown_quality: bool = False

    @property
    def words(self) -> str:
        """What is changed."""
        return f"{self.kind.value} and GPUs per replica" if self.widened else self.kind.value


@dataclass(frozen=True, slots=True)
class PricedGpu:
    """A GPU that can be had, and at what price."""

    gpu: Gpu
    usd_per_hour: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class OtherModel:
    """A model that could answer instead.

    Attributes:
        quantization: that its name announces; empty for that of today.
        allowed: its answers are said to be good enough.
    """

    model: Model
    quantization: str = ""
    allowed: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What may be chosen from."""

    gpus: tuple[PricedGpu, ...]
    models: tuple[OtherModel, ...]


def changes(setup: Setup, requests: Requests, choice: Choice, tuning: AdviceTuning) -> Iterator[Change]:
    """All that the GPUs' memory and the models' context admit, whatever they cost."""
    others = (*_models(setup, requests, choice), *_quantizations(setup, requests), *_gpus(setup, requests, choice))
    yield from _fitting(others, tuning)
    yield from _fitting((wide for change in others for wide in _widened(change, tuning)), tuning)
    yield from _fitting(_widths(setup, requests, tuning), tuning)
    yield from _context(setup, requests, tuning)
    yield from _outputs(setup, requests, tuning)
    yield from _caps(setup, requests, tuning)
    yield from _chunks(setup, requests)


def smaller_models(setup: Setup, models: tuple[Model, ...]) -> tuple[OtherModel, ...]:
    """Models of the same publisher with lighter weights, whose quality nobody here knows."""
    placed = Placed(setup.gpu, setup.parallelism, setup.quantization)
    return tuple(OtherModel(model) for model in lighter_models(setup.model, placed, models))


def _models(setup: Setup, requests: Requests, choice: Choice) -> Iterator[Change]:
    for other in choice.models:
        if other.model.id != setup.model.id:
            quantization = other.quantization or setup.quantization
            changed = replace(setup, model=other.model, quantization=quantization, samples=0)
            note = "allowed by --allow-model" if other.allowed else "quality not known"
            change = Change(Kind.MODEL, setup.model.id, other.model.id, changed, requests, note)
            yield replace(change, unknown_quality=not other.allowed)


def _quantizations(setup: Setup, requests: Requests) -> Iterator[Change]:
    for quantization in NARROWER:
        changed = replace(setup, quantization=quantization, samples=0)
        if changed.precision != setup.precision:
            yield Change(
                Kind.QUANTIZATION, setup.precision, changed.precision, changed, requests, "measure its answers' quality"
            )


def _gpus(setup: Setup, requests: Requests, choice: Choice) -> Iterator[Change]:
    for priced in choice.gpus:
        if priced.gpu.id == setup.gpu.id:
            continue
        # What made this engine slower than modelled may do so there too; what made it faster is not counted on.
        gains = Gains(max(1.0, setup.gains.decode), max(1.0, setup.gains.prefill), max(0.0, setup.gains.ttft_offset))
        changed = replace(
            setup,
            gpu=priced.gpu,
            usd_per_gpu_hour=priced.usd_per_hour,
            price_source=priced.source,
            gains=gains,
            samples=0,
        )
        yield Change(Kind.GPU, setup.gpu.id, priced.gpu.id, changed, requests, f"at {priced.source}")


def _widened(change: Change, tuning: AdviceTuning) -> Iterator[Change]:
    """The change together with another tensor parallelism."""
    for width in _widths(change.setup, change.requests, tuning):
        yield replace(
            change,
            before=f"{change.before}, {width.before}",
            after=f"{change.after}, {width.after}",
            setup=width.setup,
            widened=True,
        )


def _widths(setup: Setup, requests: Requests, tuning: AdviceTuning) -> Iterator[Change]:
    shape = setup.parallelism
    width = 1
    while width <= tuning.most_width:
        if width != shape.tensor and setup.model.heads % width == 0 and shape.expert == 1:
            changed = replace(setup, parallelism=replace(shape, tensor=width), samples=0)
            yield Change(Kind.WIDTH, _gpus_words(shape.tensor), _gpus_words(width), changed, requests)
        width *= 2


def _gpus_words(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _fitting(tried: Iterable[Change], tuning: AdviceTuning) -> Iterator[Change]:
    """Those whose KV cache and model hold the context that is promised, or else that requests have.

    Where no limit is set, an engine starts only with one that its KV cache holds: then the change says so.
    """
    for change in tried:
        setup = change.setup
        tokens, limit = setup.engine.kv_tokens, setup.context_limit
        needed = float(limit) if limit is not None else longest(change.requests.load, tuning.refused)
        if tokens < needed or setup.model.context < needed:
            continue
        if limit is not None or tokens >= setup.model.context:
            yield change
            continue
        most = int(tokens) // tuning.context_step * tuning.context_step or int(tokens)
        words = f"takes a context limit of {most} tokens"
        yield replace(change, note=f"{change.note}; {words}" if change.note else words)


def _context(setup: Setup, requests: Requests, tuning: AdviceTuning) -> Iterator[Change]:
    """The least power of two that few requests exceed."""
    present = setup.context_limit or setup.model.context
    limit = tuning.context_step
    while limit < longest(requests.load, tuning.refused):
        limit *= 2
    if limit >= present:
        return
    load = requests.load
    room = limit - long_answer(load)
    refused = prompt_lengths(load).above(room)
    changed = replace(setup, context_limit=limit)
    yield Change(
        Kind.CONTEXT,
        f"{present} tokens",
        f"{limit} tokens",
        changed,
        replace(requests, load=refused_prompts(load, limit)),
        f"{refused:.1%} of requests are longer and refused",
    )


def _outputs(setup: Setup, requests: Requests, tuning: AdviceTuning) -> Iterator[Change]:
    lengths = answer_lengths(requests.load)
    if lengths.mean < tuning.output_step:
        return
    tried = set()
    for share in CUT_SHARES:
        limit = ceil(lengths.quantile(1.0 - share) / tuning.output_step) * tuning.output_step
        if limit in tried:
            continue
        tried.add(limit)
        short, long = requests.answers
        cut = Requests(cut_answers(requests.load, limit), (min(short, limit), min(long, limit)))
        note = f"{lengths.above(limit):.0%} of answers are cut"
        yield Change(Kind.OUTPUT, "no cap known", f"{limit} tokens", setup, cut, note)


def _caps(setup: Setup, requests: Requests, tuning: AdviceTuning) -> Iterator[Change]:
    chunk = setup.engine.model.batched_tokens
    before = "no cap" if setup.cap is None else f"{setup.cap} sequences"
    for cap in GRAPH_SIZES:
        if tuning.least_cap <= cap <= chunk and cap != setup.cap:
            yield Change(Kind.CAP, before, f"{cap} sequences", replace(setup, cap=cap), requests)


def _chunks(setup: Setup, requests: Requests) -> Iterator[Change]:
    present = setup.engine.model.batched_tokens
    for tokens in CHUNK_SIZES:
        if tokens != present and tokens >= (setup.cap or 0):
            yield Change(Kind.CHUNK, f"{present} tokens", f"{tokens} tokens", replace(setup, chunk=tokens), requests)
