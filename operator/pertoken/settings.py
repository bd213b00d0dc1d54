"""The operator's settings: environment variables ``PERTOKEN_…``, validated once at start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pertoken.adapters.prometheus.engines import ENGINES, GENERIC
from pertoken.adapters.prometheus.profile import (
    Credentials,
    EngineSource,
    GatewaySource,
    MetricsProfile,
    Tls,
)
from pertoken.adapters.prometheus.profile_settings import profiles
from pertoken.control.survey import Rules
from pertoken.domain.world import PlannerSettings

DEFAULT_TARGET_KINDS = ("Deployment.apps", "StatefulSet.apps")


class Settings(BaseSettings):
    """Everything that an administrator may set; the chart renders these from its values."""

    model_config = SettingsConfigDict(env_prefix="PERTOKEN_", frozen=True, extra="ignore")

    kubeconfig: Path | None = Field(default=None, description="Kubeconfig file; in-cluster credentials when unset.")
    context: str | None = Field(default=None, description="Context of the kubeconfig; its current one when unset.")
    namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Namespaces to watch, comma-separated; empty watches the whole cluster."
    )
    operator_namespace: str = Field(default="pertoken-system", description="Namespace of lease and saved memory.")
    identity: str = Field(default="pertoken", description="Name of this process in the lease, e.g. the pod's name.")
    leader_election: bool = Field(default=True, description="Hold a Lease before acting.")
    lease_seconds: float = Field(
        default=15.0,
        ge=3,
        description="Others may lead when the lease was not renewed for so long; a write may take 3/10 of it.",
    )
    read_only: bool = Field(default=False, description="Plan and report, never change a workload.")
    owned_workloads: Literal["Labelled", "All"] = Field(
        default="Labelled",
        description="Where podTemplate may be used: namespaces labelled pertoken.dev/owned-workloads=enabled, or all.",
    )
    target_kinds: Annotated[tuple[str, ...], NoDecode] = Field(
        default=DEFAULT_TARGET_KINDS,
        description="Kinds that scaleTargetRef may name, as Kind.group, comma-separated.",
    )

    prometheus_url: str = Field(default="http://prometheus-operated.monitoring:9090", description="Query API root.")
    prometheus_username: str = Field(default="", description="User of basic authentication.")
    prometheus_password_file: Path | None = Field(default=None, description="File with that user's password.")
    prometheus_bearer_token_file: Path | None = Field(default=None, description="File with a bearer token.")
    prometheus_ca_file: Path | None = Field(
        default=None, description="Authority of the server's certificate; the system's when unset."
    )
    prometheus_client_cert_file: Path | None = Field(default=None, description="Certificate to show to the server.")
    prometheus_client_key_file: Path | None = Field(default=None, description="Key of that certificate.")
    prometheus_insecure_skip_verify: bool = Field(default=False, description="Do not check the server's certificate.")
    prometheus_tenant: str = Field(default="", description="X-Scope-OrgID of Mimir, Cortex or Thanos.")
    prometheus_timeout_seconds: float = Field(default=10.0, gt=0, description="Limit of one query.")
    scrape_interval_seconds: float = Field(default=15.0, gt=0, description="Of the engines' scrape job.")
    rate_window_seconds: float = Field(default=90.0, gt=0, description="Window of rates; at least 4 scrapes.")
    fresh_seconds: float = Field(default=60.0, gt=0, description="Samples older than this are stale.")
    gateway_metrics: bool = Field(default=True, description="Read the gateway's queue of held requests, if any.")
    metrics_profiles: str = Field(
        default="",
        description="Metrics profiles by name, as YAML; what one leaves out is that of the settings above, which also "
        "make the profile named default.",
    )

    cycle_seconds: float = Field(default=15.0, gt=0, description="Time from one planning cycle to the next.")
    resync_seconds: float = Field(
        default=300.0, gt=0, description="Time between two lists of everything that is watched."
    )
    status_seconds: float = Field(default=60.0, ge=0, description="Least time between writes of changed numbers.")
    cap_interval_seconds: float = Field(
        default=1800.0,
        ge=0,
        description="Least time between two batch cap changes; demand is watched as long before, ten minutes at most.",
    )
    cap_change_threshold: float = Field(
        default=0.2, ge=0, description="Least relative change for which a batch cap is changed."
    )
    canary_seconds: float = Field(
        default=60.0, ge=0, description="Time that the first pod with a new batch cap is watched before the next."
    )
    tolerance: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Change of demand that takes no replica away where they come late: full from 400 s, none to 200 s.",
    )
    headroom: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Least addition to the demand expected where replicas come late: full from 400 s, none to 200 s.",
    )
    attainment_margin: float = Field(
        default=0.3,
        ge=-1,
        lt=1,
        description="Share of the misses that an objective allows which plans leave unused; negative: plan for more.",
    )
    start_seconds: float = Field(default=120.0, ge=0, description="Expected start-up time until it is observed.")
    backlog_seconds: float = Field(default=60.0, gt=0, description="Time in which waiting requests are worked off.")
    min_index_requests: int = Field(
        default=20, ge=1, description="Finished requests in the cost window below which no cost index is formed."
    )
    calibrate: bool = Field(default=True, description="Learn corrections of the performance model from measurements.")
    catalog_dir: Path | None = Field(
        default=None, description="Folder of YAML files with further GPUs and models, such as a mounted ConfigMap."
    )

    record_cycles: int = Field(
        default=0, ge=0, description="Cycles that the flight recorder keeps for `pertoken replay`; 0: it is off."
    )
    record_dir: Path | None = Field(default=None, description="Folder of the flight recorder's files.")
    record_mebibytes: int = Field(default=48, ge=1, description="What its files may take up, in MiB.")

    scaler_enabled: bool = Field(
        default=False, description="Lend what services in mode Recommend are to have to KEDA: an external scaler."
    )
    scaler_host: str = Field(
        default="0.0.0.0",  # noqa: S104 - KEDA asks from another pod
        description="Address of the scaler.",
    )
    scaler_port: int = Field(default=6000, ge=0, le=65535, description="Port of the scaler, gRPC.")
    scaler_cert_file: Path | None = Field(default=None, description="Certificate chain; without one: no encryption.")
    scaler_key_file: Path | None = Field(default=None, description="Key of the certificate.")
    scaler_client_ca_file: Path | None = Field(
        default=None, description="Authority of the clients that may ask; without one: all may."
    )

    http_host: str = Field(
        default="0.0.0.0",  # noqa: S104 - metrics and probes are read from other pods
        description="Address of metrics and probes.",
    )
    http_port: int = Field(default=8080, description="Port of metrics and probes.")
    debug_port: int = Field(default=8081, description="Port of the debug pages, on loopback only.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level told.")
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="Format of the log; auto: console on a terminal, else json."
    )

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("namespaces", "target_kinds"):
            text = values.get(name)
            if isinstance(text, str):
                values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
        return values

    @model_validator(mode="after")
    def _window_covers_scrapes(self) -> Settings:
        if self.rate_window_seconds < 4 * self.scrape_interval_seconds:
            raise ValueError(
                f"PERTOKEN_RATE_WINDOW_SECONDS={self.rate_window_seconds:g} must be at least four scrape intervals "
                f"({4 * self.scrape_interval_seconds:g}), else a single missed scrape looks like an outage"
            )
        return self

    @model_validator(mode="after")
    def _recorder_has_a_folder(self) -> Settings:
        if self.record_cycles and self.record_dir is None:
            raise ValueError("PERTOKEN_RECORD_DIR: missing; expected a folder for the recorded cycles")
        return self

    @model_validator(mode="after")
    def _scaler_has_a_whole_certificate(self) -> Settings:
        if (self.scaler_cert_file is None) != (self.scaler_key_file is None):
            raise ValueError("PERTOKEN_SCALER_CERT_FILE and PERTOKEN_SCALER_KEY_FILE: expected both, or neither")
        if self.scaler_client_ca_file is not None and self.scaler_cert_file is None:
            raise ValueError("PERTOKEN_SCALER_CLIENT_CA_FILE: needs PERTOKEN_SCALER_CERT_FILE: clients are told by TLS")
        return self

    def planner(self) -> PlannerSettings:
        """The part that the planner sees."""
        return PlannerSettings(
            cycle_seconds=self.cycle_seconds,
            cap_interval_seconds=self.cap_interval_seconds,
            cap_change_threshold=self.cap_change_threshold,
            canary_seconds=self.canary_seconds,
            tolerance=self.tolerance,
            headroom=self.headroom,
            attainment_margin=self.attainment_margin,
            start_seconds=self.start_seconds,
            backlog_seconds=self.backlog_seconds,
            min_index_requests=self.min_index_requests,
            calibrate=self.calibrate,
        )

    def rules(self) -> Rules:
        """What services may ask for."""
        return Rules(frozenset(self.target_kinds), self.owned_workloads == "All")

    def all_metrics_profiles(self) -> Mapping[str, MetricsProfile]:
        """Where and how metrics are found, by name of the profile.

        Raises:
            ProfileError: one cannot work.
        """
        return profiles(self.metrics_profiles, self.metrics_profile())

    def metrics_profile(self) -> MetricsProfile:
        """The profile of services that name none, without what `metrics_profiles` says of it.

        Raises:
            ProfileError: it cannot work.
        """
        return MetricsProfile(
            url=self.prometheus_url,
            engine=EngineSource(engines=tuple(name for name in ENGINES if name != GENERIC.name)),
            gateway=GatewaySource(enabled=self.gateway_metrics),
            credentials=Credentials(
                username=self.prometheus_username,
                password_file=self.prometheus_password_file,
                bearer_token_file=self.prometheus_bearer_token_file,
                tenant=self.prometheus_tenant,
            ),
            tls=Tls(
                self.prometheus_ca_file,
                self.prometheus_client_cert_file,
                self.prometheus_client_key_file,
                self.prometheus_insecure_skip_verify,
            ),
            scrape_seconds=self.scrape_interval_seconds,
            window_seconds=self.rate_window_seconds,
            fresh_seconds=self.fresh_seconds,
            timeout_seconds=self.prometheus_timeout_seconds,
        )
