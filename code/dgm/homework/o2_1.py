"""O2.1 Masks of MADE: strictly lower triangular, and how many ways lead from a pixel to an output."""

from __future__ import annotations

import torch

from dgm.homework import Answer, Wrong

ASKS = {
    "masks": "masks(d, hidden, seed) -> the masks (hidden, d) and (d, hidden) of an autoencoder with one hidden layer",
    "paths": "paths(M_W, M_V) -> the number of ways from each input to each output, (d, d)",
}
SIZES = ((3, 5), (6, 40), (2, 1), (5, 3))


def _made(answer: Answer, d: int, hidden: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The two masks as they came, as numbers 0 and 1 of the right shapes."""
    came = answer("masks", d, hidden, seed)
    if not (isinstance(came, tuple | list) and len(came) == 2):
        raise Wrong(f"masks is to give two masks, came {type(came).__name__}")
    for name, mask, shape in zip(("M_W", "M_V"), came, ((hidden, d), (d, hidden)), strict=True):
        if not isinstance(mask, torch.Tensor) or tuple(mask.shape) != shape:
            what = tuple(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
            raise Wrong(f"masks({d}, {hidden}): {name} is to have the shape {shape}, came {what}")
        if not ((mask == 0) | (mask == 1)).all():
            raise Wrong(f"masks({d}, {hidden}): {name} is to hold zeros and ones only")
    return came[0].double(), came[1].double()


def check_masks(answer: Answer) -> None:
    """The masks have the shapes of the weights and hold zeros and ones."""
    for d, hidden in SIZES:
        _made(answer, d, hidden, 0)


def check_triangle(answer: Answer) -> None:
    """No output sees its own pixel or a later one: M_V M_W is strictly lower triangular."""
    for seed in range(5):
        for d, hidden in SIZES:
            M_W, M_V = _made(answer, d, hidden, seed)
            seen = (M_V @ M_W).triu() > 0
            if seen.any():
                i, j = seen.nonzero()[0].tolist()
                own = "its own pixel" if i == j else f"pixel {j + 1}, which comes later"
                hint = " The inequality on the way out is strict: m(k) < i." if i == j else ""
                raise Wrong(f"masks({d}, {hidden}, {seed}): output {i + 1} sees {own}.{hint}")


def check_all_seen(answer: Answer) -> None:
    """With enough hidden units each output sees all earlier pixels."""
    for seed in range(5):
        M_W, M_V = _made(answer, 5, 200, seed)
        unseen = ((M_V @ M_W) == 0).tril(-1)
        if unseen.any():
            i, j = unseen.nonzero()[0].tolist()
            raise Wrong(
                f"masks(5, 200, {seed}): output {i + 1} does not see pixel {j + 1}, though 200 units are enough: "
                "draw the numbers of the hidden units from 1 … d−1, and let a unit see the pixels up to its number"
            )


def check_chance(answer: Answer) -> None:
    """Another seed gives other masks, the same seed the same."""
    one, again, other = (_made(answer, 6, 40, seed)[0] for seed in (1, 1, 2))
    if not torch.equal(one, again):
        raise Wrong("masks with the same seed twice gives two masks; draw from a generator with that seed")
    if torch.equal(one, other):
        raise Wrong("masks gives the same for seeds 1 and 2; the numbers of the hidden units are to be drawn by chance")


def check_paths(answer: Answer) -> None:
    """The number of ways is counted right, also for masks that no rule made."""
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        M_W, M_V = torch.randint(2, (4, 3), generator=draw), torch.randint(2, (3, 4), generator=draw)
        ways = torch.tensor([[sum(int(M_V[i, k] and M_W[k, j]) for k in range(4)) for j in range(3)] for i in range(3)])
        came = answer.tensor("paths", M_W, M_V, shape=(3, 3))
        if torch.equal(came.long(), ways.T) and not torch.equal(ways, ways.T):
            raise Wrong("paths is transposed: the row is the output, the column the input")
        if not torch.equal(came.long(), ways):
            i, j = (came.long() != ways).nonzero()[0].tolist()
            told = f"from input {j + 1} to output {i + 1} there are {ways[i, j]} ways for these masks"
            raise Wrong(f"paths: {told}; came {came[i, j]:g}")
