"""What-ifs: ``growth=10%,gpu=h200-sxm``: the same demand with something changed, planned beside the plan.

A value may name whom it concerns: ``gpu=POOL:h200-sxm``, ``model=SERVICE:ID``; without a name it concerns all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Final

from pertoken.capacity.asked import Asked
from pertoken.capacity.plan import UNCHANGED, Changes
from pertoken.capacity.tuning import DEMAND
from pertoken.catalog.lookup import Catalog, Unknown
from pertoken.catalog.precisions import PRECISIONS, find_precision
from pertoken.catalog.prices import list_price
from pertoken.domain.service import LatencyObjective, ServiceSpec
from pertoken.units import MILLISECONDS, PER_CENT, AmountError, parse_amount

REQUEST_KEYS: Final = {"demand": "demand", "context": "input_tokens", "output": "output_tokens"}
KEYS: Final = (
    *("growth", "confidence", *REQUEST_KEYS),
    *("gpu", "price", "model", "quantization", "slo", "ttft", "itl"),
)


class WhatIfError(ValueError):
    """A what-if cannot be read; the message names key, value and expectation."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One what-if.

    Attributes:
        words: as the user wrote it.
        steps: what changes the question, in order.
        changes: of the requests.
    """

    words: str
    steps: tuple[Callable[[Asked], Asked], ...] = field(repr=False)
    changes: Changes = UNCHANGED

    def asked(self, asked: Asked) -> Asked:
        """The changed question."""
        for step in self.steps:
            asked = step(asked)
        return asked


def what_if(words: str, asked: Asked) -> WhatIf:
    """Read one.

    Args:
        words: ``key=value``, several of them with commas between.
        asked: the question that it changes.

    Raises:
        WhatIfError: it cannot be read.
    """
    steps: list[Callable[[Asked], Asked]] = []
    changes = Changes()
    # A price is that of the GPU which the same what-if may name, so prices come last.
    for part in sorted(words.split(","), key=lambda part: part.strip().startswith("price")):
        key, equals, value = (text.strip() for text in part.partition("="))
        if not equals or key not in KEYS:
            raise WhatIfError(f"{part!r}: expected KEY=VALUE with a key of {', '.join(KEYS)}")
        if key in REQUEST_KEYS:
            changes = replace(changes, **{REQUEST_KEYS[key]: _number(key, value)})
        else:
            steps.append(_step(key, value, asked))
    return WhatIf(words, tuple(steps), changes)


def _step(key: str, value: str, asked: Asked) -> Callable[[Asked], Asked]:
    if key == "growth":
        growth = _share(key, value)
        return lambda asked: replace(asked, spec=replace(asked.spec, growth_per_month=growth))
    if key == "confidence":
        confidence = _number(key, value)
        if not PER_CENT / 2 < confidence < PER_CENT:
            raise WhatIfError(f"confidence={value}: expected above 50 and below 100 per cent")
        return lambda asked: replace(asked, spec=replace(asked.spec, confidence=confidence))
    if key in {"gpu", "price"}:
        return _pools(key, value, asked)
    return _services(key, value, asked)


def _pools(key: str, value: str, asked: Asked) -> Callable[[Asked], Asked]:
    name, own = _named(value, [pool.name for pool in asked.pools])
    return _gpu(name, own, asked.catalog) if key == "gpu" else _price(name, own)


def _gpu(name: str, value: str, catalog: Catalog) -> Callable[[Asked], Asked]:
    """GPUs of another kind: none are there or committed, nothing is offered, and the price is the list's."""
    gpu = catalog.gpu(value)
    if isinstance(gpu, Unknown):
        raise WhatIfError(f"gpu={value}: {gpu}")
    listed = list_price(gpu.id)
    price = None if listed is None else listed.usd_per_hour

    def step(asked: Asked) -> Asked:
        changed = {pool.name for pool in asked.pools if name in {"", pool.name} and pool.accelerator != gpu.id}
        pools = tuple(
            replace(pool, accelerator=gpu.id, price_per_gpu_hour=price, capacity_gpus=0, committed_gpus=0)
            if pool.name in changed
            else pool
            for pool in asked.pools
        )
        nodes = {own: replace(told, existing=None) if own in changed else told for own, told in asked.nodes.items()}
        offers = tuple(entry for entry in asked.spec.offers if entry.pool not in changed)
        return replace(asked, pools=pools, nodes=nodes, spec=replace(asked.spec, offers=offers))

    return step


def _price(name: str, value: str) -> Callable[[Asked], Asked]:
    try:
        price = parse_amount(value)
    except AmountError as error:
        raise WhatIfError(f"price={value}: {error}; expected USD per GPU-hour") from None

    def step(asked: Asked) -> Asked:
        pools = tuple(
            replace(pool, price_per_gpu_hour=price) if name in {"", pool.name} else pool for pool in asked.pools
        )
        offers = tuple(
            replace(entry, on_demand_usd=None) if name in {"", entry.pool} else entry for entry in asked.spec.offers
        )
        return replace(asked, pools=pools, spec=replace(asked.spec, offers=offers))

    return step


def _services(key: str, value: str, asked: Asked) -> Callable[[Asked], Asked]:
    names = [*(spec.key.name for spec in asked.services), *(str(spec.key) for spec in asked.services)]
    name, own = _named(value, names)
    change = _service_change(key, own, asked.catalog)

    def step(asked: Asked) -> Asked:
        changed = tuple(change(spec) if name in {"", spec.key.name, str(spec.key)} else spec for spec in asked.services)
        return replace(asked, services=changed)

    return step


def _service_change(key: str, value: str, catalog: Catalog) -> Callable[[ServiceSpec], ServiceSpec]:
    if key == "model":
        model = catalog.model(value)
        if isinstance(model, Unknown):
            raise WhatIfError(f"model={value}: {model}")
        return lambda spec: replace(spec, model=replace(spec.model, id=value, architecture=None))
    if key == "quantization":
        if find_precision(value) is None:
            raise WhatIfError(f"quantization={value}: expected one of {', '.join(sorted(PRECISIONS))}")
        return lambda spec: replace(
            spec, variants=tuple(replace(variant, quantization=value) for variant in spec.variants)
        )
    number = _number(key, value)
    return lambda spec: replace(spec, latency=_latency(spec.latency, key, number))


def _latency(latency: LatencyObjective, key: str, number: float) -> LatencyObjective:
    """``slo`` is a factor on the latency objectives; ``ttft`` and ``itl`` are milliseconds."""
    if key == "ttft":
        return replace(latency, ttft_seconds=number / MILLISECONDS)
    if key == "itl":
        return replace(latency, inter_token_seconds=number / MILLISECONDS)
    return replace(
        latency,
        ttft_seconds=None if latency.ttft_seconds is None else latency.ttft_seconds * number,
        inter_token_seconds=None if latency.inter_token_seconds is None else latency.inter_token_seconds * number,
    )


def _named(value: str, names: list[str]) -> tuple[str, str]:
    """Whom a value concerns, empty for all, and the value itself."""
    name, colon, own = value.partition(":")
    return (name, own) if colon and name in names else ("", value)


def _number(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not (isfinite(number) and number > 0):
        raise WhatIfError(f"{key}={value}: expected a number above 0")
    return number


def _share(key: str, value: str) -> float:
    try:
        return share_of(value)
    except ValueError as error:
        raise WhatIfError(f"{key}={value}: {error}") from None


def share_of(text: str) -> float:
    """A growth per month: ``5%`` or ``0.05``.

    Raises:
        ValueError: it is none, or out of bounds.
    """
    plain = text.strip()
    try:
        share = float(plain.removesuffix("%")) / (PER_CENT if plain.endswith("%") else 1.0)
    except ValueError:
        share = float("nan")
    if not DEMAND.least_growth <= share <= DEMAND.most_growth:
        raise ValueError("expected a share per month such as 5% or 0.05, from -90% to 1000%")
    return share
