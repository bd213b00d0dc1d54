"""Lines of the answer: what was looked at, how it is, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """`BAD` makes the answer "no"; `DOUBT` works, but not in full; `UNSEEN` could not be looked at."""

    GOOD = "ok"
    DOUBT = "warning"
    BAD = "missing"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        subject: what was looked at.
        words: how it is.
        todo: what to do; empty where nothing is.
    """

    verdict: Verdict
    subject: str
    words: str
    todo: str = ""

    def __str__(self) -> str:
        advice = f"\n         -> {self.todo}" if self.todo else ""
        return f"{self.verdict:<8} {self.subject}: {self.words}{advice}"


def good(subject: str, words: str) -> Finding:
    """It is as it should be."""
    return Finding(Verdict.GOOD, subject, words)


def doubt(subject: str, words: str, todo: str) -> Finding:
    """It works, but not in full."""
    return Finding(Verdict.DOUBT, subject, words, todo)


def bad(subject: str, words: str, todo: str) -> Finding:
    """Pertoken cannot work so."""
    return Finding(Verdict.BAD, subject, words, todo)


def unseen(subject: str, words: str, todo: str) -> Finding:
    """It could not be looked at."""
    return Finding(Verdict.UNSEEN, subject, words, todo)


def any_bad(findings: Sequence[Finding]) -> bool:
    """Whether the answer is "no"."""
    return any(finding.verdict is Verdict.BAD for finding in findings)
