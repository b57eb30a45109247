"""`press new PART/NAME`: the three rooms of a chapter, as a skeleton that builds; `press lint` says what it lacks."""

from __future__ import annotations

import re
from pathlib import Path

from dgm.checks import nearest
from press.chapters import Page, pages
from press.house import CODE, PARTS, ROOT, PressError, write_atomically

CAPTIONS = {
    "foundations": "Foundations",
    "autoregressive": "Autoregressive models",
    "latent": "Latent variables",
    "flows": "Normalizing flows",
    "adversarial": "Adversarial models",
    "diffusion": "Diffusion and flow matching",
    "adaptation": "Adaptation",
}

CHAPTER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
myst:
  html_meta:
    description: "{title}, derived, checked by number and run."
dgm:
  prerequisites: [{before}]
  tickets: []
  homework: []
  formulas: {{}}
  minutes: 20
---
(ch-{slug})=
# {title}

```{{code-cell}} ipython3
:tags: [hide-input]
import torch

from dgm import viz
from dgm.{part}.{name} import square_of_sum
from dgm.checks import verify

_ = torch.manual_seed(0)
```

## The question

## In one minute

## Derivation

1. The square of a sum, term by term:

$$ (a + b)^2 = a^2 + 2ab + b^2 $$ (eq-{slug}-square)

```{{code-cell}} ipython3
a, b = torch.randn(2, 100, dtype=torch.float64)
verify("eq-{slug}-square", square_of_sum(a, b), a**2 + 2 * a * b + b**2, atol=1e-12)
```

## Code

```{{literalinclude}} ../../code/dgm/{part}/{name}.py
:pyobject: square_of_sum
```

## Live

```{{code-cell}} ipython3
:tags: [hide-input]
fig, ax = viz.figure()
viz.curves(ax, {{"square": (b.sort().values, square_of_sum(0 * b, b.sort().values))}}, xlabel="b", ylabel="value")
viz.show(
    fig,
    alt="A parabola that touches zero at the origin.",
    caption="The square of a sum with $a = 0$.",
    name="fig-{slug}-square",
)
```

## Numbers

## What can go wrong

## Exercises

## Exam

```{{serves}}
```

### Check yourself

### Quiz

## Sources
"""

MODULE = '''\
"""{title}: the maths as functions, then the modules, then the model."""

from __future__ import annotations

from torch import Tensor

from dgm.checks import require


def square_of_sum(a: Tensor, b: Tensor) -> Tensor:
    """The square of a sum, $(a + b)^2$.

    Args:
        a: any shape.
        b: the shape of `a`.
    """
    return (require(a, "a", dtype="float") + require(b, "b", dtype="float")).square()
'''

TEST = """\
import pytest
import torch

from dgm.{part}.{name} import square_of_sum


def test_square_of_sum_by_autograd():
    a, b = torch.randn(2, 50, dtype=torch.float64, requires_grad=True).unbind()
    (gradient,) = torch.autograd.grad(square_of_sum(a, b).sum(), a)
    torch.testing.assert_close(gradient, 2 * (a + b))


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="^b: expected dtype float"):
        square_of_sum(torch.ones(2), torch.ones(2, dtype=torch.int64))
"""


def new(name: str) -> list[Path]:
    """Write chapter, module and test of a new chapter, and put it into `_toc.yml` at the end of its part.

    Raises:
        PressError: the name is not PART/NAME of a known part, or one of the files is there already.
    """
    found = re.fullmatch(r"([a-z]+)/([a-z][a-z0-9_]*)", name)
    if not found:
        raise PressError(f"expected PART/NAME in small letters, digits and _, came {name!r}")
    part, slug = found.groups()
    if part not in PARTS:
        raise PressError(f"there is no part {part!r}{nearest(part, PARTS)}")
    module = CODE / "dgm" / f"{name}.py"
    rooms = {Page(name).path: CHAPTER, module: MODULE, CODE / "tests" / part / f"test_{slug}.py": TEST}
    for path in rooms:
        if path.exists():
            raise PressError(f"{path.relative_to(ROOT)} is there already")
    written = [other.name for other in pages() if other.is_chapter]
    words = {
        "part": part,
        "name": slug,
        "slug": slug.replace("_", "-"),
        "title": slug.replace("_", " ").capitalize(),
        "before": written[-1] if written else "",
    }
    for path, text in rooms.items():
        write_atomically(path, text.format(**words))
    package = module.parent / "__init__.py"
    if not package.exists():
        write_atomically(package, "")
    _into_toc(name, CAPTIONS[part])
    return [path.relative_to(ROOT) for path in rooms]


def _into_toc(name: str, caption: str) -> None:
    path = ROOT / "_toc.yml"
    lines = path.read_text("utf8").splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("  - caption:")]
    entry = f"      - file: {name}"
    for at, head in enumerate(heads):
        if lines[head].split(": ", 1)[1] == caption:
            end = heads[at + 1] if at + 1 < len(heads) else len(lines)
            lines.insert(end, entry)
            break
    else:
        order = list(CAPTIONS.values())
        later = [
            i for i in heads if (c := lines[i].split(": ", 1)[1]) not in order or order.index(c) > order.index(caption)
        ]
        end = later[0] if later else len(lines)
        lines[end:end] = [f"  - caption: {caption}", "    numbered: true", "    chapters:", entry]
    write_atomically(path, "\n".join(lines) + "\n")
