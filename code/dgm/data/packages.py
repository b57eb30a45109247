"""Where the installed packages keep the data, and what to say when one is missing."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


def missing(package: str, what: str) -> ImportError:
    """The error for a data package that is not installed, with the line that installs it."""
    return ImportError(
        f'{what} needs the package {package}: pip install "dgm-book[data]" (or only this one: pip install {package})',
        name=package,
    )


def folder(module: str, package: str, what: str) -> Path:
    """Return the folder of an installed module without importing it.

    Args:
        module: the name that Python imports, top level only.
        package: the name that pip installs.
        what: who asks, for the message.

    Raises:
        ImportError: the package is not installed; the message holds the line that installs it.
    """
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # a module that was hidden on purpose has no spec
        spec = None
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise missing(package, what)
    return Path(places[0])


def release(package: str, what: str) -> str:
    """Return the version of an installed package.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        raise missing(package, what) from None
