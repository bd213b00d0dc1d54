"""The plan's image: what is in it, and that `pertoken plan` answers inside its root file system.

`make plan-image-test` runs these on what it has built; elsewhere they are skipped.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pertoken_sandbox.image import contents, layout
from pertoken_sandbox.image.build import PLAN, REPOSITORY, Folder
from pertoken_sandbox.image.layout import Image

FOLDER = os.environ.get("PERTOKEN_PLAN_IMAGE")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(FOLDER is None, reason="make plan-image-test runs these")]
ENVIRONMENT = {"PATH": "/opt/pertoken/bin:/usr/bin:/bin", "HOME": "/tmp", "NUMBA_CACHE_DIR": "/tmp"}  # noqa: S108
DAYS = 15


@pytest.fixture(scope="module")
def built() -> tuple[Image, Path]:
    folder = Folder(Path(str(FOLDER)).absolute(), PLAN)
    image = layout.read(folder.layout)
    layout.unpack(image, folder.rootfs)
    return image, folder.rootfs


def inside(rootfs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    entered = [str(shutil.which("chroot")), "--userspec=65532:65532", str(rootfs), *words]
    return subprocess.run(entered, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_it_may_be_published(built: tuple[Image, Path]):
    assert contents.problems(*built, REPOSITORY / "uv.lock", PLAN) == []


@pytest.mark.parametrize("name", ["pytest", "pertoken-sandbox", "mkdocs", "mypy"])
def test_nothing_of_development_is_in_it(built: tuple[Image, Path], name: str):
    assert name not in contents.installed(built[1])


def test_it_plans(built: tuple[Image, Path]):
    """A service and its pool, fifteen days of hourly demand: GPUs and a purchase come out."""
    folder = built[1] / "tmp" / "question"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(REPOSITORY / "examples" / "basic-owned.yaml", folder)
    rows = ["time_s,requests,input_tokens,output_tokens,service"]
    for hour in range(DAYS * 24):
        requests = 20_000 + 15_000 * math.sin(hour / 24 * 2 * math.pi)
        rows.append(f"{hour * 3600},{requests:.0f},{1000 * requests:.0f},{200 * requests:.0f},assistant")
    (folder / "history.csv").write_text("\n".join(rows) + "\n")
    asked = ("-f", "/tmp/question/basic-owned.yaml", "--history", "/tmp/question/history.csv")  # noqa: S108
    try:
        done = inside(built[1], "pertoken", "plan", *asked, "--horizon-days", "7", "-o", "json")
        assert done.returncode in {0, 1}, done.stderr
        answer = json.loads(done.stdout)
    finally:
        for left in (built[1] / "tmp").iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    [pool] = answer["pools"]
    assert pool["name"] == "l40s"
    assert pool["peak_gpus"] > 0


def test_the_benchmark_is_in_it(built: tuple[Image, Path]):
    done = inside(built[1], "pertoken", "bench", "--help")
    assert done.returncode == 0, done.stderr
    assert "--scenario" in done.stdout
