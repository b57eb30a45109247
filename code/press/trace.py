"""Runs inside a chapter's kernel: what did the chapter load?

Python raises an audit event for every file it opens; `dgm` raises one (``dgm.read``) for files that compiled code
opens. With the modules in `sys.modules` that is all a chapter depends on within the repository.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

from press.house import BUILD, CODE, ROOT

_opened: set[str] = set()
_OURS = str(ROOT) + os.sep
_NOT = (
    str(BUILD) + os.sep,
    str(CODE / "press") + os.sep,
    str(ROOT / ".venv") + os.sep,
    str(ROOT / ".git") + os.sep,
)


def _depends(path: str) -> bool:
    return path.startswith(_OURS) and not path.startswith(_NOT) and "__pycache__" not in path


def start() -> None:
    """Begin to record; called before the first cell."""

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "dgm.read") and arguments and isinstance(arguments[0], str | os.PathLike):
            path = os.path.abspath(os.fspath(arguments[0]))
            if isinstance(path, str) and _depends(path):
                _opened.add(path)

    sys.addaudithook(listen)


def finish() -> str:
    """What was loaded, and what memory and processor time it took, as JSON; called after the last cell."""
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    files = {os.path.abspath(file) for file in modules if isinstance(file, str)}
    loaded = {path for path in files if _depends(path)} | {path for path in _opened if os.path.isfile(path)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes
    return json.dumps(
        {
            "loaded": sorted(os.path.relpath(p, ROOT) for p in loaded),
            "peak_mb": round(peak / 1024),
            "seconds": time.process_time(),  # of this process: what others run beside it doesn't count
        }
    )
