"""Look through the built site as a stranger would: is every link alive, is any other host asked for anything?"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from press.house import PressError, address

LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "audio": "src",
    "video": "src",
    "embed": "src",
}
RELATIONS = {
    "stylesheet",
    "icon",
    "preload",
    "modulepreload",
    "prefetch",
    "manifest",
    "dns-prefetch",
    "preconnect",
}
IN_STYLES = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import\s+['\"](?:https?:)?//")


def check(site: Path) -> tuple[list[str], str]:
    """Problems of the built pages, and a line that says what was looked at.

    Raises:
        PressError: there is no site.
    """
    if not (site / "index.html").is_file():
        raise PressError(f"there is no site in {site}; run `make book` first")
    pages = {path: BeautifulSoup(path.read_text("utf8"), "html.parser") for path in sorted(site.rglob("*.html"))}
    pages = {path: soup for path, soup in pages.items() if "_static" not in path.relative_to(site).parts}
    anchors = {path.resolve(): _anchors(soup) for path, soup in pages.items()}
    problems: list[str] = []
    links = 0
    for path, soup in pages.items():
        name = str(path.relative_to(site))
        for tag in soup.find_all(True):
            problems += [f"{name}: {host}" for host in _other_hosts(tag)]
            if tag.name == "img" and not tag.get("alt") and tag.get("role") != "presentation":
                problems.append(f"{name}: a picture without alternative text: {tag.get('src')}")
            for key in ("href", "src"):
                if tag.get(key):
                    links += 1
                    dead = _dead(path, str(tag[key]), site, anchors)
                    if dead:
                        problems.append(f"{name}: {dead}: {tag[key]}")
    for sheet in sorted(site.rglob("*.css")):
        if IN_STYLES.search(sheet.read_text("utf8", errors="replace")):
            problems.append(f"{sheet.relative_to(site)}: a style sheet that asks another host")
    return problems, f"{len(pages)} pages, {links} links: none dead, no other host asked"


def _anchors(soup: BeautifulSoup) -> set[str]:
    named = {str(tag["name"]) for tag in soup.find_all("a", attrs={"name": True})}
    return {str(tag["id"]) for tag in soup.find_all(id=True)} | named


def _other_hosts(tag: Tag) -> list[str]:
    """What a browser would load from elsewhere without being asked (a link that a reader clicks is no load)."""
    found = []
    loaded = [str(tag[LOADS[tag.name]])] if tag.name in LOADS and tag.get(LOADS[tag.name]) else []
    if tag.name == "link" and RELATIONS & {str(r).lower() for r in tag.get("rel") or []} and tag.get("href"):
        loaded.append(str(tag["href"]))
    if tag.get("srcset"):
        loaded += [part.split()[0] for part in str(tag["srcset"]).split(",") if part.strip()]
    for url in loaded:
        if urlsplit(url).netloc and not url.startswith("data:"):
            found.append(f"<{tag.name}> loads from another host: {url}")
    if (tag.name == "style" and IN_STYLES.search(tag.get_text())) or IN_STYLES.search(str(tag.get("style") or "")):
        found.append(f"<{tag.name}> has a style that asks another host")
    if (
        tag.name == "script"
        and not tag.get("src")
        and re.search(r"(?:fetch|import)\(\s*['\"]https?://", tag.get_text())
    ):
        found.append("a script in the page asks another host")
    return found


def _dead(page: Path, link: str, site: Path, anchors: dict[Path, set[str]]) -> str | None:
    """Why a link within the site leads nowhere; None where it is good or leads elsewhere."""
    if link.startswith(address().site):
        link, page = link.removeprefix(address().site) or "index.html", site / "index.html"
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = unquote(parts.path)
    if path.startswith("/"):  # the 404 page must use whole paths, from the site's own folder
        prefix = urlsplit(address().site).path
        if not path.startswith(prefix):
            return "a path outside the site"
        target = (site / path.removeprefix(prefix)).resolve()
    else:
        target = (page.parent / path).resolve() if path else page.resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.exists():
        return "a dead link"
    if parts.fragment and target in anchors and unquote(parts.fragment) not in anchors[target]:
        return "a dead anchor"
    return None
