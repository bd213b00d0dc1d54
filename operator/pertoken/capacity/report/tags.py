"""HTML elements: whatever is not markup already is escaped, so no text of a user becomes markup."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

VOID: Final = frozenset({"meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """One element.

    Args:
        name: its tag.
        children: markup, or text that is escaped; None is left out.
        attributes: by name, with an underscore for a hyphen and one at the end of Python's words; None is left out.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{told}>")
    return Markup(f"<{name}{told}>{together(*children)}</{name}>")


def together(*children: str | None) -> Markup:
    """One after the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children if child))


def table(heads: Sequence[str], rows: Sequence[Sequence[str | None]], caption: str) -> Markup:
    """A table; on narrow screens each row becomes a block whose cells carry their heads."""
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    body = [
        element(
            "tr",
            *(
                element("td", element("span", cell) if cell else None, data_label=label)
                for label, cell in zip(heads, row, strict=True)
            ),
        )
        for row in rows
    ]
    return element("table", element("caption", caption), element("thead", head), element("tbody", *body))


def facts(*pairs: tuple[str, str | None]) -> Markup:
    """Names and values."""
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs), class_="facts"
    )


def listed(lines: Sequence[str]) -> Markup | None:
    """A list; None for no lines."""
    return element("ul", *(element("li", line) for line in lines)) if lines else None


def section(title: str, name: str, *children: str | None) -> Markup:
    """A part of the page under its title."""
    return element("section", element("h2", title), *children, id=name)
