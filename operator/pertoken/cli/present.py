"""The present state of a service, from what `kubectl get ptis,ptpool -o yaml` prints, as a subject to quote."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from pertoken.cli.rendering import refuse
from pertoken.cli.subject import DeploymentOptions, RequestOptions, Subject, resolve
from pertoken.performance.step_time import Gains


def present(path: Path, service: str | None, variant: str | None, price: str | None) -> tuple[Subject, float]:
    """The subject and its present batch; what is missing ends the command with a line that names it."""
    objects = list(_objects(path))
    chosen = _chosen(path, service, [o for o in objects if o.get("kind") == "InferenceService"])
    name = f"{path}: {_name(chosen)}"
    spec, status = _map(chosen, "spec"), _map(chosen, "status")
    working = [v for v in status.get("variants") or () if v.get("operatingBatch") is not None]
    shown = next((v for v in working if variant in (None, v.get("name"))), None)
    if shown is None:
        refuse(
            f"{name}: status.variants[].operatingBatch: missing: "
            f"expected {'a variant' if variant is None else f'variant {variant!r}'} that serves and is measured"
        )
    of: Mapping[str, Any] = next((v for v in spec.get("variants") or () if v.get("name") == shown["name"]), {})
    pools = [o for o in objects if o.get("kind") == "AcceleratorPool" and _name(o) == of.get("pool")]
    if not pools:
        refuse(f"{name}: spec.variants[].pool: {of.get('pool')!r}: expected this AcceleratorPool in the same file")
    pool = _map(pools[0], "spec")
    latency = _map(_map(spec, "objective"), "latency")
    now = _map(_map(status, "demand"), "now")
    rate = _number(now.get("requestsPerSecond"), f"{name}: status.demand.now.requestsPerSecond")
    inputs = _number(now.get("inputTokensPerSecond"), f"{name}: status.demand.now.inputTokensPerSecond")
    outputs = _number(now.get("outputTokensPerSecond"), f"{name}: status.demand.now.outputTokensPerSecond")
    if rate <= 0:
        refuse(
            f"{name}: status.demand.now.requestsPerSecond: {rate:g}: expected traffic; give --model and --gpu instead"
        )
    subject = resolve(
        DeploymentOptions(
            str(_map(spec, "model").get("id", "")),
            str(pool.get("accelerator", "")),
            int(_map(of, "parallelism").get("tensor", 1)),
            str(of.get("quantization") or ""),
            shown.get("batchCap"),
            _map(of, "batching").get("maxBatchedTokens"),
            price if price is not None else pool.get("pricePerGPUHour"),
        ),
        RequestOptions(
            round(inputs / rate, 1),
            max(1.0, round(outputs / rate, 1)),
            0.0,
            latency.get("ttftMilliseconds"),
            latency.get("interTokenMilliseconds"),
            int(latency.get("percentile", 95)),
        ),
    )
    batch = _number(shown["operatingBatch"], f"{name}: status.variants[].operatingBatch")
    return replace(subject, engine=replace(subject.engine, gains=_gains(_map(shown, "calibration"), name))), batch


def _gains(learnt: Mapping[str, Any], name: str) -> Gains:
    where = f"{name}: status.variants[].calibration"
    return Gains(
        _number(learnt.get("decodeGain", "1"), f"{where}.decodeGain"),
        _number(learnt.get("prefillGain", "1"), f"{where}.prefillGain"),
        _number(learnt.get("ttftOffsetMilliseconds", 0), f"{where}.ttftOffsetMilliseconds") / 1000.0,
    )


def _objects(path: Path) -> Iterator[Mapping[str, Any]]:
    """All documents, lists unpacked."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        documents = list(yaml.safe_load_all(text))
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"--from: {path}: cannot be read: {getattr(error, 'strerror', None) or 'no UTF-8 text'}")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        refuse(f"--from: {path}: no YAML{'' if mark is None else f' (line {mark.line + 1})'}; expected objects")
    except (ValueError, TypeError, AttributeError, RecursionError):
        refuse(f"--from: {path}: a value cannot be read; expected objects")
    for document in documents:
        if isinstance(document, Mapping):
            items = document.get("items")
            yield from (item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else (document,)


def _chosen(path: Path, service: str | None, services: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    named = [o for o in services if service in (None, _name(o), f"{_map(o, 'metadata').get('namespace')}/{_name(o)}")]
    if len(named) != 1:
        names = ", ".join(sorted(_name(o) for o in services)) or "none"
        refuse(f"--service: {service or 'missing'}: {path} holds {names}; expected the name of one InferenceService")
    return named[0]


def _name(obj: Mapping[str, Any]) -> str:
    return str(_map(obj, "metadata").get("name", ""))


def _map(obj: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = obj.get(key)
    return value if isinstance(value, Mapping) else {}


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not isfinite(number):
        refuse(f"{where}: {value!r}: expected a number")
    return number
