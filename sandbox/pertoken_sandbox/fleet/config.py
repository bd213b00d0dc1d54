"""The fleet's configuration file."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from pertoken.catalog.lookup import model_key
from pertoken_bench.hardware.truth import Truth

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class ConfigError(ValueError):
    """The configuration cannot be used; one line per mistake: file, field, value, expectation."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class NodeGroup(_Model):
    """Nodes to create: one called ``name``, or ``count`` called ``<prefix>-<i>``."""

    name: str | None = None
    prefix: str | None = None
    count: Annotated[int, Field(ge=1, le=500)] = 1
    product: str
    gpus: Annotated[int, Field(ge=1, le=16)]
    memory_gib: Positive = Field(alias="memoryGiB")
    instance_type: str = "emulated.gpu"
    labels: dict[str, str] = Field(default_factory=dict)
    cpu: Annotated[int, Field(ge=1)] = 96
    memory: str = "1024Gi"
    pods: Annotated[int, Field(ge=1)] = 110

    def names(self) -> list[str]:
        """Names of the group's nodes."""
        if self.name is not None:
            return [self.name]
        return [f"{self.prefix or 'gpu'}-{index}" for index in range(self.count)]


class Startup(_Model):
    """How long a replica takes from bound to ready; ``jitter`` is the half-width of a uniform factor."""

    image_pull_seconds: NotNegative = 2.0
    load_seconds: NotNegative = 8.0
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.15


class StartupOverride(Startup):
    """Start-up times of one model and/or one GPU product; the first that matches holds."""

    model: str | None = None
    product: str | None = None


class TruthSettings(_Model):
    """How the emulated hardware differs from the tables; see ``Truth``."""

    decode: Positive = 1.0
    prefill: Positive = 1.0
    spread: Annotated[float, Field(ge=0, lt=0.5)] = 0.04
    noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.03
    slow_start: NotNegative = 0.15
    slow_start_seconds: Positive = 10.0

    def values(self) -> Truth:
        """The same as the engine's plain value."""
        return Truth(**self.model_dump())


class Traffic(_Model):
    """Clients of one service: which pods they reach and which trace they play."""

    namespace: str = "default"
    service: str
    selector: dict[str, str] = Field(min_length=1)
    trace: Path
    model: str = ""
    speed: Positive = 1.0
    rate_scale: NotNegative = 1.0
    start_seconds: NotNegative = 0.0
    duration_seconds: Positive | None = None
    loop: bool = False
    auto_start: bool = True
    seed: int = 0


class FleetConfig(_Model):
    """Everything the emulated fleet is told."""

    nodes: list[NodeGroup] = Field(min_length=1)
    startup: Startup = Startup()
    startup_overrides: list[StartupOverride] = Field(default_factory=list)
    truth: TruthSettings = TruthSettings()
    traffic: list[Traffic] = Field(default_factory=list)
    request_log: Path | None = None
    heartbeat_seconds: Positive = 10.0
    config_retry_seconds: Positive = 5.0
    crash_backoff_seconds: Positive = 5.0

    def startup_of(self, model: str, product: str) -> Startup:
        """Start-up times of a model on a GPU product."""
        for entry in self.startup_overrides:
            model_fits = entry.model is None or model_key(entry.model) == model_key(model)
            if model_fits and entry.product in (None, product):
                return entry
        return self.startup


def load_config(path: Path) -> FleetConfig:
    """Read ``path``; relative paths inside are relative to its folder.

    Raises:
        ConfigError: unreadable, not YAML, or fields that do not fit.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        config = FleetConfig.model_validate(raw)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(str(p) for p in e['loc'])}: {e['input']!r}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error
    base = path.parent
    traffic = [t.model_copy(update={"trace": base / t.trace}) for t in config.traffic]
    log = None if config.request_log is None else base / config.request_log
    return config.model_copy(update={"traffic": traffic, "request_log": log})
