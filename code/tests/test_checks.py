import numpy as np
import pytest
import torch

from dgm.checks import ClaimError, require, require_choice, require_count, require_number, verify


@pytest.mark.parametrize(
    ("value", "rules", "error", "told"),
    [
        ([1.0], {}, TypeError, r"^x: expected a torch\.Tensor, came list"),
        (torch.zeros(2, 3), {"dtype": "int"}, TypeError, "^x: expected dtype int, came float32"),
        (torch.zeros(2, 3), {"dtype": torch.float64}, TypeError, "^x: expected dtype float64, came float32"),
        (torch.zeros(2, 3), {"dtype": ("int", "bool")}, TypeError, "^x: expected dtype int or bool"),
        (torch.zeros(2, 3), {"shape": "B 4"}, ValueError, r"^x: expected shape \(B, 4\), came \(2, 3\)"),
        (torch.zeros(2, 3), {"shape": "B"}, ValueError, r"^x: expected shape \(B,\), came \(2, 3\)"),
        (torch.zeros(2, 3), {"shape": "N N"}, ValueError, r"^x: expected shape \(N, N\)"),
        (torch.zeros(3), {"shape": "... 2 3"}, ValueError, r"^x: expected shape \(\.\.\., 2, 3\), came \(3,\)"),
        (torch.zeros(0, 3), {"shape": "B 3"}, ValueError, r"^x: .*at least one entry, came \(0, 3\)"),
        (torch.zeros(0), {}, ValueError, "^x: expected at least one value"),
        (torch.tensor([1.0, float("nan")]), {}, ValueError, "^x: expected finite values, came NaN"),
        (torch.tensor([1.0, float("inf")]), {}, ValueError, "^x: expected finite values, came an infinity"),
        (
            torch.tensor([0.5, 1.5]),
            {"low": 0, "high": 1},
            ValueError,
            r"^x: expected values in \[0, 1\], came \[0\.5, 1\.5\]",
        ),
        (torch.tensor([-1]), {"low": 0}, ValueError, r"^x: expected values in \[0, inf\], came \[-1, -1\]"),
    ],
)
def test_require_says_what_was_expected_and_what_came(value, rules, error, told):
    with pytest.raises(error, match=told):
        require(value, "x", **rules)


def test_require_returns_the_same_tensor():
    x = torch.rand(2, 1, 4, 4)
    assert require(x, "x", shape="B 1 H H", dtype=("float", "int"), low=0, high=1) is x
    assert require(x, "x", shape="... H H") is x
    infinite = torch.tensor([float("-inf")])
    assert require(infinite, "x", finite=False) is infinite


def test_counts_numbers_and_choices():
    assert require_count(np.int64(3), "n") == 3
    assert require_number(0.5, "lr", low=0, open_low=True) == 0.5
    assert require_choice("moons", "name", ["moons", "circles"]) == "moons"
    for bad in (0, -2):
        with pytest.raises(ValueError, match=rf"^n: expected at least 1, came {bad}"):
            require_count(bad, "n")
    for bad in (1.5, True, "3"):
        with pytest.raises(TypeError, match=r"^n: expected a whole number"):
            require_count(bad, "n")
    for bad in (0, float("nan"), float("inf"), -1e-3):
        with pytest.raises(ValueError, match=r"^lr: expected a finite number in \(0, inf\]"):
            require_number(bad, "lr", low=0, open_low=True)
    with pytest.raises(TypeError, match="^lr: expected a number"):
        require_number("fast", "lr")
    with pytest.raises(ValueError, match="^name: 'moon' is not known .*did you mean 'moons'"):
        require_choice("moon", "name", ["moons", "circles"])
    with pytest.raises(ValueError, match="there are: circles, moons"):
        require_choice("xyz", "name", ["moons", "circles"])


def sides():
    x = torch.randn(50, dtype=torch.float64)
    return torch.cos(x) ** 2, (1 + torch.cos(2 * x)) / 2


def test_verify_accepts_an_identity_and_shows_the_error(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    left, right = sides()
    verify("eq-cosine", left, right, atol=1e-12)
    (proof,) = shown
    assert 0 <= proof.error <= 1e-12
    bundle, metadata = proof._repr_mimebundle_()
    assert "{eq}`eq-cosine`" in bundle["text/markdown"]
    claim = metadata["dgm"]["claim"]
    assert claim["label"] == "eq-cosine"
    assert len(claim["left"]) == len(claim["right"]) == 50
    assert "eq-cosine" in bundle["text/plain"]


@pytest.mark.parametrize("share", [0.11, 0.5, 1.0, -0.2])
def test_verify_catches_an_error_of_a_tenth_of_the_range_at_any_tolerance_it_takes(share):
    left, right = sides()
    spread = float(left.max() - left.min())
    wrong = left.clone()
    wrong[7] += share * spread
    with pytest.raises(ClaimError):
        verify("eq-cosine", wrong, right, atol=0.1 * spread)


def test_verify_refuses_what_could_not_fail():
    left, right = sides()
    with pytest.raises(ClaimError, match="same object"):
        verify("eq-x", left, left, atol=1e-6)
    with pytest.raises(ClaimError, match="share their memory"):
        verify("eq-x", left.numpy(), left.numpy()[:], atol=1e-6)
    with pytest.raises(ClaimError, match="left is 1 in all trials"):
        verify("eq-x", torch.ones(5), torch.ones(5), atol=1e-6)
    with pytest.raises(ClaimError, match="one value"):
        verify("eq-x", 1.0, 2.0, atol=1e-6)
    with pytest.raises(ClaimError, match="too loose"):
        verify("eq-x", left, right, atol=10.0)
    with pytest.raises(ClaimError, match="NaN"):
        verify("eq-x", left, right / 0 * 0, atol=1e-6)


def test_verify_names_the_worst_entry():
    with pytest.raises(ClaimError, match=r"eq-x: the sides differ by 0\.5 at \[1, 0\] \(3 and 3\.5\); allowed: 0\.01"):
        verify("eq-x", [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.5, 4.0]], atol=0.01)


@pytest.mark.parametrize(
    ("label", "left", "right", "atol", "error"),
    [
        ("def-x", [1, 2], [1, 2], 0.1, ValueError),
        (3, [1, 2], [1, 2], 0.1, ValueError),
        ("eq-x", [1, 2], [1, 2, 3], 0.1, ValueError),
        ("eq-x", [1, 2], [1, 2], -1, ValueError),
        ("eq-x", [1, 2], [1, 2], float("nan"), ValueError),
        ("eq-x", [1, 2], [1, 2], "small", TypeError),
        ("eq-x", "ab", [1, 2], 0.1, TypeError),
    ],
)
def test_verify_refuses_bad_arguments(label, left, right, atol, error):
    with pytest.raises(error):
        verify(label, left, right, atol=atol)
