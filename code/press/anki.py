"""The cards as Anki decks, one a language, with the formulas as Anki sets them.

Ids do not change from build to build, so a deck that is imported again updates the cards it knows.
"""

from __future__ import annotations

import hashlib
import re
from html import escape
from pathlib import Path

import genanki
from docutils import nodes
from sphinx.util.docutils import SphinxRole

from press.house import address, config
from press.maths import MATHS
from press.notebooks import expand_macros
from press.tickets import LANGUAGES, Card, Ticket, tickets

FOLDER = "_downloads"
STYLE = """
.card { font-family: system-ui, sans-serif; font-size: 20px; text-align: center; color: #1f2933; background: #fff; }
.nightMode.card { color: #e4e7eb; background: #14181d; }
.ticket { font-size: 14px; opacity: 0.7; }
"""
FORM = '{{{{{side}}}}}<hr id=answer>{{{{Back}}}}<p class="ticket"><a href="{{{{Link}}}}">{{{{Ticket}}}}</a></p>'


def number(text: str) -> int:
    """An id that follows from a name alone, as Anki wants them: 31 bits."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def typeset(text: str) -> str:
    r"""A side of a card as HTML: ``$…$`` becomes ``\(…\)``, as in Anki, with the macros of the book spelled out."""
    out, at = [], 0
    for found in MATHS.finditer(text):
        out += [_plain(text[at : found.start()]), rf"\({escape(expand_macros(found['display'] or found['inline']))}\)"]
        at = found.end()
    return "".join([*out, _plain(text[at:])]).replace("\n", "<br>")


def _plain(text: str) -> str:
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))
    return re.sub(r"(?<!\*)\*([^*]+)\*(?!\*)", r"<i>\1</i>", re.sub(r"`([^`]+)`", r"<code>\1</code>", text))


def note(card: Card, ticket: Ticket, language: str, model: genanki.Model) -> genanki.Note:
    """One card as a note."""
    where = f"{address().site}{ticket.name}.html"
    told = {"en": "Ticket", "ru": "Билет"}[language]
    fields = [typeset(card.front[language]), typeset(card.back[language])]
    fields += [f"{told} {ticket.number}. {escape(ticket.title[language])}", where]
    return genanki.Note(
        model=model, fields=fields, guid=genanki.guid_for(card.id, language), tags=[f"ticket-{ticket.number:02}"]
    )


def deck(language: str, found: list[Ticket]) -> genanki.Deck:
    """All cards in one language."""
    name = f"{config()['title']} · {LANGUAGES[language]}"
    model = genanki.Model(
        number("dgm card"),
        config()["title"],
        fields=[{"name": field} for field in ("Front", "Back", "Ticket", "Link")],
        templates=[{"name": "Card", "qfmt": "{{Front}}", "afmt": FORM.format(side="FrontSide")}],
        css=STYLE,
    )
    made = genanki.Deck(number(f"dgm deck {language}"), name)
    for each in found:
        for card in each.cards:
            made.add_note(note(card, each, language, model))
    return made


def export(site: Path) -> None:
    """Write the decks beside the site's downloads."""
    folder = site / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for language in LANGUAGES if tickets() else ():
        genanki.Package(deck(language, tickets())).write_to_file(str(folder / filename(language)))


def filename(language: str) -> str:
    """Of a language's deck."""
    return f"deep-generative-models-{language}.apkg"


class DeckRole(SphinxRole):
    """``{dgm-deck}`en```: a link to the deck, with the number of its cards."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The link."""
        count = sum(len(each.cards) for each in tickets())
        link = f'<a href="../{FOLDER}/{filename(self.text)}" download>{LANGUAGES[self.text]} ({count} cards)</a>'
        return [nodes.raw("", link, format="html")], []
