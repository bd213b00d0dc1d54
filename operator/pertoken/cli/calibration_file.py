"""The file that `calibrate` writes and `estimate --calibration` reads: gains of each deployment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

from pertoken.calculators.closed_fit import Fit
from pertoken.calculators.closed_loop import AS_SERVED, ClosedGains
from pertoken.calculators.estimate import Deployment
from pertoken.cli.estimate_rows import BadFile

VERSION: Final = 1
BOUNDS: Final = (0.01, 100.0)
SLOPES: Final = (-1.0, 1.0)
Key = tuple[str, str, int, str, str]


@dataclass(frozen=True, slots=True)
class DeploymentFit:
    """One deployment and what its points say."""

    deployment: Deployment
    fit: Fit


def key_of(deployment: Deployment) -> Key:
    """Model, GPU, tensor parallelism, precision; and the engine where one is named."""
    return (*deployment.key, deployment.engine)


def as_data(learnt: Iterable[DeploymentFit]) -> dict[str, Any]:
    """The file's content."""
    return {"version": VERSION, "deployments": [_entry(each) for each in learnt]}


def _entry(learnt: DeploymentFit) -> dict[str, Any]:
    model, gpu, tensor, precision, engine = key_of(learnt.deployment)
    fit = learnt.fit
    return {
        "model": model,
        "gpu": gpu,
        "tp": tensor,
        "quantization": precision,
        **({"engine": engine} if engine else {}),
        "servesLike": fit.profile,
        "points": fit.points,
        "outliers": fit.outliers,
        "gains": {
            "decode": _round(fit.gains.decode),
            "prefill": _round(fit.gains.prefill),
            "ttft": _round(fit.gains.ttft),
            "ttftClients": _round(fit.gains.ttft_clients),
            "ttftInput": _round(fit.gains.ttft_input),
            "capacity": _round(fit.gains.capacity),
        },
        "error": {"before": _round(fit.error_before), "after": _round(fit.error_after)},
        # Relative to the kernel model alone: what the operator's own calibration starts from.
        "seed": {
            "decode": _round(fit.seed.decode),
            "prefill": _round(fit.seed.prefill),
            "ttftOffsetSeconds": _round(fit.seed.ttft_offset),
        },
    }


def _round(value: float) -> float:
    return float(f"{value:.5g}")


@dataclass(frozen=True, slots=True)
class Known:
    """Gains of a deployment, and the engine that they are relative to."""

    gains: ClosedGains = AS_SERVED
    engine: str = ""


class SavedGains:
    """What is known of each deployment."""

    def __init__(self, known: Mapping[Key, Known] | None = None) -> None:
        """By key."""
        self._known = dict(known or {})

    def of(self, deployment: Deployment) -> Known:
        """Its own, those of the same without a named engine, or none."""
        key = key_of(deployment)
        return self._known.get(key) or self._known.get((*key[:4], "")) or Known(engine=deployment.engine)


def read(path: Path) -> SavedGains:
    """A calibration file.

    Raises:
        BadFile: unreadable, or not what `calibrate` writes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'no UTF-8 text'}") from error
    except json.JSONDecodeError as error:
        raise BadFile(f"{path}: line {error.lineno}: {error.msg}; expected the JSON that calibrate writes") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path}: a value is too long or nested too deep; expected what calibrate writes") from error
    entries = content.get("deployments") if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise BadFile(f"{path}: deployments: missing; expected the JSON that calibrate writes")
    known: dict[Key, Known] = {}
    for index, entry in enumerate(entries):
        where = f"{path}: deployments[{index}]"
        if not isinstance(entry, Mapping):
            raise BadFile(f"{where}: {entry!r}: expected an object")
        key = _key(entry, where)
        known[key] = Known(_gains(entry.get("gains"), where), str(entry.get("servesLike") or key[4]))
    return SavedGains(known)


def _key(entry: Mapping[str, Any], where: str) -> Key:
    texts = [entry.get(name) for name in ("model", "gpu", "quantization")]
    tensor = entry.get("tp")
    engine = entry.get("engine", "")
    if not all(isinstance(text, str) for text in (*texts, engine)) or not isinstance(tensor, int):
        raise BadFile(f"{where}: model, gpu, quantization, tp: expected three texts and a whole number")
    return (str(texts[0]), str(texts[1]), tensor, str(texts[2]), str(engine))


def _gains(value: Any, where: str) -> ClosedGains:
    given = value if isinstance(value, Mapping) else {}
    decode, prefill, ttft = (_within(given, name, where, None, BOUNDS) for name in ("decode", "prefill", "ttft"))
    clients, prompt = (_within(given, name, where, 0.0, SLOPES) for name in ("ttftClients", "ttftInput"))
    capacity = _within(given, "capacity", where, 1.0, BOUNDS)
    return ClosedGains(decode, prefill, ttft, clients, prompt, capacity)


def _within(
    given: Mapping[str, Any], name: str, where: str, missing: float | None, bounds: tuple[float, float]
) -> float:
    figure = given.get(name, missing)
    number = isinstance(figure, int | float) and not isinstance(figure, bool) and isfinite(figure)
    if not number or not bounds[0] <= float(figure or 0) <= bounds[1]:
        raise BadFile(f"{where}.gains.{name}: {figure!r}: expected a number from {bounds[0]} to {bounds[1]}")
    return float(figure or 0)
