"""Chapters as notebooks for Colab, Binder and download: plain Markdown, numbered equations, an install cell.

MyST's directives and roles mean nothing to a notebook. Here each becomes plain Markdown; what the pages number, the
notebook numbers alike, since the numbers are read from the built pages.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urljoin

import nbformat
from bs4 import BeautifulSoup
from docutils.nodes import make_id
from pybtex.database import Entry, parse_file

from press import homework, quiz, tickets
from press.chapters import Page, chapters
from press.house import BOOK, PressError, address, config, install_cell, write_atomically
from press.maths import DISPLAY

FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:+-]+)\}\s*(?P<title>.*)$")
OPTION = re.compile(r"^:(?P<key>[\w-]+):\s*(?P<value>.*)$")
ROLE = re.compile(r"\{(?P<role>[\w:]+)\}`(?P<body>[^`]+)`")
INLINE = re.compile(r"(?<![\\$])\$(?!\s)[^$\n]+?\$")

BOXES = {
    "prf:definition": "Definition",
    "prf:theorem": "Theorem",
    "prf:lemma": "Lemma",
    "prf:corollary": "Corollary",
    "prf:proof": "Proof",
    "prf:remark": "Remark",
    "prf:example": "Example",
    "prf:algorithm": "Algorithm",
    "exercise": "Exercise",
    "exercise-start": "Exercise",
    "solution": "Solution",
    "solution-start": "Solution",
    "admonition": "",
    "note": "Note",
    "tip": "Tip",
    "hint": "Hint",
    "important": "Important",
    "warning": "Warning",
    "seealso": "See also",
    "dropdown": "",
}


def export(site: Path, to: Path) -> list[Path]:
    """Write every chapter as a notebook without outputs; put it also beside its page, for the download button.

    Args:
        site: the built pages.
        to: the folder of notebooks.

    Raises:
        PressError: the pages are not built, or a chapter uses a directive or role that notebooks don't know.
    """
    made = []
    for page in chapters():
        built = site / f"{page.name}.html"
        if not built.is_file():
            raise PressError(f"{page.name} is not built; run `make book` first")
        text = nbformat.writes(Exporter(page, built).notebook())
        for path in (to / f"{page.name}.ipynb", site / "_sources" / f"{page.name}.ipynb"):
            write_atomically(path, text)
        made.append(to / f"{page.name}.ipynb")
    homework.export(to / "homework")
    return made


class Exporter:
    """One chapter on its way from MyST to a notebook."""

    def __init__(self, page: Page, built: Path) -> None:
        self.page = page
        self.url = urljoin(address().site, f"{page.name}.html")
        self.links: dict[str, tuple[str, str]] = {}  # where a link goes → its text and its whole address
        soup = BeautifulSoup(built.read_text("utf8"), "html.parser")
        for mark in soup.select("article .headerlink"):
            mark.decompose()
        for link in soup.select("article a.reference[href]"):
            self._know(urljoin(self.url, unquote(str(link["href"]))), link.get_text(" ", strip=True))
        for numbered in soup.select("article div.math[id] > .eqno, article div.exercise[id] > .admonition-title"):
            if numbered.parent is not None:
                self._know(f"{self.url}#{numbered.parent['id']}", numbered.get_text(" ", strip=True))

    def _know(self, url: str, text: str) -> None:
        self.links.setdefault(url.removeprefix(address().site), (text, url))

    def notebook(self) -> nbformat.NotebookNode:
        """The chapter as a notebook."""
        source = self.page.notebook()
        title = f"*A chapter of [{config()['title']}]({address().site}); [read it there]({self.url}).*"
        cells = [
            nbformat.v4.new_markdown_cell(title),
            nbformat.v4.new_code_cell(install_cell()),
        ]
        for cell in source.cells:
            if cell.cell_type == "code":
                cells.append(nbformat.v4.new_code_cell(cell.source, metadata=cell.metadata))
            else:
                cells.append(nbformat.v4.new_markdown_cell(self.markdown(cell.source)))
        for i, cell in enumerate(cells):
            cell["id"] = f"cell-{i}"
        metadata = {"kernelspec": source.metadata["kernelspec"], "language_info": {"name": "python"}}
        return nbformat.v4.new_notebook(cells=cells, metadata=metadata)

    def markdown(self, text: str) -> str:
        """MyST as plain Markdown."""
        lines = self._blocks(text.splitlines())
        joined = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        parts = re.split(r"(^```.*?^```$)", joined, flags=re.DOTALL | re.MULTILINE)  # listings stay as they are
        return "".join(part if i % 2 else self._inline(part) for i, part in enumerate(parts))

    # --- blocks ---

    def _blocks(self, lines: list[str]) -> list[str]:
        out: list[str] = []
        at = 0
        while at < len(lines):
            line = lines[at]
            opened = FENCE.match(line)
            if opened:
                end = self._end(lines, at, opened["fence"])
                out += ["", *self._directive(opened["name"], opened["title"], lines[at + 1 : end]), ""]
                at = end + 1
            elif line.startswith("```"):
                end = self._end(lines, at, "```")
                out += lines[at : end + 1]
                at = end + 1
            elif re.match(r"^\([\w-]+\)=\s*$", line) or line.startswith("% "):
                at += 1  # a target or a comment
            else:
                out.append(line)
                at += 1
        return out

    def _end(self, lines: list[str], start: int, fence: str) -> int:
        for at in range(start + 1, len(lines)):
            if lines[at].strip() and set(lines[at].strip()) == {fence[0]} and len(lines[at].strip()) >= len(fence):
                return at
        return len(lines)

    def _directive(self, name: str, title: str, lines: list[str]) -> list[str]:
        options: dict[str, str] = {}
        while lines and (option := OPTION.match(lines[0])):
            options[option["key"]] = option["value"]
            lines = lines[1:]
        body = self._blocks(lines)
        if name in ("solution-end", "exercise-end"):
            return []
        if name in ("bibliography", "dgm-path", "dgm-api"):  # made from the whole book
            return [f"*This list is on [the page]({self.url}).*"]
        if name in ("div", *tickets.LANGUAGES):
            return body
        if name == "quiz":
            return quiz.plain(title.strip(), "\n".join(lines))
        if name in ("ticket", "key", "serves"):
            return [f"*What stands here is on [the page]({self.url}).*"]
        if name in ("image", "figure"):
            where = urljoin(address().site, f"_images/{Path(title.strip()).name}")
            return [f"![{options.get('alt', '')}]({where})", "", *body]
        if name == "math":
            tag = [f"\\tag{{{self._number(options['label'])}}}"] if "label" in options else []
            return ["$$", *body, *tag, "$$"]
        if name == "literalinclude":
            return ["```python", *self._listing(title, options), "```"]
        if name not in BOXES:
            raise PressError(f"{self.page.name}: the notebook export does not know the directive {{{name}}}")
        kind = BOXES[name]
        heading = self._heading(kind, title, options)
        if name.endswith("-start"):
            return [f"**{heading}**", "", *body]
        if "dropdown" in options.get("class", "") or name == "dropdown":
            return [f"<details><summary>{heading}</summary>", "", *body, "", "</details>"]
        return [f"> **{heading}**", ">", *(f"> {line}".rstrip() for line in body)]

    def _heading(self, kind: str, title: str, options: dict[str, str]) -> str:
        if kind in ("Solution", "Exercise"):
            target = title if kind == "Solution" else options.get("label", "")
            number = self._text(make_id(target)) or target
            return f"Solution to {number}" if kind == "Solution" else number
        return f"{kind} ({title})" if kind and title else kind or title

    def _listing(self, name: str, options: dict[str, str]) -> list[str]:
        path = (self.page.path.parent / name.strip()).resolve()
        source = path.read_text("utf8")
        lines = source.splitlines()
        if "pyobject" in options:
            tree: ast.AST = ast.parse(source)
            for step in options["pyobject"].split("."):
                tree = next(n for n in ast.walk(tree) if getattr(n, "name", None) == step)
            assert isinstance(tree, ast.ClassDef | ast.FunctionDef)
            first = min([tree.lineno, *(d.lineno for d in tree.decorator_list)])
            lines = lines[first - 1 : tree.end_lineno]
        for key in options.keys() - {
            "pyobject",
            "language",
            "dedent",
            "start-at",
            "start-after",
            "end-at",
            "end-before",
        }:
            raise PressError(f"{self.page.name}: the notebook export does not know literalinclude's option {key!r}")

        def line(key: str, after: int) -> int:
            """Where the text that the option names stands, at or after a line."""
            wanted = options[key].strip("\"'")
            found = next((i for i in range(after, len(lines)) if wanted in lines[i]), None)
            if found is None:
                raise PressError(f"{self.page.name}: no line of {path.name} holds {key} {wanted!r}")
            return found

        first, last = 0, len(lines)
        if "start-at" in options:
            first = line("start-at", 0)
        if "start-after" in options:
            first = line("start-after", 0) + 1
        if "end-at" in options:
            last = line("end-at", first) + 1
        if "end-before" in options:
            last = line("end-before", first)
        return textwrap.dedent("\n".join(lines[first:last])).splitlines()

    # --- inline ---

    def _inline(self, text: str) -> str:
        text = DISPLAY.sub(self._display, text)
        text = INLINE.sub(lambda m: expand_macros(m.group()), text)
        return ROLE.sub(self._role, text)

    def _display(self, found: re.Match[str]) -> str:
        tag = f" \\tag{{{self._number(found['label'])}}}" if found["label"] else ""
        return f"$${expand_macros(found['tex']).rstrip()}{tag} $$"

    def _role(self, found: re.Match[str]) -> str:
        role, body = found["role"], found["body"]
        named = re.match(r"^(?P<text>.*?)\s*<(?P<target>[^>]+)>$", body, re.DOTALL)
        text, target = (named["text"], named["target"]) if named else (None, body)
        known: dict[str, Callable[[], str]] = {
            "eq": lambda: f"({self._number(target)})",
            "numref": lambda: self._text(make_id(target)) or target,
            "ref": lambda: self._link(text, make_id(target)),
            "prf:ref": lambda: self._link(text, make_id(target)),
            "doc": lambda: self._link(text, f"{target.strip('/')}.html"),
            "term": lambda: text or target,
            "sub": lambda: f"<sub>{body}</sub>",
            "math": lambda: f"${expand_macros(body)}$",
        }
        if role.startswith("cite"):
            return cited(body, textual=role.endswith(":t"))
        if role not in known:
            raise PressError(f"{self.page.name}: the notebook export does not know the role {{{role}}}")
        return known[role]()

    def _find(self, target: str) -> tuple[str, str] | None:
        own = f"{self.page.name}.html#{target}"
        if own in self.links:
            return self.links[own]
        return next((link for key, link in self.links.items() if key == target or key.endswith(f"#{target}")), None)

    def _text(self, target: str) -> str | None:
        found = self._find(target)
        return found[0] if found else None

    def _link(self, text: str | None, target: str) -> str:
        found = self._find(target)
        return f"[{text or found[0]}]({found[1]})" if found else (text or target)

    def _number(self, label: str) -> str:
        """The number of an equation, as the built page prints it."""
        found = self._text(f"equation-{make_id(label)}")
        return found.strip("()") if found else label


def expand_macros(tex: str) -> str:
    """The book's macros take no arguments, so they are replaced as text."""
    macros: dict[str, str] = config()["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    return re.sub(r"\\([A-Za-z]+)", lambda m: f"{{{macros[m[1]]}}}" if m[1] in macros else m.group(), tex)


@cache
def bibliography() -> dict[str, Entry]:
    """All entries of the book's BibTeX files."""
    return {
        key: entry
        for path in sorted((BOOK / "references").glob("*.bib"))
        for key, entry in parse_file(str(path)).entries.items()
    }


def cited(keys: str, *, textual: bool) -> str:
    """``Germain et al. (2015)`` with a link to the source, or ``(Germain et al., 2015)``."""
    told = []
    for key in keys.split(","):
        entry = bibliography()[key.strip()]
        names = [" ".join(person.last_names) for person in entry.persons.get("author", entry.persons.get("editor", []))]
        who = names[0] if len(names) == 1 else f"{names[0]} and {names[1]}" if len(names) == 2 else f"{names[0]} et al."
        who = re.sub(r"[{}\\]", "", who)
        year = entry.fields.get("year", "")
        where = entry.fields.get("url") or (f"https://doi.org/{entry.fields['doi']}" if "doi" in entry.fields else None)
        words = f"{who} ({year})" if textual else f"{who}, {year}"
        told.append(f"[{words}]({where})" if where else words)
    return ", ".join(told) if textual else f"({'; '.join(told)})"
