"""Tickets, quizzes, cards, formulas, starters, the map: what they are made of, and what is refused."""

import sqlite3
import zipfile
from dataclasses import replace

import pytest
from bs4 import BeautifulSoup

from press import anki, exam, homework, quiz
from press import path as ways
from press import tickets as source
from press.chapters import Page, pages
from press.house import PressError
from press.tickets import Card, Ticket, problems, read, ticket, tickets


def page(name, text="# Draft\n", **about):
    made = Page(name)
    made.__dict__.update(text=text, front={"dgm": about})
    return made


def told(found):
    return " | ".join(map(str, found))


# --- tickets ---------------------------------------------------------------------------------------------------


def test_the_books_tickets_have_everything():
    assert problems() == []
    assert [each.number for each in tickets()] == list(range(1, 26))
    original = [each for each in tickets() if each.number <= 11]
    assert all(each.complete for each in original)
    assert {each.number for each in tickets() if each.complete} >= {12, 14, 18, 21, 22, 23}


def changed(number, **parts):
    """The book's tickets with one of them changed."""
    return [replace(each, **parts) if each.number == number else each for each in tickets()]


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"equations": ("eq-nowhere",)}, "names the equation eq-nowhere, which no page has"),
        ({"equations": ()}, "has no key equation"),
        ({"figure": "fig-nowhere"}, "names the figure fig-nowhere, which no page has"),
        ({"chapters": ("diffusion/nowhere",)}, "names the chapter diffusion/nowhere, which is not in _toc.yml"),
        ({"chapters": ("flows/coupling",)}, "names flows/coupling, whose front matter does not list the ticket"),
        ({"points": {"en": ["a"], "ru": ["b"]}}, "fewer than 5 points in English"),
        ({"points": {"en": ["a"] * 6, "ru": ["b"] * 5}}, "its languages have different numbers of points"),
        ({"cards": ()}, "0 cards; a ticket has at least 6"),
        ({"title": {"en": "Another", "ru": "Другой"}}, "the title is not that of tickets.yml"),
        ({"waits_for": "diffusion/ddpm"}, "waits for diffusion/ddpm, which is there"),
    ],
)
def test_a_ticket_that_lacks_a_part_is_told(parts, what):
    assert what in told(problems(changed(8, **parts)))


def test_a_number_that_is_missing_and_a_card_that_is_there_twice_are_told():
    assert "expected the tickets 1 to 25" in told(problems(tickets()[1:]))
    cards = ticket(8).cards
    assert f"two cards have the id {cards[0].id}" in told(problems(changed(8, cards=(*cards, cards[0]))))


def test_a_chapter_that_claims_a_ticket_which_does_not_know_it_is_told():
    book = [page("flows/draft", tickets=[8, 99]), *pages()]
    found = told(problems(book=book))
    assert "claims ticket 99, which tickets.yml does not know" in found
    assert "claims ticket 8, which does not name flows/draft" in found


def test_a_ticket_without_a_page_says_what_it_waits_for(monkeypatch):
    monkeypatch.setattr(Ticket, "complete", property(lambda each: each.number != 8 and each.page.path.is_file()))
    assert "has no page, and does not say which chapter it waits for" in told(problems(changed(8, waits_for=None)))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("## Ladder\n", "## Steps\n", "the sections are"),
        ("```{key} 8\n", "```{key} 9\n", "the directive {key} 8 is missing"),
        (":::{ru}\n", ":::{de}\n", "nothing in Русский"),
        ("**5. ", "**Last: ", "4 questions and 5 answers"),
        ("{admonition} Answer", "{note} Answer", "and 0 answers in English"),
    ],
)
def test_a_ticket_page_that_lacks_a_part_is_told(monkeypatch, old, new, what):
    text = ticket(8).page.text
    assert old in text
    monkeypatch.setattr(Ticket, "page", property(lambda each: page(each.name, text.replace(old, new))))
    assert what in told(source._text(ticket(8)))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("- number: 1\n  title: [", "is not YAML"),
        ("- number: 1\n  title: {en: a, ru: b}\n  colour: red", "no ticket has colour"),
        ("- number: 1\n  title: {en: a}", "a title in each of en, ru"),
        ("- title: {en: a, ru: b}", "ticket ?: expected a number"),
        (
            "- number: 1\n  title: {en: a, ru: b}\n  cards: [{id: x, en: {front: a, back: b}}]",
            "ru.front, ru.back is missing",
        ),
    ],
)
def test_a_source_that_cannot_be_read_is_told(text, what):
    with pytest.raises(PressError, match=what.replace("?", r"\?")):
        read(text)


def test_blocks_of_a_language():
    text = ":::{en}\nyes\n:::\n\n:::{ru}\nда\n:::\n\n::::{en}\n:::{note}\nand\n:::\n::::\n"
    assert source.block(text, "en") == ["yes\n", ":::{note}\nand\n:::\n"]
    assert source.block(text, "ru") == ["да\n"]


def test_headings_speak_both_languages():
    head = (
        '<article><h1>Ticket 8. {title}<a class="headerlink" href="#x">#</a></h1><h2>Ladder</h2><h2>Else</h2></article>'
    )
    soup = BeautifulSoup(head.format(title=ticket(8).title["en"]), "html.parser")
    exam.in_russian(soup, ticket(8))
    assert soup.h1.select_one(".dgm-ru").text == f"Билет 8. {ticket(8).title['ru']}"
    assert soup.h1.select_one(".dgm-en").text.startswith("Ticket 8.")
    assert soup.h1.a.text == "#"
    assert [span.text for span in soup.h2.select("span")] == ["Ladder", "Лестница вопросов"]
    assert soup.select("h2")[1].text == "Else"


def test_a_figure_is_taken_along_without_its_ids():
    soup = BeautifulSoup(
        '<figure id="fig-a"><img id="x" src="../_images/a.png"><a class="headerlink">#</a></figure>', "html.parser"
    )
    found = exam.figure(soup, "fig-a")
    assert found.img["src"] == "../../_images/a.png"
    assert not found.select("[id], .headerlink")
    with pytest.raises(PressError, match="fig-b"):
        exam.figure(soup, "fig-b")


# --- formulas --------------------------------------------------------------------------------------------------


def test_every_chapter_marks_formulas_for_the_sheet():
    rows = list(exam.formulas(pages()))
    chapters = {each.name for each in pages() if each.is_chapter}
    assert {each.name for each, _, _ in rows} == chapters
    assert len({label for _, label, _ in rows}) == len(rows)


def test_a_mark_without_a_name_or_of_another_chapter_is_refused():
    with pytest.raises(PressError, match="expected a name in en, ru"):
        list(exam.formulas([page("diffusion/ddpm", formulas={"eq-ddpm-best": "best"})]))
    with pytest.raises(PressError, match="is an equation of another chapter"):
        list(exam.formulas([page("flows/coupling", formulas={"eq-ddpm-best": {"en": "a", "ru": "b"}})]))
    with pytest.raises(PressError, match="no page has the equation eq-nowhere"):
        list(exam.formulas([page("flows/coupling", formulas={"eq-nowhere": {"en": "a", "ru": "b"}})]))


# --- quizzes ---------------------------------------------------------------------------------------------------

CHOICE = "ask: '$1+1$?'\noptions:\n- right: '2'\n  because: 'Count.'\n- text: '3'\n  because: 'One too many.'\n"


def test_a_quiz_of_each_kind():
    assert quiz.read("choice", CHOICE).options == (("2", True, "Count."), ("3", False, "One too many."))
    assert quiz.read("number", "ask: 'half?'\nanswer: 0.5\nwithin: 0.01\nbecause: 'so'").answer == 0.5
    assert quiz.read("order", "ask: 'order?'\nsteps: [a, b, c]\nbecause: 'so'").steps == ("a", "b", "c")


@pytest.mark.parametrize(
    ("kind", "body", "what"),
    [
        ("riddle", CHOICE, "expected one of choice, several, number, order"),
        ("choice", CHOICE.replace("text", "right"), "2 options, 2 of them right"),
        ("several", CHOICE.replace("right", "text"), "2 options, 0 of them right"),
        ("choice", CHOICE.replace("  because: 'Count.'\n", ""), "an option has 'because'"),
        ("choice", "ask: 'a'", "expected the parts ask, options"),
        ("choice", "ask: 'a", "not YAML"),
        ("choice", "nothing", "came nothing"),
        ("number", "ask: 'a'\nanswer: 1\nwithin: 0\nbecause: 'b'", "positive distance"),
        ("order", "ask: 'a'\nsteps: [a, a, b]\nbecause: 'b'", "all different"),
    ],
)
def test_a_quiz_that_is_none_is_refused(kind, body, what):
    with pytest.raises(ValueError, match=what):
        quiz.read(kind, body)


def test_every_chapter_has_quizzes_and_a_bad_one_is_told_with_its_line():
    for each in pages():
        assert list(quiz.problems(each)) == []
    bad = page("flows/draft", f"# Draft\n\n:::{{quiz}} choice\n{CHOICE.replace('text', 'right')}:::\n")
    found = [str(problem) for problem in quiz.problems(bad)]
    assert found[0].startswith("book/flows/draft.md:3: quiz: 2 options")
    assert found[1].endswith("1 quizzes; a chapter has at least 5")


def test_a_quiz_in_a_notebook_hides_its_answer():
    lines = "\n".join(quiz.plain("choice", CHOICE))
    asked, answered = lines.split("<details>")
    assert "- A. 2" in asked
    assert "Right" not in asked
    assert "- A. Right. Count." in answered


# --- cards -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    anki.export(site)
    return {lang: site / anki.FOLDER / anki.filename(lang) for lang in source.LANGUAGES}


def test_anki_itself_opens_the_decks_and_counts_the_cards(decks, tmp_path):
    from anki.collection import Collection, ImportAnkiPackageOptions, ImportAnkiPackageRequest

    wanted = sum(len(each.cards) for each in tickets())
    for lang, path in decks.items():
        collection = Collection(str(tmp_path / f"{lang}.anki2"))
        request = ImportAnkiPackageRequest(package_path=str(path), options=ImportAnkiPackageOptions())
        collection.import_anki_package(request)
        assert collection.card_count() == wanted
        note = collection.get_note(collection.find_notes("tag:ticket-08")[0])
        assert note["Link"].endswith("exam/tickets/08.html")
        rendered = note.cards()[0].render_output()
        assert note["Front"] in rendered.question_text
        collection.import_anki_package(request)  # once more: nothing is doubled
        assert collection.card_count() == wanted
        collection.close()


def test_ids_of_notes_do_not_change_from_build_to_build(decks, tmp_path):
    anki.export(tmp_path)

    def notes(path):
        with zipfile.ZipFile(path) as packed:
            packed.extract("collection.anki2", tmp_path)
        with sqlite3.connect(tmp_path / "collection.anki2") as base:
            return sorted(base.execute("select guid, flds from notes"))

    for lang, path in decks.items():
        assert notes(path) == notes(tmp_path / anki.FOLDER / anki.filename(lang))


def test_a_changed_card_keeps_its_id_and_languages_have_their_own():
    one = Card("t", {"en": "a", "ru": "б"}, {"en": "c", "ru": "д"})
    two = Card("t", {"en": "other", "ru": "б"}, {"en": "c", "ru": "д"})
    model = anki.deck("en", [ticket(8)]).notes[0].model
    first, changed_, russian = (
        anki.note(card, ticket(8), lang, model) for card, lang in ((one, "en"), (two, "en"), (one, "ru"))
    )
    assert first.guid == changed_.guid != russian.guid


def test_formulas_on_cards_are_spelled_out_for_ankis_mathjax():
    assert anki.typeset(r"**a** < $\E x<1$") == r"<b>a</b> &lt; \({\mathbb{E}} x&lt;1\)"
    for each in tickets():
        for card in each.cards:
            for side in (card.front, card.back):
                for text in side.values():
                    assert "$" not in anki.typeset(text)


# --- homework --------------------------------------------------------------------------------------------------


def test_a_starter_has_no_solution_and_says_so_when_called():
    body = "def {}():\n    # --- solution\n    return {}\n    # --- end\n"
    source_ = "\n\n".join([body.format("f", 1), body.format("g", 2)])
    names = {}
    exec(homework.starter(source_), names)
    with pytest.raises(NotImplementedError, match="your turn"):
        names["f"]()
    assert homework.starter(source_).count("your turn") == 2
    assert homework.plain(source_) == "def f():\n    return 1\n\n\ndef g():\n    return 2\n"
    with pytest.raises(PressError, match="marks what the student writes"):
        homework.starter("def f(): ...\n")
    with pytest.raises(PressError, match="there is no solution"):
        homework.solution("o0-0")


def test_homework_and_chapters_agree():
    assert homework.problems() == []
    assert {task.name for task in homework.tasks() if task.waits_for is None} == set(homework.names())
    found = [replace(task, waits_for="flows/coupling") if task.task == "O4.1" else task for task in homework.tasks()]
    assert "O4.1: waits for flows/coupling, which is there" in told(homework.problems(found))
    found = [replace(task, waits_for=None) if task.task == "O4.1" else task for task in homework.tasks()]
    assert "has no page course/homework/o4-1 or no solution" in told(homework.problems(found))
    found = [task for task in homework.tasks() if task.task != "O2.1"]
    seen = told(homework.problems(found))
    assert "claims homework O2.1, which does not name autoregressive/made" in seen
    assert "book/course/homework/o2-1.md:1: homework.yml has no such task" in seen


# --- ways ------------------------------------------------------------------------------------------------------


def test_circles_and_borrowed_formulas_are_told():
    first = page("flows/a", "$$x$$ (eq-a)\n", prerequisites=["flows/b"])
    second = page("flows/b", "{eq}`eq-a`\n", prerequisites=[])
    assert "uses eq-a of flows/a" in told(ways.problems([first, second]))
    second.__dict__.update(front={"dgm": {"prerequisites": ["flows/a"]}})
    assert told(ways.problems([first, second])).count("round in a circle") == 2
    assert ways.problems() == []


def test_a_route_keeps_the_order():
    book = {each.name: each for each in pages() if each.is_chapter}
    (line,) = ways.route(["Day 1: foundations/generation, foundations/counting"], book)
    assert line.startswith("- **Day 1**, ")
    with pytest.raises(PressError, match="comes before foundations/generation"):
        list(ways.route(["Day 1: foundations/counting"], book))
    with pytest.raises(PressError, match="no chapter 'flows/nowhere'"):
        list(ways.route(["Day 1: flows/nowhere"], book))


def test_the_map_links_every_chapter_once():
    found = [each for each in pages() if each.is_chapter]
    soup = BeautifulSoup(ways.draw(found, "../"), "html.parser")
    assert sorted(link["href"] for link in soup.select("a")) == sorted(f"../{each.name}.html" for each in found)
    boxes = {(float(box["x"]), float(box["y"])) for box in soup.select("rect")}
    assert len(boxes) == len(found)
