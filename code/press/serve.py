"""Live work: watch the sources, build again, reload the page."""

from __future__ import annotations

from livereload import Server

from press.build import build, console
from press.house import BOOK, CODE, ROOT, SITE, PressError

WATCHED = (
    f"{BOOK}/**/*.*",
    f"{CODE}/dgm/**/*.py",
    f"{CODE}/homework/*.py",
    f"{CODE}/press/**/*.*",
    f"{ROOT}/_config.yml",
    f"{ROOT}/_toc.yml",
)


def serve(port: int) -> None:
    """Serve the site on this machine; a failed build is told and the last good site stays."""

    def again() -> None:
        try:
            build()
        except PressError as error:
            console.print(str(error), style="red", markup=False)

    again()
    server = Server()
    for pattern in WATCHED:
        server.watch(pattern, again, delay=0.5)
    server.serve(port=port, host="127.0.0.1", root=str(SITE))
