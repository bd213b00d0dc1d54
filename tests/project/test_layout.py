"""What must hold of the tree itself."""

from __future__ import annotations

import operator as standard_operator
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_operator_directory_is_no_package():
    """operator/__init__.py would shadow the standard library's operator module."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert "pertoken" not in (standard_operator.__file__ or "")


def test_layers_hold():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_console_script_answers_help():
    for script in ("pertoken", "kubectl-pertoken"):
        done = subprocess.run(
            [Path(sys.executable).parent / script, "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "validate" in done.stdout
