"""What bounds a variant, for the condition ScalingLimited: the reason and the words."""

from __future__ import annotations

from pertoken.domain.reasons import Reason

Limits = list[tuple[Reason, str]]
