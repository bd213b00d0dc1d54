"""Make the krew plugin of a release: `krew.py VERSION FOLDER` writes an archive, and the manifest with its checksum.

The plugin is a script that runs the package of the same version with uv or pipx: krew takes one file per platform, and
pertoken is a Python package with compiled dependencies. Standard library alone: it runs before anything is installed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RELEASES = "https://github.com/pertoken/pertoken/releases/download"
ARGUMENTS = 2
SCRIPT = """\
#!/bin/sh
# kubectl pertoken: the commands of the package pertoken, version {version}.
set -eu
package='pertoken[plan]=={version}'
if command -v uvx >/dev/null 2>&1; then exec uvx --from "$package" pertoken "$@"; fi
if command -v pipx >/dev/null 2>&1; then exec pipx run --spec "$package" pertoken "$@"; fi
echo "kubectl pertoken: neither uv nor pipx found; install one of them, or: pip install '$package'" >&2
exit 2
"""
MANIFEST = """\
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: pertoken
spec:
  version: v{version}
  homepage: https://github.com/pertoken/pertoken
  shortDescription: Cost per token of LLM services, and why they scale
  description: |
    Shows what LLM inference services cost per million tokens, why pertoken scales them as it does, adopts what runs
    already, and answers sizing questions without a cluster.
  caveats: |
    Needs uv or pipx: the first call downloads the Python package of this version.
  platforms:
    - selector:
        matchExpressions:
          - {{key: os, operator: In, values: [linux, darwin]}}
      uri: {uri}
      sha256: {sha256}
      bin: kubectl-pertoken
"""


def archive(version: str) -> bytes:
    """The plugin's files; equal versions give equal bytes."""
    files = {"kubectl-pertoken": (SCRIPT.format(version=version).encode(), 0o755)}
    files["LICENSE"] = ((ROOT / "LICENSE").read_bytes(), 0o644)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def manifest(version: str, content: bytes) -> str:
    """What krew installs, by its checksum."""
    uri = f"{RELEASES}/v{version}/{archive_name(version)}"
    return MANIFEST.format(version=version, uri=uri, sha256=hashlib.sha256(content).hexdigest())


def archive_name(version: str) -> str:
    """Name of the archive among the release's files."""
    return f"kubectl-pertoken-{version}.tar.gz"


def main() -> int:
    """Write both files; exit status 2 for other arguments."""
    if len(sys.argv) != ARGUMENTS + 1:
        sys.stderr.write("krew.py VERSION FOLDER\n")
        return 2
    version, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    content = archive(version)
    (folder / archive_name(version)).write_bytes(content)
    (folder / "pertoken.yaml").write_text(manifest(version, content), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
