"""Write every dashboard into the chart."""

from __future__ import annotations

import sys
from pathlib import Path

from pertoken_sandbox.dashboards.boards import artifacts


def main(root: Path) -> None:
    """Write the files below `root`."""
    for path, text in artifacts():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path.cwd())
