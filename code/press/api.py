"""The package's reference: a directive that sets a module's public names with their docstrings, without importing it.

``{dgm-api} dgm.checks`` reads the source (griffe), writes MyST, and lets MyST set it: formulas in docstrings are
formulas on the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from press.house import CODE, ROOT, address

Thing = Any
"""A griffe object: module, class or function (its static types know too little of what each has)."""


EXAMPLE = re.compile(r"((?:^>>> .*$)(?:\n(?!\s*$).*$)*)", re.MULTILINE)


class ApiDirective(SphinxDirective):
    """A module: its sentence, then each public class and function with signature and docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of one module."""
        name = self.arguments[0]
        module = griffe.load(name, search_paths=[str(CODE)], docstring_parser="google")
        self.env.note_dependency(str(module.filepath))
        holder = nodes.container(classes=["dgm-api"])
        lines = "\n".join(write(module)).splitlines()
        self.state.nested_parse(StringList(lines, source=str(module.filepath)), 0, holder)
        return list(holder.children)


class InstallDirective(SphinxDirective):
    """``{dgm-install}``: the line that installs the package, with the book's address."""

    def run(self) -> list[nodes.Node]:
        """The listing."""
        line = f'pip install "{address().install}"'
        return [nodes.literal_block(line, line, language="bash")]


def write(module: Thing) -> Iterator[str]:
    """A module as MyST Markdown."""
    where = str(module.filepath)
    source = f"{address().url}/blob/main/{where.removeprefix(f'{ROOT}/')}"
    yield from ("`````{div} dgm-api-module", "", *_docstring(module), "", f"[Source]({source})", "", "`````", "")
    for member in module.members.values():
        if _public(member, module):
            yield from _member(member)


def _public(member: Thing, module: Thing) -> bool:
    return not member.is_alias and not member.name.startswith("_") and (member.is_class or member.is_function)


def _member(member: Thing, prefix: str = "") -> Iterator[str]:
    yield from ("`````{div} dgm-api-entry", "", "```python", _signature(member, prefix), "```", "")
    yield from _docstring(member)
    yield from ("", "`````", "")
    if member.is_class:
        for inner in member.members.values():
            if inner.is_function and not inner.is_alias and not inner.name.startswith("_") and inner.docstring:
                yield from _member(inner, f"{member.name}.")


def _signature(member: Thing, prefix: str) -> str:
    if member.is_class:
        bases = ", ".join(str(base) for base in member.bases)
        init = member.members.get("__init__")
        arguments = _arguments(init) if init is not None and init.is_function else ""
        return f"class {member.name}{arguments}" + (f"  # {bases}" if bases else "")
    returns = f" -> {member.returns}" if member.returns else ""
    return f"{prefix}{member.name}{_arguments(member)}{returns}"


def _arguments(function: Thing) -> str:
    shown, starred = [], False
    for parameter in function.parameters:
        if parameter.name in ("self", "cls"):
            continue
        stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(
            parameter.kind, ""
        )
        if parameter.kind is griffe.ParameterKind.keyword_only and not starred:
            shown.append("*")
        starred = starred or stars == "*" or parameter.kind is griffe.ParameterKind.keyword_only
        kind = f": {parameter.annotation}" if parameter.annotation else ""
        default = f" = {parameter.default}" if parameter.default is not None and not stars else ""
        shown.append(f"{stars}{parameter.name}{kind}{default}")
    return f"({', '.join(shown)})"


def _docstring(thing: Thing) -> Iterator[str]:
    if thing.docstring is None:
        return
    for section in thing.docstring.parsed:
        kind = section.kind.value
        if kind == "text":
            yield from (EXAMPLE.sub(r"```pycon\n\1\n```", str(section.value)), "")
        elif kind in ("parameters", "other parameters", "attributes"):
            yield from (f"- `{item.name}`: {_line(item.description)}" for item in section.value)
            yield ""
        elif kind == "raises":
            yield from (f"- raises `{item.annotation}`: {_line(item.description)}" for item in section.value)
            yield ""
        elif kind in ("returns", "yields"):
            yield from (f"- {kind} {_line(item.description)}" for item in section.value)
            yield ""
        elif kind == "examples":
            for form, text in section.value:
                yield from ("```pycon", str(text), "```") if form.value == "examples" else (str(text),)
            yield ""
        else:  # an admonition, "Source:" and the like
            yield from (f"*{section.title}*: {_line(getattr(section.value, 'description', str(section.value)))}", "")


def _line(text: str) -> str:
    return " ".join(text.split())
