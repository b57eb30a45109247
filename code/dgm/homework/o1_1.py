"""O1.1 A histogram, learnt: softmax over 100 bins, its gradient, descent from zero, and draws from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical

from dgm.data import mixture_1d
from dgm.foundations.counting import to_bins
from dgm.homework import Answer, Wrong

ASKS = {
    "nll": "nll(logits, x) -> the mean negative log-likelihood of bin numbers x under softmax(logits), in nats",
    "gradient": "gradient(logits, x) -> the gradient of nll with respect to the logits, (d,), by its formula",
    "train": "train(x, d, seed) -> logits (d,), learnt from zeros by gradient descent on the bin numbers x",
    "sample": "sample(logits, n, seed) -> n bin numbers drawn from softmax(logits), int64 (n,)",
}
THRESHOLD = 4.25  # of the course


def _case(seed: int, d: int = 6, n: int = 40) -> tuple[Tensor, Tensor]:
    """Logits, float64 (d,), and bin numbers (n,) of which the last bin has none."""
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(d, generator=source, dtype=torch.float64)
    return logits, torch.randint(d - 1, (n,), generator=source)


def _score(logits: Tensor, x: Tensor) -> float:
    return -Categorical(logits=logits.detach().double()).log_prob(x).mean().item()


def check_uniform(answer: Answer) -> None:
    """With all logits 0 every bin is alike, and `nll` is log d."""
    for d in (2, 100):
        x = torch.arange(d).repeat(3)
        came, want = answer.number("nll", torch.zeros(d, dtype=torch.float64), x), math.log(d)
        called = f"nll(zeros({d}), x) is log {d} = {want:.4f}, whatever x is; came {came:.4f}"
        if abs(came - math.log2(d)) < 1e-6:
            raise Wrong(f"{called}. That is the logarithm to base 2: nats need the natural one")
        if abs(came + want) < 1e-6:
            raise Wrong(f"{called}. The sign is missing: it is the negative log-likelihood")
        if abs(came - want * len(x)) < 1e-4:
            raise Wrong(f"{called}. That is the sum over the {len(x)} examples; the mean is asked")
        if abs(came - want) > 1e-6:
            raise Wrong(called)


def check_nll(answer: Answer) -> None:
    """For any logits, also very large ones, `nll` is what the definition says."""
    for seed in range(3):
        logits, x = _case(seed)
        came, want = answer.number("nll", logits, x), _score(logits, x)
        if abs(came - want) > 1e-9:
            if abs(came + logits[x].mean().item()) < 1e-9:
                raise Wrong(f"nll gives the mean of −logits; from each take log ∑ exp of all: expected {want:.4f}")
            if abs(came + Categorical(logits=logits).probs[x].mean().log().item()) < 1e-9:
                raise Wrong(f"nll takes the logarithm of a mean; expected the mean of logarithms, {want:.4f}")
            raise Wrong(f"nll for random logits and {len(x)} draws: expected {want:.6f}, came {came:.6f}")
    large = torch.tensor([1000.0, 0.0], dtype=torch.float64)
    came = answer("nll", large, torch.tensor([1]))
    if not torch.isclose(torch.as_tensor(came).double(), torch.tensor(1000.0, dtype=torch.float64)).all():
        raise Wrong(
            f"nll([1000, 0], [1]) is 1000; came {float(came):g}. exp(1000) overflows: use log_softmax or logsumexp"
        )


def check_gradient(answer: Answer) -> None:
    """The formula of the gradient agrees with automatic differentiation of the definition."""
    for seed in range(3):
        logits, x = _case(seed)
        free = logits.clone().requires_grad_()
        (want,) = torch.autograd.grad(-Categorical(logits=free).log_prob(x).mean(), free)
        came = answer.tensor("gradient", logits.clone(), x, shape=(6,)).detach().double()
        if torch.allclose(came, want, rtol=0, atol=1e-6):
            continue
        told = f"expected {_row(want)}, came {_row(came)}"
        if torch.allclose(came, -want, rtol=0, atol=1e-6):
            raise Wrong(f"gradient has the wrong sign: it is model minus data; {told}")
        if torch.allclose(came, want * len(x), rtol=0, atol=1e-5):
            raise Wrong(f"gradient is that of the sum over {len(x)} examples, not of the mean; {told}")
        if torch.allclose(came, logits.softmax(-1) * len(x) - torch.bincount(x, minlength=6), rtol=0, atol=1e-5):
            raise Wrong(f"gradient counts examples; divide by their number; {told}")
        if torch.allclose(came, logits.softmax(-1) - torch.bincount(x, minlength=6), rtol=0, atol=1e-5):
            raise Wrong(
                f"gradient subtracts counts from probabilities; it needs the frequencies counts/{len(x)}; {told}"
            )
        raise Wrong(f"gradient for random logits and {len(x)} draws: {told}")


def _row(x: Tensor) -> str:
    return "[" + ", ".join(f"{v:.4f}" for v in x.tolist()) + "]"


def _trained(answer: Answer, x: Tensor, d: int, seed: int = 0) -> Tensor:
    came = answer("train", x.clone(), d, seed)
    if not isinstance(came, Tensor) or tuple(came.shape) != (d,):
        what = tuple(came.shape) if isinstance(came, Tensor) else type(came).__name__
        raise Wrong(f"train(x, {d}, {seed}) is to give {d} logits, a tensor of the shape ({d},); came {what}")
    if came.isnan().any() or (came == math.inf).any():
        raise Wrong(f"train(x, {d}, {seed}) gives NaN or infinite logits: the step is too large")
    return came.detach().double()


def check_train(answer: Answer) -> None:
    """On any data `train` comes near the frequencies, and leaves an empty bin a little."""
    truth = torch.tensor([0.1, 0.0, 0.4, 0.2, 0.3], dtype=torch.float64)
    x = torch.multinomial(truth, 2_000, replacement=True, generator=torch.Generator().manual_seed(1))
    frequencies = torch.bincount(x, minlength=5) / len(x)
    logits = _trained(answer, x, 5)
    p, start = logits.softmax(-1), math.log(5)
    if (came := _score(logits, x)) > start + 1e-6:
        raise Wrong(
            f"train makes the training data less probable: from {start:.3f} nats for zeros to {came:.3f}. "
            "Is the step taken up the gradient, or is it too large?"
        )
    if (p == 0).any():
        raise Wrong(
            "train: the bin without a training draw got the probability 0, and one test draw in it will cost "
            "infinitely many nats. Descent from zero never reaches 0: are these logits from descent?"
        )
    off = (p - frequencies).abs()
    if off.max() > 0.03:
        j = int(off.argmax())
        nearly = torch.allclose(p, torch.full_like(p, 0.2), rtol=0, atol=0.05)
        hint = ". It is still nearly uniform, as at the start: more or larger steps" if nearly else ""
        raise Wrong(
            f"train on 2,000 draws from 5 bins: bin {j} has the frequency {frequencies[j]:.3f}, "
            f"its learnt probability is {p[j]:.3f}{hint}"
        )


def check_test(answer: Answer) -> None:
    """Trained on the book's 4,000 draws, the test NLL is below 4.25 nats, the course's threshold."""
    data, test = (to_bins(mixture_1d(split), 100) for split in ("train", "test"))
    logits = _trained(answer, data, 100)
    fitted, came = _score(logits, data), _score(logits, test)
    if came >= THRESHOLD:
        told = f"after train the test NLL is {came:.4f} nats; below {THRESHOLD} is asked (uniform: {math.log(100):.4f})"
        if fitted > 4.2:
            raise Wrong(f"{told}. The training NLL is {fitted:.4f}, 4.18 can be reached: more or larger steps")
        raise Wrong(f"{told}. The training NLL, {fitted:.4f}, is far lower: stop earlier, or smooth")


def check_sample(answer: Answer) -> None:
    """Draws come as often as their probability says, and the seed decides them."""
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64)
    n, p = 20_000, logits.softmax(-1)
    came = answer.tensor("sample", logits, n, 0, shape=(n,))
    if came.is_floating_point() or came.dtype == torch.bool:
        raise Wrong(f"sample is to give whole numbers, int64; came {came.dtype}")
    low, high = int(came.min()), int(came.max())
    if low < 0 or high > 3:
        raise Wrong(f"sample from 4 bins gives the numbers 0 … 3; came {low} … {high}")
    seen = torch.bincount(came.long(), minlength=4) / n
    off = (seen - p) / (p * (1 - p) / n).sqrt()  # in standard errors
    if off.abs().max() > 5:
        j = int(off.abs().argmax())
        linear = logits.clamp(min=0) / logits.clamp(min=0).sum()
        hint = ""
        if (seen - 0.25).abs().max() < 0.02:
            hint = ". All bins come alike, the logits are not used"
        elif (seen - linear).abs().max() < 0.02:
            hint = ". Logits are no probabilities: take the softmax first"
        elif seen.max() == 1:
            hint = ". Always the likeliest bin: draw, do not maximise"
        raise Wrong(f"sample: bin {j} has the probability {p[j]:.3f}, of 20,000 draws {seen[j]:.3f} were there{hint}")
    if not torch.equal(came, answer("sample", logits, n, 0)):
        raise Wrong("sample with the same seed twice gives two samples; draw from a generator with that seed")
    if torch.equal(came, answer("sample", logits, n, 1)):
        raise Wrong("sample gives the same for seeds 0 and 1; use the seed")
