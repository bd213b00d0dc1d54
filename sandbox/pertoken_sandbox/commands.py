"""A folder of commands for the user's PATH: kubectl, pertoken and its plugin, as the sandbox has them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

OWN: Final = ("pertoken", "kubectl-pertoken", "sandbox")


def commands(folder: Path, kubectl: Path) -> Path:
    """Links to them in the sandbox's folder; made anew each time."""
    place = folder / "bin"
    place.mkdir(parents=True, exist_ok=True)
    here = Path(sys.executable).parent
    programs = {"kubectl": kubectl, **{name: here / name for name in OWN if (here / name).is_file()}}
    for name, program in programs.items():
        link = place / name
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    return place
