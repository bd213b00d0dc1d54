"""What services could run on instead, and what that saves."""

from __future__ import annotations

from pertoken.capacity.report.figures import Figures
from pertoken.capacity.report.tags import Markup, section, table


def advice_section(figures: Figures) -> Markup | None:
    """One row for each change, the largest saving first; None where nothing saves."""
    heads = ("service", "variant", "change", "from", "to", "saves a month", "how sure", "it takes")
    rows = [
        (
            entry["service"] if number == 0 else "",
            entry["variant"] if number == 0 else "",
            change["change"],
            change["before"],
            change["after"],
            figures.usd(f"advice.{index}.changes.{number}.saved_usd_per_month"),
            change["how_sure"],
            change["note"],
        )
        for index, entry in enumerate(figures.document["advice"])
        for number, change in enumerate(entry["changes"])
    ]
    if not rows:
        return None
    caption = "Single changes that keep the objectives, by the model at the planned demand; savings do not add up"
    return section("What could run instead", "advice", table(heads, rows, caption))
