"""The cache: whole or not at all, made again when broken, heard by the build when it lies in the repository."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from dgm.data import store

heard: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def ear():
    # An audit hook can't be taken away again: it is added once and only notes.
    sys.addaudithook(lambda event, args: heard.append(args[0]) if event == "dgm.read" else None)


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dgm"


class Maker:
    """Makes the same arrays each time and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": np.arange(3_000, dtype=np.int16).reshape(30, 100), "b": np.array([0.5, -1.0])}


def assert_right(arrays):
    assert sorted(arrays) == ["a", "b"]
    assert np.array_equal(arrays["a"], np.arange(3_000).reshape(30, 100))
    assert arrays["a"].dtype == np.int16
    assert np.array_equal(arrays["b"], [0.5, -1.0])


def test_made_once_for_each_key(home):
    make = Maker()
    for _ in range(3):
        assert_right(store.cached("x", {"version": 1}, make))
    assert make.calls == 1
    assert_right(store.cached("x", {"version": 2}, make))
    assert make.calls == 2
    assert_right(store.cached("x", {"version": 1}, make))
    assert make.calls == 2
    assert sorted(path.suffix for path in home.iterdir()) == [".npz", ".npz"]  # and no draft left behind


def test_a_file_made_for_another_key_is_not_believed(home):
    make = Maker()
    store.cached("x", {"version": 1}, make)
    (old,) = home.iterdir()
    store.cached("x", {"version": 2}, make)
    (new,) = set(home.iterdir()) - {old}
    old.replace(new)
    assert_right(store.cached("x", {"version": 2}, make))
    assert make.calls == 3


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all", b"\x93NUMPY\x01\x00", b"\x80\x04N."])
def test_a_broken_file_is_made_again(home, content):
    make = Maker()
    store.cached("x", {}, make)
    (path,) = home.iterdir()
    path.write_bytes(content)
    assert_right(store.cached("x", {}, make))
    assert make.calls == 2
    assert_right(store.cached("x", {}, make))
    assert make.calls == 2


def test_no_damage_to_the_file_gives_wrong_arrays(home):
    store.cached("x", {}, Maker())
    (path,) = home.iterdir()
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    remade = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        path.write_bytes(bytes(damaged[: random.integers(1, len(whole))] if random.random() < 0.3 else damaged))
        make = Maker()
        assert_right(store.cached("x", {}, make))
        remade += make.calls
    assert remade > 75


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert_right(store.cached("x", {}, Maker()))
    assert blocked.read_text() == "not a folder"


def test_a_full_disk_leaves_nothing(monkeypatch, home):
    def fail(file, **arrays):
        file.write(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    assert_right(store.cached("x", {}, Maker()))
    assert list(home.iterdir()) == []


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / "dgm"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert store.cache_folder() == tmp_path / "me" / ".cache" / "dgm"

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert store.cache_folder() == Path(tempfile.gettempdir()) / "dgm"


def test_only_a_cache_inside_the_repository_is_a_dependency(monkeypatch, home):
    heard.clear()
    store.cached("x", {}, Maker())
    assert heard == []
    monkeypatch.setattr(store, "REPOSITORY", home.parent.resolve())
    store.cached("x", {}, Maker())
    assert heard == [str(next(home.iterdir()))]
