"""MADE: masks, exact conditionals, normalisation, samples; each against a second way of computing it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from dgm import weights
from dgm.autoregressive.made import MADE, MaskedNet, connect, degrees, masks, path_counts
from dgm.data import digits
from dgm.recipes import made_digits


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def orders(m: int, count: int, seed: int) -> torch.Tensor:
    return torch.stack([torch.randperm(m, generator=source(seed + i)) for i in range(count)])


def lively(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The model in float64 with weights large enough for conditionals that are far from equal."""
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(1.5 * torch.randn(parameter.shape, generator=source(seed), dtype=torch.float64))
    return model.eval()


def everything(m: int, values: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(values), repeat=m)))


# --- degrees, masks, paths -------------------------------------------------------------------------------

SHAPES = [(2, [3]), (5, [7]), (6, [4, 9]), (4, [5, 3, 6]), (30, [8]), (1, [3])]


@pytest.mark.parametrize(("m", "hidden"), SHAPES)
@pytest.mark.parametrize("drawn", [True, False])
def test_degrees_keep_to_their_rules(m, hidden, drawn):
    order = torch.randperm(m, generator=source(m))
    found = degrees(m, hidden, order, source(7) if drawn else None)
    assert [int(found[0][i]) for i in order] == list(range(1, m + 1))
    for size, before, after in zip(hidden, found, found[1:], strict=False):
        assert after.shape == (size,)
        assert after.min() >= before.min()
        assert after.max() <= max(1, m - 1)


def test_even_degrees_use_the_whole_range():
    assert degrees(4, [6])[1].tolist() == [1, 1, 2, 2, 3, 3]
    assert degrees(784, [500])[1].diff().max() == 2


@pytest.mark.parametrize(("m", "hidden"), SHAPES)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_path_counts_are_strictly_lower_triangular_in_the_order(m, hidden, seed):
    order = torch.randperm(m, generator=source(11))
    counts = path_counts(masks(m, hidden, order, None if seed is None else source(seed)))
    assert counts[order][:, order].triu().abs().sum() == 0


@pytest.mark.parametrize("seed", range(4))
def test_path_counts_agree_with_walking_every_path(seed):
    m, hidden = 5, [4, 6, 3]
    layers = masks(m, hidden, torch.randperm(m, generator=source(seed)), source(seed))
    by_walking = torch.zeros(m, m, dtype=torch.int64)
    for path in itertools.product(range(m), *(range(size) for size in hidden), range(m)):
        by_walking[path[-1], path[0]] += all(layers[i][path[i + 1], path[i]] for i in range(len(layers)))
    assert by_walking.sum() > 0
    assert torch.equal(path_counts(layers), by_walking)


# --- the network -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "hidden"), SHAPES)
@pytest.mark.parametrize("width", [1, 3])
def test_jacobian_is_zero_exactly_where_no_path_leads(m, hidden, width):
    net = lively(MaskedNet(m, hidden, inputs=width, outputs=2, orders=orders(m, 2, seed=5), seed=3), seed=m)
    for member in range(net.members):
        paths = path_counts(connect(net.degrees(member)))
        reached = torch.zeros(m, m)
        for trial in range(60):
            h = torch.randn(1, m * width, generator=source(trial), dtype=torch.float64)
            jac = torch.autograd.functional.jacobian(lambda h: net(h, net.weights(member)), h)  # noqa: B023
            reached += jac.reshape(m, 2, m, width).abs().sum((1, 3))
        assert (reached[paths == 0] == 0).all()  # exact zeros, not small numbers
        assert (reached[paths > 0] > 0).double().mean() > 0.9 if (paths > 0).any() else m == 1


def test_gradients_reach_every_unmasked_weight_and_no_other():
    m, hidden = 6, [10, 10]
    model = lively(MADE((m,), hidden, values=3, orders=orders(m, 1, seed=2)), seed=1)
    with torch.no_grad():
        for layer in model.net.layers:
            layer.bias.fill_(2.0)  # no rectifier is shut
            layer.weight.mul_(0.1)
    model.loss(torch.randint(0, 3, (400, m), generator=source(0))).backward()
    for layer, mask in zip(model.net.layers, model.net.masks(), strict=True):
        assert torch.equal(layer.weight.grad != 0, mask)
        assert (layer.bias.grad != 0).all()


def test_a_pass_leaves_the_stored_weights_whole():
    net = MaskedNet(6, [20], orders=orders(6, 2, seed=0), seed=0)
    before = [layer.weight.detach().clone() for layer in net.layers]
    h = torch.randn(4, 6)
    second = net(h, net.weights(1))
    net(h, net.weights(0)).sum().backward()
    assert all(torch.equal(layer.weight, kept) for layer, kept in zip(net.layers, before, strict=True))
    assert torch.equal(net(h, net.weights(1)), second)
    assert not torch.equal(net(h, net.weights(0)), second)


# --- the model -------------------------------------------------------------------------------------------


def naive_log_prob(model: MADE, x: list[int], member: int) -> float:
    """Number by number from the degrees: a unit adds up what it may see, one conditional after another."""
    degree = [d.tolist() for d in model.net.degrees(member)]
    layers = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in model.net.layers]
    wide, total = model.net.inputs, 0.0
    for i in range(model.m):
        seen = [j for j in range(model.m) if degree[0][j] < degree[0][i]]  # what precedes i, nothing else
        units = {(j, c): float(x[j] == c if wide > 1 else x[j]) for j in seen for c in range(wide)}
        values = {j * wide + c: value for (j, c), value in units.items()}
        reach = {j * wide + c: degree[0][j] for j, c in units}
        for (weight, bias), depth in zip(layers[:-1], range(1, len(layers)), strict=True):
            allowed = [k for k in range(len(bias)) if degree[depth][k] < degree[0][i]]
            new = {
                k: max(
                    0.0,
                    bias[k] + sum(weight[k, u] * v for u, v in values.items() if reach[u] <= degree[depth][k]),
                )
                for k in allowed
            }
            values, reach = new, {k: degree[depth][k] for k in allowed}
        weight, bias = layers[-1]
        outs = [bias[i * wide + c] + sum(weight[i * wide + c, k] * v for k, v in values.items()) for c in range(wide)]
        logits = [0.0, *outs] if wide == 1 else outs
        total += logits[x[i]] - math.log(sum(math.exp(value) for value in logits))
    return total


@pytest.mark.parametrize(("m", "values", "hidden"), [(5, 2, [7]), (4, 2, [6, 8]), (4, 3, [9]), (3, 5, [4, 4])])
def test_log_prob_agrees_with_one_conditional_at_a_time(m, values, hidden):
    model = lively(MADE((m,), hidden, values=values, orders=orders(m, 2, seed=9), seed=4), seed=2)
    x = torch.randint(0, values, (12, m), generator=source(1))
    each = torch.tensor([[naive_log_prob(model, row, r) for row in x.tolist()] for r in range(2)]).double()
    for r in range(2):
        torch.testing.assert_close(model.log_prob(x, r), each[r], rtol=0, atol=1e-10)
    mixture = torch.from_numpy(np.log(np.exp(each.numpy()).mean(0)))
    torch.testing.assert_close(model.log_prob(x), mixture, rtol=0, atol=1e-10)
    assert (each.mean(0) <= mixture + 1e-12).all()  # the bound that training descends


@pytest.mark.parametrize(("m", "values"), [(1, 2), (1, 4), (10, 2), (6, 3), (3, 7)])
@pytest.mark.parametrize("hidden", [[11], [9, 12]])
def test_probabilities_of_all_examples_sum_to_one(m, values, hidden):
    model = lively(MADE((m,), hidden, values=values, orders=orders(m, 2, seed=1), connectivities=2, seed=0), seed=m)
    x = everything(m, values)
    for member in (None, *range(model.members)):
        log_p = model.log_prob(x, member)
        assert abs(log_p.exp().sum().item() - 1) < 1e-10
        assert log_p.std() > 0.1


def test_averaging_conditionals_over_orders_is_not_normalised():
    model = lively(MADE((4,), [12], orders=orders(4, 3, seed=3), seed=1), seed=5)
    x = everything(4, 2)
    pixelwise = torch.stack([model.log_conditionals(x, r).exp() for r in range(3)]).mean(0).prod(1)
    assert abs(pixelwise.sum().item() - 1) > 1e-3
    assert abs(model.log_prob(x).exp().sum().item() - 1) < 1e-12


@pytest.mark.parametrize("values", [2, 3])
def test_changing_a_variable_changes_later_conditionals_only(values):
    m = 7
    model = lively(MADE((m,), [40], values=values, orders=orders(m, 1, seed=8)), seed=3)
    x = torch.randint(0, values, (50, m), generator=source(3))
    base, place = model(x), model.net.degrees()[0]
    for j in range(m):
        other = x.clone()
        other[:, j] = (other[:, j] + 1) % values
        moved = (model(other) - base).abs().amax((0, 2))
        assert (moved[place <= place[j]] == 0).all()
        assert (moved[place > place[j]] > 0).all()


@pytest.mark.parametrize(("m", "values"), [(4, 2), (3, 3)])
def test_samples_follow_log_prob(m, values):
    model = lively(MADE((m,), [8], values=values, orders=orders(m, 2, seed=2), seed=6), seed=7)
    n, x = 20_000, everything(m, values)
    drawn = model.sample(n, generator=source(0)).long()
    index = (drawn * values ** torch.arange(m - 1, -1, -1)).sum(1)
    counts = index.bincount(minlength=len(x)).double()
    expected = n * model.log_prob(x).exp().detach()
    rare = expected < 5  # one cell for all that is too rare for the test
    pool = lambda v: torch.cat([v[~rare], v[rare].sum()[None]]) if rare.any() else v  # noqa: E731
    assert stats.chisquare(pool(counts), pool(expected)).pvalue > 0.001
    wrong = pool(n * model.log_prob(x, 0).exp().detach())  # one member alone did not draw these
    assert stats.chisquare(pool(counts), wrong * n / wrong.sum()).pvalue < 1e-6


def test_sampling_takes_m_passes_and_a_likelihood_one():
    model, passes = MADE((2, 3), [8]), []
    model.net.register_forward_hook(lambda *_: passes.append(1))
    x = model.sample(5, generator=source(0))
    assert (len(passes), x.shape, x.dtype) == (6, (5, 2, 3), torch.float32)
    passes.clear()
    model.log_prob(x)
    assert len(passes) == 1


def test_samples_depend_on_the_generator_alone():
    model = MADE((5,), [8], values=4, orders=orders(5, 2, seed=0))
    first, again = (model.sample(30, generator=source(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.dtype == torch.int64
    assert not torch.equal(first, model.sample(30, generator=source(6)))


def test_the_loss_is_the_mean_of_one_member_while_training_and_of_the_mixture_after():
    model = lively(MADE((5,), [8], orders=orders(5, 3, seed=0)), seed=1)
    x = torch.randint(0, 2, (20, 5), generator=source(2))
    assert model.loss(x).item() == pytest.approx(-model.log_prob(x).mean().item(), abs=1e-12)
    singles = [-model.log_prob(x, r).mean().item() for r in range(3)]
    model.train()
    torch.manual_seed(0)
    met = {min(singles, key=lambda s: abs(s - value)) for value in (model.loss(x).item() for _ in range(40))}
    assert met == set(singles)


@pytest.mark.parametrize("values", [2, 3])
def test_descending_the_loss_recovers_a_known_distribution(values):
    torch.manual_seed(0)
    truth = lively(MADE((3,), [6], values=values, orders=orders(3, 1, seed=1)), seed=4)
    x = everything(3, values)
    p = truth.log_prob(x).exp().detach()
    model = MADE((3,), [40], values=values).double()  # another order: any order can hold any distribution
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(200):
        optimizer.zero_grad()
        (-p * model.log_prob(x)).sum().backward()
        optimizer.step()
    assert (p * (p.log() - model.log_prob(x))).sum() < 0.01
    assert (p * (p.log() + math.log(len(x)))).sum() > 0.3  # it was far from uniform


def test_a_saved_model_brings_its_masks_along(tmp_path):
    model = MADE((6,), [9], values=3, orders=orders(6, 2, seed=1), connectivities=2, seed=1)
    other = MADE((6,), [9], values=3, orders=orders(6, 2, seed=50), connectivities=2, seed=2)
    x = torch.randint(0, 3, (8, 6), generator=source(0))
    assert not torch.equal(model.log_prob(x), other.log_prob(x))
    torch.save(model.state_dict(), tmp_path / "made.pt")
    other.load_state_dict(torch.load(tmp_path / "made.pt", weights_only=True))
    assert torch.equal(model.log_prob(x), other.log_prob(x))


def test_integers_floats_and_a_batch_of_one_are_welcome():
    model = MADE((1, 2, 2), [5])
    x = torch.tensor([[[[0, 1], [1, 0]]]])
    assert model.log_prob(x).shape == (1,)
    assert torch.equal(model.log_prob(x), model.log_prob(x.float()))
    assert model.double().log_prob(x).dtype == torch.float64


# --- the trained weights ---------------------------------------------------------------------------------


def test_the_weights_reach_what_the_book_promises():
    recorded = weights.info("made_digits")["metrics"]
    again = made_digits.evaluate()
    assert again["test nats/pixel"] == pytest.approx(recorded["test nats/pixel"], abs=1e-6)
    assert again["test nats/pixel"] <= 0.115


def test_the_trained_network_does_not_look_ahead():
    model = made_digits.load()
    x = digits("validation", binary=True).images[:20]
    with torch.no_grad():
        full = model.log_conditionals(x)
        for pixel in (0, 300, 500, 783):
            later = torch.arange(784) > pixel
            noise = torch.randint(0, 2, (20, 784), generator=source(pixel)).float()
            hidden = torch.where(later, noise, x.flatten(1)).unflatten(1, (1, 28, 28))
            assert torch.equal(model.log_conditionals(hidden)[:, : pixel + 1], full[:, : pixel + 1])


# --- bad input -------------------------------------------------------------------------------------------

MODEL = MADE((2, 2), [5])
THREE = MADE((4,), [5], values=3)
BAD = {
    "not a tensor": (lambda: MODEL.log_prob([[0, 1]]), TypeError, "x"),
    "bool": (lambda: MODEL.log_prob(torch.zeros(3, 2, 2, dtype=torch.bool)), TypeError, "x"),
    "shape": (lambda: MODEL.log_prob(torch.zeros(3, 4)), ValueError, r"x: .*\(B, 2, 2\).*\(3, 4\)"),
    "empty batch": (lambda: MODEL.loss(torch.zeros(0, 2, 2)), ValueError, "x"),
    "NaN": (lambda: MODEL.log_prob(torch.full((1, 2, 2), math.nan)), ValueError, "x: .*NaN"),
    "fractions": (lambda: MODEL.log_prob(torch.full((1, 2, 2), 0.5)), ValueError, "x: .*whole numbers"),
    "too large": (lambda: THREE.log_prob(torch.full((1, 4), 3)), ValueError, "x"),
    "negative": (lambda: THREE(torch.full((1, 4), -1)), ValueError, "x"),
    "no such member": (lambda: MODEL.log_prob(torch.zeros(1, 2, 2), 1), ValueError, "member"),
    "negative member": (lambda: MODEL.log_conditionals(torch.zeros(1, 2, 2), -1), ValueError, "member"),
    "no samples": (lambda: MODEL.sample(0), ValueError, "n"),
    "samples in fractions": (lambda: MODEL.sample(1.5), TypeError, "n"),
    "empty shape": (lambda: MADE((0,), [5]), ValueError, "shape"),
    "no hidden layer": (lambda: MADE((4,), []), ValueError, "hidden"),
    "hidden of none": (lambda: MADE((4,), [0]), ValueError, "hidden"),
    "one value": (lambda: MADE((4,), [5], values=1), ValueError, "values"),
    "order too short": (lambda: MADE((4,), [5], orders=torch.tensor([[0, 1, 2]])), ValueError, "orders"),
    "order twice": (lambda: MADE((4,), [5], orders=torch.tensor([[0, 1, 2, 2]])), ValueError, "order"),
    "order of floats": (lambda: MADE((4,), [5], orders=torch.zeros(1, 4)), TypeError, "orders"),
    "masks, order": (lambda: masks(3, [4], torch.tensor([1, 2, 3])), ValueError, "order"),
    "masks, m": (lambda: masks(0, [4]), ValueError, "m"),
    "connectivities unseeded": (lambda: MADE((4,), [5], connectivities=2), ValueError, "connectivities"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(case):
    act, error, message = BAD[case]
    with pytest.raises(error, match=rf"^{message}"):
        act()
