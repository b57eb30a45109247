"""The pages of the book in reading order, and the chapters among them: the pages that run."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from myst_nb.core.read import read_myst_markdown_notebook

from dgm.checks import nearest
from press.house import BOOK, CODE, PARTS, ROOT, PressError


@dataclass(frozen=True)
class Page:
    """A page of the book: ``part/name`` and its file."""

    name: str

    @property
    def path(self) -> Path:
        """The Markdown file."""
        return BOOK / f"{self.name}.md"

    @functools.cached_property
    def text(self) -> str:
        """The page's source."""
        return self.path.read_text("utf8")

    @functools.cached_property
    def front(self) -> dict[str, Any]:
        """The front matter; empty where there is none."""
        if not self.text.startswith("---\n"):
            return {}
        head = self.text[4:].split("\n---\n", 1)[0]
        try:
            front = yaml.safe_load(head)
        except yaml.YAMLError as error:
            raise PressError(f"{self.where(1)}: the front matter is not YAML: {error}") from error
        return front or {}

    @property
    def about(self) -> dict[str, Any]:
        """What the page says of itself under ``dgm:`` in the front matter."""
        return self.front.get("dgm") or {}

    @property
    def runs(self) -> bool:
        """Whether the page has code to execute."""
        return "kernelspec" in self.front

    @property
    def is_chapter(self) -> bool:
        """Whether the page is a chapter of one of the seven parts."""
        return self.name.split("/")[0] in PARTS

    @property
    def title(self) -> str:
        """The first heading."""
        for line in self.text.splitlines():
            if line.startswith("# "):
                return line[2:].strip()
        raise PressError(f"{self.where(1)}: the page has no title; begin it with '# Title'")

    @property
    def module(self) -> Path:
        """The chapter's module in the package."""
        named = self.about.get("module")
        return CODE / f"{named.replace('.', '/')}.py" if named else CODE / "dgm" / f"{self.name}.py"

    @property
    def test(self) -> Path:
        """The chapter's test."""
        module = self.module.relative_to(CODE / "dgm")
        return CODE / "tests" / module.parent / f"test_{module.name}"

    def where(self, line: int) -> str:
        """``book/part/name.md:line``, as editors and terminals link it."""
        return f"{self.path.relative_to(ROOT)}:{line}"

    def notebook(self) -> nbformat.NotebookNode:
        """The page as a notebook without outputs; its metadata hold the line at which each cell begins."""
        return read_myst_markdown_notebook(self.text, add_source_map=True, path=self.path)


def pages() -> list[Page]:
    """All pages, in the order of `_toc.yml`."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))
    names: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for key in ("root", "file"):
                if key in node:
                    names.append(str(node[key]))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for item in node:
                walk(item)

    walk(toc)
    found = [Page(name) for name in names]
    for page in found:
        if not page.path.is_file():
            raise PressError(f"_toc.yml names {page.name}, but {page.path.relative_to(ROOT)} is missing")
    return found


def chapters(only: str | None = None) -> list[Page]:
    """The pages that run; with `only`, the one of that name.

    Raises:
        PressError: there is no such page; the message names the nearest.
    """
    found = [page for page in pages() if page.runs]
    if only is None:
        return found
    name = only.removeprefix("book/").removesuffix(".md")
    for page in found:
        if page.name == name:
            return [page]
    raise PressError(f"no chapter {only!r}{nearest(name, [page.name for page in found])}")
