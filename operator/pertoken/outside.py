"""Connections to everything outside of the process, made from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pertoken.adapters.alone import Alone
from pertoken.adapters.clock import SystemClock
from pertoken.adapters.kube.client import ClientOptions, KubeClient
from pertoken.adapters.kube.lease import LeaseElector, LeaseSpec
from pertoken.adapters.prometheus.source import PrometheusSource
from pertoken.ports import AdapterError
from pertoken.settings import Settings


class StartError(Exception):
    """The operator cannot start; the message says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Connections to what the operator works on."""

    clock: SystemClock
    client: KubeClient
    leadership: LeaseElector | Alone
    sources: Mapping[str, PrometheusSource]

    def close(self) -> None:
        """Give the lease back, and close all connections."""
        self.leadership.stop()
        for source in self.sources.values():
            source.close()
        self.client.close()


def connect(settings: Settings) -> Outside:
    """Connections that are made, but not used yet.

    Raises:
        StartError: no credentials, or settings that do not fit together.
    """
    clock = SystemClock()
    try:
        lease = LeaseSpec.lasting(settings.lease_seconds, settings.operator_namespace, settings.identity)
        options = ClientOptions(settings.kubeconfig, settings.context, write_seconds=lease.write_seconds)
        lease.check_writes(options.write_seconds)
        profiles = settings.all_metrics_profiles()
        client = KubeClient(options)
        sources = {name: PrometheusSource(profile) for name, profile in profiles.items()}
    except (AdapterError, ValueError) as error:
        raise StartError(str(error)) from error
    leadership = LeaseElector(client, lease, clock) if settings.leader_election else Alone()
    return Outside(clock, client, leadership, sources)
