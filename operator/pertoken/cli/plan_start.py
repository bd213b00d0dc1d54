"""Start-up time of engines as the installation has it: the plan's replicas must be there as early as the operator's."""

from __future__ import annotations

from pydantic import ValidationError

from pertoken.capacity.asked import START_SECONDS
from pertoken.settings import Settings


def start_seconds(mistakes: list[str]) -> float:
    """Of `PERTOKEN_START_SECONDS`, as for `pertoken run`."""
    try:
        return Settings().start_seconds
    except ValidationError as error:
        wrong = [each for each in error.errors() if each["loc"] == ("start_seconds",)]
        mistakes += [f"PERTOKEN_START_SECONDS: {each['input']!r}: expected seconds of 0 or more" for each in wrong]
        return START_SECONDS
