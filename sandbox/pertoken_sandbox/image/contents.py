"""What the image must be: small, without what only development needs, owned by root and run by nobody in particular."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from pertoken_sandbox.image.build import OPERATOR, Recipe
from pertoken_sandbox.image.layout import Image

USER = "65532:65532"
ENVIRONMENT = Path("opt/pertoken")
# Left by installers and builds; none of them runs the operator.
NOT_WANTED = ("src", "opt/uv", "root/.cache", "tmp/*", "var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_Packages*")


def problems(image: Image, rootfs: Path, lock: Path, recipe: Recipe = OPERATOR) -> list[str]:
    """Why the image must not be published; nothing when it may.

    Args:
        image: as a registry would get it.
        rootfs: its root file system.
        lock: uv.lock of the tree that it was built from.
        recipe: which image it is to be.
    """
    return [
        *_size(image, recipe),
        *_configuration(image, recipe),
        *_distributions(rootfs, lock, recipe),
        *(f"/{left.relative_to(rootfs)} is left over" for pattern in NOT_WANTED for left in rootfs.glob(pattern)),
        *_writable(rootfs),
    ]


def needed(lock: Path, name: str = "pertoken", extras: tuple[str, ...] = ("scaler",)) -> set[str]:
    """Names of the package and of all that it needs with the image's extras, on any platform, by ``uv.lock``."""
    packages: dict[str, list[dict[str, Any]]] = {}
    for package in tomllib.loads(lock.read_text(encoding="utf-8"))["package"]:
        packages.setdefault(package["name"], []).append(package)
    with_extras: set[tuple[str, str]] = set()  # with an extra of it, or none
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        asked = waiting.pop()
        if asked in with_extras:
            continue
        with_extras.add(asked)
        for package in packages[asked[0]]:
            optional = package.get("optional-dependencies", {})
            for dependency in optional.get(asked[1], []) if asked[1] else package.get("dependencies", []):
                waiting += [(dependency["name"], extra) for extra in ("", *dependency.get("extra", ()))]
    return {package for package, _ in with_extras}


def installed(rootfs: Path) -> dict[str, Distribution]:
    """The distributions of the image's environment by their normalized name."""
    folders = [str(path) for path in (rootfs / ENVIRONMENT / "lib").glob("python3*/site-packages")]
    return {
        distribution.metadata["Name"].lower().replace("_", "-"): distribution
        for distribution in distributions(path=folders)
    }


def _size(image: Image, recipe: Recipe) -> Iterator[str]:
    size = image.compressed_bytes / 2**20
    if size > recipe.limit_mib:
        yield f"{size:.1f} MiB compressed; expected at most {recipe.limit_mib:g}"


def _configuration(image: Image, recipe: Recipe) -> Iterator[str]:
    expected = {"User": USER, "Entrypoint": ["pertoken"], "Cmd": list(recipe.command)}
    for key, value in expected.items():
        if image.config.get(key) != value:
            yield f"config.{key}: {image.config.get(key)!r}; expected {value!r}"


def _distributions(rootfs: Path, lock: Path, recipe: Recipe) -> Iterator[str]:
    here, allowed = set(installed(rootfs)), needed(lock, recipe.package, recipe.extras)
    if "pertoken" not in here:
        yield f"pertoken is not installed in /{ENVIRONMENT}"
    for name in sorted(here - allowed):
        yield f"{name} is installed; {recipe.package} does not need it"


def _writable(rootfs: Path) -> Iterator[str]:
    """Files of the environment that its own user could change: none should be, on any root file system."""
    for path in (rootfs / ENVIRONMENT).rglob("*"):
        status = path.lstat()
        if not stat.S_ISLNK(status.st_mode) and (status.st_uid or status.st_gid or status.st_mode & stat.S_IWOTH):
            owner, mode = f"{status.st_uid}:{status.st_gid}", stat.filemode(status.st_mode)
            yield f"/{path.relative_to(rootfs)} is {owner} {mode}; expected root alone to write it"
