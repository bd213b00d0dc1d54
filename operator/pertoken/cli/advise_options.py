"""The options of `pertoken advise` that say what may be chosen from and compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pertoken.api.check import Checked
from pertoken.calculators.changes import OtherModel, PricedGpu
from pertoken.catalog.lookup import Catalog, Unknown, quantization_of
from pertoken.catalog.prices import LIST_PRICES
from pertoken.domain.service import PriceList
from pertoken.units import AmountError, parse_amount


@dataclass(frozen=True, slots=True)
class OwnPrices:
    """`--price`.

    Attributes:
        by_gpu: USD per GPU-hour by catalog id.
        plain: the price that names no GPU: that of `--gpu`.
    """

    by_gpu: Mapping[str, Decimal]
    plain: Decimal | None = None

    def of(self, gpu: str) -> str | None:
        """The price of `--gpu` as an option's text."""
        price = self.by_gpu.get(gpu, self.plain)
        return None if price is None else str(price)


def own_prices(texts: Sequence[str], catalog: Catalog, mistakes: list[str]) -> OwnPrices:
    """``GPU=USD`` or ``USD``; mistakes are added, one line each."""
    by_gpu: dict[str, Decimal] = {}
    plain: Decimal | None = None
    for text in texts:
        name, equals, amount = text.rpartition("=")
        gpu = catalog.gpu(name)
        if equals and isinstance(gpu, Unknown):
            mistakes.append(f"--price: {text!r}: {gpu}")
            continue
        price = amount_of("--price", amount, "GPU=USD per GPU-hour", mistakes)
        if price is not None and not isinstance(gpu, Unknown):
            by_gpu[gpu.id] = price
        elif price is not None:
            plain = price
    return OwnPrices(by_gpu, plain)


def amount_of(option: str, text: str | None, expected: str, mistakes: list[str]) -> Decimal | None:
    """An option that is an amount; None where it is not given, or wrong."""
    if text is None:
        return None
    try:
        return parse_amount(text)
    except AmountError as error:
        mistakes.append(f"{option}: {error}; expected {expected}")
        return None


def allowed_models(texts: Sequence[str], catalog: Catalog, mistakes: list[str]) -> tuple[OtherModel, ...]:
    """`--allow-model`: the models whose answers are good enough."""
    allowed = []
    for text in texts:
        model = catalog.model(text)
        if isinstance(model, Unknown):
            mistakes.append(f"--allow-model: {text!r}: {model}")
        else:
            allowed.append(OtherModel(model, quantization_of(text), allowed=True))
    return tuple(allowed)


def api_prices(texts: tuple[str | None, str | None, str | None], mistakes: list[str]) -> PriceList | None:
    """`--api-input`, `--api-output`, `--api-cached`: the first two belong together."""
    names = ("--api-input", "--api-output", "--api-cached")
    if all(text is None for text in texts):
        return None
    computed, output, cached = (
        amount_of(name, text, "USD per million tokens", mistakes) for name, text in zip(names, texts, strict=True)
    )
    mistakes += [
        f"{name}: missing: expected USD per million tokens, as the other prices of the API are given"
        for name, text in zip(names[:2], texts[:2], strict=True)
        if text is None
    ]
    if computed is None or output is None:
        return None
    return PriceList(computed, computed if cached is None else cached, output)


def priced_gpus(prices: OwnPrices, checked: Checked | None, catalog: Catalog) -> tuple[PricedGpu, ...]:
    """Every GPU with a price: the option's, else the cheapest pool's of the files, else a public list's."""
    by_id: dict[str, PricedGpu] = {}
    for listed in LIST_PRICES:
        gpu = catalog.known_gpu(listed.gpu)
        if gpu is not None:
            by_id[gpu.id] = PricedGpu(gpu, listed.usd_per_hour, str(listed))
    pools = [pool.spec for pool in checked.pools] if checked else []
    priced = [(pool.price_per_gpu_hour * pool.gpu_fraction, pool) for pool in pools if pool.price_per_gpu_hour]
    for price, pool in sorted(priced, key=lambda entry: entry[0], reverse=True):
        gpu = catalog.known_gpu(pool.accelerator)
        if gpu is not None:
            by_id[gpu.id] = PricedGpu(gpu, price, f"{price} USD per GPU-hour (pool {pool.name})")
    for name, own in prices.by_gpu.items():
        gpu = catalog.known_gpu(name)
        if gpu is not None:
            by_id[gpu.id] = PricedGpu(gpu, own, f"{own} USD per GPU-hour (--price)")
    return tuple(by_id.values())
