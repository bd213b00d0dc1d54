"""The command line where only what the operator's image has is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("scipy", "statsforecast", "numba", "matplotlib")))
sys.argv = ["pertoken", *sys.argv[1:]]
from pertoken.cli.main import main
main()
"""


def without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT, *arguments], capture_output=True, text=True, check=False)


def test_help_lists_every_command():
    done = without_extras("--help")
    assert done.returncode == 0, done.stderr
    for command in ("advise", "plan", "run", "validate"):
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("arguments", [("advise", "-m", "llama-3.1-8b", "--gpu", "l40s"), ("advise", "--all")])
def test_a_command_that_lacks_its_libraries_names_the_extra(arguments: tuple[str, ...]):
    done = without_extras(*arguments)
    assert done.returncode == 2
    assert done.stderr == "pertoken advise: not installed; expected: pip install 'pertoken[plan]'\n"


def test_the_operator_imports_nothing_of_the_extras():
    loaded = "import sys, pertoken.app; print([m for m in sys.modules if m in ('scipy', 'numba', 'statsforecast')])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
