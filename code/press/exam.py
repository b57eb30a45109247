"""The exam section: directives that set tickets, cards, the formula sheet and the mock exam from their sources."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from bs4 import BeautifulSoup, SoupStrainer, Tag
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from press.chapters import Page, pages
from press.house import PressError
from press.skeleton import CAPTIONS
from press.tickets import FIGURE, LANGUAGES, SECTIONS, SOURCE, Ticket, formula, ticket, tickets


class MystDirective(SphinxDirective):
    """A directive that writes MyST and lets MyST set it."""

    def lines(self) -> Iterable[str]:
        """What it writes."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """The nodes of what it writes."""
        self.env.note_dependency(str(SOURCE))
        return parsed(self, "\n".join(self.lines()))


class LanguageDirective(MystDirective):
    """What is shown while its language is chosen: ``:::{en}`` and ``:::{ru}``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The block, marked with its language for who listens."""
        return [raw(f'<div class="dgm-{self.name}" lang="{self.name}">'), *super().run(), raw("</div>")]

    def lines(self) -> Iterable[str]:
        """What stands in it."""
        return self.content


def told(text: dict[str, str] | dict[str, list[str]]) -> Iterator[str]:
    """The same thing in each language, one block a language; lists become lists."""
    for lang in LANGUAGES:
        said = text[lang]
        yield from (
            f"::::{{{lang}}}",
            "",
            *([said] if isinstance(said, str) else [f"- {each}" for each in said]),
            "",
            "::::",
            "",
        )


class TicketDirective(MystDirective):
    """``{ticket} 8``: the chapters that a ticket's page leans on."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        """One line."""
        this = ticket(int(self.arguments[0]))
        links = ", ".join(f"{{doc}}`/{name}`" for name in this.chapters)
        later = "A chapter of its own comes later." if this.waits_for else ""
        yield from told({"en": f"Chapters: {links}. {later}" if links else later,
                         "ru": f"Главы: {links}." if links else "Своя глава появится позже."})  # fmt: skip


class KeyDirective(MystDirective):
    """``{key} 8``: what a ticket comes down to: its figure, its formulas, what an examiner listens for."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        """The box."""
        this = ticket(int(self.arguments[0]))
        yield from ("```{raw} html", f'<div class="dgm-figure-of" data-figure="{this.figure}"></div>', "```", "")
        if this.equations:
            yield from told({"en": "**Key formulas**", "ru": "**Главные формулы**"})
            for label in this.equations:
                yield from (
                    "::::{div} dgm-key",
                    "",
                    "$$",
                    formula(label)[1],
                    "$$",
                    "",
                    f"{{eq}}`{label}`",
                    "",
                    "::::",
                    "",
                )
        yield from told({"en": "**An examiner listens for**", "ru": "**Что хочет услышать экзаменатор**"})
        yield from told(this.points)


class ServesDirective(MystDirective):
    """``{serves}``: the tickets that a chapter serves, as its front matter has them, with links to their pages."""

    def lines(self) -> Iterator[str]:
        """One line a ticket."""
        for number in Page(self.env.docname).about.get("tickets") or []:
            this = ticket(number)
            title = f"Ticket {number}. {this.title['en']}"
            link = f"{{doc}}`{title} </{this.name}>`" if this.complete else f"{title} (its page comes with its chapter)"
            yield f"- {link} · {this.title['ru']}"


class TicketsDirective(MystDirective):
    """``{tickets}``: the tickets that are answered."""

    def lines(self) -> Iterator[str]:
        """The list."""
        for each in tickets():
            if each.complete:
                yield f"{each.number}. {{doc}}`{each.title['en']} </{each.name}>` · {each.title['ru']}"


def formulas(found: Iterable[Page]) -> Iterator[tuple[Page, str, dict[str, str]]]:
    """The equations that chapters mark for the formula sheet, each with its name in each language.

    Raises:
        PressError: a mark is not ``label: {en: …, ru: …}``, or the chapter has no such equation.
    """
    for page in found:
        marked = page.about.get("formulas") or {}
        for label in sorted(marked, key=lambda label: page.text.find(f"$$ ({label})")):  # in reading order
            name = marked[label]
            if not isinstance(name, dict) or set(name) != set(LANGUAGES):
                raise PressError(f"{page.where(1)}: dgm.formulas.{label}: expected a name in {', '.join(LANGUAGES)}")
            if formula(label)[0].name != page.name:
                raise PressError(f"{page.where(1)}: dgm.formulas: {label} is an equation of another chapter")
            yield page, label, name


class FormulasDirective(MystDirective):
    """``{formulas}``: the sheet, by part: each formula with its name, linked to its derivation."""

    def lines(self) -> Iterator[str]:
        """The sheet."""
        rows = list(formulas(pages()))
        for part, members in groupby(rows, key=lambda row: row[0].name.split("/")[0]):
            yield from (":::::{div} dgm-sheet", "", f"**{CAPTIONS[part]}**", "")
            for page, label, name in members:
                self.env.note_dependency(str(page.path))
                yield from ("::::{div} dgm-formula", "", f"{{eq}}`{label}` {name['en']} · *{name['ru']}*", "")
                yield from ("$$", formula(label)[1], "$$", "", "::::", "")
            yield from (":::::", "")


class CardsDirective(SphinxDirective):
    """``{cards}``: all cards as templates that the page's script deals, and how many each ticket has."""

    def run(self) -> list[nodes.Node]:
        """The nodes of the templates."""
        self.env.note_dependency(str(SOURCE))
        found: list[nodes.Node] = [raw('<div class="dgm-cards">')]
        for each in tickets():
            for card in each.cards:
                for lang in LANGUAGES:
                    found += [
                        raw(f'<template data-card="{card.id}" data-ticket="{each.number}" data-language="{lang}">'),
                        raw(f'<div class="dgm-front" lang="{lang}">'),
                        *parsed(self, card.front[lang]),
                        raw(f'</div><div class="dgm-back" lang="{lang}">'),
                        *parsed(self, card.back[lang]),
                        raw("</div></template>"),
                    ]
        return [*found, raw("</div>")]


class MockDirective(SphinxDirective):
    """``{mock}``: the tickets as templates that the page's script draws from."""

    def run(self) -> list[nodes.Node]:
        """The nodes of the templates."""
        self.env.note_dependency(str(SOURCE))
        found: list[nodes.Node] = [raw('<div class="dgm-mock">')]
        for each in filter(lambda each: each.complete, tickets()):
            url = f"tickets/{each.number:02}.html"
            for lang in LANGUAGES:
                title = json.dumps(each.title[lang], ensure_ascii=False).replace("'", "&#39;")
                marks = f"data-ticket='{each.number}' data-language='{lang}' data-url='{url}' data-title='{title}'"
                found.append(raw(f"<template {marks}>"))
                for point in each.points[lang]:
                    found += [raw(f'<div class="dgm-point" lang="{lang}">'), *parsed(self, point), raw("</div>")]
                found.append(raw("</template>"))
        return [*found, raw("</div>")]


def parsed(directive: SphinxDirective, text: str) -> list[nodes.Node]:
    """Nodes of a text in MyST."""
    holder = nodes.container()
    lines = StringList(text.strip().splitlines(), source=directive.env.docname)
    directive.state.nested_parse(lines, directive.content_offset, holder)
    return list(holder.children)


def raw(html: str) -> nodes.raw:
    """HTML as it is."""
    return nodes.raw("", html, format="html")


# --- built pages -----------------------------------------------------------------------------------------------


def in_russian(soup: BeautifulSoup, this: Ticket) -> None:
    """Give the headings of a ticket's page their Russian words beside the English ones; a script shows one of them."""
    title = {f"Ticket {this.number}. {this.title['en']}": f"Билет {this.number}. {this.title['ru']}"}
    for head in soup.select("article h1, article h2"):
        mark = head.find("a", class_="headerlink")
        english = "".join(str(part) for part in head.contents if part is not mark and not isinstance(part, Tag)).strip()
        russian = (title | SECTIONS).get(english)
        if russian is None:
            continue
        for part in [part for part in head.contents if part is not mark]:
            part.extract()
        for lang, words in reversed((("en", english), ("ru", russian))):
            span = soup.new_tag("span", attrs={"class": f"dgm-{lang}", "lang": lang})
            span.string = words
            head.insert(0, span)


def finish(out: Path) -> None:
    """Set into each ticket's built page the figure of its chapter, and the Russian headings."""
    where = {label: page for page in pages() for label in re.findall(FIGURE, page.text)}
    for each in tickets():
        path = out / f"{each.name}.html"
        if not path.is_file():
            continue
        soup = BeautifulSoup(path.read_text("utf8"), "html.parser")
        in_russian(soup, each)
        place = soup.select_one(".dgm-figure-of")
        source = out / f"{where[each.figure].name}.html" if each.figure in where else None
        if place is not None and source is not None and source != path and source.is_file():
            only = SoupStrainer("figure", id=str(each.figure))  # a chapter is long
            place.append(
                figure(BeautifulSoup(source.read_text("utf8"), "html.parser", parse_only=only), str(each.figure))
            )
        path.write_text(str(soup), "utf8")


def figure(soup: BeautifulSoup, label: str) -> Tag:
    """The figure of a built chapter, for a ticket's page, which lies one folder deeper.

    Raises:
        PressError: the page has none of that label.
    """
    found = soup.find("figure", id=label)
    if not isinstance(found, Tag):
        raise PressError(f"the built page has no figure {label}")
    for tag in [found, *found.find_all(True)]:
        tag.attrs.pop("id", None)
        for key in ("src", "href"):
            if str(tag.get(key, "")).startswith("../"):
                tag[key] = f"../{tag[key]}"
    for mark in found.select(".headerlink"):
        mark.decompose()
    return found.extract()


DIRECTIVES = {
    "en": LanguageDirective,
    "ru": LanguageDirective,
    "ticket": TicketDirective,
    "key": KeyDirective,
    "serves": ServesDirective,
    "tickets": TicketsDirective,
    "formulas": FormulasDirective,
    "cards": CardsDirective,
    "mock": MockDirective,
}
