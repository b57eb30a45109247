r"""MADE: one feed-forward network whose masked weights give every $p(x_i \mid x_{<i})$ in a single pass.

Source: Mathieu Germain, Karol Gregor, Iain Murray, Hugo Larochelle (2015), MADE: Masked Autoencoder for
Distribution Estimation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dgm.checks import require, require_count

# --- the maths: degrees, masks, paths --------------------------------------------------------------------


def degrees(
    m: int, hidden: Sequence[int], order: Tensor | None = None, generator: Generator | None = None
) -> list[Tensor]:
    r"""Number the units: the place in the order (inputs), how many variables a unit may look at (hidden).

    Variable $i$ has degree $d_0(i) = t$ if it is the $t$-th of the order, $t = 1 \dots m$. A hidden unit has
    a degree $1 \dots m-1$; it may depend on the first that many variables. No unit gets a degree below the
    smallest of the layer before: it would be cut off from every input.

    Args:
        m: the number of variables.
        hidden: the size of each hidden layer, first to last.
        order: a permutation of 0 … m−1, shape (m,): ``order[t]`` is the variable that comes at step t.
            Without it the variables come as they are numbered.
        generator: draws the hidden degrees; without it they rise evenly.

    Returns:
        Degrees of the variables (m,) and of each hidden layer (H,), int64.

    >>> degrees(3, [4], order=torch.tensor([2, 0, 1]))
    [tensor([2, 3, 1]), tensor([1, 1, 2, 2])]
    """
    m = require_count(m, "m")
    sizes = [require_count(size, "hidden") for size in hidden]
    if not sizes:
        raise ValueError("hidden: expected at least one layer, came none")
    found = [require_order(torch.arange(m) if order is None else order, "order", m).argsort() + 1]
    low, top = 1, max(1, m - 1)  # a lone variable has no past: its output will see no hidden unit at all
    for size in sizes:
        if generator is None:
            found.append(low + torch.arange(size) * (top - low + 1) // size)
        else:
            found.append(torch.randint(low, top + 1, (size,), generator=generator))
        low = int(found[-1].min())
    return found


def connect(degrees: Sequence[Tensor]) -> list[Tensor]:
    r"""Turn degrees into masks: which weights may be other than zero.

    Into hidden unit $k$ from $j$: $[\,d_l(k) \ge d_{l-1}(j)\,]$. Into output $i$, which has the degree of
    variable $i$, from $k$: $[\,d_0(i) > d_L(k)\,]$, strictly, so that no output sees its own variable.

    Args:
        degrees: as `degrees` gives them: variables (m,), then each hidden layer (H,).

    Returns:
        One bool tensor a layer, shaped like the weight of `nn.Linear`: (outputs, inputs).
    """
    inner = [after[:, None] >= before[None, :] for before, after in pairwise(degrees)]
    return [*inner, degrees[0][:, None] > degrees[-1][None, :]]


def masks(
    m: int, hidden: Sequence[int], order: Tensor | None = None, generator: Generator | None = None
) -> list[Tensor]:
    r"""Choose degrees and connect them; the arguments are those of `degrees`, the masks those of `connect`.

    >>> [mask.int().tolist() for mask in masks(3, [2])]
    [[[1, 0, 0], [1, 1, 0]], [[0, 0], [1, 0], [1, 1]]]
    """
    return connect(degrees(m, hidden, order, generator))


def path_counts(masks: Sequence[Tensor]) -> Tensor:
    r"""Count the ways through the network: $M = M_V \cdots M_W$; $M_{ij}$ paths lead from $x_j$ to $\hat x_i$.

    Args:
        masks: bool, first layer first, each (outputs, inputs).

    Returns:
        int64 (outputs, inputs). Zero means: output i cannot depend on input j, whatever the weights.

    >>> path_counts(masks(3, [2])).tolist()
    [[0, 0, 0], [1, 0, 0], [2, 1, 0]]
    """
    total = masks[0].long()
    for mask in masks[1:]:
        total = mask.long() @ total
    return total


def require_order(order: object, name: str, m: int) -> Tensor:
    """Return `order` as int64 (m,) if it is a permutation of 0 … m−1; otherwise say what came."""
    order = require(order, name, shape=f"{m}", dtype="int", low=0, high=m - 1).long()
    if len(order.unique()) != m:
        raise ValueError(f"{name}: expected a permutation of 0 … {m - 1}, came one that repeats itself")
    return order


# --- the network -----------------------------------------------------------------------------------------


class MaskedNet(nn.Module):
    r"""A feed-forward network whose output i depends on nothing but the variables before variable i.

    It serves several **members** with the same weights: each has its own order and hidden degrees, hence its
    own masks. A mask never touches the stored weight $W$: a pass uses the temporary $W \odot \text{mask}$.

    Args:
        m: the number of variables.
        hidden: sizes of the hidden layers.
        inputs: numbers a variable on its way in.
        outputs: numbers a variable on its way out.
        orders: permutations of 0 … m−1, int (O, m), one a row; without it the one order 0, 1, …, m−1.
        connectivities: draws of hidden degrees for each order; there are O · connectivities members.
        seed: of the hidden degrees; None lets them rise evenly (then `connectivities` must be 1).
    """

    def __init__(
        self,
        m: int,
        hidden: Sequence[int],
        *,
        inputs: int = 1,
        outputs: int = 1,
        orders: Tensor | None = None,
        connectivities: int = 1,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.m, self.inputs, self.outputs = m, inputs, outputs
        if require_count(connectivities, "connectivities") > 1 and seed is None:
            raise ValueError(f"connectivities: {connectivities} draws need a seed, came seed=None")
        source = None if seed is None else torch.Generator().manual_seed(seed)
        orders = torch.arange(m)[None] if orders is None else orders
        rows = require(orders, "orders", shape=f"O {m}", dtype="int")
        drawn = [degrees(m, hidden, row, source) for row in rows for _ in range(connectivities)]
        self.members = len(drawn)
        # Degrees, a few small numbers, are kept with the weights; masks are made from them when needed.
        for depth, column in enumerate(zip(*drawn, strict=True)):
            self.register_buffer(f"degrees_{depth}", torch.stack(column))  # (K, m), then (K, H) a layer
        sizes = [m * inputs, *hidden, m * outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def degrees(self, member: int = 0) -> list[Tensor]:
        """Degrees of one member: variables, then each hidden layer."""
        if require_count(member, "member", low=0) >= self.members:
            raise ValueError(f"member: expected a number below {self.members}, came {member}")
        return [self.get_buffer(f"degrees_{depth}")[member] for depth in range(len(self.layers))]

    def order(self, member: int = 0) -> Tensor:
        """The order of one member, int64 (m,): the variable that comes first, second …"""
        return self.degrees(member)[0].argsort()

    def masks(self, member: int = 0) -> list[Tensor]:
        """The masks of one member, shaped like the weights; the numbers of one variable share their mask."""
        first, *inner, last = connect(self.degrees(member))
        return [first.repeat_interleave(self.inputs, 1), *inner, last.repeat_interleave(self.outputs, 0)]

    def weights(self, member: int = 0) -> list[Tensor]:
        """The weights under the masks of one member: temporaries; gradients flow through to the stored."""
        pairs = zip(self.masks(member), self.layers, strict=True)
        return [torch.where(mask, layer.get_parameter("weight"), 0.0) for mask, layer in pairs]

    def forward(self, h: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Pass h (B, m · inputs) through weights that are masked already: (B, m, outputs)."""
        for layer, weight in zip(self.layers, weights, strict=True):
            h = F.linear(F.relu(h) if layer is not self.layers[0] else h, weight, layer.get_parameter("bias"))
        return h.unflatten(1, (self.m, self.outputs))


# --- the model -------------------------------------------------------------------------------------------


class MADE(nn.Module):
    r"""A likelihood model of m variables with d values each: $p(\x) = \prod_i p(x_i \mid \x_{<i})$.

    With several members (orders, connectivities) the model is their mixture, $\frac1K \sum_k p_k(\x)$, which
    is normalised because each member is. Binary variables enter as one number and leave as one logit; with
    d > 2 they enter one-hot and leave as d logits.

    Args:
        shape: the shape of one example: (1, 28, 28) for a picture, (2,) for a pair; m is its product.
        hidden: sizes of the hidden layers.
        values: d ≥ 2; a variable takes the values 0 … d−1.
        orders: as for `MaskedNet`, like `connectivities` and `seed`.

    Raises:
        ValueError, TypeError: a size or an order that is none.

    >>> model = MADE((3,), hidden=[8])
    >>> x = torch.tensor([[0, 1, 1], [1, 0, 0]])
    >>> model(x).shape, model.log_prob(x).shape, model.sample(5).shape
    (torch.Size([2, 3, 2]), torch.Size([2]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (500,),
        *,
        values: int = 2,
        orders: Tensor | None = None,
        connectivities: int = 1,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.shape = tuple(require_count(size, "shape") for size in shape)
        self.values = require_count(values, "values", low=2)
        self.m = math.prod(self.shape)
        width = 1 if values == 2 else values
        self.net = MaskedNet(
            self.m,
            hidden,
            inputs=width,
            outputs=width,
            orders=orders,
            connectivities=connectivities,
            seed=seed,
        )
        self.members = self.net.members

    def forward(self, x: Tensor, member: int = 0) -> Tensor:
        """Logits of all conditionals at once, (B, m, d): entry i depends on what comes before variable i."""
        return self._logits(self._flat(x), self.net.weights(member))

    def log_conditionals(self, x: Tensor, member: int = 0) -> Tensor:
        r"""$\log p(x_i \mid \x_{<i})$ of one member in nats, (B, m)."""
        flat = self._flat(x)
        log_p = self._logits(flat, self.net.weights(member)).log_softmax(-1)  # (B, m, d)
        return log_p.gather(-1, flat[..., None]).squeeze(-1)

    def log_prob(self, x: Tensor, member: int | None = None) -> Tensor:
        r"""Exact $\log p(\x)$ in nats, (B,): of one member, or of the mixture, $\log \frac1K \sum_k p_k(\x)$.

        Args:
            x: (B, *shape), whole numbers 0 … d−1, of an integer or a float dtype.
            member: which member; None for the mixture of all.
        """
        members = range(self.members) if member is None else [member]
        each = torch.stack([self.log_conditionals(x, k).sum(1) for k in members])  # (K, B)
        return each.logsumexp(0) - math.log(len(members))

    def loss(self, x: Tensor) -> Tensor:
        r"""Mean negative log-likelihood of a batch in nats; while training, of one member drawn at random.

        What training descends is on average $-\frac1K \sum_k \log p_k(\x) \ge -\log \frac1K \sum_k p_k(\x)$.
        """
        member = int(torch.randint(self.members, ())) if self.training and self.members > 1 else None
        return -self.log_prob(x, member).mean()

    @torch.no_grad()
    def sample(self, n: int, *, generator: Generator | None = None) -> Tensor:
        """Draw n examples (n, *shape), one variable after another: m passes.

        Args:
            n: how many.
            generator: the source of chance.

        Returns:
            0.0 and 1.0 in the dtype of the weights if d = 2 (pictures); int64 otherwise.
        """
        parameter = next(self.parameters())
        x = torch.zeros(require_count(n, "n"), self.m, dtype=torch.int64, device=parameter.device)
        which = torch.randint(self.members, (n,), generator=generator, device=parameter.device)
        for member in which.unique().tolist():
            rows, weights = which == member, self.net.weights(member)
            drawn = x[rows]
            for i in self.net.order(member).tolist():
                # The zeros that stand where nothing is drawn yet have no say in output i.
                p = self._logits(drawn, weights)[:, i].softmax(-1)  # (rows, d)
                drawn[:, i] = torch.multinomial(p, 1, generator=generator).squeeze(1)
            x[rows] = drawn
        x = x.unflatten(1, self.shape)
        return x.to(parameter.dtype) if self.values == 2 else x

    def _flat(self, x: Tensor) -> Tensor:
        """Check a batch (B, *shape) and lay it out as int64 (B, m)."""
        x = require(x, "x", shape=("B", *self.shape), dtype=("float", "int"), low=0, high=self.values - 1)
        if x.is_floating_point() and (x != x.round()).any():
            raise ValueError(f"x: expected whole numbers 0 … {self.values - 1}, came fractions")
        return x.flatten(1).long()

    def _logits(self, flat: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Values (B, m) → logits (B, m, d), through weights that are masked already."""
        if self.values == 2:
            logit = self.net(flat.to(weights[0].dtype), weights)  # (B, m, 1), of the value 1 against the value 0
            return F.pad(logit, (1, 0))
        return self.net(F.one_hot(flat, self.values).flatten(1).to(weights[0].dtype), weights)
