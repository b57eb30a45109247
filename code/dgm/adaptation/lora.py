r"""Low-rank adaptation: a frozen layer learns a product of two thin matrices, and nothing else of the model moves.

    layer       y = W x + b + s B A x,      s = α / r,   A (r, l), B (k, r),   W (k, l) frozen
    start       B = 0: the model is what it was;  ∂A = s Bᵀ G xᵀ = 0,  ∂B = s G (A x)ᵀ ≠ 0     (G = ∂L/∂y)
    merge       W + s B A is a plain layer again: no cost when it is used
    count       r (k + l) numbers in place of k l
    bound       ‖ΔW − B A‖² ≥ Σ_{i > r} σ_i²(ΔW) for all A, B;  the first r singular triples reach it

A convolution is a matrix that acts on patches: A is a convolution to r channels, B mixes them at each place (1×1).

Sources: Edward Hu and others (2022), LoRA: Low-Rank Adaptation of Large Language Models; Carl Eckart, Gale Young
(1936), The Approximation of One Matrix by Another of Lower Rank.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from dgm.checks import nearest, require, require_count, require_number

Layer = nn.Linear | nn.Conv2d

# --- the layer -------------------------------------------------------------------------------------------------


class LoRA(nn.Module):
    r"""A low-rank addition to a frozen layer: $y = W x + b + \lambda \frac{\alpha}{r} B A x$.

    A starts uniform in $\pm 1/\sqrt{l}$, B at 0, so that the layer starts as the one it adapts. λ is `strength`, an
    attribute to turn when the model is used: 1 as trained, 0 the old layer bit for bit.

    Args:
        base: the `Linear` (k, l) or `Conv2d` of one group to adapt; its parameters are frozen, and stay what they are.
        rank: r, from 1 to the smaller side of W.
        alpha: α > 0; r where None, which makes the scale s = 1. To compare ranks give one α to all, as the paper does
            (section 4.1): a learning rate then needs less tuning from one rank to another.
        name: of the layer, for messages.

    Raises:
        TypeError: `base` is another kind of module, or adapted already.
        ValueError: a rank or an α that cannot be; groups.

    >>> layer = LoRA(nn.Linear(64, 16), rank=2)
    >>> layer(torch.zeros(5, 64)).shape, layer.delta().shape
    (torch.Size([5, 16]), torch.Size([16, 64]))
    """

    base: Layer
    A: Layer
    B: Layer

    def __init__(self, base: nn.Module, rank: int, alpha: float | None = None, *, name: str = "base") -> None:
        super().__init__()
        base, self.rank = _adaptable(base, name), _possible(rank, base, name)
        self.alpha = require_number(rank if alpha is None else alpha, "alpha", low=0.0, open_low=True)
        self.scale, self.strength = self.alpha / self.rank, 1.0
        self.base = base.requires_grad_(False)
        like: dict[str, Any] = {"bias": False, "device": base.weight.device, "dtype": base.weight.dtype}
        if isinstance(base, nn.Linear):
            self.A = nn.Linear(base.in_features, rank, **like)  # torch's own start is the uniform one
            self.B = nn.Linear(rank, base.out_features, **like)
        else:
            ways = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
            self.A = nn.Conv2d(base.in_channels, rank, **{way: getattr(base, way) for way in ways}, **like)
            self.B = nn.Conv2d(rank, base.out_channels, 1, **like)
        nn.init.zeros_(self.B.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The old answer and the addition."""
        y = self.base(x)
        return y + self.strength * self.scale * self.B(self.A(x)) if self.strength else y

    def delta(self) -> Tensor:
        r"""$\Delta W = \frac{\alpha}{r} B A$, of the shape of W, at strength 1."""
        product = self.B.weight.flatten(1) @ self.A.weight.flatten(1)
        return self.scale * product.view_as(self.base.weight)

    @torch.no_grad()
    def merged(self) -> Layer:
        """A plain layer with W + λΔW, frozen like the old one, which is not touched.

        There is no `unmerge`: W + ΔW − ΔW is W only up to rounding, while `base` still is.
        """
        plain = copy.deepcopy(self.base)
        plain.weight += self.strength * self.delta()
        return plain

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"rank={self.rank}, alpha={self.alpha:g}, strength={self.strength:g}"


def _adaptable(base: object, name: str) -> Layer:
    if isinstance(base, LoRA):
        raise TypeError(f"{name}: expected a plain layer, came one that has a LoRA already; merge or remove it first")
    if type(base) not in get_args(Layer):  # a subclass may use its weight in its own way
        raise TypeError(f"{name}: expected nn.Linear or nn.Conv2d, came {type(base).__name__}")
    if isinstance(base, nn.Conv2d) and base.groups > 1:
        raise ValueError(f"{name}: expected a convolution of one group, came {base.groups}")
    return cast(Layer, base)


def _possible(rank: int, base: Layer, name: str) -> int:
    rows, columns = base.weight.flatten(1).shape
    if require_count(rank, "rank") > min(rows, columns):
        smaller = f"the smaller side of {name!r} ({rows} × {columns})"
        raise ValueError(f"rank: expected at most {min(rows, columns)}, {smaller}, came {rank}")
    return rank


# --- a model's layers ------------------------------------------------------------------------------------------


def add_lora(model: nn.Module, names: Sequence[str], rank: int, alpha: float | None = None) -> list[str]:
    """Freeze a model and adapt every `Linear` or `Conv2d` whose dotted name ends with one of `names`.

    All or nothing: where one layer cannot be adapted, none is.

    Args:
        model: changed in place.
        names: such as ``("to_q", "to_k", "to_v", "to_out.0")``, the attention of a diffusers U-Net.
        rank: r of each.
        alpha: α of each; r where None.

    Returns:
        The full names of the adapted layers.

    Raises:
        TypeError, ValueError: a name that no layer bears (the nearest are named), a rank over a layer's smaller
            side, a model that is adapted already.

    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> add_lora(model, ["0"], rank=1)
    ['0']
    >>> sum(p.numel() for p in lora_parameters(model))  # r (k + l)
    12
    """
    if isinstance(names, str):
        raise TypeError(f"names: expected several, such as [{names!r}], came the string {names!r}")
    plain = _plain_layers(model)
    found = [name for name in plain if any(f".{name}".endswith(f".{end}") for end in names)]
    for end in names:
        if not any(f".{name}".endswith(f".{end}") for name in found):
            ends = {".".join(name.split(".")[-1 - str(end).count(".") :]) for name in plain}
            raise ValueError(f"names: no layer of {type(model).__name__} ends with {end!r}{nearest(str(end), ends)}")
    if not found:
        raise ValueError("names: expected at least one, came none")
    _adapt(model, dict.fromkeys(found, rank), alpha)
    return found


def _plain_layers(model: nn.Module) -> dict[str, Layer]:
    """Names and layers that can be adapted, of a model in which none is."""
    for name, module in model.named_modules():
        if isinstance(module, LoRA):
            remedy = "merge_lora(model) or remove_lora(model) first"
            raise ValueError(f"model: expected plain layers, came one with a LoRA at {name!r}; {remedy}")
    kinds = get_args(Layer)
    return {name: cast(Layer, module) for name, module in model.named_modules() if name and type(module) in kinds}


def _adapt(model: nn.Module, ranks: Mapping[str, int], alpha: float | None) -> None:
    for name, rank in ranks.items():  # all doors before the first change
        _possible(rank, _adaptable(model.get_submodule(name), name), name)
    if alpha is not None:
        require_number(alpha, "alpha", low=0.0, open_low=True)
    model.requires_grad_(False)
    for name, rank in ranks.items():
        _replace(model, name, LoRA(model.get_submodule(name), rank, alpha, name=name))


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    if not name:
        raise ValueError("model: expected one that holds layers, came a layer; use its .merged() or .base")
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def lora_layers(model: nn.Module) -> dict[str, LoRA]:
    """The adapted layers by name.

    Raises:
        ValueError: there are none.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoRA)}
    if not layers:
        raise ValueError(f"model: expected LoRA layers, came {type(model).__name__} with none; add_lora first")
    return layers


def lora_parameters(model: nn.Module) -> list[nn.Parameter]:
    """All A and B, what an optimiser is to move."""
    return [p for layer in lora_layers(model).values() for half in (layer.A, layer.B) for p in half.parameters()]


def set_strength(model: nn.Module, strength: float) -> None:
    """Turn λ of all layers: 0 the old model, 1 as trained, between and beyond at will."""
    strength = require_number(strength, "strength")
    for layer in lora_layers(model).values():
        layer.strength = strength


def merge_lora(model: nn.Module) -> None:
    """Put a plain layer with W + λΔW in the place of each adapted one; the model stays frozen."""
    for name, layer in lora_layers(model).items():
        _replace(model, name, layer.merged())


def remove_lora(model: nn.Module) -> None:
    """Put the old layers back, bit for bit; the model stays frozen."""
    for name, layer in lora_layers(model).items():
        _replace(model, name, layer.base)


# --- files -----------------------------------------------------------------------------------------------------


def lora_state(model: nn.Module, *, prefix: str = "unet") -> dict[str, Tensor]:
    """A and B by name, as `pipe.load_lora_weights` of diffusers and `load_lora` open them.

    Keys are ``<prefix>.<layer>.lora_A.weight`` and ``….lora_B.weight``. These tensors do not hold α; diffusers looks
    for it beside them, and takes s = 1 where it finds none. So s is multiplied into the B that is stored, and the
    file means the same to everyone. Strength is not stored.

    Args:
        model: with LoRA layers.
        prefix: the part of the pipeline; ``"base_model.model"`` for peft's own files, ``""`` for none.
    """
    state = {}
    for name, layer in lora_layers(model).items():
        state[_key(prefix, name, "A")] = layer.A.weight.detach().cpu().clone().contiguous()
        state[_key(prefix, name, "B")] = (layer.scale * layer.B.weight.detach()).cpu().contiguous()
    return state


def load_lora(
    model: nn.Module, state: Mapping[str, Tensor], *, alpha: float | None = None, prefix: str = "unet"
) -> list[str]:
    """Adapt a plain model as `state` says, or set the A and B of one that is adapted; all or nothing.

    A plain model is frozen and gets the layers and ranks of `state`. An adapted one must have the same layers and
    ranks; it keeps its α.

    Args:
        model: changed in place.
        state: what `lora_state` gives, or another's file in this format.
        alpha: α of a file that does not hold it in B, such as ``lora_alpha`` in peft's ``adapter_config.json``.
        prefix: as in `lora_state`.

    Returns:
        The names of the layers.

    Raises:
        TypeError, ValueError: keys of another format, layers or shapes of another architecture (the first are named
            with what was expected), values that are not finite.
    """
    if alpha is not None:
        require_number(alpha, "alpha", low=0.0, open_low=True)
    pairs = _pairs(state, prefix)
    there = {name: module for name, module in model.named_modules() if isinstance(module, LoRA)}
    plain = {name: layer.base for name, layer in there.items()} or _plain_layers(model)
    wrong: list[str] = []
    for name, pair in pairs.items():
        if name not in plain:
            near = nearest(name, plain) if len(wrong) < 3 else ""  # slow, and only three are shown
            wrong.append(f"{name!r} is no {'adapted layer' if there else 'Linear or Conv2d'} of it{near}")
            continue
        rank = there[name].rank if there else len(pair["A"])
        out, *patch = plain[name].weight.shape
        shapes = {"A": (rank, *patch), "B": (out, rank, *(1 for _ in patch[1:]))}
        wrong += [
            f"{_key(prefix, name, half)} is {tuple(pair[half].shape)}, expected {shape}"
            for half, shape in shapes.items()
            if pair[half].shape != shape
        ]
    wrong += [f"there is nothing for {name!r}" for name in there if name not in pairs]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"state: does not fit this {type(model).__name__}: {'; '.join(wrong[:3])}{more}")
    if not there:
        _adapt(model, {name: len(pair["A"]) for name, pair in pairs.items()}, alpha)
    with torch.no_grad():
        for name, layer in lora_layers(model).items():
            scale = 1.0 if alpha is None else alpha / layer.rank
            layer.A.weight.copy_(pairs[name]["A"])
            layer.B.weight.copy_(pairs[name]["B"].to(layer.B.weight) * (scale / layer.scale))
    return list(pairs)


def _key(prefix: str, name: str, half: str) -> str:
    return f"{prefix}{'.' if prefix else ''}{name}.lora_{half}.weight"


def _pairs(state: Mapping[str, Tensor], prefix: str) -> dict[str, dict[str, Tensor]]:
    """A and B of each layer, after the format's doors."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, half = key.removeprefix(f"{prefix}.").removesuffix(".weight").rpartition(".lora_")[::2]
        if key != _key(prefix, name, half) or half not in ("A", "B"):
            raise ValueError(f"state: expected keys {_key(prefix, '<layer>', 'A')} and …_B.weight, came {key!r}")
        pairs.setdefault(name, {})[half] = require(value, key, shape="... rows columns", dtype="float")
    if not pairs:
        raise ValueError("state: expected at least one layer, came none")
    for name, pair in pairs.items():
        for half in {"A", "B"} - pair.keys():
            raise ValueError(f"state: expected A and B of each layer, came no {_key(prefix, name, half)}")
    return pairs


# --- how good a low rank can be --------------------------------------------------------------------------------


def low_rank_count(rows: int, columns: int, rank: int) -> int:
    """Numbers in the factors of a matrix (k, l) of rank r: r (k + l), in place of k l.

    >>> 1000 * 2000, low_rank_count(1000, 2000, 2)
    (2000000, 6000)
    """
    smaller = min(require_count(rows, "rows"), require_count(columns, "columns"))
    if require_count(rank, "rank") > smaller:
        raise ValueError(f"rank: expected at most {smaller}, the smaller side of {rows} × {columns}, came {rank}")
    return rank * (rows + columns)


def best_rank(delta: Tensor, rank: int) -> Tensor:
    r"""The matrix of rank r nearest to Δ in Frobenius norm: $\Delta_r = \sum_{i \le r} \sigma_i u_i v_i^\top$.

    No product BA of that rank comes nearer than $\|\Delta - \Delta_r\|^2 = \sum_{i > r} \sigma_i^2$
    (`best_rank_error`). It bounds a distance between weights, not a loss.

    Args:
        delta: Δ, shape (k, l); a convolution's is flattened to (k, patch) first.
        rank: r, from 1 to the smaller side.

    Source:
        Carl Eckart, Gale Young (1936); Leon Mirsky (1960), Symmetric Gauge Functions and Unitarily Invariant Norms.

    >>> best_rank(torch.diag(torch.tensor([3.0, 2.0])), 1)
    tensor([[3., 0.],
            [0., 0.]])
    """
    U, sigma, Vt = _singular(delta, rank)
    return (U[:, :rank] * sigma[:rank]) @ Vt[:rank]


def best_rank_error(delta: Tensor, rank: int) -> Tensor:
    r"""What rank r leaves of Δ at best: $\min_{B, A} \|\Delta - BA\|_F^2 = \sum_{i > r} \sigma_i^2$, a number.

    >>> best_rank_error(torch.diag(torch.tensor([3.0, 2.0])), 1)
    tensor(4.)
    """
    return _singular(delta, rank)[1][rank:].square().sum()


def _singular(delta: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    delta = require(delta, "delta", shape="rows columns", dtype="float")
    low_rank_count(len(delta), len(delta.T), rank)  # its doors
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    return U, sigma, Vt
