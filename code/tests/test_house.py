"""The house as a whole: three rooms under one name, light imports, a reference that leaves nothing out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from press.api import write
from press.chapters import Page, pages
from press.house import BOOK, CODE, PARTS, ROOT, address, config

MODULES = sorted(path.relative_to(CODE / "dgm") for part in PARTS for path in (CODE / "dgm" / part).glob("[a-z]*.py"))


def test_every_module_of_a_part_has_its_chapter_and_its_test():
    chapters = [page for page in pages() if page.is_chapter]
    assert {CODE / "dgm" / module for module in MODULES} == {p.module for p in chapters if "module" not in p.about}
    for page in chapters:  # a chapter whose module lives elsewhere says so
        assert page.module.is_file(), page.name
        assert page.test.is_file(), page.name
    for module in MODULES:
        assert (CODE / "tests" / module.parent / f"test_{module.name}").is_file()


def test_the_packages_of_parts_are_empty():
    for part in PARTS:
        package = CODE / "dgm" / part / "__init__.py"
        assert not package.exists() or package.read_text() == ""


def test_import_dgm_is_light():
    probe = (
        "import sys, time, torch; began = time.perf_counter(); import dgm; took = time.perf_counter() - began;"
        "assert took < 0.1, took; assert {m for m in sys.modules if m.startswith('dgm')} == {'dgm'}"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


INNER = {"dgm.data.dicebear", "dgm.data.packages", "dgm.data.store", "dgm.cli"}
"""Modules that readers never import."""


def test_the_reference_names_every_public_module():
    text = (BOOK / "reference" / "api.md").read_text("utf8")
    for path in (CODE / "dgm").rglob("*.py"):
        name = ".".join(path.relative_to(CODE).with_suffix("").parts).removesuffix(".__init__")
        public = (
            path.read_text("utf8").strip()
            and not name.startswith(("dgm.recipes.", "dgm.homework."))
            and name not in INNER
        )
        reexport = path.name == "__init__.py" and not re.search(r"^def [a-z]", path.read_text("utf8"), re.MULTILINE)
        if public and not reexport:
            assert f"{{dgm-api}} {name}\n" in text, name


def test_the_reference_shows_signature_sentence_and_example():
    import griffe

    made = "\n".join(write(griffe.load("dgm.metrics", search_paths=[str(CODE)], docstring_parser="google")))
    assert "bits_per_dim(nats: Tensor, dims: int) -> Tensor" in made
    assert r"$\ell / (m \ln 2)$" in made
    assert "- `dims`: the number of dimensions m" in made
    assert "```pycon\n>>> import torch" in made


def test_the_top_level_holds_what_it_should():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    top = {line.split("/")[0] for line in tracked if line}
    allowed = {".binder", ".ci", ".github", ".gitignore", ".pre-commit-config.yaml"}
    allowed |= {"CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "requirements.txt"}
    allowed |= {"_config.yml", "_toc.yml", "book", "code"}
    assert top <= allowed
    large = [line for line in tracked if line and (ROOT / line).is_file() and (ROOT / line).stat().st_size > 8 * 2**20]
    assert not large


def test_weights_keep_their_budget():
    sizes = [path.stat().st_size for path in (CODE / "dgm" / "weights").rglob("*.safetensors")]
    assert max(sizes) <= 8 * 2**20
    assert sum(sizes) <= 40 * 2**20


def test_macros_take_no_arguments():
    """The notebook export and the lint replace them as text."""
    macros = config()["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    assert all(isinstance(value, str) and "#" not in value for value in macros.values())


def test_workflows_pin_actions_and_ask_for_little():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        flow = yaml.safe_load(path.read_text("utf8"))
        assert flow["permissions"] == {"contents": "read"}, path.name
        for job in flow["jobs"].values():
            for step in job["steps"]:
                if "uses" in step:
                    assert len(step["uses"].split("@")[1]) == 40, step["uses"]


def test_no_file_names_another_address():
    from press.lint import addresses

    assert list(addresses()) == []
    assert address().slug in (ROOT / "README.md").read_text("utf8")


@pytest.mark.parametrize("path", sorted((ROOT / "book").rglob("*.md")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_page_is_in_the_table_of_contents(path: Path):
    assert Page(str(path.relative_to(BOOK).with_suffix(""))) in pages()
