"""From the repository to an OCI layout: a base of Debian's packages, then the Dockerfile, step by step, on it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pertoken_sandbox.image import commands

REPOSITORY = Path(__file__).parents[3]
SUITE = "bookworm"
# What python:3.11-slim-bookworm has and the Dockerfile uses, from Debian's packages.
BASE_PACKAGES = ("ca-certificates", "netbase", "passwd", "python3", "python3-venv", "tzdata")
# As debian:bookworm-slim leaves out; licences stay.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/lintian/*")
KEPT = ("/usr/share/doc/*/copyright",)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Recipe:
    """One of the images that a release publishes.

    Attributes:
        name: of the image.
        dockerfile: in the repository's root.
        package: distribution of the workspace that is installed.
        extras: of that package.
        command: what it runs unless told otherwise.
        limit_mib: most that it may take up, compressed.
    """

    name: str
    dockerfile: str
    package: str
    extras: tuple[str, ...]
    command: tuple[str, ...]
    limit_mib: float


OPERATOR = Recipe("pertoken", "Dockerfile", "pertoken", ("scaler",), ("run",), 150.0)
PLAN = Recipe("pertoken-plan", "Dockerfile.plan", "pertoken-bench", (), ("plan", "--help"), 400.0)
RECIPES = {recipe.name: recipe for recipe in (OPERATOR, PLAN)}


@dataclass(frozen=True)
class Folder:
    """What a build leaves in its folder, ``.cache/image`` unless said otherwise."""

    path: Path
    recipe: Recipe = OPERATOR

    @property
    def layout(self) -> Path:
        """The image as an OCI layout, layers compressed as a registry would get them."""
        return self.path / ("oci" if self.recipe is OPERATOR else f"oci-{self.recipe.name}")

    @property
    def archive(self) -> Path:
        """The same in one file, for ``docker load``, ``podman load``, ``kind load image-archive`` or ``ctr import``."""
        return self.path / f"{self.recipe.name}-{version('pertoken')}.tar"

    @property
    def rootfs(self) -> Path:
        """The image's root file system, unpacked from the layout."""
        return self.path / ("rootfs" if self.recipe is OPERATOR else f"rootfs-{self.recipe.name}")

    def log(self, name: str) -> Path:
        """Where a step writes what it prints."""
        return self.path / "logs" / f"{name}.log"


def build(folder: Folder, *, fresh: bool = False) -> None:
    """Build the image; steps whose inputs have not changed are taken from the folder.

    Args:
        folder: where everything goes.
        fresh: fetch Debian's packages again, for their updates.

    Raises:
        ImageUnavailable: a step failed.
    """
    commands.require()
    folder.path.mkdir(parents=True, exist_ok=True)
    store = _Store(folder)
    base = _base(folder, store, fresh=fresh)
    number = version("pertoken")
    recipe = folder.recipe
    name = f"localhost/{recipe.name}:{number}"
    mounts = [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.is_file() else []
    arguments = (f"VERSION={number}", f"REVISION={_revision()}")
    store.run(
        f"building the image from {recipe.dockerfile}",
        [
            *("build", "--isolation=chroot", "--layers", f"--from={base}", f"--tag={name}"),
            *mounts,
            *(f"--build-arg={argument}" for argument in arguments),
            f"--file={REPOSITORY / recipe.dockerfile}",
            f"--ignorefile={_ignored(recipe)}",
            str(REPOSITORY),
        ],
    )
    shutil.rmtree(folder.layout, ignore_errors=True)  # else the image before stays in it beside the new one
    store.run("compressing the layers", ["push", name, f"oci:{folder.layout}:{number}"])
    pack = ["tar", "--create", f"--file={folder.archive}", f"--directory={folder.layout}", "."]
    commands.run(f"packing {folder.archive.name}", pack, folder.log("pack"))


class _Store:
    """buildah with its images in the build's folder, apart from the machine's own."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._options = [f"--root={folder.path / 'store'}", f"--runroot={folder.path / 'run'}"]

    def run(self, what: str, arguments: list[str]) -> None:
        commands.run(what, ["buildah", *self._options, *arguments], self._folder.log(f"buildah-{arguments[0]}"))

    def output(self, *arguments: str) -> str:
        return commands.output(["buildah", *self._options, *arguments])

    def has(self, name: str) -> bool:
        images = json.loads(self.output("images", "--json") or "null") or []
        return any(name in (image.get("names") or ()) for image in images)


def _base(folder: Folder, store: _Store, *, fresh: bool) -> str:
    """The base's local name; made from Debian's packages when it is not there."""
    command = ["mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(BASE_PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    command += [f"--dpkgopt=path-include={path}" for path in KEPT]
    key = hashlib.sha256(" ".join([*command, SUITE]).encode()).hexdigest()[:12]
    name = f"localhost/debian-python:{key}"
    if store.has(name) and not fresh:
        return name
    tarball = folder.path / f"base-{key}.tar"
    if fresh or not tarball.is_file():
        staged = tarball.with_suffix(".staged.tar")
        commands.run(f"fetching Debian {SUITE} and its Python", [*command, SUITE, str(staged)], folder.log("base"))
        staged.replace(tarball)
    container = store.output("from", "scratch")
    store.run("unpacking the base", ["add", container, str(tarball), "/"])
    store.run("storing the base", ["commit", "--rm", container, name])
    tarball.unlink()
    return name


def _ignored(recipe: Recipe) -> Path:
    """What the build does not see: a Dockerfile may have a list of its own beside it."""
    own = REPOSITORY / f"{recipe.dockerfile}.dockerignore"
    return own if own.is_file() else REPOSITORY / ".dockerignore"


def _revision() -> str:
    """The commit that is built, for the image's label."""
    try:
        return commands.output(["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"])
    except (commands.ImageUnavailable, FileNotFoundError):
        return "unknown"
