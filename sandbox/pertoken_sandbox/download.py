"""Official releases, fetched and compared with their published SHA-256 before anything is kept."""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import requests

from pertoken_sandbox.progress import Progress
from pertoken_sandbox.versions import PinnedDownload

CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 60.0
CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


class SourceUnreachable(Exception):
    """The place of the release cannot be reached or does not have the file."""


class ChecksumMismatch(Exception):
    """The file differs from its published checksum, or none is published: it must not run."""


def fetch(release: PinnedDownload, folder: Path) -> Path:
    """Download a release into `folder` and return the program.

    Raises:
        Unreachable: no connection within 3 s, or the server does not offer the file.
        ChecksumMismatch: the bytes do not have the published SHA-256.
    """
    archive = folder / _name(release.url)
    expected = _published_checksum(release)
    actual = _download(release.url, archive)
    if actual != expected:
        archive.unlink(missing_ok=True)
        raise ChecksumMismatch(f"{release.url}: SHA-256 is {actual}, published is {expected}")
    return archive if release.member is None else _extract(archive, release.member, folder)


def _name(url: str) -> str:
    return urlsplit(url).path.rsplit("/", 1)[-1]


def _get(url: str) -> requests.Response:
    try:
        response = requests.get(url, timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS), stream=True)
    except requests.RequestException as error:
        raise SourceUnreachable(f"{urlsplit(url).netloc} cannot be reached ({type(error).__name__})") from error
    if not response.ok:
        response.close()
        raise SourceUnreachable(f"{url} answered {response.status_code}")
    return response


def _published_checksum(release: PinnedDownload) -> str:
    """The checksum file is either one digest or lines of ``digest  file name``."""
    with _get(release.checksum_url) as response:
        lines = response.text.splitlines()
    wanted = _name(release.url)
    named = [line for line in lines if line.split()[1:] and line.split()[1].lstrip("*") == wanted]
    candidates = named or (lines if len(lines) == 1 else [])
    checksum = _SHA256.search(candidates[0]) if candidates else None
    if checksum is None:
        raise ChecksumMismatch(f"{release.checksum_url} has no SHA-256 for {wanted}")
    return checksum.group()


def _download(url: str, target: Path) -> str:
    digest = hashlib.sha256()
    with _get(url) as response, target.open("wb") as out, Progress(f"downloading {url}") as progress:
        try:
            for chunk in response.iter_content(CHUNK_BYTES):
                digest.update(chunk)
                out.write(chunk)
                progress.tick()
        except requests.RequestException as error:
            raise SourceUnreachable(f"{url} broke off ({type(error).__name__})") from error
    return digest.hexdigest()


def _extract(archive: Path, member: str, folder: Path) -> Path:
    """Write one member to a name of our own: no path of the archive ever reaches the file system."""
    target = folder / "program"
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped, zipped.open(member) as source:
            _copy(source, target)
    else:
        with tarfile.open(archive) as tar:
            opened = tar.extractfile(member)
            if opened is None:
                raise ChecksumMismatch(f"{archive.name}: {member} is no file")
            with opened as source:
                _copy(source, target)
    return target


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as out:
        while chunk := source.read(CHUNK_BYTES):
            out.write(chunk)
