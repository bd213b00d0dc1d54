"""The clients of one model as ServeGen publishes them: a folder of windows and of lengths (arXiv 2505.09999).

``chunk-N-trace.csv`` has a client's windows (`rates` reads one), ``chunk-N-dataset.json`` the lengths of its requests:
by window a distribution of `input_tokens` and of `output_tokens`, as an object or as the text of one.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from pertoken_bench.traces.files import TraceError, read_text
from pertoken_bench.traces.rates import Bins, load_bins

MOST_CLIENTS: Final = 10_000
_WINDOWS: Final = "-trace.csv"
_LENGTHS: Final = "-dataset.json"
_PAIR: Final = re.compile(r"""["']?(\d{1,9}(?:\.\d{1,9})?)["']?\s*:\s*(\d[\d.eE+-]{0,30})""")
_FIELDS: Final = ("input_tokens", "output_tokens")


@dataclass(slots=True)
class _Window:
    """What all clients ask for in one window: requests, those whose lengths are told, and their tokens."""

    end: float = 0.0
    requests: float = 0.0
    told: float = 0.0
    tokens: list[float] = field(default_factory=lambda: [0.0, 0.0])


def load_series(path: Path) -> Bins:
    """A rate series: a file of one (`rates`), or all clients of a folder together.

    Raises:
        TraceError: it cannot be used.
    """
    return _folder(path) if path.is_dir() else load_bins(path)


def tells_lengths(path: Path) -> bool:
    """Whether a folder says how long its clients' requests are."""
    return path.is_dir() and any(path.glob(f"*{_LENGTHS}"))


def _folder(path: Path) -> Bins:
    files = sorted(path.glob(f"*{_WINDOWS}"))
    if not files:
        raise TraceError(
            f"{path}: no file *{_WINDOWS} in it; expected the clients of a ServeGen model, or a trace file"
        )
    if len(files) > MOST_CLIENTS:
        raise TraceError(f"{path}: {len(files):,} clients; expected at most {MOST_CLIENTS:,}")
    windows: defaultdict[float, _Window] = defaultdict(_Window)
    for file in files:
        _add(windows, load_bins(file), _Lengths.beside(file))
    starts = sorted(windows)
    rows = [windows[start] for start in starts]
    means = [[window.tokens[which] / window.told if window.told else 0.0 for window in rows] for which in (0, 1)]
    edges = np.array([*starts, max(window.end for window in rows)])
    return Bins(edges, np.array([window.requests for window in rows]), np.array(means[0]), np.array(means[1]))


def _add(windows: defaultdict[float, _Window], client: Bins, lengths: _Lengths | None) -> None:
    for start, end, requests in zip(client.times[:-1], client.times[1:], client.requests, strict=True):
        window = windows[float(start)]
        window.end = max(window.end, float(end))
        window.requests += float(requests)
        means = None if lengths is None else lengths.at(float(start))
        if means is not None:
            window.told += float(requests)
            for which in (0, 1):
                window.tokens[which] += float(requests) * means[which]


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Mean tokens in and out of one client's requests, by the window's beginning."""

    by_window: Mapping[float, tuple[float, float]]

    @classmethod
    def beside(cls, windows: Path) -> _Lengths | None:
        """Those of the client whose windows a file has; None where they are not published."""
        file = windows.with_name(windows.name.removesuffix(_WINDOWS) + _LENGTHS)
        if not file.is_file():
            return None
        try:
            content = json.loads(read_text(file))
        except (ValueError, RecursionError) as error:
            raise TraceError(f"{file}: no JSON: {error}") from None
        means = dict(_means(content)) if isinstance(content, Mapping) else {}
        if not means:
            raise TraceError(f"{file}: expected an object of windows with {' and '.join(_FIELDS)}")
        return cls(means)

    def at(self, start: float) -> tuple[float, float]:
        """Of a window, or of the last one before it, or of the first one."""
        before = [moment for moment in self.by_window if moment <= start]
        return self.by_window[max(before) if before else min(self.by_window)]


def _means(content: Mapping[str, Any]) -> Iterator[tuple[float, tuple[float, float]]]:
    for key, window in content.items():
        if isinstance(window, Mapping) and re.fullmatch(r"\d{1,12}(\.\d+)?", key):
            means = [_mean(window.get(name)) for name in _FIELDS]
            if means[0] and means[1]:
                yield float(key), (means[0], means[1])


def _mean(distribution: Any) -> float:
    """Of values and how often they are; 0 where there are none."""
    text = distribution if isinstance(distribution, str) else json.dumps(distribution)
    pairs = [(float(value), float(weight)) for value, weight in _PAIR.findall(text)]
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total > 0 else 0.0
