"""The ways through the book: chapters in reading order, the map of what builds on what, routes for those in a hurry.

All of it reads the chapters' front matter, so that no page falls behind.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from press.chapters import Page, pages
from press.exam import MystDirective, raw
from press.house import PressError, Problem
from press.maths import labels
from press.skeleton import CAPTIONS

EQ = re.compile(r"\{eq\}`([\w-]+)`")


def builds_on(page: Page) -> list[str]:
    """The chapters that a chapter names as its prerequisites."""
    return [str(name) for name in page.about.get("prerequisites") or []]


def below(name: str, book: dict[str, Page]) -> set[str]:
    """All chapters that one builds on, theirs included."""
    found: set[str] = set()
    todo = [name]
    while todo:
        new = set(builds_on(book[todo.pop()])) & book.keys() - found
        found |= new
        todo += new
    return found


def problems(found: Iterable[Page] | None = None) -> list[Problem]:
    """Circles, and references to equations of chapters that are not built on."""
    book = {page.name: page for page in pages() if page.is_chapter} if found is None else {p.name: p for p in found}
    owner = {label: name for name, page in book.items() for _, label in labels(page.text)}
    told = []
    for name, page in book.items():
        under = below(name, book)
        if name in under:
            told.append(Problem(page.where(1), "the prerequisites lead round in a circle back to this chapter"))
        for label in dict.fromkeys(EQ.findall(page.text)):
            if (source := owner.get(label, name)) not in under | {name}:
                what = f"uses {label} of {source}, which neither it nor what it builds on names as a prerequisite"
                told.append(Problem(page.where(1), what))
    return told


class PathDirective(MystDirective):
    """Chapters by part: title, one sentence, minutes, prerequisites."""

    def lines(self) -> Iterator[str]:
        """The list."""
        found = [page for page in pages() if page.is_chapter]
        for page in found:
            self.env.note_dependency(str(page.path))
        yield ":::::{div} dgm-path"
        yield from write(found)
        yield ":::::"


def write(found: list[Page]) -> Iterator[str]:
    """The list as MyST."""
    for part, members in groupby(found, key=lambda page: page.name.split("/")[0]):
        yield from (f"**{CAPTIONS[part]}**", "")
        for page in members:
            sentence = page.front.get("myst", {}).get("html_meta", {}).get("description", "")
            needed = [f"{{doc}}`/{name}`" for name in builds_on(page)]
            after = f" Builds on {', '.join(needed)}." if needed else ""
            yield f"- {{doc}}`/{page.name}` ({page.about.get('minutes', '?')} min). {sentence}{after}"
        yield ""


class RouteDirective(MystDirective):
    """``{dgm-route}``: stages of a way, ``Day 1: part/name, part/name``; nothing is read before what it builds on."""

    has_content = True

    def lines(self) -> Iterator[str]:
        """The stages with their chapters, and how long each takes."""
        book = {page.name: page for page in pages() if page.is_chapter}
        yield from route(list(self.content), book)


def route(content: list[str], book: dict[str, Page]) -> Iterator[str]:
    """A way as MyST.

    Raises:
        PressError: a chapter is unknown, or comes before one that it builds on.
    """
    seen: set[str] = set()
    for line in filter(str.strip, content):
        stage, _, names = line.partition(":")
        listed = [name.strip() for name in names.split(",")]
        for name in listed:
            if name not in book:
                raise PressError(f"dgm-route: there is no chapter {name!r}")
            if missing := [other for other in builds_on(book[name]) if other not in seen]:
                raise PressError(f"dgm-route: {name} comes before {', '.join(missing)}, which it builds on")
            seen.add(name)
        minutes = sum(book[name].about["minutes"] for name in listed)
        yield f"- **{stage}**, {minutes / 60:.1f} h: {', '.join(f'{{doc}}`/{name}`' for name in listed)}"


# --- the map ---------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, GAP, ROW = 210, 54, 24, 92


class MapDirective(SphinxDirective):
    """``{dgm-map}``: chapters from top to bottom, an arrow from each to what builds on it; each is a link."""

    def run(self) -> list[nodes.Node]:
        """The drawing."""
        found = [page for page in pages() if page.is_chapter]
        for page in found:
            self.env.note_dependency(str(page.path))
        up = "../" * self.env.docname.count("/")
        return [raw(draw(found, up))]


def draw(found: list[Page], up: str) -> str:
    """The map as SVG: a row for each length of the longest way to a chapter.

    Args:
        found: the chapters.
        up: the way from the page to the site's root.
    """
    book = {page.name: page for page in found}
    depth: dict[str, int] = {}
    for page in found:  # prerequisites come first in the table of contents
        depth[page.name] = 1 + max((depth[name] for name in builds_on(page) if name in depth), default=-1)
    rows = [[name for name in book if depth[name] == row] for row in range(max(depth.values()) + 1)]
    wide = max(map(len, rows)) * (WIDTH + GAP) + GAP
    place = {
        name: (wide / 2 + (i - len(row) / 2) * (WIDTH + GAP) + GAP / 2, GAP + y * ROW)
        for y, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    lines, boxes = [], []
    for name, page in book.items():
        direct = set(builds_on(page))
        direct -= set().union(*(below(other, book) for other in direct))  # an arrow that others imply is left out
        x, y = place[name]
        for other in sorted(direct, key=list(book).index):
            from_x, from_y = place[other][0] + WIDTH / 2, place[other][1] + HEIGHT
            bend = (y - from_y) / 2
            to_x = x + WIDTH / 2
            lines.append(
                f"M{from_x:g},{from_y:g} C{from_x:g},{from_y + bend:g} {to_x:g},{y - bend:g} {to_x:g},{y - 5:g}"
            )
        words = textwrap.wrap(page.title, 28)
        middle = y + HEIGHT / 2 - 9 * (len(words) - 1) + 5
        text = "".join(
            f'<tspan x="{x + WIDTH / 2:g}" y="{middle + 18 * i:g}">{escape(line)}</tspan>'
            for i, line in enumerate(words)
        )
        part = name.split("/")[0]
        boxes.append(
            f'<a href="{up}{name}.html">'
            f'<rect class="dgm-{part}" x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
            f"<text>{text}</text></a>"
        )
    paths = "".join(f'<path d="{line}" marker-end="url(#dgm-tip)"/>' for line in lines)
    tip = (
        '<marker id="dgm-tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z"/></marker>'
    )
    return (
        f'<svg class="dgm-map" viewBox="0 0 {wide:g} {len(rows) * ROW + GAP:g}" role="group" '
        f'aria-label="Map of the chapters: an arrow leads from each to those that build on it">'
        f"<defs>{tip}</defs>{paths}{''.join(boxes)}</svg>"
    )
