"""The way through the book: a directive that lists the chapters in reading order with what each builds on.

``{dgm-path}`` reads the chapters' front matter, so that the landing page never falls behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from press.chapters import Page, pages
from press.skeleton import CAPTIONS


class PathDirective(SphinxDirective):
    """Chapters by part: title, one sentence, minutes, prerequisites."""

    def run(self) -> list[nodes.Node]:
        """The nodes of the list."""
        found = [page for page in pages() if page.is_chapter]
        for page in found:
            self.env.note_dependency(str(page.path))
        holder = nodes.container(classes=["dgm-path"])
        self.state.nested_parse(StringList(list(write(found)), source="dgm-path"), 0, holder)
        return [holder]


def write(found: list[Page]) -> Iterator[str]:
    """The list as MyST."""
    for part, members in groupby(found, key=lambda page: page.name.split("/")[0]):
        yield from (f"**{CAPTIONS[part]}**", "")
        for page in members:
            sentence = page.front.get("myst", {}).get("html_meta", {}).get("description", "")
            needed = [f"{{doc}}`/{name}`" for name in page.about.get("prerequisites") or []]
            after = f" Builds on {', '.join(needed)}." if needed else ""
            yield f"- {{doc}}`/{page.name}` ({page.about.get('minutes', '?')} min). {sentence}{after}"
        yield ""
