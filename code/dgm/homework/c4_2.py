"""C4.2 LoRA at three ranks: the layer, its start, count and merging, and best LoRA against best full tuning."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgm.data import digits
from dgm.homework import Answer, Wrong, finite
from dgm.nn.mlp import mlp

ASKS = {
    "LoRA": "LoRA(base, rank, alpha), a module around a linear layer, with the parameters A (rank, l) and B (k, rank)",
    "count": "count(k, l, rank) -> how many numbers A and B hold",
    "merged": "merged(layer) -> a plain nn.Linear that answers as the LoRA layer does",
    "gradients": "gradients(g, A, B, scale) -> the gradients by A and by B, from that by the whole matrix, g (k, l)",
    "adapt": "adapt(model, rank, alpha) -> a copy in which each nn.Linear is a LoRA, and only A and B learn",
    "tune": "tune(model, lesson, rank, lr, seed) -> a tuned copy; rank None tunes all parameters",
    "accuracy": "accuracy(model, data) -> the share of right answers on data = (pictures, labels)",
    "study": "study(model, lesson, validation, seed) -> {(rank, lr): (model, validation accuracy)}, rank None for full",
    "best": "best(results) -> the keys of the best LoRA and of the best full tuning, from what study gives",
}
SHAPES = ((6, 4, 1), (5, 9, 3), (7, 7, 2))  # k, l, rank
LORA, FULL = 0.75, 0.80  # ours: accuracy on turned test digits
f64 = torch.float64
Data = tuple[Tensor, Tensor]


def turned(split: str, n: int | None = None) -> Data:
    """Digits of a split, turned by a right angle: the first n pictures (n, 1, 28, 28), and their labels."""
    images, labels = digits(split)
    return torch.rot90(images[:n], 1, (2, 3)), labels[:n]


@cache
def _trained() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, (images, labels) = (
            nn.Sequential(nn.Flatten(), mlp([784, 128, 128, 10], activation=nn.ReLU)),
            digits("train"),
        )
        adam = torch.optim.Adam(net.parameters(), lr=2e-3)
        for _ in range(300):
            some = torch.randint(len(images), (100,))
            loss = F.cross_entropy(net(images[some]), labels[some])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return net


def pupil() -> nn.Module:
    """The classifier that is to be tuned, 784–128–128–10: it has learnt upright digits."""
    return copy.deepcopy(_trained())


def _linear(k: int, l: int, seed: int = 0) -> nn.Linear:
    """A linear layer from l to k numbers, float64."""
    source, layer = torch.Generator().manual_seed(seed), nn.Linear(l, k, dtype=f64)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=source, dtype=f64)
    return layer


def _layer(answer: Answer, k: int, l: int, rank: int, alpha: float, *, moved: bool) -> tuple[Any, nn.Linear]:
    """A LoRA layer of the student's around a linear layer, and a twin of that; A and B at random where `moved`."""
    base = _linear(k, l)
    twin, called = copy.deepcopy(base), f"LoRA(nn.Linear({l}, {k}), {rank}, {alpha:g})"
    layer = answer("LoRA", base, rank, alpha)
    if not isinstance(layer, nn.Module):
        raise Wrong(f"{called} is to be a torch.nn.Module, came {type(layer).__name__}")
    for name, shape in (("A", (rank, l)), ("B", (k, rank))):
        half = getattr(layer, name, None)
        if not isinstance(half, nn.Parameter):
            raise Wrong(f"{called}.{name} is to be an nn.Parameter, came {type(half).__name__}")
        if tuple(half.shape) != shape:
            hint = "; transposed" if tuple(half.shape) == shape[::-1] else ""
            raise Wrong(f"{called}.{name} is to have the shape {shape}, came {tuple(half.shape)}{hint}")
        if moved:
            half.data = torch.randn(shape, generator=torch.Generator().manual_seed(ord(name)), dtype=f64)
        elif half.dtype != f64:
            half.data = half.data.to(f64)
    answer.names["the layer"] = layer
    return layer, twin


def check_start(answer: Answer) -> None:
    """At the start B is 0, A is random, and the layer answers as the linear map does."""
    for k, l, rank in SHAPES:
        layer, twin = _layer(answer, k, l, rank, 4.0, moved=False)
        A, B = layer.A.detach(), layer.B.detach()
        if A.any() and B.any():
            raise Wrong(
                "LoRA: at the start A and B are both random, so the model is changed before it has learnt; B = 0"
            )
        if not A.any() and not B.any():
            raise Wrong("LoRA: A and B both start at 0: both gradients are 0 then, and for ever. A is to be random")
        if B.any():
            raise Wrong("LoRA: A starts at 0 and B at random; it works, but this task asks for the usual start, B = 0")
        if (A.flatten()[0] == A).all() and A.numel() > 1:
            raise Wrong("LoRA: all entries of A are equal, so all ranks are the same row; draw them at random")
        for x in (torch.randn(5, l, dtype=f64), torch.randn(2, 3, l, dtype=f64)):
            came = finite(answer("the layer", x), "LoRA(…)(x)", (*x.shape[:-1], k))
            if not torch.allclose(came, twin(x), rtol=0, atol=1e-12):
                off = (came - twin(x)).abs().max()
                hint = "; is the bias of the old layer kept?" if torch.allclose(came, x @ twin.weight.T) else ""
                raise Wrong(f"LoRA: at the start it is to answer as the linear layer; off by {off:.3g}{hint}")


def check_answer(answer: Answer) -> None:
    """With any A and B the answer is W x + b + (α/r) B A x."""
    for (k, l, rank), alpha in zip(SHAPES, (3.0, 4.0, 8.0), strict=True):
        layer, twin = _layer(answer, k, l, rank, alpha, moved=True)
        x = torch.randn(5, l, dtype=f64)
        came = finite(answer("the layer", x), "LoRA(…)(x)", (5, k))
        BAx = torch.stack([layer.B @ (layer.A @ row) for row in x])
        if torch.allclose(came, twin(x) + alpha / rank * BAx):
            continue
        for hint, scale in (
            ("the scale α/r is missing", 1.0),
            ("α is not divided by the rank", alpha),
            ("the addition is scaled by r/α, it is α/r", rank / alpha),
            ("the addition is scaled by α/√r, it is α/r", alpha / rank**0.5),
            ("the addition is multiplied by the rank, it is divided", alpha * rank),
            ("A and B are not used", 0.0),
        ):
            if torch.allclose(came, twin(x) + scale * BAx):
                raise Wrong(f"LoRA of rank {rank}, α = {alpha:g}: {hint}")
        if torch.allclose(came, alpha / rank * BAx):
            raise Wrong("LoRA: the old layer's answer W x + b is missing in the sum")
        off = (came - twin(x) - alpha / rank * BAx).abs().max()
        raise Wrong(f"LoRA of rank {rank}, α = {alpha:g}, random A and B: off by {off:.3g} from W x + b + (α/r) B A x")


def check_count(answer: Answer) -> None:
    """A and B hold r(k + l) numbers, 6,000 for 1000 × 2000 at rank 2, and nothing else of the layer learns."""
    for k, l, rank in ((1000, 2000, 2), *SHAPES):
        came, want = answer.number("count", k, l, rank), rank * (k + l)
        if came != want:
            why = {
                rank * k * l: "that is r·k·l; the two thin matrices have r·k and r·l entries",
                k + l: "the rank is missing",
                rank * (k + l - rank): "these are the degrees of freedom; the numbers held are r² more",
                rank * (k + l) + k: "the bias is frozen, it does not count",
                k * l: "that is the full matrix",
            }
            hint = why.get(int(came))
            raise Wrong(f"count({k}, {l}, {rank}) is {want:,}, came {came:,.0f}" + (f"; {hint}" if hint else ""))
    for k, l, rank in SHAPES:
        layer, _ = _layer(answer, k, l, rank, 4.0, moved=False)
        learns = {name: parameter.numel() for name, parameter in layer.named_parameters() if parameter.requires_grad}
        if set(learns) != {"A", "B"}:
            more = sorted(set(learns) - {"A", "B"})
            told = f"{', '.join(more)} of the old layer learn, too: freeze it" if more else "A and B are both to learn"
            raise Wrong(f"LoRA of rank {rank} around {k} × {l}: {rank * (k + l)} numbers are to learn; {told}")


def check_gradients(answer: Answer) -> None:
    """At the start the gradient of A is 0 and that of B is not; everywhere they are s Bᵀg and s g Aᵀ."""
    for k, l, rank in SHAPES:
        layer, _ = _layer(answer, k, l, rank, 4.0, moved=False)
        out = answer("the layer", torch.randn(20, l, dtype=f64))
        if not out.requires_grad:
            raise Wrong("LoRA: its answer has no gradient, so nothing will learn: no detach(), no no_grad() in forward")
        out.tanh().sum().backward()
        to_A, to_B = layer.A.grad, layer.B.grad
        if to_B is None or not to_B.any():
            raise Wrong("LoRA: at the start no gradient arrives at B, so nothing will ever learn; is forward cut off?")
        if to_A is not None and to_A.any():
            raise Wrong("LoRA: at the start, B = 0, the gradient of A is to be 0, as it is s Bᵀg; it is not")
        source = torch.Generator().manual_seed(k)
        g, A, B = (torch.randn(shape, generator=source, dtype=f64) for shape in ((k, l), (rank, l), (k, rank)))
        A.requires_grad_(), B.requires_grad_()
        scale = 4.0 / rank
        want = torch.autograd.grad((g * (scale * B @ A)).sum(), [A, B])
        came = answer("gradients", g, A.detach(), B.detach(), scale)
        if not (isinstance(came, tuple | list) and len(came) == 2):
            raise Wrong(f"gradients is to give two tensors, by A and by B, came {type(came).__name__}")
        if tuple(came[0].shape) == (k, rank) and tuple(came[1].shape) == (rank, l):
            raise Wrong("gradients: the one by A comes first, then that by B; they are exchanged")
        for name, one, right in zip("AB", came, want, strict=True):
            finite(one, f"the gradient by {name}", tuple(right.shape))
            if not torch.allclose(one, right):
                hint = ""
                if torch.allclose(scale * one, right) and scale != 1:
                    hint = ": the scale is missing"
                elif torch.allclose(one, -right):
                    hint = ": the sign is turned"
                elif torch.allclose(one, scale * right):
                    hint = ": the scale counts once here"
                off = (one - right).abs().max()
                raise Wrong(f"gradients: that by {name} is off by {off:.3g} from automatic differentiation{hint}")


def check_merged(answer: Answer) -> None:
    """The merged layer is a plain linear layer with the same answers, and the LoRA layer stays what it was."""
    for (k, l, rank), alpha in zip(SHAPES, (3.0, 4.0, 8.0), strict=True):
        layer, twin = _layer(answer, k, l, rank, alpha, moved=True)
        x = torch.randn(5, l, dtype=f64)
        before = layer(x).detach()
        plain = answer("merged", layer)
        if type(plain) is not nn.Linear:
            raise Wrong(f"merged is to give a plain nn.Linear, came {type(plain).__name__}")
        if not torch.allclose(layer(x), before):
            raise Wrong(
                "merged changed the layer it was given: the addition went into its frozen W and counts twice; copy it"
            )
        want = twin.weight + alpha / rank * layer.B @ layer.A
        if tuple(plain.weight.shape) == tuple(want.shape) and not torch.allclose(plain.weight, want):
            hint = ""
            if torch.allclose(plain.weight, twin.weight + layer.B @ layer.A):
                hint = "; the scale α/r is missing"
            elif torch.allclose(plain.weight, alpha / rank * layer.B @ layer.A):
                hint = "; the old W is missing"
            raise Wrong(
                f"merged: the weight is to be W + (α/r) B A, off by {(plain.weight - want).abs().max():.3g}{hint}"
            )
        if plain.bias is None or not torch.equal(plain.bias, twin.bias):
            raise Wrong("merged: the old layer's bias is lost")
        if not torch.allclose(plain(x), before, rtol=0, atol=1e-10):
            raise Wrong(f"merged answers otherwise than the layer, by up to {(plain(x) - before).abs().max():.3g}")


def check_adapt(answer: Answer) -> None:
    """In an adapted copy only A and B learn, its answers are the old ones, and the old model is untouched."""
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Sequential(nn.Linear(8, 5)))
    before, x = copy.deepcopy(model), torch.randn(7, 6)
    with torch.no_grad():
        want = model(x)
    came = answer("adapt", model, 2, 4.0)
    if not isinstance(came, nn.Module):
        raise Wrong(f"adapt is to give a model, came {type(came).__name__}")
    if came is model or any(type(layer) is not type(old) for layer, old in zip(model, before, strict=True)):
        raise Wrong("adapt changed the model it was given; make a copy first, as other ranks start from the same model")
    if not all(parameter.requires_grad for parameter in model.parameters()):
        raise Wrong("adapt froze the model it was given, which full tuning needs; freeze the copy")
    learns = [name for name, parameter in came.named_parameters() if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in came.parameters() if parameter.requires_grad)
    if others := [name for name in learns if name.rpartition(".")[2] not in ("A", "B")]:
        raise Wrong(f"adapt: {', '.join(others)} can learn, too; only A and B may")
    if count != 2 * (6 + 8) + 2 * (8 + 5):
        hint = "; layers inside of other modules count as well" if count == 2 * (6 + 8) else ""
        raise Wrong(f"adapt of two layers 8 × 6 and 5 × 8 at rank 2: 54 numbers are to learn, {count} do{hint}")
    answer.names["the adapted model"] = came
    if not torch.allclose(answer("the adapted model", x).detach(), want, rtol=0, atol=1e-6):
        raise Wrong("adapt: the adapted model's answers differ from the old ones before anything was learnt")


def _accuracy(model: nn.Module, data: Data) -> float:
    with torch.no_grad():
        return (model(data[0]).argmax(1) == data[1]).double().mean().item()


def _right(answer: Answer, model: nn.Module, data: Data) -> float:
    """The accuracy of a model that the answer made."""
    answer.names["the tuned model"] = model
    with torch.no_grad():
        logits = answer.tensor("the tuned model", data[0], shape=(len(data[1]), 10))
    return (logits.argmax(1) == data[1]).double().mean().item()


def check_tune(answer: Answer) -> None:
    """Tuning at rank 4 moves A and B alone and learns turned digits; full tuning moves all."""
    model, lesson, test = pupil(), turned("train", 500), turned("test")
    start = {name: value.clone() for name, value in model.state_dict().items()}
    before = _accuracy(model, test)
    for rank, lr in ((4, 5e-3), (None, 2e-3)):
        called = f"tune(model, lesson, {rank}, {lr:g}, 0)"
        came = answer("tune", model, lesson, rank, lr, 0)
        if not isinstance(came, nn.Module):
            raise Wrong(f"{called} is to give a model, came {type(came).__name__}")
        now = model.state_dict()
        if list(now) != list(start) or any(not torch.equal(value, start[name]) for name, value in now.items()):
            raise Wrong(f"{called} changed the model it was given; tune a copy")
        held = {name: value for name, value in came.state_dict().items() if name.rpartition(".")[2] not in ("A", "B")}
        stayed = [torch.equal(value, old) for value, old in zip(held.values(), start.values(), strict=False)]
        if rank is None and (len(held) != len(start) or any(stayed)):
            raise Wrong(f"{called} is full tuning: every parameter is to move, {sum(stayed)} of {len(start)} stayed")
        if rank is not None and not all(stayed):
            raise Wrong(f"{called} moved weights of the old layers; they are frozen, only A and B go to the optimiser")
        after = _right(answer, came, test)
        if after < before + 0.3:
            raise Wrong(
                f"after {called} {after:.1%} of the turned test digits are right, before it {before:.1%}; 30 points "
                "more are asked"
            )


def check_accuracy(answer: Answer) -> None:
    """Accuracy is the share of pictures whose largest logit is the right one."""
    model, (images, labels) = pupil(), turned("validation", 60)
    came, want = answer.number("accuracy", model, (images, labels)), _accuracy(model, (images, labels))
    if abs(came - want) > 1e-6:
        hint = ""
        if abs(came - 100 * want) < 1e-3:
            hint = "; that is in per cent, the share is asked"
        elif abs(came - 60 * want) < 1e-3:
            hint = "; that is their number, not their share"
        elif abs(came - 1 + want) < 1e-6:
            hint = "; that is the share of errors"
        raise Wrong(f"accuracy on 60 turned digits is {want:.4f}, came {came:.4f}{hint}")


def check_study(answer: Answer) -> None:
    """Three ranks and full tuning are compared on validation digits; the best of each stands on test digits."""
    model, validation, test = pupil(), turned("validation"), turned("test")
    results = answer("study", model, turned("train", 500), validation, 0)
    if not isinstance(results, dict) or not all(isinstance(key, tuple) and len(key) == 2 for key in results):
        raise Wrong("study is to give a dictionary with the keys (rank, learning rate)")
    ranks = {rank for rank, _ in results if rank is not None}
    if len(ranks) < 3:
        raise Wrong(f"study: at least three ranks are asked, came {sorted(ranks)}")
    if max(ranks) > 10:
        raise Wrong(f"study: rank {max(ranks)} is over the smaller side of the last layer, 10 × 128; no matrix has it")
    for rank in (*sorted(ranks), None):
        if (tried := len({lr for r, lr in results if r == rank})) < 2:
            way = "full tuning (rank None)" if rank is None else f"rank {rank}"
            rates = f"{tried} learning rate{'' if tried == 1 else 's'}"
            raise Wrong(f"study tunes {way} at {rates}; at least two are asked, for a fair comparison")
    for key, entry in results.items():
        if not (isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[0], nn.Module)):
            raise Wrong(f"study: under {key} are to be the model and its validation accuracy")
        want = _right(answer, entry[0], validation)
        if abs(float(entry[1]) - want) > 0.002:
            raise Wrong(
                f"study: the model under {key} has the validation accuracy {want:.3f}, came {float(entry[1]):.3f}"
            )
    _check_best(answer)
    lora, full = answer("best", results)
    if lora not in results or full not in results:
        raise Wrong(f"best is to give two keys of what it was given, came {lora!r} and {full!r}")
    for name, key, least in (("LoRA", lora, LORA), ("full tuning", full, FULL)):
        came = _right(answer, results[key][0], test)
        if came < least:
            told = f"study: the best {name} {key} has {came:.1%} of the turned test digits right, {least:.0%} are asked"
            raise Wrong(f"{told} (before tuning: {_accuracy(model, test):.1%})")


def _check_best(answer: Answer) -> None:
    """`best` on made-up results."""
    net = nn.Identity()
    made = {
        (1, 0.1): (net, 0.5),
        (4, 0.2): (net, 0.8),
        (4, 0.1): (net, 0.7),
        (None, 0.2): (net, 0.6),
        (None, 0.1): (net, 0.9),
    }
    came = answer("best", made)
    if not (isinstance(came, tuple | list) and len(came) == 2):
        raise Wrong(f"best is to give two keys, came {came!r}")
    if came[0] is None or tuple(came) == ((None, 0.1), (4, 0.2)):
        raise Wrong("best: the key of the best LoRA comes first, then that of full tuning")
    if tuple(came) != ((4, 0.2), (None, 0.1)):
        hint = "; these are the worst" if tuple(came) == ((1, 0.1), (None, 0.2)) else ""
        raise Wrong(
            "best of the accuracies (1, 0.1): 0.5, (4, 0.2): 0.8, (4, 0.1): 0.7, (None, 0.2): 0.6, (None, 0.1): 0.9 is "
            f"((4, 0.2), (None, 0.1)), came {came!r}{hint}"
        )
