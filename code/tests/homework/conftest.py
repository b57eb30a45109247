"""A student's file, made from the solution by changes, and what the checks say to it."""

import pytest

from dgm import homework
from press.homework import solution


@pytest.fixture
def told(tmp_path):
    """``told("o2-1", (old, new), …)``: what the checks find wrong in the solution with `old` replaced by `new`."""

    def run(name, *changes):
        source = solution(name)
        for old, new in changes:
            assert old in source, old
            source = source.replace(old, new)
        path = tmp_path / "answer.py"
        path.write_text(source)
        return [wrong for _, wrong in homework.run(name, path) if wrong]

    return run
