"""`docs/reference/settings.md`, and which settings the chart's `settings` takes."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic.fields import FieldInfo

from pertoken.cli.reference.markdown import table
from pertoken.settings import Settings

_HEAD: Final = """\
# Settings of the operator

Environment variables, read once at start; a wrong value ends it with a line that names the variable. The chart sets
most of them from its values; those that no value of their own stands for go into `settings`, without
the prefix `PERTOKEN_`:

```yaml
settings:
  CYCLE_SECONDS: 10
  HEADROOM: 0.1
```

Names that do not exist, and those that another value of the chart sets, are refused by the chart's schema.

"""
_UNITS: Final = {"seconds": "s", "mebibytes": "MiB", "requests": "requests", "cycles": "cycles"}
_SHARES: Final = frozenset({"cap_change_threshold", "tolerance", "headroom", "attainment_margin"})
# What the chart renders from values of its own, or from the pod; a value named again would be one key given twice.
_BY_VALUE: Final = {
    "namespaces": "namespaces",
    "read_only": "readOnly",
    "owned_workloads": "ownedWorkloads",
    "target_kinds": "targetKinds",
    "prometheus_url": "prometheus.url",
    "prometheus_username": "prometheus.username",
    "prometheus_password_file": "prometheus.secretKeys",
    "prometheus_bearer_token_file": "prometheus.secretKeys",
    "prometheus_ca_file": "prometheus.secretKeys",
    "prometheus_client_cert_file": "prometheus.secretKeys",
    "prometheus_client_key_file": "prometheus.secretKeys",
    "prometheus_insecure_skip_verify": "prometheus.insecureSkipVerify",
    "prometheus_tenant": "prometheus.tenant",
    "prometheus_timeout_seconds": "prometheus.timeoutSeconds",
    "scrape_interval_seconds": "prometheus.scrapeIntervalSeconds",
    "rate_window_seconds": "prometheus.rateWindowSeconds",
    "fresh_seconds": "prometheus.freshSeconds",
    "metrics_profiles": "metricsProfiles",
    "catalog_dir": "catalog",
    "record_cycles": "recorder.cycles",
    "record_dir": "recorder.cycles",
    "record_mebibytes": "recorder.mebibytes",
    "scaler_enabled": "scaler.enabled",
    "scaler_port": "scaler.port",
    "scaler_cert_file": "scaler.tlsSecret",
    "scaler_key_file": "scaler.tlsSecret",
    "scaler_client_ca_file": "scaler.clientCertificates",
    "http_port": "service.port",
    "log_level": "logLevel",
    "log_format": "(json)",
    "identity": "(the pod's name)",
    "operator_namespace": "(the release's)",
    "kubeconfig": "(outside a cluster)",
    "context": "(outside a cluster)",
}


def settings_page() -> str:
    """Every setting with default, unit, meaning and where the chart sets it."""
    rows = [
        (f"`PERTOKEN_{name.upper()}`", _default(field), _unit(name), field.description or "", _chart(name))
        for name, field in Settings.model_fields.items()
    ]
    return _HEAD + table(("variable", "default", "unit", "meaning", "chart"), rows)


def chart_schema(text: str) -> str:
    """The chart's schema with the settings that its `settings` takes."""
    schema = json.loads(text)
    described = Settings.model_json_schema()["properties"]
    names = [name for name in Settings.model_fields if name not in _BY_VALUE]
    schema["properties"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name.upper(): _property(described[name]) for name in names},
    }
    return json.dumps(schema, indent=2) + "\n"


def _property(described: dict[str, Any]) -> dict[str, Any]:
    """One setting: a number or a flag may also be given as text, as an environment variable holds it."""
    kinds: dict[str, Any] = {"boolean": ["boolean", "string"], "string": "string"}
    kind = kinds.get(described.get("type", "string"), ["number", "string"])
    bounds = ("minimum", "exclusiveMinimum", "exclusiveMaximum")
    made: dict[str, Any] = {"type": kind, "description": described.get("description", "")}
    return made | {key: described[key] for key in bounds if key in described}


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, float):
        value = f"{value:g}"
    return "" if value in (None, "") else f"`{value}`"


def _unit(name: str) -> str:
    return "share" if name in _SHARES else _UNITS.get(name.rpartition("_")[2], "")


def _chart(name: str) -> str:
    value = _BY_VALUE.get(name, f"settings.{name.upper()}")
    return value.strip("()") if value.startswith("(") else f"`{value}`"
