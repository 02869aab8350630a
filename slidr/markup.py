"""Elements of HTML and SVG as text; whatever is put into one is escaped unless it is an element itself."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | Iterable["Child"]
_VOID = frozenset({"meta", "link", "br", "hr"})


def tag(name: str, /, *children: Child, **attributes: object) -> Markup:
    """An element. Of its attributes `class_` is class, underscores are hyphens, None is left out, True has no value.

    >>> tag("p", "a < b ", tag("b", "c"), class_="note", aria_label='"x"', hidden=None)
    '<p class="note" aria-label="&quot;x&quot;">a &lt; b <b>c</b></p>'
    """
    named = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Markup(f"<{name}{named}>")
    return Markup(f"<{name}{named}>{_inside(children)}</{name}>")


def together(*children: Child) -> Markup:
    """Several children as one."""
    return Markup(_inside(children))


def _inside(children: Iterable[Child]) -> str:
    return "".join(
        (child if isinstance(child, Markup) else escape(child)) if isinstance(child, str) else _inside(child)
        for child in children
    )


def _attribute(key: str, value: object) -> str:
    # viewBox and the like are written as they are; only HTML's and SVG's hyphenated names have underscores here
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
