"""The Sphinx extension behind the pages: local MathJax and Plotly, launch buttons, the line under each title, access.

What Jupyter Book and its theme do is left alone where it is good; each change here says why it is there.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
from pathlib import Path
from typing import Any

import plotly
from bs4 import BeautifulSoup
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config

from press import anki, exam, figures, homework
from press.api import ApiDirective, InstallDirective
from press.chapters import Page
from press.drills import DrillsDirective
from press.house import BOOK, PRESS, address
from press.path import MapDirective, PathDirective, RouteDirective
from press.quiz import QuizDirective

ASSETS = Path(__file__).parent / "assets"
MATHJAX = ("tex-chtml.js", "a11y", "input/tex", "output/chtml", "ui")  # of 24 MB the part that TeX needs
SCRIPTS = {
    ".dgm-plotly": "figures.js",
    ".dgm-ru, .dgm-cards, .dgm-mock, .dgm-drill": "language.js",
    ".dgm-quiz": "quiz.js",
    ".dgm-cards": "cards.js",
    ".dgm-mock": "mock.js",
    ".dgm-drill": "drills.js",
    ".dgm-grading": "grading.js",
}
"""What on a page asks for which script."""
FONTAWESOME = re.compile(r"\s*<script[^>]*fontawesome[^>]*></script>")

# `connect-src` lets the search load its index; `unsafe-inline` is for MathJax's settings and Bootstrap's styles.
CONTENT_SECURITY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self' data:; img-src 'self' data: blob:"
)


def settings(app: Sphinx, config: Config) -> None:
    """Fill in what follows from other places: addresses, bibliographies, files that no page should load unasked."""
    config.bibtex_bibfiles = sorted(str(path.relative_to(BOOK)) for path in (BOOK / "references").glob("*.bib"))
    config.html_baseurl = address().site
    config.ogp_site_url = address().site
    config.mathjax_path = "mathjax/tex-chtml.js"
    config.html_static_path = [*config.html_static_path, str(ASSETS)]
    config.html_theme_options["repository_url"] = address().url
    # Without this the theme's own 404 page links to /en/latest/.
    config.notfound_urls_prefix = "/" + address().site.split("/", 3)[3]


def opening(app: Sphinx, doctree: nodes.document) -> None:
    """Under a chapter's title: what to know before, how long to read, how long it runs, what it is good for."""
    page = Page(app.env.docname)
    title = next(iter(doctree.findall(nodes.title)), None)
    if title is None or not page.is_chapter:
        return
    about = page.about
    line = nodes.paragraph(classes=["dgm-opening"])
    items: list[list[nodes.Node]] = [[nodes.Text(f"{about['minutes']} minutes to read")]]
    seconds = _run_seconds(page)
    if seconds is not None:
        items.append([nodes.Text(f"runs in {seconds:.0f} s")])
    needed = about.get("prerequisites") or []
    if needed:
        links: list[nodes.Node] = [nodes.Text("builds on ")]
        for i, name in enumerate(needed):
            links += [nodes.Text(", ")] if i else []
            link = addnodes.pending_xref(
                "", refdomain="std", reftype="doc", reftarget=f"/{name}", refexplicit=False, refwarn=True
            )
            link["refdoc"] = app.env.docname
            link += nodes.inline("", name)
            links.append(link)
        items.append(links)
    if about.get("tickets"):
        items.append([nodes.Text("exam tickets " + ", ".join(map(str, about["tickets"])))])
    if about.get("homework"):
        items.append([nodes.Text("homework " + ", ".join(about["homework"]))])
    for i, item in enumerate(items):
        line += [nodes.Text(" · ")] if i else []
        line += item
    title.parent.insert(title.parent.index(title) + 1, line)


def _run_seconds(page: Page) -> float | None:
    """The seconds of the run that made the outputs, rounded up to whole ones."""
    try:
        return float(json.loads((PRESS / "records" / f"{page.name}.json").read_text("utf8"))["seconds"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return None


def buttons(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Point each page's buttons at what works: Colab opens only notebooks, and they live on a branch of their own."""
    here = address()
    urls = {
        "Binder": here.binder(pagename),
        "Colab": here.colab(pagename),
        "source-edit-button": here.edit(pagename),
        "source-issues-button": here.issue(pagename),
    }
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            for key in (button.get("text"), button.get("label")):
                if key in urls:
                    button["url"] = urls[key]
    _scripts(context)


def _scripts(context: dict[str, Any]) -> None:
    """Drop Thebe, which asks another host for its script; add the figures' script where a page has such figures."""
    kept = []
    for script in context.get("script_files", []):
        body = (getattr(script, "attributes", None) or {}).get("body") or ""
        if "thebe" not in f"{getattr(script, 'filename', '')}{body}".lower():
            kept.append(script)
    context["script_files"] = kept
    context["css_files"] = [
        css for css in context.get("css_files", []) if "thebe" not in str(getattr(css, "filename", css))
    ]


def finish(app: Sphinx, failure: Exception | None) -> None:
    """Lay out the local libraries and mend each page."""
    if failure or app.builder.format != "html":
        return
    out = Path(app.outdir)
    _copy_mathjax(out / "_static" / "mathjax")
    shutil.copy(Path(plotly.__file__).parent / "package_data" / "plotly.min.js", out / "_static" / "plotly.min.js")
    for path in sorted(out.rglob("*.html")):
        if "_static" not in path.relative_to(out).parts:
            depth = len(path.relative_to(out).parts) - 1
            path.write_text(mend(path.read_text("utf8"), "../" * depth), "utf8")
    exam.finish(out)
    anki.export(out)
    homework.export(out / homework.DOWNLOADS)


def _copy_mathjax(target: Path) -> None:
    package = next(f for f in importlib.metadata.files("sphinx-mathjax-offline") or [] if f.name == "tex-chtml.js")
    source = Path(str(package.locate())).parent
    for name in MATHJAX:
        to = target / name
        to.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (source / name).is_dir() else shutil.copy)(source / name, to)


def mend(page: str, root: str) -> str:
    """One page's HTML, with what the theme leaves undone for readers who listen, and without what only weighs.

    Args:
        page: the HTML.
        root: the way from the page to the site's root, ``../``.
    """
    soup = BeautifulSoup(FONTAWESOME.sub("", page), "html.parser")  # icons come from its style sheet
    head = soup.head
    if head is None:
        return page
    policy = soup.new_tag("meta", attrs={"http-equiv": "Content-Security-Policy", "content": CONTENT_SECURITY})
    head.insert(1, policy)
    for wanted, script in SCRIPTS.items():
        if soup.select_one(wanted):
            head.append(soup.new_tag("script", attrs={"src": f"{root}_static/{script}", "defer": ""}))
    for summary in soup.select('summary[aria-label="Toggle hidden content"]'):
        del summary["aria-label"]  # its own text says more
    for button in soup.select("button.search-button-field[aria-label]"):
        del button["aria-label"]  # it hid the visible words "Search Ctrl+K"
    for logo in soup.select(".sidebar-primary-item > a.navbar-brand"):
        logo.wrap(soup.new_tag("nav", attrs={"aria-label": "Home"}))  # it stood outside every landmark
    for image in soup.select("img[style]"):
        size = re.fullmatch(r"width: (\d+)px; height: (\d+)px;", str(image["style"]))
        if size:  # as attributes, so that a narrow screen can scale both
            image["width"], image["height"] = size.groups()
            del image["style"]
    for head in soup.select("article th"):
        if not head.get_text(strip=True):
            head.name = "td"  # a header without words says nothing to who listens
    for entry in soup.select(".citation-list, .citation[role]"):
        del entry["role"]  # of roles that the standard has given up; the headings and the text say the same
    for code in soup.select("div.highlight > pre"):
        code["tabindex"] = "0"  # a listing that scrolls must be reachable by keyboard
    return str(soup)


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx's door."""
    figures.install()
    app.add_directive("dgm-api", ApiDirective)
    app.add_directive("dgm-install", InstallDirective)
    app.add_directive("dgm-path", PathDirective)
    app.add_directive("dgm-map", MapDirective)
    app.add_directive("dgm-route", RouteDirective)
    app.add_directive("quiz", QuizDirective)
    app.add_directive("drills", DrillsDirective)
    app.add_directive("homework", homework.HomeworkDirective)
    app.add_directive("homework-table", homework.TableDirective)
    app.add_directive("waiting", homework.WaitingDirective)
    app.add_role("dgm-deck", anki.DeckRole())
    for name, directive in exam.DIRECTIVES.items():
        app.add_directive(name, directive)
    app.connect("config-inited", settings, priority=900)
    app.connect("doctree-read", opening)
    app.connect("html-page-context", buttons, priority=950)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
