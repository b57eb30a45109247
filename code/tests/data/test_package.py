"""`dgm.data` itself: light, lazy, and honest about what it has."""

import subprocess
import sys

import pytest

import dgm.data


def test_every_public_name_is_there():
    for name in dgm.data.__all__:
        assert getattr(dgm.data, name) is not None
        assert name in dir(dgm.data)
    assert sorted(dgm.data.__all__) == sorted(dgm.data.HOMES)


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="digit"):
        dgm.data.digit  # noqa: B018


STEPS = [  # in this order, in one interpreter: what is loaded stays loaded
    ("import dgm", {"torch", "dgm.data"}),
    ("import dgm.data", {"torch", "numpy", "dgm.data.mnist"}),
    ("from dgm.data import toy", {"dgm.data.mnist", "dgm.data.pixel_art", "dgm.data.portrait"}),
    ("from dgm.data import digits; digits('test')", {"mlxtend", "pandas", "sklearn", "torchvision", "PIL"}),
    ("from dgm.data import avatars, picture", {"dicebear", "resvg_py", "PIL"}),
]


def test_what_an_import_loads():
    code = "import sys\n" + "\n".join(f"{step}; print({absent!r} & set(sys.modules))" for step, absent in STEPS)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()"] * len(STEPS)
    assert done.stderr == ""
