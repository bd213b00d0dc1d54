"""`pertoken plan --html`: the plan as a page in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pertoken.capacity.answer import Answer
from pertoken.capacity.report.page import html_page
from pertoken.cli.rendering import refuse


def write_page(path: Path, answered: Answer, document: dict[str, Any]) -> None:
    """Write it, or exit code 2 where that cannot be done."""
    try:
        path.write_text(html_page(answered, document), encoding="utf-8")
    except OSError as error:
        refuse(f"--html {path}: {error.strerror}; expected a file that can be written")
