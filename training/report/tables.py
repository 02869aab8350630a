"""Tables of a report: each in a region that scrolls by itself, so that a phone's page never does sideways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slidr.markup import Child, Markup, tag

Cell = Child


def table(caption: str, head: Sequence[Child], rows: Iterable[Sequence[Child]], *, ours: int = 0) -> Markup:
    """A table whose first column names its rows.

    Args:
        caption: what it shows.
        head: the columns' names.
        rows: cells, as many as `head`.
        ours: how many of the first rows are set off.
    """
    body = [
        tag("tr", tag("th", first, scope="row"), [tag("td", cell) for cell in cells],
            class_="ours" if number < ours else None)
        for number, (first, *cells) in enumerate(rows)
    ]  # fmt: skip
    region = tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", [tag("th", name, scope="col") for name in head])),
            tag("tbody", body),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )
    return tag("div", tag("p", caption, class_="caption"), region, class_="table")


def with_note(value: Child, note: Child) -> Markup:
    """A cell's value with a quieter line below it."""
    return tag("span", value, tag("span", note, class_="small"))
