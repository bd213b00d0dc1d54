"""The fleet's one clock: wall time that never jumps backwards."""

import time
from datetime import UTC, datetime

_OFFSET = time.time() - time.monotonic()  # noqa: TID251  # this module is the sandbox's clock port


def now() -> float:
    """Seconds since the epoch, advanced by the monotonic clock so that steps of NTP cannot reorder events."""
    return _OFFSET + time.monotonic()


def rfc3339(epoch_seconds: float) -> str:
    """Format an instant the way Kubernetes' ``metav1.Time`` is written (whole seconds, ``Z``)."""
    return datetime.fromtimestamp(epoch_seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(epoch_seconds: float) -> str:
    """Format an instant the way Kubernetes' ``metav1.MicroTime`` is written."""
    return datetime.fromtimestamp(epoch_seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
