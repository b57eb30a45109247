"""Where things are, what the book is called and where it lives: everything read from the two top-level files."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
CODE = ROOT / "code"
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
PRESS = BUILD / "press"
SITE = BUILD / "html"
NOTEBOOKS = BUILD / "notebooks"
LOCK = ROOT / "requirements.txt"

PARTS = ("foundations", "autoregressive", "latent", "flows", "adversarial", "diffusion", "adaptation")
"""The parts whose chapters have a module and a test of the same name."""

NOTEBOOK_BRANCH = "notebooks"
"""The branch that Colab and Binder open; the publishing workflow pushes the exported notebooks there."""

EXTRAS = "data,metrics,pictures,train"
"""What a reader installs to run any chapter."""


@dataclass(frozen=True)
class Problem:
    """Something to mend: where, what, how."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class PressError(Exception):
    """Something is wrong with the book; the message says where, what, and what to do."""


class Stopped(PressError):
    """The user stopped the work; what was whole is kept."""


@functools.cache
def config() -> dict[str, Any]:
    """`_config.yml`, as written."""
    return yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))


@dataclass(frozen=True)
class Address:
    """The repository's address, from the one place that says it: ``repository.url`` in ``_config.yml``."""

    url: str

    @property
    def slug(self) -> str:
        """``owner/name``."""
        return self.url.removeprefix("https://github.com/").strip("/")

    @property
    def site(self) -> str:
        """Where GitHub Pages serves the book."""
        owner, name = self.slug.split("/")
        return f"https://{owner.lower()}.github.io/{name}/"

    def colab(self, name: str) -> str:
        """Opens the exported notebook of a chapter in Colab."""
        return f"https://colab.research.google.com/github/{self.slug}/blob/{NOTEBOOK_BRANCH}/{name}.ipynb"

    def binder(self, name: str) -> str:
        """Opens the exported notebook of a chapter in Binder."""
        return f"https://mybinder.org/v2/gh/{self.slug}/{NOTEBOOK_BRANCH}?urlpath=lab/tree/{name}.ipynb"

    def edit(self, name: str) -> str:
        """Opens the chapter's source in GitHub's editor."""
        return f"{self.url}/edit/main/book/{name}.md"

    def issue(self, name: str) -> str:
        """Opens the form for an issue with the page's name filled in."""
        return f"{self.url}/issues/new?template=page.yml&title={name}%3A%20&page={name}"

    @property
    def install(self) -> str:
        """What pip installs to get the package from the repository."""
        return f"dgm-book[{EXTRAS}] @ git+{self.url}@main#subdirectory=code"


def address() -> Address:
    """The repository's address."""
    return Address(config()["repository"]["url"])


def digest(*paths: Path) -> str:
    """One hash over the contents of files, in the given order; a missing file counts as missing, not as empty."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes() if path.is_file() else b"\0missing\0")
        total.update(b"\0")
    return total.hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old text or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def sources() -> Iterator[Path]:
    """Every file that the site is made from, in a fixed order."""
    for folder in (BOOK, CODE / "dgm", CODE / "press", CODE / "homework"):
        for path in sorted(folder.glob("**/*")):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                yield path
    yield from (ROOT / "_config.yml", ROOT / "_toc.yml", LOCK)


INSTALL = """\
# Nothing to do where the book's package is at hand; Colab has torch and installs the rest here.
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("dgm") is None:
    source = os.environ.get("DGM_SOURCE")  # a local wheel, to try a change before it is published
    package = f"{{source}}[{extras}]" if source else "{install}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", package], check=True)"""


def install_cell() -> str:
    """The first cell of a notebook: it installs the package where it is not at hand."""
    return INSTALL.format(install=address().install, extras=EXTRAS)
