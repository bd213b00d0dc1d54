"""Kopf's settings: an informer only, with limits for its requests."""

from __future__ import annotations

import kopf

from pertoken.kopf_bridge.backoff import Backoffs


def configure(settings: kopf.OperatorSettings) -> None:
    """Switch off everything of the framework that would write to users' objects or need more permissions."""
    settings.scanning.disabled = True  # no list/watch of CRDs and namespaces: kinds and namespaces are fixed
    settings.peering.standalone = True  # a Lease decides who acts
    settings.posting.enabled = False  # events are ours, posted by the report stage
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = Backoffs(first=1.0, factor=1.6, last=30.0, count=200)
    settings.watching.server_timeout = 290
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = 500
    settings.process.ultimate_exiting_timeout = 20
