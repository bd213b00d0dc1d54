"""An OCI layout: what a registry would be given, read back."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True)
class Image:
    """One image of a layout.

    Attributes:
        digest: of its manifest, ``sha256:…``.
        layers: the compressed tar files, lowest first.
        config: its configuration, as in the image specification.
    """

    digest: str
    layers: tuple[Path, ...]
    config: dict[str, Any]

    @property
    def compressed_bytes(self) -> int:
        """What a node downloads: all layers, compressed."""
        return sum(layer.stat().st_size for layer in self.layers)


def read(layout: Path) -> Image:
    """The layout's only image.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it has several.
    """
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    if len(index["manifests"]) != 1:
        raise ValueError(f"{layout}: {len(index['manifests'])} images, expected one")
    digest = index["manifests"][0]["digest"]
    manifest = json.loads(_blob(layout, digest).read_text(encoding="utf-8"))
    config = json.loads(_blob(layout, manifest["config"]["digest"]).read_text(encoding="utf-8"))
    return Image(digest, tuple(_blob(layout, layer["digest"]) for layer in manifest["layers"]), config["config"])


def unpack(image: Image, rootfs: Path) -> None:
    """Make `rootfs` the image's root file system with its owners (needs root); nothing is done when it is already."""
    marker = rootfs.with_name(f"{rootfs.name}.digest")
    if rootfs.is_dir() and marker.is_file() and marker.read_text(encoding="utf-8") == image.digest:
        return
    marker.unlink(missing_ok=True)
    shutil.rmtree(rootfs, ignore_errors=True)
    rootfs.mkdir(parents=True)
    rootfs.chmod(0o755)
    for layer in image.layers:
        _remove_whiteouts(layer, rootfs)
        subprocess.run(
            [
                *("tar", "--extract", "--numeric-owner", "--preserve-permissions"),
                *(f"--exclude={WHITEOUT}*", f"--directory={rootfs}", f"--file={layer}"),
            ],
            check=True,
        )
    marker.write_text(image.digest, encoding="utf-8")


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / Path(*digest.split(":"))


def _remove_whiteouts(layer: Path, rootfs: Path) -> None:
    """What the layer says is gone from those below it."""
    with tarfile.open(layer) as names:
        for member in names:
            path = rootfs / member.name
            if path.name == OPAQUE:
                for child in path.parent.iterdir():
                    _remove(child)
            elif path.name.startswith(WHITEOUT):
                _remove(path.with_name(path.name.removeprefix(WHITEOUT)))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
