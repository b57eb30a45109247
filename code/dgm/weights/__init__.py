"""Trained weights: a safetensors file and a JSON file each, checked by hash before a byte of them is used.

Weights are made by a recipe and never by hand: ``dgm train NAME`` writes ``NAME.safetensors`` and
``NAME.json`` (curve, metrics, configuration, data, seed, seconds, machine, hash). Nothing here is pickled.
A system of several models is a folder ``NAME`` in its library's own layout, with the same JSON file beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

HOME = Path(__file__).resolve().parent
RECIPES = HOME.parent / "recipes"  # only looked into for names: recipes import weights, not the other way
LARGEST = 8_000_000  # bytes a file: a repository is cloned by everyone
NEEDED = ("curve", "metrics", "config", "data", "seed", "seconds")


def save(
    name: str,
    state: dict[str, Tensor],
    info: dict[str, Any],
    *,
    folder: str | Path | None = None,
    half: bool = False,
) -> Path:
    """Write the weights of a recipe whole or not at all, and return the path of the safetensors file.

    Under ``accelerate launch`` the first process writes and the others do nothing.

    Args:
        name: the recipe's name: small letters, digits and underscores.
        state: what ``module.state_dict()`` gives.
        info: JSON-able; holds at least curve, metrics, config, data, seed and seconds. The recipe, the
            machine, the hash and the size are added.
        folder: where to write; the package's own folder where none is given.
        half: store floats in float16; `load` gives float32 back, rounded as by `halved`.

    Raises:
        TypeError, ValueError: a bad name, something that is not a tensor, an entry of `info` missing, a
            number that is not finite (or too large for float16), a file over 8 MB.
    """
    import torch
    from safetensors.torch import save as pack

    _check(name, info)
    if not isinstance(state, dict) or not state:
        raise ValueError(f"state: expected a dictionary with at least one tensor, came {state!r}")
    tensors = {}
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"state: expected tensors, came {type(value).__name__} for {key!r}")
        shrink = half and value.is_floating_point()
        stored = value.detach().cpu().to(torch.float16 if shrink else value.dtype)
        if not torch.isfinite(stored).all():
            reason = "; too large for half=True?" if half else ""
            raise ValueError(f"state: expected finite numbers, came NaN or infinity in {key!r}{reason}")
        tensors[key] = stored.clone(memory_format=torch.contiguous_format)
    data = pack(tensors)
    if len(data) > LARGEST:
        raise ValueError(
            f"state: expected at most {LARGEST:,} bytes, came {len(data):,}; make the model smaller"
            f"{'' if half else ', store it with half=True'} or its buffers persistent=False"
        )
    count = sum(t.numel() for t in tensors.values())
    text = _record(name, info, half=half, parameters=count, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    path, notes = _paths(name, folder)
    if os.environ.get("RANK", "0") == "0":
        # The tensors go first: cut off between the two, the old hash does not fit and `load` says so.
        write_whole(path, data)
        write_whole(notes, text)
    return path


def save_folder(
    name: str,
    write: Callable[[Path], object],
    info: dict[str, Any],
    *,
    parameters: int,
    folder: str | Path | None = None,
) -> Path:
    """Write a system of several models as a folder of files, and return its path; see `save`.

    Args:
        name: the recipe's name.
        write: puts the files into an empty folder.
        info: as for `save`.
        parameters: how many numbers the files hold.
        folder: where to write; the package's own where none is given, with 8 MB a file at most.

    Raises:
        TypeError, ValueError: as for `save`.
    """
    _check(name, info)
    place, notes = _paths(name, folder)
    place = place.with_suffix("")
    draft = place.with_name(f".{name}.{os.getpid()}.part")
    try:
        draft.mkdir(parents=True)
        write(draft)
        files = {path.relative_to(draft).as_posix(): path for path in sorted(draft.rglob("*.*"))}
        if not files:
            raise ValueError("write: expected at least one file in the folder, came none")
        sizes = {file: path.stat().st_size for file, path in files.items()}
        if folder is None and (large := [file for file, size in sizes.items() if size > LARGEST]):
            raise ValueError(f"write: expected files of at most {LARGEST:,} bytes, came {', '.join(large)}")
        hashes = {file: _hash(path) for file, path in files.items()}
        facts = {"parameters": parameters, "bytes": sum(sizes.values()), "sha256": _digest(hashes), "files": hashes}
        text = _record(name, info, half=True, **facts)
        if os.environ.get("RANK", "0") == "0":
            shutil.rmtree(place, ignore_errors=True)
            os.replace(draft, place)
            write_whole(notes, text)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return place


def load_folder(name: str, *, folder: str | Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Return ``(path, info)`` of a system that `save_folder` wrote, every file checked against its hash.

    Raises:
        ValueError: an unknown name (the nearest are named), or a file that is damaged, or one too many.
        FileNotFoundError: a file is missing. Each message names the file and the recipe that makes it.
    """
    record = info(name, folder=folder)
    place, notes = _paths(name, folder)
    place, hashes = place.with_suffix(""), record.get("files")
    if not isinstance(hashes, dict) or _digest(hashes) != record["sha256"]:
        raise ValueError(f"{notes} names no files that fit its hash; {_remedy(name, folder)}")
    for file, sha in hashes.items():
        if not (place / file).is_file():
            raise FileNotFoundError(f"{place / file} is missing; {_remedy(name, folder)}")
        sys.audit("dgm.read", str(place / file))
        if _hash(place / file) != sha:
            raise ValueError(f"{place / file} does not fit the hash in {notes.name}; {_remedy(name, folder)}")
    if more := sorted({p.relative_to(place).as_posix() for p in place.rglob("*.*")} - set(hashes)):
        raise ValueError(f"{place / more[0]} is not named in {notes.name}; delete it, or {_remedy(name, folder)}")
    return place, record


def load(name: str, *, folder: str | Path | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return ``(state, info)`` of trained weights, everything or an error.

    The hash is checked over the bytes in memory before they are parsed.

    Raises:
        ValueError: an unknown name (the nearest are named), or a file that is damaged.
        FileNotFoundError: a file is missing. Each message names the file and the recipe that makes it.
    """
    import torch
    from safetensors.torch import load as unpack

    record = info(name, folder=folder)
    path, notes = _paths(name, folder)
    data = _read(path, name, folder)
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        size = record.get("bytes", 0)
        came = f"{len(data):,} of {size:,} bytes" if size != len(data) else "other bytes"
        raise ValueError(f"{path} does not fit the hash in {notes.name} (came {came}); {_remedy(name, folder)}")
    state = unpack(data)
    if record.get("half"):
        state = {key: t.to(torch.float32) if t.dtype == torch.float16 else t for key, t in state.items()}
    return state, record


def load_into(module: nn.Module, name: str, *, folder: str | Path | None = None) -> dict[str, Any]:
    """Load trained weights into `module`, all or nothing, and return their info.

    Raises:
        ValueError: the names or shapes of the tensors are others than the module's; and the errors of `load`.
    """
    state, record = load(name, folder=folder)
    own = module.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in state]
    wrong += [f"{key} is not in the module" for key in sorted(state) if key not in own]
    wrong += [
        f"{key} is {tuple(state[key].shape)}, in the module {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        path = _paths(name, folder)[0]
        raise ValueError(f"{path} does not fit {type(module).__name__}: {'; '.join(wrong[:3])}{more}")
    module.load_state_dict(state)
    return record


def info(name: str, *, folder: str | Path | None = None) -> dict[str, Any]:
    """Return what lies beside the weights: curve, metrics, config, data, seed, seconds, machine, sha256.

    Raises:
        ValueError: an unknown name, or a file that is damaged.
        FileNotFoundError: the weights are not there.
    """
    known = {p.stem for p in RECIPES.glob("[!_]*.py")} | {p.stem for p in Path(folder or HOME).glob("[!.]*.json")}
    known |= set(available(folder=folder))
    if name not in known:
        from dgm.checks import require_choice  # torch comes with it: `dgm list` does without

        require_choice(name, "name", known)
    notes = _paths(name, folder)[1]
    try:
        record = json.loads(_read(notes, name, folder))
        if not isinstance(record["sha256"], str):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{notes} is damaged; {_remedy(name, folder)}") from None
    return dict(record)


def available(*, folder: str | Path | None = None) -> list[str]:
    """Return the names of the weights in `folder` (the package's own where none is given), sorted."""
    base = Path(folder or HOME)
    systems = {path.stem for path in base.glob("[!.]*.json") if path.with_suffix("").is_dir()}
    return sorted(systems | {path.stem for path in base.glob("[!.]*.safetensors")})


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` as `load` gives it back after ``save(..., half=True)``: the floats rounded to float16.

    >>> import torch
    >>> halved({"w": torch.tensor([1 / 3])})["w"].item()
    0.333251953125
    """
    import torch

    return {k: t.to(torch.float16).to(torch.float32) if t.is_floating_point() else t for k, t in state.items()}


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that whoever reads sees the old file or the new one, even if the power fails.

    The bytes go to another name in the same folder, then to the disk, and only then take the name
    (``os.replace`` is atomic within a file system).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    if os.name == "posix":  # the new name is on the disk only when its folder is
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _check(name: str, info: dict[str, Any]) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"name: expected small letters, digits and underscores, came {name!r}")
    missing = [key for key in NEEDED if key not in info]
    if missing:
        raise ValueError(f"info: expected the entries {', '.join(NEEDED)}, came none for {', '.join(missing)}")


def _record(name: str, info: dict[str, Any], **facts: Any) -> bytes:
    """What lies beside the weights: `info`, the recipe, `facts`, the machine."""
    import torch

    machine = {
        "platform": platform.platform(terse=True),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    record = info | {"name": name, "recipe": f"dgm train {name}", **facts, "machine": machine}
    try:
        return (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise type(error)(f"info: expected entries that JSON can hold, came this: {error}") from None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(hashes: dict[str, str]) -> str:
    """One hash of all files."""
    return hashlib.sha256("".join(f"{path} {sha}\n" for path, sha in sorted(hashes.items())).encode()).hexdigest()


def _paths(name: str, folder: str | Path | None) -> tuple[Path, Path]:
    base = Path(folder or HOME)
    return base / f"{name}.safetensors", base / f"{name}.json"


def _remedy(name: str, folder: str | Path | None) -> str:
    """How to make the weights again."""
    return f"make it again with: dgm train {name}" + (f" --out {folder}" if folder else "")


def _read(path: Path, name: str, folder: str | Path | None) -> bytes:
    """The bytes of a file; the audit event tells the book's build that the page depends on it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; {_remedy(name, folder)}") from None
    sys.audit("dgm.read", str(path))
    return data
