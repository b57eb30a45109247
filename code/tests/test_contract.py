"""What every model promises, by family. A new model joins by one line in its family's table."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from dgm.autoregressive.made import MADE
from dgm.foundations.counting import NaiveBayes, PixelGenerator, SoftmaxHistogram
from dgm.nn.chains import BitChain
from dgm.nn.gaussian import ClassGaussians, Gaussian


class Case(NamedTuple):
    """A small model and some examples of what it models."""

    model: Callable[[], nn.Module]
    examples: Callable[[int], Tensor]
    values: int | None = None
    """How many values a coordinate may take, where all examples can be listed."""
    scale: float = 1.0
    """The distance between two values (levels of a picture are k/(d − 1))."""


def bits(*shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randint(0, 2, (n, *shape)).float()


TRACTABLE = {
    "SoftmaxHistogram": Case(lambda: SoftmaxHistogram(7), lambda n: torch.randint(0, 7, (n,)), 7),
    "NaiveBayes": Case(lambda: NaiveBayes((3, 3, 3)), lambda n: torch.randint(0, 3, (n, 3)), 3),
    "PixelGenerator": Case(
        lambda: PixelGenerator((1, 2, 2), levels=3), lambda n: torch.randint(0, 3, (n, 1, 2, 2)) / 2, 3, 0.5
    ),
    "BitChain, order 0": Case(lambda: BitChain(6), bits(6), 2),
    "BitChain, order 1": Case(lambda: BitChain(6, order=1), bits(6), 2),
    "Gaussian": Case(lambda: Gaussian(3), lambda n: torch.randn(n, 3)),
    "ClassGaussians": Case(lambda: ClassGaussians(3, 4), lambda n: torch.randn(n, 3)),
    "MADE, bits": Case(lambda: MADE((1, 2, 3), hidden=(16,)), bits(1, 2, 3), 2),
    "MADE, three values": Case(lambda: MADE((4,), hidden=(16, 16), values=3), lambda n: torch.randint(0, 3, (n, 4)), 3),
}
"""Models whose log-likelihood is exact: `loss`, `log_prob`, `sample`."""

every = pytest.mark.parametrize("case", TRACTABLE.values(), ids=TRACTABLE.keys())


def shaken(case: Case) -> nn.Module:
    """A model whose parameters are random, so that no start value hides a mistake."""
    torch.manual_seed(0)
    model = case.model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@every
def test_shapes_and_the_loss_is_the_mean(case):
    model, x = shaken(case), case.examples(5)
    log_prob = model.log_prob(x)
    assert log_prob.shape == (5,)
    assert model.loss(x).shape == ()
    torch.testing.assert_close(model.loss(x), -log_prob.mean())
    assert model.sample(4).shape == (4, *x.shape[1:])


@every
def test_a_gradient_arrives_everywhere_and_is_finite(case):
    model = shaken(case).train()
    model.loss(case.examples(64)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@every
def test_what_it_draws_it_can_score(case):
    model = shaken(case)
    samples = model.sample(6)
    assert samples.dtype == case.examples(1).dtype
    assert torch.isfinite(model.log_prob(samples)).all()


@every
def test_the_same_generator_draws_the_same(case):
    model = shaken(case)
    first, second = (model.sample(5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(model.sample(50), model.sample(50))


@every
def test_a_batch_of_one_and_rows_do_not_mix(case):
    model, x = shaken(case), case.examples(6)
    torch.testing.assert_close(model.log_prob(x), torch.cat([model.log_prob(row[None]) for row in x]))


@every
def test_float64(case):
    model, x = shaken(case).double(), case.examples(3)
    x = x.double() if x.is_floating_point() else x
    assert model.log_prob(x).dtype == torch.float64
    assert model.sample(2).dtype == x.dtype


@every
def test_save_and_load(case, tmp_path):
    from safetensors.torch import load_file, save_file

    model, x = shaken(case), case.examples(3)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "m.safetensors")
    other = case.model().eval()
    other.load_state_dict(load_file(tmp_path / "m.safetensors"))
    assert torch.equal(model.log_prob(x), other.log_prob(x))


@every
def test_bad_input_is_refused_by_name(case):
    model, x = shaken(case), case.examples(3)
    with pytest.raises(ValueError, match=r"^x: expected .* came"):
        model.log_prob(x[:0])
    with pytest.raises(ValueError, match=r"^x: expected .* came"):
        model.log_prob(torch.stack([x, x]))
    with pytest.raises(TypeError, match=r"^x: expected .* came"):
        model.log_prob(x.tolist())
    with pytest.raises(TypeError, match=r"^x: expected dtype .* came"):
        model.log_prob(x.to(torch.complex64))
    if x.is_floating_point():
        with pytest.raises(ValueError, match=r"^x: expected finite values, came NaN"):
            model.log_prob(x * float("nan"))
    if case.values:
        with pytest.raises(ValueError, match=r"^x: expected .* came"):
            model.log_prob(x + case.values)
    for n, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="^n: expected"):
            model.sample(n)


listed = {name: case for name, case in TRACTABLE.items() if case.values}


@pytest.mark.parametrize("case", listed.values(), ids=listed.keys())
def test_the_probabilities_of_all_examples_sum_to_one(case):
    model, x = shaken(case).double(), case.examples(1)
    values = [k * case.scale for k in range(case.values)]
    everything = torch.tensor(list(itertools.product(values, repeat=x[0].numel())), dtype=torch.float64)
    everything = everything.reshape(-1, *x.shape[1:])
    everything = everything if x.is_floating_point() else everything.long()
    assert model.log_prob(everything).exp().sum().item() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("case", listed.values(), ids=listed.keys())
def test_it_draws_with_the_probabilities_that_it_states(case):
    """Pearson's chi-square over all examples (the rare ones pooled), far out in the tail for a wrong sampler."""
    from scipy.stats import chi2

    model, x, n = shaken(case), case.examples(1), 20_000
    values = [k * case.scale for k in range(case.values)]
    everything = (
        torch.tensor(list(itertools.product(values, repeat=x[0].numel()))).reshape(-1, *x.shape[1:]).to(x.dtype)
    )
    expected = n * model.log_prob(everything).exp().double()
    samples = model.sample(n, generator=torch.Generator().manual_seed(5))
    digits = (samples.reshape(n, -1) / case.scale).round().long()
    place = case.values ** torch.arange(digits.shape[1] - 1, -1, -1)
    seen = torch.bincount((digits * place).sum(1), minlength=len(everything)).double()
    rare = expected < 5
    if rare.any():
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
        seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
    statistic = ((seen - expected) ** 2 / expected).sum().item()
    assert statistic < chi2.ppf(0.9999, len(expected) - 1)


@pytest.mark.parametrize("name", ["Gaussian", "ClassGaussians"])
def test_a_continuous_density_integrates_to_one(name):
    """Importance sampling with a wide normal: the mean weight is 1 up to a few standard errors."""
    case = TRACTABLE[name]
    model, n, wide = shaken(case).double(), 200_000, 3.0
    x = wide * torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    proposal = -0.5 * (x / wide).square().sum(1) - 3 * math.log(wide * math.sqrt(2 * math.pi))
    weights = (model.log_prob(x) - proposal).exp()
    assert abs(weights.mean().item() - 1) < 5 * (weights.std() / n**0.5).item() < 0.1
