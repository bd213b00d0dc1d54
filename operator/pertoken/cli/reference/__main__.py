"""Write every generated reference page and the chart's schema of settings."""

from __future__ import annotations

import sys
from pathlib import Path

from pertoken.cli.reference.pages import artifacts


def main(root: Path) -> None:
    """Write the files below `root`."""
    for path, text in artifacts(root):
        (root / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path.cwd())
