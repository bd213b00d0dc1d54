"""`make image`: build an image of the release here, without a container daemon, and say whether it may be published."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pertoken_sandbox.image import build, contents, layout
from pertoken_sandbox.image.commands import ImageUnavailable
from pertoken_sandbox.progress import say

BROKEN = 2
REFUSED = 1

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def main(
    folder: Annotated[Path, typer.Option(help="Where the image and what it is built from go.")] = (
        build.REPOSITORY / ".cache" / "image"
    ),
    name: Annotated[str, typer.Option(help="pertoken: the operator's; pertoken-plan: the capacity plan's.")] = (
        build.OPERATOR.name
    ),
    fresh: Annotated[bool, typer.Option("--fresh", help="Fetch Debian's packages again, for their updates.")] = False,
) -> None:
    """Build the image, unpack it and check what is in it. Exit 0; 1 when it must not be published; 2 when it failed."""
    recipe = build.RECIPES.get(name)
    if recipe is None:
        say(f"--name: {name!r}; expected {' or '.join(build.RECIPES)}")
        sys.exit(BROKEN)
    target = build.Folder(folder.absolute(), recipe)
    try:
        build.build(target, fresh=fresh)
    except ImageUnavailable as error:
        say(f"image: {error}")
        sys.exit(BROKEN)
    image = layout.read(target.layout)
    layout.unpack(image, target.rootfs)
    problems = contents.problems(image, target.rootfs, build.REPOSITORY / "uv.lock", recipe)
    for problem in problems:
        say(f"image: {problem}")
    print(f"{target.archive}: {image.compressed_bytes / 2**20:.1f} MiB compressed, {image.digest}")
    if problems:
        sys.exit(REFUSED)


if __name__ == "__main__":
    app()
