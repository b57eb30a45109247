"""What earlier runs left: outputs in jupyter-cache, and beside each a record of what the run depended on.

A chapter is fresh if its code, the modules and files that it loaded and the lock are what they were, and its outputs
are there. The record is written after the outputs, so a kill between the two leaves a stale chapter, never a wrong
one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
from dataclasses import dataclass
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from press.chapters import Page
from press.execute import Run
from press.house import CACHE, LOCK, PRESS, ROOT, digest, write_atomically

FORM = 1
"""Of the records; raised when they hold something new."""
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")


@dataclass(frozen=True)
class State:
    """Whether a chapter is fresh; if it is not, why."""

    page: Page
    reason: str | None
    record: dict[str, Any] | None = None

    @property
    def fresh(self) -> bool:
        """Whether the outputs at hand are those that a run would give now."""
        return self.reason is None

    def __str__(self) -> str:
        return f"{self.page.name} fresh" if self.fresh else f"{self.page.name} stale: {self.reason}"


class Store:
    """The outputs and records of all chapters; only the parent process writes."""

    def __init__(self) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        self.cache = get_cache(str(CACHE))
        self._drop_broken()

    def _drop_broken(self) -> None:
        """jupyter-cache writes its index before its file: a kill between leaves an entry that can't be read."""
        for record in self.cache.list_cache_records():
            try:
                self.cache.get_cache_bundle(record.pk)
            except Exception:  # whatever it is that can't be read, it goes
                self.cache.remove_cache(record.pk)

    def state(self, page: Page) -> State:
        """Whether the chapter must run again."""
        try:
            record = json.loads(_record_path(page).read_text("utf8"))
        except FileNotFoundError:
            return State(page, "never run")
        except json.JSONDecodeError:
            return State(page, "its record is broken")
        notebook = page.notebook()
        if record.get("form") != FORM:
            return State(page, "its record is of another press")
        if record["code"] != code_digest(notebook):
            return State(page, "its code changed")
        if record["lock"] != environment_digest():
            return State(page, "the lock changed")
        for path, was in record["loaded"].items():
            if digest(ROOT / path) != was:
                gone = "" if (ROOT / path).exists() else " (gone)"
                return State(page, f"{path} changed{gone}")
        try:
            self.cache.match_cache_notebook(notebook)
        except KeyError:
            return State(page, "its outputs are gone")
        return State(page, None, record)

    def keep(self, run: Run) -> dict[str, Any]:
        """Keep the outputs of a good run, and the record of what it depended on."""
        self.cache.cache_notebook_bundle(
            CacheBundleIn(run.notebook, str(run.page.path), data={"execution_seconds": run.seconds}),
            check_validity=False,
            overwrite=True,
        )
        record = {
            "form": FORM,
            "name": run.page.name,
            "code": code_digest(run.notebook),
            "lock": environment_digest(),
            "loaded": {path: digest(ROOT / path) for path in run.loaded},
            **facts(run.notebook),
            "seconds": round(run.seconds, 2),
            "peak_mb": run.peak_mb,
        }
        write_atomically(_record_path(run.page), json.dumps(record, indent=1))
        return record

    def forget(self, page: Page) -> None:
        """Drop the record and the outputs of a chapter that failed."""
        _record_path(page).unlink(missing_ok=True)
        with contextlib.suppress(KeyError):
            self.cache.remove_cache(self.cache.match_cache_notebook(page.notebook()).pk)

    def executed(self, page: Page) -> nbformat.NotebookNode:
        """The chapter with its outputs.

        Raises:
            KeyError: it has not been run.
        """
        return self.cache.merge_match_into_notebook(page.notebook())[1]


def _record_path(page: Page) -> Any:
    return PRESS / "records" / f"{page.name}.json"


def environment_digest() -> str:
    """The lock and the language: with another of either, every chapter runs again."""
    return f"{digest(LOCK)[:16]}-py{sys.version_info.major}.{sys.version_info.minor}"


def code_digest(notebook: nbformat.NotebookNode) -> str:
    """The code cells with their metadata, and the kernel."""
    cells = [(cell.source, dict(cell.metadata)) for cell in notebook.cells if cell.cell_type == "code"]
    kernel = notebook.metadata.get("kernelspec", {})
    return hashlib.sha256(json.dumps([cells, kernel], sort_keys=True).encode()).hexdigest()


def facts(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """What the report says of a chapter, read from its outputs."""
    figures = interactive = alt_missing = addresses = 0
    claims: list[dict[str, Any]] = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for output in (output for cell in code for output in cell.outputs):
        marks = output.get("metadata", {}).get("dgm", {})
        figure = marks.get("figure")
        if figure:
            figures += 1
            interactive += bool(figure["interactive"])
            alt_missing += not figure["alt"]
        elif any(mime.startswith("image/") for mime in output.get("data", {})):
            figures += 1
            alt_missing += 1
        if ADDRESS.search(output.get("text") or output.get("data", {}).get("text/plain", "")):
            addresses += 1
        if "claim" in marks:
            claims.append(marks["claim"])
    return {
        "cells": len(code),
        "figures": figures,
        "interactive": interactive,
        "alt_missing": alt_missing,
        "addresses": addresses,
        "claims": claims,
    }
