"""Run chapters, each in a kernel of its own with one thread; several side by side."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from press.chapters import Page

CELL_SECONDS = 300
"""A cell that takes longer than this hangs: a whole chapter has 60 seconds."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PLOTLY_RENDERER": "plotly_mimetype",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "default",
    "JUPYTER_PLATFORM_DIRS": "1",
    "TQDM_DISABLE": "1",
    "WANDB_MODE": "offline",
}

Progress = Callable[[Page, int, int], None]


@dataclass
class Run:
    """What came of a run: the executed notebook and what it loaded, or what failed."""

    page: Page
    notebook: nbformat.NotebookNode
    seconds: float
    """Processor time: the time on the wall of one thread on a quiet machine."""
    loaded: list[str]
    peak_mb: int
    error: str | None = None


class CellFailed(Exception):
    """A cell failed; the message says in which file and line, and why."""


async def run(page: Page, progress: Progress) -> Run:
    """Execute one page from top to bottom, in an empty folder."""
    notebook = page.notebook()
    lines = notebook.metadata.pop("source_map")
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    facts: dict[str, Any] = {"loaded": [], "peak_mb": 0, "seconds": 0.0}
    error = None
    with tempfile.TemporaryDirectory(prefix="chapter-") as folder:
        # Files instead of TCP ports: nobody else on the machine can listen in.
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=CELL_SECONDS,
            resources={"metadata": {"path": folder}},
            shutdown_kernel="immediate",
        )
        environment = os.environ | ENVIRONMENT | {"IPYTHONDIR": folder}
        try:
            async with client.async_setup_kernel(env=environment, stderr=subprocess.DEVNULL):
                # nbclient takes Ctrl-C for itself and only kills the kernel; it shall stop the whole build.
                asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
                await _ask(client, "__import__('press.trace', fromlist=['trace']).start()")
                for count, index in enumerate(code):
                    progress(page, count, len(code))
                    await client.async_execute_cell(notebook.cells[index], index, execution_count=count + 1)
                    _no_stderr(notebook.cells[index])
                facts = json.loads(await _ask(client, "__import__('press.trace', fromlist=['trace']).finish()"))
        except (CellExecutionError, CellTimeoutError, DeadKernelError, CellFailed) as failure:
            error = f"{_place(page, lines, code, notebook, failure)}: {_reason(failure)}"
    progress(page, len(code), len(code))
    _tidy(notebook)
    return Run(page, notebook, facts["seconds"], facts["loaded"], facts["peak_mb"], error)


async def _ask(client: NotebookClient, expression: str) -> Any:
    """Evaluate an expression in the kernel, without a trace in the chapter's own history or names."""
    assert client.kc is not None
    message = client.kc.execute("", silent=True, store_history=False, user_expressions={"answer": expression})
    reply: dict[str, Any] = {"parent_header": {}}
    while reply["parent_header"].get("msg_id") != message:
        reply = await client.kc._async_get_shell_msg(timeout=60)
    answer = reply["content"]["user_expressions"]["answer"]
    if answer["status"] != "ok":
        raise CellFailed(f"press.trace failed: {answer.get('ename')}: {answer.get('evalue')}")
    return ast.literal_eval(answer["data"]["text/plain"])


def _no_stderr(cell: nbformat.NotebookNode) -> None:
    """A page has no place for warnings: mend what warns, or catch it in the cell and say why."""
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stderr":
            raise CellFailed(f"the cell wrote to stderr: {output.text.strip()[:300]}")


def _place(page: Page, lines: list[int], code: list[int], notebook: nbformat.NotebookNode, failure: Exception) -> str:
    """The line in the chapter's source: of the cell that ran last, and where known of the line within it."""
    ran = [i for i in code if notebook.cells[i].get("execution_count") or notebook.cells[i].outputs]
    index = ran[-1] if ran else code[0]
    source = page.text.splitlines()
    start = lines[index]
    # The map names the fence; the code begins after the fence and its options.
    first = notebook.cells[index].source.splitlines()[0] if notebook.cells[index].source else ""
    while start < len(source) - 1 and source[start].strip() != first.strip():
        start += 1
    inner = re.findall(r"Cell In\[\d+\], line (\d+)", re.sub(r"\x1b\[[0-9;]*m", "", str(failure)))
    return page.where(start + (int(inner[0]) if inner else 1))


def _reason(failure: Exception) -> str:
    if isinstance(failure, CellExecutionError):
        return f"{failure.ename}: {failure.evalue}"
    if isinstance(failure, CellTimeoutError):
        return f"the cell ran for more than {CELL_SECONDS} seconds"
    if isinstance(failure, DeadKernelError):
        return "the kernel died (out of memory?)"
    return str(failure)


def _tidy(notebook: nbformat.NotebookNode) -> None:
    """Take out what differs from run to run: times, and the cut of one text into several."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        joined: list[nbformat.NotebookNode] = []
        for output in cell.outputs:
            last = joined[-1] if joined else None
            if last and output.output_type == last.output_type == "stream" and output.name == last.name:
                last.text += output.text
            else:
                joined.append(output)
        cell.outputs = joined


async def run_all(pages: list[Page], workers: int, progress: Progress, done: Callable[[Run], None]) -> None:
    """Execute pages side by side, `workers` at a time; `done` gets each run as it ends, in this process."""
    free = asyncio.Semaphore(workers)

    async def one(page: Page) -> None:
        async with free:
            done(await run(page, progress))

    async with asyncio.TaskGroup() as group:
        for page in pages:
            group.create_task(one(page))


def cores() -> int:
    """How many processes may run at once here."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
