"""`docs/reference/reasons.md`: every code of conditions and events, where it may stand, and its place in the text."""

from __future__ import annotations

import re
from typing import Final

from pertoken.cli.reference.markdown import table
from pertoken.domain.reasons import Reason

_HEAD: Final = """\
# Reasons

Every code that conditions, events, `pertoken explain`, logs and the label `reason` of `pertoken_decisions_total` use.
[Troubleshooting](../troubleshooting.md) has what each means and what to do.

"""


def reasons_page() -> str:
    """The codes in the order of their declaration, with their words."""
    return _HEAD + table(("code", "in words"), ((f"`{reason.value}`", _words(reason.value)) for reason in Reason))


def _words(code: str) -> str:
    """A code as words: capitals begin a new one."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", code).capitalize()
