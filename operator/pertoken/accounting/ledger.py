"""The ledger: each service's account over its cost window, in buckets, and its JSON form.

Fields are saved by position, so that a ledger stays small: new ones stand at the end of their class and have a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from decimal import Decimal
from functools import reduce
from operator import add, attrgetter
from typing import Any, Final

from pertoken.accounting.bill import EXACT, Bill
from pertoken.accounting.cost_index import Tokens
from pertoken.accounting.energy import Energy
from pertoken.accounting.tuning import TUNING
from pertoken.domain.cost import TokenWork
from pertoken.domain.service import ServiceSpec
from pertoken.frozen import dataclass, replace
from pertoken.raw.codec import DERIVED, CodecError, decode, encode

_PLANNERS_LEDGER: Final = 11  # its place in a service's memory of version 2, where the planner kept the account


@dataclass(frozen=True, slots=True)
class Lines:
    """Money of the bill that bought no work, USD x 3.6e9 in whole units (3e-10 USD); the rest is work.

    Attributes:
        idle: engines stood still.
        warming: pods were bound and not serving yet.
        unallocated: the service's part of what its pools charge and nobody holds.
    """

    idle: int = 0
    warming: int = 0
    unallocated: int = 0

    def __add__(self, other: Lines) -> Lines:
        """Both together."""
        return Lines(self.idle + other.idle, self.warming + other.warming, self.unallocated + other.unallocated)


@dataclass(frozen=True, slots=True)
class Charged:
    """Modelled GPU-seconds of the finished tokens, at the operating points at which they finished.

    Attributes:
        input, cached_input, output: Shapley values.
        output_low, output_high: output when it is said to come second, and first.
    """

    input: float = 0.0
    cached_input: float = 0.0
    output: float = 0.0
    output_low: float = 0.0
    output_high: float = 0.0

    def __add__(self, other: Charged) -> Charged:
        """Both together."""
        return Charged(
            self.input + other.input,
            self.cached_input + other.cached_input,
            self.output + other.output,
            self.output_low + other.output_low,
            self.output_high + other.output_high,
        )


@dataclass(frozen=True, slots=True)
class Attained:
    """Finished requests whose latencies were told, and how many of them kept every objective.

    Attributes:
        known: those that were told of.
        within_low, within_high: least and most of them within every objective, as histogram buckets bound them.
    """

    known: float = 0.0
    within_low: float = 0.0
    within_high: float = 0.0

    def __add__(self, other: Attained) -> Attained:
        """Both together."""
        return Attained(
            self.known + other.known, self.within_low + other.within_low, self.within_high + other.within_high
        )


NO_BILL: Final = Bill()
NO_TOKENS: Final = Tokens()
NO_LINES: Final = Lines()
NOT_CHARGED: Final = Charged()
NO_ENERGY: Final = Energy()
NOT_ATTAINED: Final = Attained()


@dataclass(frozen=True, slots=True)
class Bucket:
    """One slice of the window.

    Attributes:
        start: seconds since the epoch.
        gpu_microseconds, usd_microhours, priced: the bill, see there.
        requests, input_tokens, cached_tokens, output_tokens: finished.
        judged_gpu_seconds, busy_gpu_seconds: GPU time whose use was measured, and the used part of it.
        lines, charged, energy, attained: see there.
    """

    start: float
    gpu_microseconds: int = 0
    usd_microhours: Decimal = Decimal(0)
    priced: bool = True
    requests: float = 0.0
    input_tokens: float = 0.0
    cached_tokens: float = 0.0
    output_tokens: float = 0.0
    judged_gpu_seconds: float = 0.0
    busy_gpu_seconds: float = 0.0
    lines: Lines = NO_LINES
    charged: Charged = NOT_CHARGED
    energy: Energy = NO_ENERGY
    attained: Attained = NOT_ATTAINED

    @property
    def finished(self) -> Tokens:
        """Tokens of the requests that finished."""
        return Tokens(self.requests, self.input_tokens, self.cached_tokens, self.output_tokens)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over buckets, see there."""

    bill: Bill
    tokens: Tokens
    judged_gpu_seconds: float
    busy_gpu_seconds: float
    lines: Lines
    charged: Charged
    energy: Energy
    attained: Attained

    def with_bucket(self, bucket: Bucket) -> Totals:
        """The sums with one more bucket."""
        return Totals(
            self.bill + Bill(bucket.gpu_microseconds, bucket.usd_microhours, bucket.priced),
            self.tokens + bucket.finished,
            self.judged_gpu_seconds + bucket.judged_gpu_seconds,
            self.busy_gpu_seconds + bucket.busy_gpu_seconds,
            self.lines + bucket.lines,
            self.charged + bucket.charged,
            self.energy + bucket.energy,
            self.attained + bucket.attained,
        )


NO_TOTALS: Final = Totals(NO_BILL, NO_TOKENS, 0.0, 0.0, NO_LINES, NOT_CHARGED, NO_ENERGY, NOT_ATTAINED)


def totals(buckets: Iterable[Bucket]) -> Totals:
    """The sums over buckets, in their order: `with_bucket` by `with_bucket` they are equal bit for bit.

    Field by field, since every account's last bucket turns at the same instant, and all sum up then.
    """
    rows = tuple(buckets)
    lines, work = [bucket.lines for bucket in rows], [bucket.charged for bucket in rows]
    energy, kept = [bucket.energy for bucket in rows], [bucket.attained for bucket in rows]
    return Totals(
        bill_of(rows),
        tokens_of(rows),
        _sum_of(rows, "judged_gpu_seconds"),
        _sum_of(rows, "busy_gpu_seconds"),
        Lines(*(sum(map(attrgetter(name), lines)) for name in ("idle", "warming", "unallocated"))),
        Charged(*(_sum_of(work, name) for name in ("input", "cached_input", "output", "output_low", "output_high"))),
        Energy(_sum_of(energy, "joules"), _sum_of(energy, "seconds")),
        Attained(*(_sum_of(kept, name) for name in ("known", "within_low", "within_high"))),
    )


def bill_of(buckets: Sequence[Bucket]) -> Bill:
    """The sum of their bills."""
    return Bill(
        sum(bucket.gpu_microseconds for bucket in buckets),
        reduce(EXACT.add, map(attrgetter("usd_microhours"), buckets), Decimal(0)),
        all(bucket.priced for bucket in buckets),
    )


def tokens_of(buckets: Sequence[Bucket]) -> Tokens:
    """The sum of their finished tokens."""
    names = ("requests", "input_tokens", "cached_tokens", "output_tokens")
    return Tokens(*(_sum_of(buckets, name) for name in names))


def _sum_of(values: Iterable[object], name: str) -> float:
    """Of a field, in the values' order: from Python 3.12 on `sum` rounds otherwise."""
    return reduce(add, map(attrgetter(name), values), 0.0)


@dataclass(frozen=True, slots=True)
class PodTotals:
    """Last counters of one pod."""

    requests: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cached_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class ServiceLedger:
    """One service's account.

    Attributes:
        uid: of the object; another uid is another service.
        buckets: oldest first.
        counters: last ones, by pod uid.
        opened_at, closed_at: first and last instant that was accounted for, seconds since the epoch.
        token_work: GPU-seconds per token by variant, as the last plan left them.
        before_last: running sum of all buckets but the last, which alone changes; None where it is to be worked out.
    """

    uid: str
    buckets: tuple[Bucket, ...] = ()
    counters: Mapping[str, PodTotals] = field(default_factory=dict)
    opened_at: float | None = None
    closed_at: float | None = None
    token_work: Mapping[str, TokenWork] = field(default_factory=dict)
    before_last: Totals | None = field(default=None, kw_only=True, compare=False, repr=False, metadata=DERIVED)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The accounts of all services, by ``namespace/name``."""

    services: Mapping[str, ServiceLedger] = field(default_factory=dict)

    def of(self, spec: ServiceSpec) -> ServiceLedger:
        """A service's account; an empty one where there is none, or only that of another object of its name."""
        kept = self.services.get(str(spec.key))
        return ServiceLedger(spec.uid) if kept is None or kept.uid != spec.uid else kept


EMPTY: Final = Ledger()


@dataclass(frozen=True, slots=True)
class Entry:
    """What one cycle adds to an account."""

    bill: Bill
    tokens: Tokens
    judged_gpu_seconds: float = 0.0
    busy_gpu_seconds: float = 0.0
    lines: Lines = NO_LINES
    charged: Charged = NOT_CHARGED
    energy: Energy = NO_ENERGY
    attained: Attained = NOT_ATTAINED


def post(ledger: ServiceLedger, entry: Entry, now: float, window_seconds: float) -> ServiceLedger:
    """Add an entry to the bucket of `now` (seconds since the epoch) and drop buckets that have left the window."""
    width = bucket_seconds(window_seconds)
    start = now - now % width
    buckets = ledger.buckets
    last = buckets[-1] if buckets and buckets[-1].start == start else None
    into = last or Bucket(start)
    into = Bucket(
        start=start,
        gpu_microseconds=into.gpu_microseconds + entry.bill.gpu_microseconds,
        usd_microhours=into.usd_microhours + entry.bill.usd_microhours,
        priced=into.priced and entry.bill.priced,
        requests=into.requests + entry.tokens.requests,
        input_tokens=into.input_tokens + entry.tokens.input,
        cached_tokens=into.cached_tokens + entry.tokens.cached,
        output_tokens=into.output_tokens + entry.tokens.output,
        judged_gpu_seconds=into.judged_gpu_seconds + entry.judged_gpu_seconds,
        busy_gpu_seconds=into.busy_gpu_seconds + entry.busy_gpu_seconds,
        lines=into.lines + entry.lines,
        charged=into.charged + entry.charged,
        energy=into.energy + entry.energy,
        attained=into.attained + entry.attained,
    )
    kept = buckets[:-1] if last else buckets
    before_last = ledger.before_last if last else None
    if kept and kept[0].start <= now - window_seconds - width:
        kept = tuple(bucket for bucket in kept if bucket.start > now - window_seconds - width)
        before_last = None
    opened = now if ledger.opened_at is None else ledger.opened_at
    before_last = totals(kept) if before_last is None else before_last
    return replace(ledger, buckets=(*kept, into), opened_at=opened, closed_at=now, before_last=before_last)


def bucket_seconds(window_seconds: float) -> float:
    """Length of a bucket, seconds."""
    return max(window_seconds / TUNING.buckets, 1.0)


def coarsened(ledger: Ledger, most: int) -> Ledger:
    """The same sums in at most `most` buckets and the last one, where there are more.

    A bucket of several has the start of their last one, so that none leaves the window too early.
    """
    return Ledger({name: _coarser(account, most) for name, account in ledger.services.items()})


def _coarser(account: ServiceLedger, most: int) -> ServiceLedger:
    closed, last = account.buckets[:-1], account.buckets[-1:]
    if len(closed) <= most:
        return account
    size = -(-len(closed) // most)
    groups = [closed[at : at + size] for at in range(0, len(closed), size)]
    return replace(account, buckets=(*map(_united, groups), *last), before_last=None)


def _united(buckets: Sequence[Bucket]) -> Bucket:
    whole = totals(buckets)
    return Bucket(
        start=buckets[-1].start,
        gpu_microseconds=whole.bill.gpu_microseconds,
        usd_microhours=whole.bill.usd_microhours,
        priced=whole.bill.priced,
        requests=whole.tokens.requests,
        input_tokens=whole.tokens.input,
        cached_tokens=whole.tokens.cached,
        output_tokens=whole.tokens.output,
        judged_gpu_seconds=whole.judged_gpu_seconds,
        busy_gpu_seconds=whole.busy_gpu_seconds,
        lines=whole.lines,
        charged=whole.charged,
        energy=whole.energy,
        attained=whole.attained,
    )


def to_json(ledger: Ledger) -> Any:
    """The ledger as JSON data."""
    return encode(ledger)


def from_json(data: Any) -> Ledger:
    """The ledger that `to_json` wrote.

    Raises:
        ValueError: the data is no ledger.
    """
    ledger = decode(Ledger, data)
    assert isinstance(ledger, Ledger)  # noqa: S101 - narrows the codec's Any
    return ledger


def from_planners_memory(services: Any) -> Ledger:
    """The accounts inside the planner's memory, where version 2 kept them.

    Args:
        services: JSON data of the services' memories, by ``namespace/name``.

    Raises:
        ValueError: the data is no memory of version 2.
    """
    if not isinstance(services, Mapping):
        raise CodecError(f"expected the services' memories, got {type(services).__name__}")
    accounts = {}
    for name, fields in services.items():
        if not isinstance(fields, list) or not fields:
            raise CodecError(f"{name}: expected a service's memory")
        kept = fields[_PLANNERS_LEDGER] if len(fields) > _PLANNERS_LEDGER else []
        if not isinstance(kept, list):
            raise CodecError(f"{name}: expected an account, got {type(kept).__name__}")
        accounts[name] = [fields[0], *kept]
    return from_json([accounts])
