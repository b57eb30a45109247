"""Weights on disk: what comes back is what went in, or an error that says which file and which recipe."""

import json
import os
import platform
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dgm import recipes, weights

INFO = {"curve": {"steps": [1]}, "metrics": {"nats": 0.1}, "config": {"h": 4}, "data": "toy", "seed": 0, "seconds": 1.5}


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.fixture
def saved(tmp_path):
    module = net()
    weights.save("tiny_model", module.state_dict(), INFO, folder=tmp_path)
    return module, tmp_path


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_what_goes_in_comes_back(saved):
    module, folder = saved
    state, info = weights.load("tiny_model", folder=folder)
    assert same(state, module.state_dict())
    assert info.items() >= INFO.items()
    assert info["recipe"] == "dgm train tiny_model"
    assert info["bytes"] == (folder / "tiny_model.safetensors").stat().st_size
    assert info["parameters"] == sum(t.numel() for t in module.state_dict().values())
    assert info["machine"]["torch"] == torch.__version__
    assert info["machine"]["python"] == platform.python_version()
    assert weights.info("tiny_model", folder=folder) == info
    assert weights.available(folder=folder) == ["tiny_model"]
    assert same(load_file(folder / "tiny_model.safetensors"), module.state_dict())
    assert sorted(os.listdir(folder)) == ["tiny_model.json", "tiny_model.safetensors"]


def test_half_is_half_the_size_and_comes_back_rounded_in_float32(tmp_path):
    state = {"w": torch.randn(1000, 3), "n": torch.arange(3), "strided": torch.randn(4, 5).T}
    sizes = {}
    for half in (False, True):
        path = weights.save("tiny", state, INFO, folder=tmp_path, half=half)
        sizes[half] = path.stat().st_size
        came, _ = weights.load("tiny", folder=tmp_path)
        assert same(came, weights.halved(state) if half else state)
    assert sizes[True] < 0.55 * sizes[False]
    assert not torch.equal(came["w"], state["w"])
    assert torch.allclose(came["w"], state["w"], rtol=2**-11, atol=2**-25)  # below 2⁻¹⁴ float16 has even steps


def test_tied_tensors_and_views_are_stored_apart(tmp_path):
    whole = torch.randn(10)
    state = {"a": whole[:5], "b": whole[5:], "c": whole}
    weights.save("tiny", state, INFO, folder=tmp_path)
    assert same(weights.load("tiny", folder=tmp_path)[0], state)


@pytest.mark.parametrize("name", ["tiny_model.safetensors", "tiny_model.json"])
def test_a_missing_file_is_named_with_its_recipe(saved, name):
    _, folder = saved
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        weights.load("tiny_model", folder=folder)
    remedy = f"make it again with: dgm train tiny_model --out {folder}"
    assert str(caught.value) == f"{folder / name} is missing; {remedy}"


def test_a_recipe_without_weights_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "RECIPES", tmp_path)
    (tmp_path / "digits_made.py").write_text('"""A model."""')
    for folder in (None, tmp_path / "elsewhere"):
        path = (folder or weights.HOME) / "digits_made.json"
        with pytest.raises(FileNotFoundError, match=f"{path} is missing; make it again with: dgm train digits_made"):
            weights.load("digits_made", folder=folder)
    with pytest.raises(ValueError, match=r"name: 'digit_made' is not known \(did you mean 'digits_made'"):
        weights.load("digit_made")
    with pytest.raises(TypeError, match="name: expected a string"):
        weights.load(3)


def test_damage_is_found_before_a_byte_is_parsed(saved, monkeypatch):
    _, folder = saved
    path = folder / "tiny_model.safetensors"
    whole = path.read_bytes()
    monkeypatch.setattr("safetensors.torch.load", lambda data: pytest.fail("parsed before the hash was checked"))
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    for broken in (b"", whole[:10], whole[:-1], whole + b"\0", bytes(flipped)):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"does not fit the hash .*dgm train tiny_model") as caught:
            weights.load("tiny_model", folder=folder)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": 3}', "\x00"])
def test_damaged_notes_are_named(saved, text):
    _, folder = saved
    notes = folder / "tiny_model.json"
    notes.write_text(text)
    with pytest.raises(ValueError, match=f"{notes} is damaged; make it again with: dgm train tiny_model"):
        weights.load("tiny_model", folder=folder)


def test_load_into_is_all_or_nothing(saved):
    module, folder = saved
    other = net()
    info = weights.load_into(other, "tiny_model", folder=folder)
    assert same(other.state_dict(), module.state_dict())
    assert info["metrics"] == INFO["metrics"]
    wrong = [
        (nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)), r"0.weight is \(4, 3\), in the module \(5, 3\)"),
        (nn.Sequential(nn.Linear(3, 4)), "1.bias is not in the module; 1.num_batches"),
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), "2.weight is missing; 2.bias"),
    ]
    for model, message in wrong:
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(ValueError, match=message) as caught:
            weights.load_into(model, "tiny_model", folder=folder)
        assert "tiny_model.safetensors does not fit Sequential" in str(caught.value)
        assert same(model.state_dict(), before)


def test_both_files_are_announced_to_the_build(saved):
    _, folder = saved
    events = []
    sys.addaudithook(lambda event, arguments: events.append(arguments[0]) if event == "dgm.read" else None)
    weights.load("tiny_model", folder=folder)
    assert sorted(events) == [str(folder / "tiny_model.json"), str(folder / "tiny_model.safetensors")]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"name": "Tiny"}, ValueError, "name: expected small letters"),
        ({"name": "../up"}, ValueError, "name"),
        ({"name": 3}, ValueError, "name"),
        ({"state": {}}, ValueError, "state: expected a dictionary"),
        ({"state": [torch.zeros(1)]}, ValueError, "state: expected a dictionary"),
        ({"state": {"w": 1.0}}, TypeError, "state: expected tensors, came float for 'w'"),
        ({"state": {"w": torch.tensor(torch.nan)}}, ValueError, "state: expected finite .*'w'"),
        ({"state": {"w": torch.tensor(1e6)}, "half": True}, ValueError, "too large for half"),
        ({"state": {"w": torch.zeros(2_100_000)}}, ValueError, "at most 8,000,000 bytes, came 8,400,0"),
        ({"info": {k: v for k, v in INFO.items() if k != "metrics"}}, ValueError, "info: .* none for metrics"),
        ({"info": INFO | {"seed": torch.zeros(1)}}, TypeError, "info: expected entries that JSON can hold"),
        ({"info": INFO | {"seconds": float("nan")}}, ValueError, "info: expected entries that JSON can hold"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_bad_input_leaves_the_old_weights(saved, change, error, message):
    _, folder = saved
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    call = {"name": "tiny_model", "state": {"w": torch.zeros(3)}, "info": INFO, **change}
    with pytest.raises(error, match=message):
        weights.save(call.pop("name"), call.pop("state"), call.pop("info"), folder=folder, **call)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_write_that_is_cut_off_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    weights.write_whole(path, b"old")

    def fail(*_):
        raise OSError("no space left")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="no space"):
                weights.write_whole(path, b"new" * 1000)
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]
    weights.write_whole(path, b"new")
    assert path.read_bytes() == b"new"


def test_cut_off_between_the_two_files_is_noticed(saved, monkeypatch):
    _, folder = saved
    write = weights.write_whole

    def only_tensors(path, data):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(weights, "write_whole", only_tensors)
    with pytest.raises(KeyboardInterrupt):
        weights.save("tiny_model", net().state_dict(), INFO, folder=folder)
    with pytest.raises(ValueError, match="does not fit the hash"):
        weights.load("tiny_model", folder=folder)


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    weights.save("tiny", {"w": torch.zeros(1)}, INFO, folder=tmp_path)
    assert os.listdir(tmp_path) == []


def test_the_packages_own_weights_are_whole():
    for name in weights.available():
        load = weights.load_folder if (weights.HOME / name).is_dir() else weights.load
        found, info = load(name)
        assert name in recipes.names()
        assert info["metrics"]
        assert found
    assert sum(p.stat().st_size for p in weights.HOME.rglob("*") if p.is_file()) <= 40_000_000
    for notes in weights.HOME.glob("*.json"):
        assert json.loads(notes.read_text())["name"] == notes.stem in weights.available()


# --- a system that is a folder ---------------------------------------------------------------------------------


def write(place: Path) -> None:
    (place / "net").mkdir()
    (place / "net" / "model.safetensors").write_bytes(b"numbers")
    (place / "index.json").write_text("{}")


@pytest.fixture
def system(tmp_path):
    weights.save_folder("tiny_system", write, INFO, parameters=3, folder=tmp_path)
    return tmp_path


def test_a_folder_comes_back_with_its_record(system):
    place, info = weights.load_folder("tiny_system", folder=system)
    assert place == system / "tiny_system"
    assert (place / "net" / "model.safetensors").read_bytes() == b"numbers"
    assert info.items() >= INFO.items()
    assert (info["bytes"], info["parameters"]) == (9, 3)
    assert set(info["files"]) == {"net/model.safetensors", "index.json"}
    assert weights.available(folder=system) == ["tiny_system"]
    assert sorted(os.listdir(system)) == ["tiny_system", "tiny_system.json"]
    weights.save_folder("tiny_system", lambda p: (p / "other.txt").write_text("x"), INFO, parameters=1, folder=system)
    assert os.listdir(system / "tiny_system") == ["other.txt"]  # the old files are gone


@pytest.mark.parametrize(
    ("harm", "error", "says"),
    [
        (lambda p: (p / "index.json").write_text("[]"), ValueError, "index.json does not fit the hash"),
        (lambda p: (p / "index.json").unlink(), FileNotFoundError, "index.json is missing; make it again"),
        (lambda p: (p / "net" / "more.bin").write_text("x"), ValueError, "net/more.bin is not named"),
    ],
)
def test_a_harmed_folder_is_refused(system, harm, error, says):
    harm(system / "tiny_system")
    with pytest.raises(error, match=says):
        weights.load_folder("tiny_system", folder=system)


def test_a_changed_list_of_files_is_refused(system):
    notes = system / "tiny_system.json"
    record = json.loads(notes.read_text())
    record["files"].pop("index.json")
    notes.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="no files that fit its hash"):
        weights.load_folder("tiny_system", folder=system)


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path):
    def fails(place: Path) -> None:
        write(place)
        raise OSError("the disk is full")

    for writer, error in ((fails, OSError), (lambda p: None, ValueError)):
        with pytest.raises(error, match="disk is full|at least one file"):
            weights.save_folder("tiny_system", writer, INFO, parameters=1, folder=tmp_path)
        assert os.listdir(tmp_path) == []


def test_the_packages_own_files_are_small(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "HOME", tmp_path)
    monkeypatch.setattr(weights, "LARGEST", 5)
    with pytest.raises(ValueError, match=r"at most 5 bytes, came net/model.safetensors"):
        weights.save_folder("tiny_system", write, INFO, parameters=1)
