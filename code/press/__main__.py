"""`python -m press …`: every command that makes or checks the book."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from press.house import PressError, Stopped

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Name = Annotated[str, typer.Argument(help="a chapter, PART/NAME")]
MaybeName = Annotated[str | None, typer.Argument(help="a chapter, PART/NAME; all chapters without it")]


@app.command()
def build(
    name: MaybeName = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="chapters that run at once; a core each without it")
    ] = None,
) -> None:
    """Run what is stale and build the site (with NAME: that chapter only)."""
    from press.build import build

    build(name, workers=workers)


@app.command()
def status() -> None:
    """A line a chapter: fresh, or stale and why."""
    from press.chapters import chapters
    from press.store import Store

    store = Store()
    for page in chapters():
        typer.echo(str(store.state(page)))


@app.command(name="time")
def time_(name: Name) -> None:
    """Run one chapter alone on one thread and hold it against its budget."""
    from press.build import time_alone
    from press.lint import BUDGET_SECONDS

    seconds = time_alone(name)
    typer.echo(f"{name}: {seconds:.1f} s of {BUDGET_SECONDS} s")
    if seconds > BUDGET_SECONDS:
        raise PressError(f"{name} takes {seconds:.0f} s; its budget is {BUDGET_SECONDS} s")


@app.command()
def lint(name: MaybeName = None) -> None:
    """Check the chapters' sources and the outputs at hand: anatomy, claims, symbols, pictures, budget."""
    from press.lint import lint

    problems = lint(name)
    if problems:
        raise PressError("\n".join(map(str, problems)))


@app.command()
def notebooks() -> None:
    """Export every chapter as an executable notebook into _build/notebooks."""
    from press.house import NOTEBOOKS, ROOT, SITE
    from press.notebooks import export

    made = export(SITE, NOTEBOOKS)
    typer.echo(f"{len(made)} notebooks are in {NOTEBOOKS.relative_to(ROOT)}")


@app.command()
def check(site: Annotated[Path | None, typer.Argument(help="the built site")] = None) -> None:
    """Look through the built site: dead links and anchors, other hosts, formulas, pictures without words."""
    from press.check import check
    from press.house import SITE

    problems, seen = check(site or SITE)
    if problems:
        raise PressError("\n".join(problems))
    typer.echo(seen)


@app.command()
def new(name: Name) -> None:
    """Write the three rooms of a chapter (page, module, test) as a skeleton that builds."""
    from press.skeleton import new

    for path in new(name):
        typer.echo(str(path))


@app.command()
def serve(port: Annotated[int, typer.Option(help="of the local address")] = 8000) -> None:
    """Show the site, and build again and reload the page whenever a source changes."""
    from press.serve import serve

    serve(port)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def offline(context: typer.Context) -> None:
    """Run a command with the network cut off and the loopback left up: press offline make book."""
    from press.offline import offline

    offline(context.args)


@app.command()
def address(url: Annotated[str, typer.Argument(help="https://github.com/OWNER/NAME")]) -> None:
    """Move the book to another repository: every link, badge and install line is rewritten."""
    from press.address import move

    for path in move(url):
        typer.echo(str(path))


def main() -> None:
    """Run a command; what is wrong with the book is said without a traceback."""
    try:
        app()
    except PressError as error:
        print(error, file=sys.stderr)
        sys.exit(130 if isinstance(error, Stopped) else 1)


if __name__ == "__main__":
    main()
