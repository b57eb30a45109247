"""What a reader launches: exported notebooks in a fresh environment; `make ci` cuts the network off the book itself."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from press.chapters import chapters
from press.house import CODE, NOTEBOOKS

pytestmark = pytest.mark.slow


def closure(*names: str) -> set[str]:
    """These distributions and all that they need on this machine."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an optional need that is not installed
        if distribution.name in found:
            continue
        found.add(distribution.name)
        for line in distribution.requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A new environment with pip and, as on Colab, torch and torchvision: those are lent by links, not installed."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    theirs = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    ours = Path(sysconfig.get_path("purelib"))
    for name in closure("torch", "torchvision"):
        for file in metadata.distribution(name).files or []:
            top = Path(file).parts[0]
            if top not in ("..", "__pycache__") and (ours / top).exists() and not (theirs / top).exists():
                (theirs / top).symlink_to(ours / top)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "wheel"], cwd=CODE, check=True
    )
    (wheel,) = (folder / "wheel").glob("*.whl")
    ready = subprocess.run(
        [python, "-m", "pip", "install", "-q", "ipykernel", "nbclient"], capture_output=True, check=False
    )
    if ready.returncode != 0:
        pytest.skip("no package registry in reach: a fresh environment can't be filled")
    return python, wheel


def test_the_wheel_holds_dgm_only(fresh):
    import zipfile

    names = zipfile.ZipFile(fresh[1]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dgm"}
    assert any(name.endswith("made_digits.safetensors") for name in names)


RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
"""


@pytest.mark.parametrize("name", [page.name for page in chapters()])
def test_each_notebook_runs_from_its_file_alone(fresh, name, tmp_path):
    python, wheel = fresh
    exported = NOTEBOOKS / f"{name}.ipynb"
    assert exported.is_file(), "run `make book` first"
    alone = tmp_path / exported.name
    shutil.copy(exported, alone)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"DGM_SOURCE": str(wheel), "OMP_NUM_THREADS": "1", "PATH": f"{python.parent}:{os.environ['PATH']}"}
    ended = subprocess.run(
        [python, "-c", RUN, alone], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
