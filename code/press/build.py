"""Make the book: run what is stale, build every page afresh from the outputs, swap the new site in."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from press import execute, lint, notebooks
from press.chapters import Page, chapters
from press.house import (
    BOOK,
    BUILD,
    CACHE,
    NOTEBOOKS,
    PRESS,
    ROOT,
    SITE,
    PressError,
    Stopped,
    config,
    digest,
    sources,
    write_atomically,
)
from press.store import Store

NEXT = BUILD / "next"
PREVIEW = BUILD / "preview"
REPORT = BUILD / "report.json"
BUILT = PRESS / "built.json"
LOG = PRESS / "sphinx.log"
console = Console(stderr=True, highlight=False)


def build(only: str | None = None, *, workers: int | None = None) -> None:
    """Bring the site up to date; with `only`, run just that chapter and build a preview of its page.

    Raises:
        PressError: a chapter failed, or Sphinx warned; the site that was there stays.
        Stopped: Ctrl-C; the same holds.
    """
    try:
        _build(only, workers)
    except KeyboardInterrupt:
        raise Stopped("stopped; what was whole is kept") from None


def _build(only: str | None, workers: int | None) -> None:
    began = time.perf_counter()
    with _alone() as lock:
        inputs = fingerprint()
        if only is None and up_to_date(inputs):
            console.print(f"nothing changed: {SITE.relative_to(ROOT)}/index.html is up to date")
            return
        if only is None and (lacking := [str(problem) for problem in lint.course()]):
            raise PressError("\n".join(lacking))
        store = Store()
        asked = chapters(only)
        ran = run_stale(store, asked, workers or execute.cores())
        stale = [page.name for page in chapters() if not store.state(page).fresh]
        if only is not None and stale:
            sphinx(lock, preview=asked[0], without=stale)
            shutil.rmtree(PREVIEW, ignore_errors=True)
            os.rename(NEXT / "_build" / "html", PREVIEW)
            console.print(f"{PREVIEW.relative_to(ROOT)}/{asked[0].name}.html (not yet run: {', '.join(stale)})")
            return
        sphinx(lock)
        notebooks.export(NEXT / "_build" / "html", NOTEBOOKS)
        _swap()
        _report(store, ran, began)
        write_atomically(BUILT, json.dumps({"fingerprint": inputs}))
    console.print(f"{SITE.relative_to(ROOT)}/index.html is made, in {time.perf_counter() - began:.0f} s")


@contextlib.contextmanager
def _alone() -> Iterator[int]:
    """One build at a time: a second one waits, for all processes that hold the lock which this yields."""
    PRESS.mkdir(parents=True, exist_ok=True)
    with (PRESS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def fingerprint() -> str:
    """One hash over all that the site is made from, names and contents."""
    files = list(sources())
    names = "\n".join(str(path.relative_to(ROOT)) for path in files)
    return f"{hashlib.sha256(names.encode()).hexdigest()}-{digest(*files)}"


def up_to_date(inputs: str) -> bool:
    """Whether the site that stands was made from these inputs."""
    try:
        built = json.loads(BUILT.read_text("utf8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return bool(built.get("fingerprint") == inputs and (SITE / "index.html").is_file())


# --- chapters --------------------------------------------------------------------------------------------------


def run_stale(store: Store, asked: list[Page], workers: int) -> dict[str, bool]:
    """Run those of the chapters that are stale; tell for each whether it ran.

    Raises:
        PressError: chapters failed; all others were run and kept.
    """
    states = [store.state(page) for page in asked]
    todo = [state.page for state in states if not state.fresh]
    for state in states:
        if not state.fresh:
            console.print(f"[dim]{state}[/dim]")
    failures: list[str] = []
    with _bar() as bar:
        tasks = {page.name: bar.add_task(page.name, total=None, seconds="", start=False) for page in todo}
        began: dict[str, float] = {}

        def progress(page: Page, cell: int, cells: int) -> None:
            now = began.setdefault(page.name, time.perf_counter())
            seconds = f"{time.perf_counter() - now:.0f} s"
            bar.update(tasks[page.name], completed=cell, total=cells, seconds=seconds)

        def done(run: execute.Run) -> None:
            if run.error:
                store.forget(run.page)
                failures.append(run.error)
            else:
                store.keep(run)
            if not bar.console.is_terminal:
                came = "failed" if run.error else f"ran in {run.seconds:.1f} s"
                console.print(f"{run.page.name}: {came}")

        asyncio.run(execute.run_all(todo, workers, progress, done))
    if failures:
        raise PressError("\n".join(failures))
    records = {page: store.state(page).record for page in asked}
    if changed := [page.name for page, record in records.items() if record is None]:
        raise PressError(f"{', '.join(changed)} changed while it ran; build again")
    unproven = [str(problem) for page, record in records.items() if record for problem in lint.binding(page, record)]
    if unproven:
        raise PressError("\n".join(unproven))
    return {state.page.name: not state.fresh for state in states}


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description:32}"),
        BarColumn(bar_width=24),
        TextColumn("cell {task.completed}/{task.total}"),
        TextColumn("{task.fields[seconds]}"),
        console=console,
        disable=not console.is_terminal,
    )


# --- pages -----------------------------------------------------------------------------------------------------


def sphinx(lock: int, *, preview: Page | None = None, without: list[str] | None = None) -> None:
    """Build every page into a new folder, strictly: a warning is an error.

    Args:
        lock: the build's; Sphinx holds it too, for if this process is killed it writes on into the same folder.
        preview: only warnings of this page count.
        without: pages that have no outputs yet and are built without.

    Raises:
        PressError: what Sphinx warned of, a line a warning.
    """
    shutil.rmtree(NEXT, ignore_errors=True)
    settings = copy.deepcopy(config())
    settings.setdefault("execute", {}).update(
        execute_notebooks="cache", cache=str(CACHE), exclude_patterns=[f"{name}.md" for name in without or []]
    )
    write_atomically(PRESS / "config.yml", yaml.safe_dump(settings, allow_unicode=True))
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(BOOK),
        "--path-output",
        str(NEXT),
    ]
    command += ["--config", str(PRESS / "config.yml"), "--toc", str(ROOT / "_toc.yml"), "-n", "--keep-going"]
    command += [] if preview else ["-W"]
    quiet = os.environ | {"PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
    with console.status("building the pages"):
        ended = subprocess.run(
            command, cwd=ROOT, env=quiet, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(lock,)
        )
    write_atomically(LOG, ended.stdout)
    warnings = warnings_of(ended.stdout)
    if preview:
        warnings = [line for line in warnings if f"/{preview.name}.md" in line]
    # A preview forgives the warnings of other pages, not a crash that left no page.
    lost = not (NEXT / "_build" / "html" / f"{preview.name}.html").exists() if preview else ended.returncode != 0
    if warnings or lost:
        told = warnings or ended.stdout.strip().splitlines()[-12:]
        raise PressError("\n".join([*told, f"(the whole log: {LOG.relative_to(ROOT)})"]))
    if "Executing notebook using" in ended.stdout and not preview:
        raise PressError("a chapter changed while the pages were built; build again")


def warnings_of(log: str) -> list[str]:
    """The warnings and errors in Sphinx's log, with paths as seen from the repository."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", log)
    found = [line for line in plain.splitlines() if re.search(r"(WARNING|ERROR|CRITICAL): ", line)]
    return list(dict.fromkeys(line.replace(f"{ROOT}{os.sep}", "") for line in found))


def _swap() -> None:
    """Put the new site where the old one was; the old one is there until the new one is whole."""
    old = BUILD / "old"
    shutil.rmtree(old, ignore_errors=True)
    if SITE.exists():
        os.rename(SITE, old)
    os.rename(NEXT / "_build" / "html", SITE)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(NEXT, ignore_errors=True)


def _report(store: Store, ran: dict[str, bool], began: float) -> None:
    """`_build/report.json`: what each chapter took and proved."""
    kept = ("seconds", "peak_mb", "cells", "figures", "interactive", "alt_missing")
    rows: list[dict[str, Any]] = []
    for page in chapters():
        record = store.state(page).record or {}
        claims = [{key: claim[key] for key in ("label", "error", "tolerance")} for claim in record.get("claims", [])]
        row = {"name": page.name, "executed": ran.get(page.name, False)}
        rows.append(row | {key: record.get(key) for key in kept} | {"claims": claims})
    wall = round(time.perf_counter() - began, 1)
    write_atomically(REPORT, json.dumps({"wall_seconds": wall, "chapters": rows}, indent=1))


def time_alone(name: str) -> float:
    """Run one chapter alone on one thread and tell the seconds; nothing is kept.

    Raises:
        PressError: the chapter failed.
    """
    runs: list[execute.Run] = []
    asyncio.run(execute.run_all(chapters(name), 1, lambda *_: None, runs.append))
    if runs[0].error:
        raise PressError(runs[0].error)
    return runs[0].seconds
