"""Horizontal bars: lengths of HTML boxes, so that figures beside them keep their size."""

from __future__ import annotations

from collections.abc import Sequence

from pertoken.capacity.report.tags import Markup, element


def bar(parts: Sequence[tuple[str, float]], most: float) -> Markup:
    """One bar.

    Args:
        parts: style and length of each, from the left.
        most: length of the whole width.
    """
    whole = most if most > 0 else 1.0
    boxes = [
        element("i", class_=style, style=f"width:{value / whole * 100:.3f}%") for style, value in parts if value > 0
    ]
    return element("span", *boxes, class_="bar", aria_hidden="true")


def bar_rows(rows: Sequence[tuple[str, Markup, str, Markup | None]]) -> Markup:
    """Rows of a name, a bar, a figure, and words."""
    return element(
        "ul",
        *(
            element("li", element("span", name, class_="name"), drawn, element("span", figure, class_="sum"), words)
            for name, drawn, figure, words in rows
        ),
        class_="bars",
    )
