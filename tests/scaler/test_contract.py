"""The generated messages are those of the contract's file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "operator"
PROTO = "pertoken/scaler/externalscaler.proto"


@pytest.mark.parametrize("name", ["externalscaler_pb2.py", "externalscaler_pb2.pyi"])
def test_the_messages_are_generated_from_the_contract(name, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", PROTO],
        cwd=SOURCES,
        check=True,
    )

    assert (tmp_path / "pertoken/scaler" / name).read_text() == (SOURCES / "pertoken/scaler" / name).read_text()
