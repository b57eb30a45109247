"""The exam tickets: `book/exam/tickets.yml` and a page each; what a ticket must have, checked against the chapters.

A ticket is complete when it has a page; until its chapter exists it says which one it waits for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from press.chapters import Page, pages
from press.house import BOOK, PressError, Problem
from press.maths import DISPLAY, labels

SOURCE = BOOK / "exam" / "tickets.yml"
NUMBERS = range(1, 26)
LANGUAGES = {"en": "English", "ru": "Русский"}
SECTIONS = {
    "In one minute": "За одну минуту",
    "In five minutes": "За пять минут",
    "Derivation": "Вывод",
    "Common mistakes": "Частые ошибки",
    "Check yourself": "Проверьте себя",
    "Ladder": "Лестница вопросов",
}
"""The sections of a ticket's page, and what they are called in Russian."""
FIGURE = re.compile(r'name="(fig-[\w-]+)"')
"""How a chapter names a figure, in a call of `viz.show`."""
LEAST = {"points": 5, "cards": 6}
QUESTIONS = {"Check yourself": (3, 5), "Ladder": (5, 5)}
"""How many questions a section holds, at least and at most, in each language."""

Told = dict[str, str]
"""The same thing in each of the languages."""


@dataclass(frozen=True)
class Card:
    """One flash card: a front and a back in each language."""

    id: str
    front: Told
    back: Told


@dataclass(frozen=True)
class Ticket:
    """One ticket of the exam."""

    number: int
    title: Told
    chapters: tuple[str, ...] = ()
    waits_for: str | None = None
    equations: tuple[str, ...] = ()
    figure: str | None = None
    points: dict[str, list[str]] = field(default_factory=dict)
    cards: tuple[Card, ...] = ()

    @property
    def name(self) -> str:
        """Of its page, as `_toc.yml` has it."""
        return f"exam/tickets/{self.number:02}"

    @property
    def page(self) -> Page:
        """Its page."""
        return Page(self.name)

    @property
    def complete(self) -> bool:
        """Whether it is answered."""
        return self.page.path.is_file()


def read(text: str) -> list[Ticket]:
    """Tickets from the text of a `tickets.yml`.

    Raises:
        PressError: it is not YAML, or an entry has a part that no ticket has, or lacks its number or titles.
    """
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PressError(f"tickets.yml is not YAML: {error}") from error
    tickets = []
    for entry in entries or []:
        known = set(Ticket.__dataclass_fields__)
        which = f"tickets.yml, ticket {entry.get('number', '?')}"
        if strange := sorted(set(entry) - known):
            raise PressError(f"{which}: no ticket has {', '.join(strange)}; known: {', '.join(sorted(known))}")
        if not isinstance(entry.get("number"), int) or set(entry.get("title") or ()) != set(LANGUAGES):
            raise PressError(f"{which}: expected a number and a title in each of {', '.join(LANGUAGES)}")
        cards = []
        for card in entry.get("cards") or []:
            missing = [f"{lang}.{side}" for lang in LANGUAGES for side in ("front", "back")
                       if not str((card.get(lang) or {}).get(side) or "").strip()]  # fmt: skip
            if missing or not card.get("id"):
                raise PressError(f"{which}, card {card.get('id', '?')}: {', '.join(missing or ['id'])} is missing")
            sides = ({lang: str(card[lang][side]).strip() for lang in LANGUAGES} for side in ("front", "back"))
            cards.append(Card(card["id"], *sides))
        parts = {key: tuple(entry.get(key) or ()) for key in ("chapters", "equations")}
        tickets.append(Ticket(**entry | parts | {"cards": tuple(cards)}))
    return tickets


@functools.cache
def tickets() -> list[Ticket]:
    """All tickets of the book, in order; none where it has no exam."""
    return read(SOURCE.read_text("utf8")) if SOURCE.is_file() else []


def ticket(number: int) -> Ticket:
    """The ticket of that number.

    Raises:
        PressError: there is none.
    """
    for each in tickets():
        if each.number == number:
            return each
    raise PressError(f"there is no ticket {number}; the exam has {NUMBERS[0]} to {NUMBERS[-1]}")


# --- what a ticket must have -----------------------------------------------------------------------------------


def problems(found: list[Ticket] | None = None, book: list[Page] | None = None) -> list[Problem]:
    """What is wrong with the tickets and with what the pages of the book claim of them."""
    book = pages() if book is None else book
    if found is None:
        if not SOURCE.is_file():
            return list(_claims([], book))
        found = read(SOURCE.read_text("utf8"))
    return list(dict.fromkeys([*_whole(found), *_claims(found, book), *_parts(found, book)]))


def _whole(found: list[Ticket]) -> Iterator[Problem]:
    """Every number once, every card's id once."""
    where = "book/exam/tickets.yml"
    numbers = [each.number for each in found]
    if numbers != list(NUMBERS):
        yield Problem(
            where, f"expected the tickets {NUMBERS[0]} to {NUMBERS[-1]}, each once and in order; came {numbers}"
        )
    ids = [card.id for each in found for card in each.cards]
    for twice in sorted({card for card in ids if ids.count(card) > 1}):
        yield Problem(where, f"two cards have the id {twice}")


def _claims(found: list[Ticket], book: list[Page]) -> Iterator[Problem]:
    """A chapter names its tickets, and a ticket its chapters: they must agree."""
    serves = {page.name: page.about.get("tickets") or [] for page in book}
    known = {each.number: each for each in found}
    for page in book:
        for number in serves[page.name]:
            if number not in known:
                yield Problem(page.where(1), f"claims ticket {number}, which tickets.yml does not know")
            elif page.name not in known[number].chapters:
                yield Problem(page.where(1), f"claims ticket {number}, which does not name {page.name}")
    for each in found:
        for name in each.chapters:
            if name not in serves:
                yield Problem(_where(each), f"names the chapter {name}, which is not in _toc.yml")
            elif each.number not in serves[name]:
                yield Problem(_where(each), f"names {name}, whose front matter does not list the ticket")
        if each.waits_for in serves:
            yield Problem(_where(each), f"waits for {each.waits_for}, which is there")


def _parts(found: list[Ticket], book: list[Page]) -> Iterator[Problem]:
    """A complete ticket has everything; one that is not complete waits for a chapter."""
    in_toc = {page.name for page in book}
    known = {label for page in book for _, label in labels(page.text)}
    figures = {name for page in book for name in re.findall(FIGURE, page.text)}
    for each in found:
        if not each.complete:
            if not each.waits_for:
                yield Problem(_where(each), "has no page, and does not say which chapter it waits for (waits_for)")
            continue
        if each.name not in in_toc:
            yield Problem(_where(each), f"its page {each.name} is not in _toc.yml")
        if not each.equations and not each.waits_for:
            yield Problem(_where(each), "has no key equation")
        for label in each.equations:
            if label not in known:
                yield Problem(_where(each), f"names the equation {label}, which no page has")
        if each.figure not in figures:
            yield Problem(_where(each), f"names the figure {each.figure}, which no page has")
        for lang in LANGUAGES:
            if len(each.points.get(lang, [])) < LEAST["points"]:
                yield Problem(_where(each), f"fewer than {LEAST['points']} points in {LANGUAGES[lang]}")
        if len({len(each.points.get(lang, [])) for lang in LANGUAGES}) > 1:
            yield Problem(_where(each), "its languages have different numbers of points")
        if len(each.cards) < LEAST["cards"]:
            yield Problem(_where(each), f"{len(each.cards)} cards; a ticket has at least {LEAST['cards']}")
        yield from _text(each)


def _text(each: Ticket) -> Iterator[Problem]:
    """The page has its sections in order, each in both languages, with as many questions as it must have."""
    page = each.page
    if page.title != f"Ticket {each.number}. {each.title['en']}":
        yield Problem(
            page.where(1), f"the title is not that of tickets.yml: 'Ticket {each.number}. {each.title['en']}'"
        )
    for directive in ("ticket", "key"):
        if f"```{{{directive}}} {each.number}\n" not in page.text:
            yield Problem(page.where(1), f"the directive {{{directive}}} {each.number} is missing")
    chunks = re.split(r"^## (.+)$", page.text, flags=re.MULTILINE)
    heads = [head.strip() for head in chunks[1::2]]
    if heads != list(SECTIONS):
        yield Problem(page.where(1), f"the sections are {', '.join(heads)}; expected {', '.join(SECTIONS)}")
    for head, text in zip(heads, chunks[2::2], strict=True):
        counts = set()
        for lang in LANGUAGES:
            said = "\n".join(block(text, lang))
            if not said.strip():
                yield Problem(page.where(1), f"{head}: nothing in {LANGUAGES[lang]}")
            asked = len(re.findall(r"^\*\*\d+\. ", said, re.MULTILINE))
            answered = len(re.findall(r"^`{3,}\{admonition\}", said, re.MULTILINE))
            counts.add(asked)
            if head in QUESTIONS:
                low, high = QUESTIONS[head]
                if not low <= asked <= high or answered != asked:
                    what = f"{asked} questions and {answered} answers in {LANGUAGES[lang]}; expected {low} to {high}"
                    yield Problem(page.where(1), f"{head}: {what}, each with an answer")
        if len(counts) > 1:
            yield Problem(page.where(1), f"{head}: the languages ask different numbers of questions")


def block(text: str, language: str) -> list[str]:
    """What stands in the blocks ``:::{en}`` (or ``ru``) of a text, one after the other."""
    opened = rf"^(?P<fence>:{{3,}})\{{{language}\}}[ \t]*\n(?P<said>.*?)^(?P=fence)[ \t]*$"
    return [found["said"] for found in re.finditer(opened, text, re.MULTILINE | re.DOTALL)]


def _where(each: Ticket) -> str:
    return f"book/exam/tickets.yml, ticket {each.number}"


@functools.cache
def _formulas() -> dict[str, tuple[Page, str]]:
    found = ((page, each) for page in pages() for each in DISPLAY.finditer(page.text) if each["label"])
    return {each["label"]: (page, each["tex"].strip()) for page, each in found}


def formula(label: str) -> tuple[Page, str]:
    """The page and the TeX of a labelled equation.

    Raises:
        PressError: no page has it.
    """
    if label not in _formulas():
        raise PressError(f"no page has the equation {label}")
    return _formulas()[label]
