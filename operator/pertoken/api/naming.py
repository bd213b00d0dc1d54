"""Names of the objects that pertoken makes."""

from __future__ import annotations

import hashlib
from typing import Final

MAX_NAME: Final = 63
HASH_LENGTH: Final = 8
CAP_SUFFIX: Final = "-batch"


def shorten(name: str, limit: int) -> str:
    """The name itself, or its beginning with a hash of the whole when it is longer than `limit` characters."""
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:HASH_LENGTH]
    return f"{name[: limit - HASH_LENGTH - 1].rstrip('-')}-{digest}"


def workload_name(service: str, variant: str) -> str:
    """Name of an owned variant's Deployment, Service and PodDisruptionBudget.

    A Service's name must begin with a letter, so a leading digit gets an ``s`` before it.
    """
    name = f"{service}-{variant}"
    return shorten(f"s{name}" if name[0].isdigit() else name, MAX_NAME)


def cap_name(workload: str) -> str:
    """Name of the ConfigMap that holds a workload's batch cap."""
    return f"{shorten(workload, MAX_NAME - len(CAP_SUFFIX))}{CAP_SUFFIX}"
