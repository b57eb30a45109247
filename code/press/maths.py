"""What formulas are made of: the letters that need a meaning, and the commands that MathJax must know."""

from __future__ import annotations

import re
from collections.abc import Iterator

MATHS = re.compile(r"\$\$(?P<display>.+?)\$\$|(?<![\\$\w])\$(?P<inline>[^\s$](?:[^$\n]*?[^\s$\\])?)\$(?!\d)", re.DOTALL)
STYLES = ("mathbf", "boldsymbol", "mathcal", "mathbb", "mathrm", "mathsf", "mathfrak")
WORDS = re.compile(
    r"\\(?:text|textbf|textit|operatorname\*?|mathrm|begin|end|tag|label|hspace|vspace|color|href)\s*\{[^{}]*\}(?:\{[lcr|]+\})?"
)
_GREEK = """
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell nabla partial
"""
_STRUCTURE = """
    frac tfrac dfrac sqrt sum prod int iint oint lim sup inf max min exp log ln det dim Pr gcd bigcup bigcap cup
    cap left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr mid vert Vert lvert rvert
    lVert rVert le leq ge geq ne neq approx sim simeq equiv propto ll gg to mapsto rightarrow leftarrow Rightarrow
    Leftarrow Leftrightarrow iff implies longrightarrow Longrightarrow uparrow downarrow in notin ni subset
    subseteq supset setminus times cdot cdots ldots dots vdots ddots div pm mp circ odot oplus otimes star ast
    bullet forall exists neg lnot land lor infty emptyset varnothing prime perp parallel angle top bot lfloor
    rfloor lceil rceil langle rangle quad qquad hat widehat tilde widetilde bar overline underline vec dot ddot
    overset underset stackrel overbrace underbrace substack limits nolimits displaystyle textstyle scriptstyle
    mathopen mathclose mathbin mathrel mathop phantom boxed text textbf textit operatorname begin end tag label
    not binom tbinom dbinom xrightarrow xleftarrow sin cos tan tanh cosh sinh arcsin arccos arctan arg colon
    because therefore checkmark square blacksquare hspace vspace color lt gt backslash
"""
GREEK = frozenset(_GREEK.split())
STRUCTURE = frozenset(_STRUCTURE.split()) | frozenset(STYLES)


DISPLAY = re.compile(r"\$\$(?P<tex>.+?)\$\$(?:[ \t]*\((?P<label>[\w-]+)\))?", re.DOTALL)
"""A displayed formula with its label, if it has one. Formulas are taken in turn, so an opening ``$$`` is no closing."""


def labels(text: str) -> Iterator[tuple[int, str]]:
    """The labelled formulas of a Markdown text outside listings: the line on which the label stands, and the label."""
    for found in DISPLAY.finditer(_plain(text)):
        if found["label"]:
            yield text.count("\n", 0, found.start("label")) + 1, found["label"]


def formulas(text: str) -> Iterator[tuple[int, str]]:
    """Every formula of a Markdown text outside listings: the line on which it begins, and its TeX."""
    for found in MATHS.finditer(_plain(text)):
        yield text.count("\n", 0, found.start()) + 1, found["display"] or found["inline"]


FENCE = re.compile(r"^\s*(?P<mark>`{3,}|:{3,})(?P<info>.*)$")
LISTINGS = ("{code-cell}", "{literalinclude}", "{code-block}")


def _plain(text: str) -> str:
    """The text with listings and code blanked out, each line in its place."""
    open_fences: list[tuple[str, bool]] = []  # the mark of each, and whether it holds code
    lines = []
    for line in text.split("\n"):
        fence = FENCE.match(line)
        listing = bool(open_fences) and open_fences[-1][1]
        if fence and open_fences and not fence["info"].strip() and fence["mark"].startswith(open_fences[-1][0]):
            open_fences.pop()
        elif fence and not listing:
            info = fence["info"].strip()
            open_fences.append((fence["mark"], not info.startswith("{") or info.startswith(LISTINGS)))
        elif not listing:
            lines.append(re.sub(r"(?<!`)`[^`\n]+`(?!`)", lambda m: " " * len(m.group()), line))
            continue
        lines.append(" " * len(line))
    return "\n".join(lines)


def letters(tex: str) -> set[str]:
    r"""The letters of a formula that need a meaning: ``x``, ``\theta``, ``\mathbf{W}``; a macro counts as one."""
    plain = WORDS.sub(" ", tex)
    found = set()
    for style, letter in re.findall(rf"\\({'|'.join(STYLES)})\s*\{{?\s*(\\?[A-Za-z]+|\d)\s*\}}?", plain):
        found.add(f"\\{style}{{{letter}}}")
    plain = re.sub(rf"\\({'|'.join(STYLES)})\s*(\{{[^{{}}]*\}}|[A-Za-z])", " ", plain)
    for command in re.findall(r"\\([A-Za-z]+)", plain):
        if command not in STRUCTURE:
            found.add(f"\\{command}")
    return found | set(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", plain)))


def unknown_commands(tex: str, macros: set[str]) -> set[str]:
    """Commands that neither MathJax's base nor the book's macros define."""
    return set(re.findall(r"\\([A-Za-z]+)", tex)) - STRUCTURE - GREEK - macros
