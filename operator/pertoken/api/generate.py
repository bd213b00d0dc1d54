"""Write everything that is made from the models: ``python -m pertoken.api.generate`` in the repository's root."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pertoken.api.crd import crd_yaml
from pertoken.api.docs import reference
from pertoken.api.kinds import KINDS
from pertoken.api.v1alpha1 import GROUP

CRD_FOLDERS = (Path("crds"), Path("charts/pertoken/files/crds"))
REFERENCE_PAGE = Path("docs/reference/crds.md")


def artifacts() -> Iterator[tuple[Path, str]]:
    """Every generated file with its text."""
    for folder in CRD_FOLDERS:
        for kind in KINDS:
            yield folder / f"{GROUP}_{kind.plural}.yaml", crd_yaml(kind)
    yield REFERENCE_PAGE, reference()


def main(root: Path) -> None:
    """Write the files below `root`."""
    for path, text in artifacts():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path.cwd())
