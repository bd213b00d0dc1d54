"""Metrics profiles as administrators write them: YAML by name of the profile, in the words of the chart.

What a profile leaves out is that of the profile ``default``, which the other settings make. A profile with a url of its
own signs in as it says itself: credentials of one server are never sent to another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError

from pertoken.adapters.prometheus.profile import (
    Credentials,
    Matcher,
    MetricsProfile,
    ProfileError,
    Tls,
)
from pertoken.api.errors import model_errors
from pertoken.api.v1alpha1.base import DNS_LABEL, LIST_LENGTH, NAME_LENGTH, Strict
from pertoken.raw.values import shown

SETTING: Final = "PERTOKEN_METRICS_PROFILES"
DEFAULT: Final = "default"
MOST_PROFILES: Final = 64  # each one's queries are sent every cycle
MOST_NAMES: Final = 256

Text = Annotated[str, Field(max_length=1024)]
Names = Annotated[dict[Text, Text], Field(max_length=MOST_NAMES)]
Matchers = Annotated[list["MatcherFields"], Field(max_length=LIST_LENGTH)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Part = TypeVar("Part")


class LabelFields(Strict):
    """Where the pod of a series stands."""

    namespace: Text = Field(default="namespace", description="Label of the namespace.")
    pod: Text = Field(default="pod", description="Label of the pod's name.")


class MatcherFields(Strict):
    """One label matcher in every selector."""

    label: Text = Field(description="Name of the label.")
    value: Text = Field(description="Taken literally; a regular expression for =~ and !~.")
    operator: Literal["=", "!=", "=~", "!~"] = Field(default="=", description="How they compare.")


class EngineFields(Strict):
    """The engines' own metrics."""

    engines: list[Text] = Field(default=[], max_length=LIST_LENGTH, description="Rows of the engine table.")
    labels: LabelFields = Field(default=LabelFields(), description="Where the pod stands.")
    rank: Text = Field(default="", description="Label of the data-parallel rank, if the scrape renamed it.")
    container_label: Text = Field(default="container", description="Label of the container.")
    container: Text = Field(default="", description="Read only this container's series.")
    matchers: Matchers = Field(default=[], description="Further matchers.")
    renamed: Names = Field(default={}, description="Metrics or histogram families by the name they have here.")
    prefixes: Names = Field(default={}, description="Beginnings of names by what they are here.")
    replica_labels: list[Text] = Field(default=[], max_length=LIST_LENGTH, description="Labels of mere copies.")


class GpuFields(Strict):
    """The GPU exporter's metrics."""

    enabled: bool = Field(default=True, description="Read them.")
    labels: LabelFields = Field(default=LabelFields(), description="Where the pod stands.")
    matchers: Matchers = Field(default=[], description="Further matchers.")
    device: Text = Field(default="UUID", description="Label of the card.")
    instance: Text = Field(default="GPU_I_ID", description="Label of a part of a card.")
    host: Text = Field(default="Hostname", description="Label of the node.")
    renamed: Names = Field(default={}, description="Metrics by the name they have here.")
    prefixes: Names = Field(default={}, description="Beginnings of names by what they are here.")


class GatewayFields(Strict):
    """The gateway's queue of held requests."""

    enabled: bool = Field(default=True, description="Read it.")
    queue: list[Text] = Field(default=[], max_length=LIST_LENGTH, description="Gauges; the first one present wins.")
    refusals: list[Text] = Field(default=[], max_length=LIST_LENGTH, description="Counters; likewise.")
    presence: list[Text] = Field(
        default=[], max_length=LIST_LENGTH, description="Gauges that a gateway with a queue always shows."
    )
    labels: LabelFields = Field(default=LabelFields(), description="Where namespace and gateway pod stand.")
    model: Text = Field(default="target_model_name", description="Label of the served model.")
    matchers: Matchers = Field(default=[], description="Further matchers.")
    signals: Names = Field(default={}, description="Gauges by the name under which a wakeSignal asks for them.")


class CredentialFields(Strict):
    """How to sign in; secrets stay in files."""

    username: Text = Field(default="", description="Of basic authentication.")
    password_file: Text | None = Field(default=None, description="File with its password.")
    bearer_token_file: Text | None = Field(default=None, description="File with a bearer token.")
    tenant: Text = Field(default="", description="X-Scope-OrgID.")


class TlsFields(Strict):
    """Trust and client certificate."""

    ca_file: Text | None = Field(default=None, description="Authorities.")
    cert_file: Text | None = Field(default=None, description="Client certificate.")
    key_file: Text | None = Field(default=None, description="Its key.")
    insecure_skip_verify: bool = Field(default=False, description="Do not check the server's certificate.")


class ProfileFields(Strict):
    """One metrics profile."""

    url: Text = Field(default="", description="Query API root.")
    engine: EngineFields = Field(default=EngineFields(), description="The engines' own metrics.")
    gpu: GpuFields = Field(default=GpuFields(), description="The GPU exporter's metrics.")
    gateway: GatewayFields = Field(default=GatewayFields(), description="The gateway's queue.")
    credentials: CredentialFields = Field(default=CredentialFields(), description="How to sign in.")
    tls: TlsFields = Field(default=TlsFields(), description="Trust.")
    scrape_interval_seconds: Seconds = Field(default=15.0, description="Of the engines' scrape job.")
    rate_window_seconds: Seconds = Field(default=90.0, description="Window of rates; at least 4 scrapes.")
    fresh_seconds: Seconds = Field(default=60.0, description="Samples older than this are stale.")
    lookback_seconds: Seconds = Field(default=300.0, description="How long vanished pods stay visible.")
    timeout_seconds: Seconds = Field(default=10.0, description="Limit of a cycle of queries.")
    connect_seconds: Seconds = Field(default=3.0, description="Limit of one connection.")


_FIELDS: Final = {"scrape_interval_seconds": "scrape_seconds", "rate_window_seconds": "window_seconds"}


def profiles(text: str, default: MetricsProfile) -> Mapping[str, MetricsProfile]:
    """All profiles by name, ``default`` among them.

    Args:
        text: YAML, a mapping of profiles by name; empty for none but the default.
        default: made of the other settings; what a profile leaves out is taken from it.

    Raises:
        ProfileError: a profile cannot work; one line with every mistake.
    """
    raw = _mapping(text)
    mistakes: list[str] = []
    named: dict[str, MetricsProfile] = {}
    # The default first: the others build on it.
    for name in sorted(raw, key=lambda name: (name != DEFAULT, str(name))):
        try:
            named[name] = _profile(name, raw[name], named.get(DEFAULT, default))
        except ProfileError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ProfileError(f"{SETTING}: " + "; ".join(mistakes))
    return {DEFAULT: default} | named


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        raw = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ProfileError(f"{SETTING}: no YAML{where}: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(raw, dict):
        raise ProfileError(f"{SETTING}: {shown(raw)}: expected a mapping of profiles by name")
    if len(raw) > MOST_PROFILES:
        raise ProfileError(f"{SETTING}: {len(raw)} profiles: at most {MOST_PROFILES}")
    return raw


def _profile(name: Any, raw: Any, default: MetricsProfile) -> MetricsProfile:
    if not isinstance(name, str) or len(name) > NAME_LENGTH or not re.fullmatch(DNS_LABEL, name):
        raise ProfileError(f'{shown(name)}: the name of a profile is made of lower-case letters, digits and "-"')
    try:
        stated = ProfileFields.model_validate({} if raw is None else raw)
    except ValidationError as error:
        raise ProfileError("; ".join(str(mistake) for mistake in model_errors(error, ProfileFields, name))) from None
    changes = {_FIELDS.get(field, field): value for field, value in stated.model_dump(exclude_unset=True).items()}
    base = default
    if "url" in changes and changes["url"] != default.url:
        base = replace(default, credentials=Credentials(), tls=Tls())
    return _changed(base, changes | {"name": name})


def _changed(part: Part, changes: Mapping[str, Any]) -> Part:
    """A frozen value with what is stated; what is not stays."""
    return replace(part, **{field: _value(getattr(part, field), field, value) for field, value in changes.items()})  # type: ignore[type-var]


def _value(current: Any, field: str, stated: Any) -> Any:
    match stated:
        case dict() if is_dataclass(current):
            return _changed(current, stated)
        case dict():
            return tuple(stated.items())
        case list() if field == "matchers":
            return tuple(Matcher(**matcher) for matcher in stated)
        case list():
            return tuple(stated)
        case str() if field.endswith("_file"):
            return Path(stated)
    return stated
