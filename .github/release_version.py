"""See that a release's tag, packages, chart and images agree: `release_version.py VERSION IMAGE PLAN_IMAGE`.

Standard library alone: it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARGUMENTS = 3


def mistakes(version: str, image: str, plan_image: str, root: Path = ROOT) -> list[str]:
    """What does not agree: one line each with file, field, value and expectation."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    bench = tomllib.loads((root / "bench/pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    chart = (root / "charts/pertoken/Chart.yaml").read_text(encoding="utf-8")
    values = (root / "charts/pertoken/values.yaml").read_text(encoding="utf-8")
    found = {
        ("pyproject.toml", "project.version"): (project, version),
        ("bench/pyproject.toml", "project.version"): (bench, version),
        ("charts/pertoken/Chart.yaml", "version"): (_value(chart, "version"), version),
        ("charts/pertoken/Chart.yaml", "appVersion"): (_value(chart, "appVersion"), version),
        ("charts/pertoken/values.yaml", "image.repository"): (_value(values, "  repository"), image),
        ("charts/pertoken/values.yaml", "capacityPlan.image.repository"): (
            _value(values, "    repository"),
            plan_image,
        ),
    }
    return [
        f"{file}: {field}: {value!r}; expected {expected!r}"
        for (file, field), (value, expected) in found.items()
        if value != expected
    ]


def _value(text: str, key: str) -> str:
    """The scalar of a key, by its indentation; the chart's own files are plain enough for that."""
    match = re.search(rf'^{re.escape(key)}: *"?([^"\n]*)"?$', text, re.MULTILINE)
    return match[1] if match else ""


def main() -> int:
    """Exit status 0 when all agree, 1 when something does not, 2 for other arguments."""
    if len(sys.argv) != ARGUMENTS + 1:
        sys.stderr.write("release_version.py VERSION IMAGE PLAN_IMAGE\n")
        return 2
    found = mistakes(sys.argv[1], sys.argv[2], sys.argv[3])
    sys.stderr.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
