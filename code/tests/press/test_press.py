"""The parts of press one by one; the whole machine is in test_machine.py."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time

import pytest
from bs4 import BeautifulSoup

from press import maths, notebooks
from press.address import move
from press.chapters import Page, chapters, pages
from press.check import check
from press.execute import _tidy
from press.house import ROOT, Address, PressError, address, digest, write_atomically
from press.lint import anatomy, cells, claims, exercises, front_matter, notation_page, sources, symbols
from press.offline import REFUSED
from press.skeleton import new

HEAD = """---
kernelspec:
  name: python3
  display_name: Python 3
---
"""


def page(text):
    made = Page("foundations/draft")
    made.__dict__["text"] = HEAD + text
    return made


def told(problems):
    return [problem.what for problem in problems]


# --- the house -------------------------------------------------------------------------------------------------


def test_every_address_comes_from_one():
    here = Address("https://github.com/Someone/book")
    assert here.slug == "Someone/book"
    assert here.site == "https://someone.github.io/book/"
    assert here.colab("flows/coupling").endswith("/github/Someone/book/blob/notebooks/flows/coupling.ipynb")
    assert here.binder("flows/coupling").endswith("/gh/Someone/book/notebooks?urlpath=lab/tree/flows/coupling.ipynb")
    assert here.edit("index") == "https://github.com/Someone/book/edit/main/book/index.md"
    assert "page=flows/coupling" in here.issue("flows/coupling")
    assert here.install.endswith("git+https://github.com/Someone/book@main#subdirectory=code")


def test_a_digest_sees_content_and_absence(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("x")
    first = digest(a, b)
    b.write_text("")
    assert digest(a, b) != first
    b.unlink()
    assert digest(a, b) == first


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_chapter_is_told_with_the_nearest():
    with pytest.raises(PressError, match=r"no chapter 'foundations/countin'.*did you mean 'foundations/counting'"):
        chapters("foundations/countin")
    assert [page.name for page in chapters("book/foundations/counting.md")] == ["foundations/counting"]


def test_every_chapter_is_a_page_with_a_title():
    found = pages()
    assert found[0].name == "index"
    assert all(page.title for page in found)
    assert {page.name for page in chapters()} <= {page.name for page in found}


# --- lint ------------------------------------------------------------------------------------------------------


def test_a_source_defined_twice_is_named(tmp_path):
    (tmp_path / "a.bib").write_text("@book{one,\n title={A}}\n@article{two,\n title={B}}\n")
    (tmp_path / "b.bib").write_text("\n@inproceedings{one,\n title={C}}\n")
    assert [str(problem) for problem in sources(tmp_path)] == [
        "book/references/b.bib:2: the key one is defined already, in a.bib:1"
    ]


GOOD = """# Draft

$$ (a+b)^2 = a^2 + 2ab + b^2 $$ (eq-draft-square)

```{code-cell} ipython3
verify("eq-draft-square", (a + b) ** 2, a**2 + 2 * a * b + b**2, atol=1e-9)
```
"""


def test_a_good_claim_passes():
    assert told(claims(page(GOOD))) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("verify(", "print("), "eq-draft-square is not verified"),
        (("a**2 + 2 * a * b + b**2", "(a + b) ** 2"), "both sides are the same expression"),
        (("(a + b) ** 2", "4.0"), "the side '4.0' is a constant"),
        (('verify("eq-draft-square"', 'verify("eq-draft-cube"'), "no equation of the chapter has that label"),
        (("(eq-draft-square)\n", "(square)\n"), "claims are eq-…, definitions def-…"),
        (
            ("```{code-cell}", "```{code-cell} ipython3\nprint(1)\n```\n\n$$ a = a $$ (eq-draft-a)\n\n```{code-cell}"),
            "eq-draft-a is not verified in the cell right after it",
        ),
    ],
)
def test_a_bad_claim_is_told(change, expected):
    text = GOOD.replace(*change)
    assert text != GOOD
    assert any(expected in problem for problem in told(claims(page(text))))


def test_names_assigned_in_the_cell_stand_for_what_they_are():
    text = GOOD.replace('verify("', 'left = a + b\nright = a + b\nverify("').replace("(a + b) ** 2", "left")
    text = text.replace("a**2 + 2 * a * b + b**2", "right")
    assert any("same expression" in problem for problem in told(claims(page(text))))


def test_the_line_of_a_claim_is_told():
    (problem,) = claims(page(GOOD.replace("verify(", "print(")))
    line = int(problem.where.rsplit(":", 1)[1])
    assert "eq-draft-square" in (HEAD + GOOD).splitlines()[line - 1]


SECTIONS = (
    "The question",
    "In one minute",
    "Derivation: first",
    "Derivation: second",
    "Code",
    "Live",
    "Numbers",
    "What can go wrong",
    "Exercises",
    "Exam",
    "Sources",
)


def outline(*sections):
    return "# Draft\n\n" + "\n\n".join(f"## {name}" for name in sections)


def test_anatomy():
    assert told(anatomy(page(outline(*SECTIONS)))) == []
    assert told(anatomy(page(outline(*SECTIONS[:-1])))) == ["the section '## Sources' is missing"]
    swapped = (*SECTIONS[:4], "Live", "Code", *SECTIONS[6:])
    assert any("'Code' comes too late" in problem for problem in told(anatomy(page(outline(*swapped)))))
    assert any("'Musings' is none of" in problem for problem in told(anatomy(page(outline("Musings", *SECTIONS)))))
    fenced = outline(*SECTIONS) + "\n\n```\n## Not a section\n```\n"
    assert told(anatomy(page(fenced))) == []


def test_cells_and_front_matter():
    long = "```{code-cell} ipython3\n" + "x = 1\n" * 19 + "```\n"
    assert any("19 lines" in problem for problem in told(cells(page("# Draft\n\n" + long))))
    hidden = "```{code-cell} ipython3\n:tags: [remove-input]\nx = 1\n```\n"
    assert any("use hide-input" in problem for problem in told(cells(page("# Draft\n\n" + hidden))))
    missing = told(front_matter(page("# Draft"), ["foundations/draft"]))
    assert [problem.split()[0] for problem in missing] == ["dgm.minutes", "myst.html_meta.description", "dgm.tickets"]


def test_exercises_need_folded_solutions_and_code():
    posed = "".join(f"```{{exercise}}\n:label: ex-{i}\nWhat?\n```\n" for i in range(4))
    solved = "".join(f"```{{solution}} ex-{i}\n:class: dropdown\nThat.\n```\n" for i in range(2))
    open_ = "```{solution-start} ex-2\n```\n```{solution-end}\n```\n"
    problems = told(exercises(page("# Draft\n" + posed + solved + open_)))
    assert "the exercise ex-3 has no solution" in problems
    assert any("solution of ex-2 is not folded" in problem for problem in problems)
    assert any("1 exercises are checked by code" in problem for problem in problems)


def test_symbols_and_commands():
    assert told(symbols(page("# Draft\n\n$\\x \\sim p(\\x \\mid \\theta)$"))) == []
    (problem,) = told(symbols(page("# Draft\n\n$\\mathfrak{G} = 1$")))
    assert "\\mathfrak{G} is not in book/reference/notation.yml" in problem
    (problem,) = told(symbols(page("# Draft\n\n$\\Expect x$")))
    assert "MathJax does not know \\Expect" in problem
    local = page("# Draft\n\n$\\mathfrak{G} = 1$")
    local.__dict__["front"] = {"dgm": {"symbols": {"\\mathfrak{G}": "a group"}}}
    assert told(symbols(local)) == []


def test_formulas_are_found_where_they_are_and_nowhere_else():
    text = "a $x$ costs 5$ and `$y$`\n\n```python\n$z$\n```\n\n$$\nw\n$$ (eq-w)\n"
    assert [(line, tex.strip()) for line, tex in maths.formulas(text)] == [(1, "x"), (7, "w")]
    assert maths.letters(r"\mathbf{W}_{ij}\,\E[\log p_\theta] \text{if } \hat{x}") == {
        "\\mathbf{W}",
        "i",
        "j",
        "\\E",
        "p",
        "\\theta",
        "x",
    }


def test_the_notation_page_says_what_its_source_says():
    assert told(notation_page()) == []


# --- notebooks -------------------------------------------------------------------------------------------------


@pytest.fixture
def exporter(tmp_path):
    built = tmp_path / "draft.html"
    built.write_text(
        '<article><div class="math" id="equation-eq-draft-square"><span class="eqno">(1.2)<a class="headerlink">#</a>'
        '</span></div><a class="reference" href="#fig-draft-line">Fig. 1.1</a>'
        '<a class="reference" href="counting.html">2. Generating by counting</a>'
        '<div class="exercise" id="ex-draft-1"><p class="admonition-title">Exercise 1.3 (Sums)</p></div></article>'
    )
    return notebooks.Exporter(page("# Draft"), built)


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("$$ \\E x $$ (eq-draft-square)", "$$ {\\mathbb{E}} x \\tag{1.2} $$"),
        ("By {eq}`eq-draft-square` and {numref}`fig-draft-line`.", "By (1.2) and Fig. 1.1."),
        ("{term}`likelihood` and {term}`the bound <ELBO>`", "likelihood and the bound"),
        ("(ch-draft)=\n# Title\n% a comment", "# Title"),
        (
            "```{exercise} Sums\n:label: ex-draft-1\nAdd $\\x$.\n```",
            "> **Exercise 1.3 (Sums)**\n>\n> Add ${\\mathbf{x}}$.",
        ),
        (
            "```{solution} ex-draft-1\n:class: dropdown\nDone.\n```",
            "<details><summary>Solution to Exercise 1.3 (Sums)</summary>\n\nDone.\n\n</details>",
        ),
        (
            "````{prf:theorem} Bayes\n:label: thm-x\n```python\n$x$\n```\n````",
            "> **Theorem (Bayes)**\n>\n> ```python\n> $x$\n> ```",
        ),
        (
            "```{image} ../_static/cover.png\n:alt: digits\n```",
            f"![digits]({address().site}_images/cover.png)",
        ),
        (":::{note}\nMind $\\KL$.\n:::", "> **Note**\n>\n> Mind ${{D_{\\mathrm{KL}}}}$."),
    ],
)
def test_myst_becomes_plain_markdown(exporter, myst, markdown):
    assert exporter.markdown(myst) == markdown


def test_links_go_to_the_site(exporter):
    made = exporter.markdown("See {doc}`/foundations/counting` and {doc}`there </foundations/counting>`.")
    site = address().site
    assert made == (
        f"See [2. Generating by counting]({site}foundations/counting.html)"
        f" and [there]({site}foundations/counting.html)."
    )


def test_a_listing_is_taken_from_the_source(exporter):
    listing = "```{literalinclude} ../../code/dgm/metrics/__init__.py\n:pyobject: nats_per_dim\n```"
    made = exporter.markdown(listing)
    assert made.startswith("```python\ndef nats_per_dim(")
    assert made.endswith("```")
    assert "bits_per_dim" not in made
    between = ":start-at: def mean_and_error\n:end-before: Args\n"
    made = exporter.markdown(listing.replace(":pyobject: nats_per_dim\n", between))
    assert made.splitlines()[1].startswith("def mean_and_error(")
    assert len(made.splitlines()) < 8
    with pytest.raises(PressError, match=r"does not know literalinclude's option 'lines'"):
        exporter.markdown(listing.replace("pyobject: nats_per_dim", "lines: 1-2"))


@pytest.mark.parametrize("myst", ["```{mermaid}\nx\n```", "{abbr}`ELBO`"])
def test_what_the_export_does_not_know_is_told(exporter, myst):
    with pytest.raises(PressError, match=r"does not know the (directive|role)"):
        exporter.markdown(myst)


# --- the look through the site ---------------------------------------------------------------------------------


def site_with(folder, body, head=""):
    (folder / "index.html").write_text(f"<html><head>{head}</head><body>{body}</body></html>")
    (folder / "other.html").write_text('<html><body><h1 id="top">x</h1></body></html>')
    return folder


def test_a_whole_site_passes(tmp_path):
    body = '<a href="other.html#top">x</a> <a href="https://arxiv.org/abs/1">paper</a> <img src="p.png" alt="a line">'
    (tmp_path / "p.png").touch()
    problems, seen = check(site_with(tmp_path, body))
    assert problems == []
    assert seen.startswith("2 pages, 3 links")


@pytest.mark.parametrize(
    ("body", "head", "expected"),
    [
        ('<a href="gone.html">x</a>', "", "a dead link: gone.html"),
        ('<a href="other.html#gone">x</a>', "", "a dead anchor: other.html#gone"),
        ('<a href="/elsewhere/x.html">x</a>', "", "a path outside the site"),
        ('<img src="other.html">', "", "a picture without alternative text"),
        ("", '<script src="https://cdn.example.org/x.js"></script>', "<script> loads from another host"),
        ("", '<link rel="stylesheet" href="//cdn.example.org/x.css">', "<link> loads from another host"),
        ("", "<style>@import 'https://cdn.example.org/x.css';</style>", "<style> has a style that asks another host"),
        ('<img src="other.html" alt="x" srcset="https://example.org/a.png 2x">', "", "<img> loads from another host"),
        ("<script>fetch('https://example.org/x')</script>", "", "a script in the page asks another host"),
        ('<div style="background: url(https://example.org/x.png)">x</div>', "", "asks another host"),
    ],
)
def test_what_is_wrong_with_a_page_is_told(tmp_path, body, head, expected):
    problems, _ = check(site_with(tmp_path, body, head))
    assert len(problems) == 1
    assert expected in problems[0]


def test_no_site_is_told(tmp_path):
    with pytest.raises(PressError, match="run `make book` first"):
        check(tmp_path)


# --- the rest --------------------------------------------------------------------------------------------------


def test_new_refuses_what_it_can_not_make():
    for name, expected in (
        ("flow/coupling", "there is no part 'flow'.*did you mean 'flows'"),
        ("Flows/Coupling", "expected PART/NAME"),
        ("foundations/counting", "is there already"),
    ):
        with pytest.raises(PressError, match=expected):
            new(name)


def test_an_address_of_another_form_is_refused():
    with pytest.raises(PressError, match="expected an address like"):
        move("github.com/someone")


def test_tidy_joins_streams_and_drops_times():
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    streams = [new_output("stream", name="stdout", text=text) for text in ("a", "b")]
    book = new_notebook(cells=[new_code_cell("x", outputs=streams, metadata={"execution": {"when": "now"}})])
    _tidy(book)
    assert [output.text for output in book.cells[0].outputs] == ["ab"]
    assert book.cells[0].metadata == {}


def run(*command, **more):
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False, **more)


def test_offline_cuts_the_network_and_leaves_the_loopback():
    probe = (
        "import socket; server = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(server.getsockname()); print('loopback')\n"
        "try: socket.create_connection(('192.0.2.1', 9), 1); print('reached')\n"
        "except OSError as error: print(error.errno)"
    )
    ended = run("-m", "press", "offline", sys.executable, "-c", probe)
    if ended.returncode == REFUSED:
        pytest.skip(ended.stderr.strip())  # a container may forbid it; the machine says so
    assert ended.stdout.split() == ["loopback", "101"]  # 101: network is unreachable


def test_code_does_not_hide_pythons_own():
    """A package called `code` in the working folder would break pdb and IPython."""
    ended = run("-c", "import code, pdb; print(code.InteractiveConsole.__name__, pdb.Pdb.__name__)")
    assert ended.stdout.split() == ["InteractiveConsole", "Pdb"], ended.stderr
    ended = run("-m", "pdb", "-c", "q", "-m", "dgm.checks", input="q\n")
    assert "AttributeError" not in ended.stderr
    import code

    assert hasattr(code, "InteractiveConsole")
    assert not (ROOT / "code" / "__init__.py").exists()


def test_errors_are_told_without_a_traceback():
    ended = run("-m", "press", "build", "flows/couplin")
    assert ended.returncode == 1
    assert ended.stderr.startswith("no chapter 'flows/couplin'")
    assert "Traceback" not in ended.stderr


def test_the_trace_tells_modules_and_files():
    probe = (
        "import press.trace as t; t.start(); import dgm.metrics, sys; open('README.md').close();"
        "sys.audit('dgm.read', 'code/pyproject.toml'); open('/etc/hostname').close(); print(t.finish())"
    )
    facts = json.loads(run("-c", probe).stdout)
    assert {"code/dgm/__init__.py", "code/dgm/checks.py", "code/dgm/metrics/__init__.py"} <= set(facts["loaded"])
    assert {"README.md", "code/pyproject.toml"} <= set(facts["loaded"])
    assert not any(os.path.isabs(path) or path.startswith(("..", "code/press")) for path in facts["loaded"])
    assert facts["peak_mb"] > 10


def test_no_test_needs_the_outer_network():
    """The suite may run where there is none; this notes what the rest relies on."""
    assert socket.gethostbyname("localhost") == "127.0.0.1"


def test_pages_are_mended():
    from press.site import mend

    html = (
        '<html><head><title>x</title><script src="_static/fontawesome.js"></script></head><body><article>'
        '<img alt="a" style="width: 700px; height: 300px;"><table><tr><th></th><th>n</th></tr></table>'
        '<div class="dgm-plotly"></div></article></body></html>'
    )
    soup = BeautifulSoup(mend(html, "../"), "html.parser")
    assert soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert not soup.find("script", src="_static/fontawesome.js")
    assert soup.find("script", src="../_static/figures.js")
    image = soup.find("img")
    assert (image["width"], image["height"], image.get("style")) == ("700", "300", None)
    assert [cell.name for cell in soup.find("tr").find_all(True)] == ["td", "th"]


def test_the_lock_outlives_a_killed_build_as_long_as_its_sphinx_writes(tmp_path):
    """Sphinx goes on when its parent is killed; whoever builds next must not meet it in the same folder."""
    stub = tmp_path / "jupyter-book"
    stub.write_text(f"#!{sys.executable}\nimport os, time\nos.mkdir({str(tmp_path / 'writes')!r})\ntime.sleep(3)\n")
    stub.chmod(0o755)
    begin = (
        "import sys; from pathlib import Path; from press import build;"
        f"build.PRESS = Path({str(tmp_path)!r}); build.NEXT = build.PRESS / 'next';"
        f"sys.executable = {str(tmp_path / 'python')!r};\n"
        "with build._alone() as lock: build.sphinx(lock)"
    )
    running = subprocess.Popen([sys.executable, "-c", begin])
    while not (tmp_path / "writes").exists():
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.wait()
    with (tmp_path / "lock").open("w") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        began = time.monotonic()
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("alone", [True, False])
def test_a_sphinx_that_crashed_is_not_called_a_build(alone, tmp_path, monkeypatch):
    """The pages of others may warn in a preview; a crash leaves no page at all."""
    from press import build

    for name in ("NEXT", "PRESS"):
        monkeypatch.setattr(build, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    monkeypatch.setattr(build, "LOG", ROOT / "_build" / "press" / f"crash-{os.getpid()}.log")
    crash = subprocess.CompletedProcess([], 2, stdout="Traceback (most recent call last):\nKeyError: 'minutes'\n")
    monkeypatch.setattr(build.subprocess, "run", lambda *_, **__: crash)
    try:
        with pytest.raises(PressError, match="KeyError: 'minutes'"):
            build.sphinx(0, preview=chapters()[0] if alone else None)
    finally:
        build.LOG.unlink(missing_ok=True)
