"""History as the forecast reads it: hours on one clock for all services, gaps as NaN and never as zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertoken.capacity.bursts.stream import Stretch
from pertoken.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]


class HistoryError(ValueError):
    """A history cannot be used; the message names file, line or field, the value, and what was expected."""


@dataclass(frozen=True, slots=True, eq=False)
class ServiceHistory:
    """One service's past, by the hour. Every array has the hours of the history; NaN where an hour is not known.

    Attributes:
        name: as the history calls the service.
        requests: in the hour.
        input_tokens, output_tokens: in the hour; all NaN where the history does not tell them.
        peak: rate of the busiest bin of the hour over the hour's mean; NaN where bins are whole hours, or hours empty.
        stretches: of single requests, where the history has them.
    """

    name: str
    requests: Floats
    input_tokens: Floats
    output_tokens: Floats
    peak: Floats
    stretches: tuple[Stretch, ...] = ()

    @property
    def hours(self) -> int:
        """Length, gaps included."""
        return len(self.requests)

    def padded(self, before: int, after: int) -> ServiceHistory:
        """The same with unknown hours on both sides."""
        amounts = (self.requests, self.input_tokens, self.output_tokens, self.peak)
        requests, inputs, outputs, peak = (np.pad(each, (before, after), constant_values=np.nan) for each in amounts)
        return ServiceHistory(self.name, requests, inputs, outputs, peak, self.stretches)


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """All services on one clock.

    Attributes:
        start_s: begin of the first hour, in the clock of the source (Unix seconds where it has them).
        services: each over the same hours.
        remarks: what was left out or assumed while reading, one line each.
    """

    start_s: int
    services: tuple[ServiceHistory, ...]
    remarks: tuple[str, ...] = ()

    @property
    def hours(self) -> int:
        """Length, gaps included."""
        return self.services[0].hours if self.services else 0

    @property
    def end_s(self) -> int:
        """End of the last hour: the plan's horizon begins here."""
        return self.start_s + self.hours * SECONDS_PER_HOUR

    def service(self, name: str) -> ServiceHistory | None:
        """The service of this name; None for none."""
        return next((service for service in self.services if service.name == name), None)


def joined(histories: list[History]) -> History:
    """Several histories on one clock: unknown hours where one of them does not reach.

    Raises:
        HistoryError: a service is told by two of them.
    """
    start = min(history.start_s for history in histories)
    end = max(history.end_s for history in histories)
    services: dict[str, ServiceHistory] = {}
    for history in histories:
        before = (history.start_s - start) // SECONDS_PER_HOUR
        after = (end - history.end_s) // SECONDS_PER_HOUR
        for service in history.services:
            if service.name in services:
                raise HistoryError(f"service {service.name}: in two histories; expected one")
            services[service.name] = service.padded(before, after)
    remarks = tuple(remark for history in histories for remark in history.remarks)
    return History(start, tuple(services.values()), remarks)
