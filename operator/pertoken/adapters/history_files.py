"""History files: CSV, packed (gzip) or not."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Final

from pertoken.capacity.history.table import read_table
from pertoken.capacity.history.value import History, HistoryError

_GZIP: Final = b"\x1f\x8b"


def read_history_file(path: Path, default: str = "") -> History:
    """The history in a file; `default` names the service where no column does.

    Raises:
        HistoryError: it cannot be read; the message begins with the file and, where there is one, the line.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(_GZIP)) == _GZIP
        with gzip.open(path, "rt", encoding="utf-8-sig") if packed else path.open(encoding="utf-8-sig") as lines:
            return read_table(iter(lines), default)
    except HistoryError as error:
        raise HistoryError(f"{path}:{error}") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no text, or cut off"
        raise HistoryError(f"{path}: cannot be read: {why}") from None
