"""The real API server takes the CRDs, and refuses what the rules forbid."""

from __future__ import annotations
