"""The whole machine on a small book of its own: run, rebuild, fail, be killed, go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from press.house import ROOT

pytestmark = pytest.mark.slow

CHAPTER = "foundations/draft"


class Book:
    """A copy of the house with one chapter, built by the copy's own press."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("code/dgm", "code/press", "book/_static"):
            skip = shutil.ignore_patterns("__pycache__", "*.safetensors")
            shutil.copytree(ROOT / name, root / name, ignore=skip)
        for name in ("_config.yml", "requirements.txt", "book/reference/notation.yml"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        self.write(
            "_toc.yml",
            "format: jb-book\nroot: index\nparts:\n  - caption: Reference\n    chapters:\n      - file: end\n",
        )
        self.write("book/index.md", "# A small book\n")
        self.write("book/end.md", "# The end\n")
        self.write("book/references/all.bib", "@misc{one, author = {A. One}, title = {Title}, year = {2020}}\n")
        self.press("new", CHAPTER, good=True)

    def path(self, name: str) -> Path:
        return self.root / name

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text, "utf8")

    def change(self, name: str, old: str, new: str) -> None:
        text = self.path(name).read_text("utf8")
        assert old in text
        self.path(name).write_text(text.replace(old, new, 1), "utf8")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(self.root / "code"), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "press", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.root, env=environment, text=True, stdout=pipe, stderr=subprocess.STDOUT
        )

    def press(self, *arguments: str, good: bool | None = None) -> str:
        ended = self.start(*arguments)
        told = ended.communicate(timeout=300)[0]
        if good is not None:
            assert (ended.returncode == 0) is good, told
        return told

    @property
    def page(self) -> str:
        return self.path(f"_build/html/{CHAPTER}.html").read_text("utf8")

    def report(self) -> dict:
        return json.loads(self.path("_build/report.json").read_text("utf8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    book = Book(tmp_path_factory.mktemp("book"))
    book.press("build", good=True)
    return book


@pytest.fixture
def book(whole, tmp_path):
    """The small book as built, in a folder of its own, so that each test may break it."""
    copy = object.__new__(Book)
    copy.root = tmp_path / "book"
    shutil.copytree(whole.root, copy.root, symlinks=True)
    # Its outputs were cached under another path; jupyter-cache and the records know only contents.
    assert copy.press("status", good=True).split() == [CHAPTER, "fresh"]
    return copy


MODULE = f"code/dgm/{CHAPTER}.py"
TEXT = f"book/{CHAPTER}.md"


def test_a_new_chapter_builds_and_is_told_in_the_report(whole):
    assert "✓" in whole.page
    (row,) = whole.report()["chapters"]
    assert row["name"] == CHAPTER
    assert row["executed"] is True
    assert (row["figures"], row["interactive"], row["alt_missing"]) == (1, 0, 0)
    assert [claim["label"] for claim in row["claims"]] == ["eq-draft-square"]
    assert row["claims"][0]["error"] <= row["claims"][0]["tolerance"]
    assert row["seconds"] > 0
    assert row["peak_mb"] > 50
    assert whole.press("check", good=True).startswith("6 pages") or "none dead" in whole.press("check")
    exported = nbformat.read(whole.path(f"_build/notebooks/{CHAPTER}.ipynb"), as_version=4)
    assert any("\\tag{1.1}" in cell.source for cell in exported.cells)


def test_its_test_passes(whole):
    """The third room of the skeleton."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"tests/{CHAPTER.replace('/', '/test_')}.py",
    ]
    environment = os.environ | {"PYTHONPATH": str(whole.root / "code")}
    ended = subprocess.run(
        command, cwd=whole.root / "code", env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout


def test_nothing_is_done_when_nothing_changed(book):
    before = book.path("_build/html/index.html").stat().st_mtime_ns
    began = time.perf_counter()
    assert "nothing changed" in book.press("build", good=True)
    assert time.perf_counter() - began < 20
    assert book.path("_build/html/index.html").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("name", "old", "new", "state"),
    [
        (TEXT, "## Live", "Some words.\n\n## Live", "fresh"),
        ("code/dgm/foundations/counting.py", '"""', '"""\n', "fresh"),
        ("code/press/site.py", '"""', '"""\n', "fresh"),
        (MODULE, '"""', '"""\n', f"stale: {MODULE} changed"),
        ("code/dgm/checks.py", '"""', '"""\n', "stale: code/dgm/checks.py changed"),
        ("code/dgm/__init__.py", '"""', '"""\n', "stale: code/dgm/__init__.py changed"),
        (TEXT, "torch.randn(2, 100", "torch.randn(2, 200", "stale: its code changed"),
        (TEXT, ":tags: [hide-input]", ":tags: [hide-input, other]", "stale: its code changed"),
        ("requirements.txt", "==", "== ", "stale: the lock changed"),
    ],
)
def test_a_chapter_is_stale_exactly_when_what_it_depends_on_changed(book, name, old, new, state):
    book.change(name, old, new)
    assert book.press("status", good=True).strip() == f"{CHAPTER} {state}"


def test_a_change_in_a_module_reaches_the_page(book):
    book.change(TEXT, "atol=1e-12)", "atol=1e-12)\nprint(square_of_sum.__doc__.splitlines()[0])")
    book.press("build", good=True)
    book.change(MODULE, "The square of a sum", "The square of the sum of both")
    assert "changed" in book.press("status")
    book.press("build", good=True)
    assert "The square of the sum of both" in book.page
    assert book.report()["chapters"][0]["executed"] is True
    book.change(TEXT, "## Live", "Some words.\n\n## Live")
    book.press("build", good=True)
    assert "Some words." in book.page
    assert book.report()["chapters"][0]["executed"] is False


VERIFY = 'verify("eq-draft-square", square_of_sum(a, b), a**2 + 2 * a * b + b**2, atol=1e-12)'


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        (TEXT, VERIFY, f"{VERIFY}\n1 / 0", "ZeroDivisionError"),
        (MODULE, ".square()", ".square() + 0.1", "ClaimError: eq-draft-square: the sides differ by 0.1"),
        (TEXT, VERIFY, "print(a.sum())", "eq-draft-square is not verified"),
        (TEXT, VERIFY, f"{VERIFY}\nimport sys; print('careful', file=sys.stderr)", "the cell wrote to stderr: careful"),
        (TEXT, "## Live", "See {eq}`eq-draft-cube`.\n\n## Live", "eq-draft-cube"),
        (TEXT, "## Live", "See {doc}`/gone`.\n\n## Live", "gone"),
        (TEXT, "tickets: []", "tickets: [99]", "claims ticket 99, which tickets.yml does not know"),
        (
            TEXT,
            "_ = torch.manual_seed(0)",
            "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
            "pictures without alternative text",
        ),
    ],
)
def test_what_is_wrong_stops_the_build_and_the_old_site_stays(book, name, old, new, expected):
    before = book.page
    book.change(name, old, new)
    told = book.press("build", good=False)
    assert expected in told
    assert "Traceback" not in told
    if expected.startswith(("ZeroDivision", "the cell", "See")):
        line = int(told.split(f"{TEXT}:")[1].split(":")[0])
        source = book.path(TEXT).read_text("utf8").splitlines()
        assert "1 / 0" in source[line - 1] or VERIFY in "\n".join(source[line - 2 : line + 2])
    assert book.page == before
    if name == TEXT and "1 / 0" in new:
        assert "stale" in book.press("status")
    book.change(name, new, old)
    book.press("build", good=True)


@pytest.mark.parametrize("wait", [0.5, 3.0, 6.0, 9.0, 13.0])
def test_a_build_killed_at_any_moment_goes_on_from_whole_files(book, wait):
    book.change(TEXT, "torch.randn(2, 100", "torch.randn(2, 150")
    before = book.page
    running = book.start("build")
    time.sleep(wait)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not book.path(f"_build/html/{CHAPTER}.html").exists() or book.page == before or "randn" in book.page
    book.press("build", good=True)
    assert "150" in book.page
    assert book.press("status").split() == [CHAPTER, "fresh"]


def test_a_stop_by_the_user_leaves_nothing_half_written(book):
    book.change(TEXT, "_ = torch.manual_seed(0)", "import time\ntime.sleep(60)")
    running = book.start("build")
    time.sleep(15)  # the kernel is up by then, on a busy machine too
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=60)[0]
    assert running.returncode == 130, told
    assert "stopped" in told
    assert "stale" in book.press("status")
    book.change(TEXT, "import time\ntime.sleep(60)", "_ = torch.manual_seed(0)")
    book.press("build", good=True)


def test_a_broken_record_and_lost_outputs_are_seen(book):
    record = book.path(f"_build/press/records/{CHAPTER}.json")
    whole = record.read_text()
    record.write_text(whole[: len(whole) // 2])
    assert "its record is broken" in book.press("status")
    record.write_text(whole)
    shutil.rmtree(book.path("_build/.jupyter_cache"))
    assert "its outputs are gone" in book.press("status")
    book.press("build", good=True)


def test_one_chapter_is_built_as_a_preview_while_others_wait(book):
    book.press("new", "foundations/second", good=True)
    told = book.press("build", CHAPTER, good=True)
    assert "not yet run: foundations/second" in told
    assert "✓" in book.path(f"_build/preview/{CHAPTER}.html").read_text("utf8")
    book.press("build", "foundations/second", good=True)
    assert book.path("_build/html/foundations/second.html").is_file()


def test_the_book_moves_to_another_address(book):
    book.press("address", "https://github.com/someone/generative", good=True)
    book.press("build", good=True)
    assert (
        "https://colab.research.google.com/github/someone/generative/blob/notebooks/foundations/draft.ipynb"
        in book.page
    )
    assert (
        "https://mybinder.org/v2/gh/someone/generative/notebooks?urlpath=lab/tree/foundations/draft.ipynb" in book.page
    )
    assert "https://github.com/someone/generative/edit/main/book/foundations/draft.md" in book.page
    assert "issues/new?template=page.yml" in book.page
    assert "OWNER" not in book.page
    exported = book.path(f"_build/notebooks/{CHAPTER}.ipynb").read_text("utf8")
    assert "git+https://github.com/someone/generative@main" in exported


def test_two_builds_give_the_same_pages(book):
    first = book.page
    book.change("book/index.md", "A small book", "A small book ")
    book.press("build", good=True)
    assert book.page == first
