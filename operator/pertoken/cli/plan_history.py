"""`--history` of `pertoken plan`: which series of which file belongs to which service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pertoken.adapters.history_files import read_history_file
from pertoken.capacity.history.value import History, HistoryError, ServiceHistory, joined
from pertoken.domain.service import ServiceSpec

PROMETHEUS = "prometheus"
SHOWN = 10  # names of series in a message


def read_histories(options: Sequence[str], services: Sequence[ServiceSpec]) -> tuple[History, list[str]]:
    """The history of all files on one clock, and what was wrong.

    Args:
        options: each ``FILE``, ``SERVICE=FILE`` or ``SERVICE=FILE#SERIES``.
        services: of the manifests; where there is one, a file without names is its.
    """
    mistakes: list[str] = []
    histories: list[History] = []
    for option in options:
        name, path, series = split(option)
        default = name or (str(services[0].key) if len(services) == 1 else "")
        try:
            history = read_history_file(Path(path), default)
            histories.append(_renamed(history, name, series, path) if name else history)
        except HistoryError as error:
            mistakes.append(f"--history: {error}")
    try:
        return (joined(histories) if histories else History(0, ())), mistakes
    except HistoryError as error:
        return History(0, ()), [*mistakes, f"--history: {error}"]


def read_prometheus(url: str | None, services: Sequence[ServiceSpec], days: int) -> tuple[History, list[str]]:
    """The history of the last days out of Prometheus, or of what speaks its API; and what was wrong."""
    # The client library takes a second to load, which histories in files do not need.
    from pertoken.adapters.prometheus.demand import read_demand  # noqa: PLC0415
    from pertoken.adapters.prometheus.history import HistoryUnavailable  # noqa: PLC0415
    from pertoken.adapters.prometheus.profile import MetricsProfile, ProfileError  # noqa: PLC0415

    if url is None:
        return History(0, ()), ["--prometheus-url: missing; expected http(s)://host[:port] with --history prometheus"]
    try:
        return read_demand(MetricsProfile(url), services, days), []
    except ProfileError as error:
        return History(0, ()), [f"--prometheus-url {url}: {error}"]
    except HistoryUnavailable as error:
        return History(0, ()), [f"--history prometheus: {error}"]


def split(option: str) -> tuple[str, str, str]:
    """Service, file and series of an option; empty where it names none."""
    name, equals, rest = option.partition("=")
    path = rest if equals and not Path(option).exists() else option
    name = name if path is rest and equals else ""
    path, _, series = path.partition("#") if not Path(path).exists() else (path, "", "")
    return name, path, series


def _renamed(history: History, name: str, series: str, path: str) -> History:
    """The one series that is meant, under the service's name.

    Raises:
        HistoryError: there is no such series.
    """
    wanted = series or name
    chosen = history.service(wanted) or (history.services[0] if not series and len(history.services) == 1 else None)
    if chosen is None:
        raise HistoryError(f"{path}: no series {wanted!r}; expected one of {_names(history)}")
    return replace(history, services=(replace(chosen, name=name),))


def by_service(history: History, services: Sequence[ServiceSpec]) -> tuple[Mapping[str, ServiceHistory], list[str]]:
    """Each service's series by its ``namespace/name``, and one line for each that has none."""
    if len(services) == 1 and len(history.services) == 1:
        return {str(services[0].key): history.services[0]}, []
    matched: dict[str, ServiceHistory] = {}
    mistakes = []
    for spec in services:
        series = history.service(str(spec.key)) or history.service(spec.key.name)
        if series is None:
            expected = (
                f"a series {spec.key.name!r} or {str(spec.key)!r} (have {_names(history)}), or SERVICE=FILE#SERIES"
            )
            mistakes.append(f"--history: {spec.key}: no series; expected {expected}")
        else:
            matched[str(spec.key)] = series
    return matched, mistakes


def _names(history: History) -> str:
    names = [service.name or "one without a name" for service in history.services]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "none"
