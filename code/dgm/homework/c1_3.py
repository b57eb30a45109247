"""C1.3 Finding what does not belong: an autoencoder, a score, a threshold on a set of its own, TPR and TNR."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dgm.data import avatars, plant_defects
from dgm.homework import Answer, Wrong, finite

ASKS = {
    "rates": "rates(good, bad, limit) -> (TPR, TNR) of the rule: damaged if the score is at least the limit",
    "threshold": "threshold(good, bad) -> a limit with the largest smaller one of TPR and TNR on these scores",
    "train": "train(good, seed) -> a function that restores pictures (B, 3, 16, 16), trained on good ones",
    "score": "score(restore, images) -> a number for each picture, high where it is damaged, (B,)",
}
SEEDS = {"validation": 11, "test": 12}
"""Of the damages; the threshold sees those of the validation pictures only."""
ASKED = 0.95
RESTORE = "what train gave"


def _rates(good: Tensor, bad: Tensor, limit: float) -> tuple[float, float]:
    return (bad >= limit).double().mean().item(), (good < limit).double().mean().item()


def _best(good: Tensor, bad: Tensor) -> float:
    """The largest possible min(TPR, TNR): only limits at a score, or above all of them, make a difference."""
    every = torch.cat([good, bad, torch.tensor([float("inf")], dtype=good.dtype)])
    return max(min(_rates(good, bad, limit)) for limit in every.unique().tolist())


def _share(value: float) -> str:
    return f"{value:.1%}"


def check_rates(answer: Answer) -> None:
    """TPR and TNR are counted right, also where a score equals the limit."""
    good = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    bad = torch.tensor([2.0, 3.0, 5.0, 1.0, 6.0, 7.0, 2.0, 8.0], dtype=torch.float64)
    for limit in (3.0, 2.5, 5.5):
        came = answer("rates", good, bad, limit)
        if not (isinstance(came, tuple | list) and len(came) == 2):
            raise Wrong(f"rates is to give two numbers, TPR and TNR, came {type(came).__name__}")
        tpr, tnr = _rates(good, bad, limit)
        hit, false = (bad >= limit).sum().item(), (good >= limit).sum().item()
        try:
            pair = tuple(finite(torch.as_tensor(value), "rates(…)", ()).item() for value in came)
        except (TypeError, ValueError, RuntimeError):
            raise Wrong("rates is to give two numbers, TPR and TNR") from None
        mistakes = {
            "the two are exchanged: first TPR, then TNR": (tnr, tpr),
            "the second is the false positive rate; TNR is the share of good pictures that pass": (tpr, 1 - tnr),
            "a score that equals the limit counts as damaged": (
                (bad > limit).double().mean().item(),
                (good <= limit).double().mean().item(),
            ),
            "the first is the precision, a share of what was called damaged; TPR is a share of the damaged": (
                hit / (hit + false),
                tnr,
            ),
            "both are shares of all pictures; each is a share of its own kind": (
                tpr * len(bad) / (len(bad) + len(good)),
                tnr * len(good) / (len(bad) + len(good)),
            ),
            "this calls low scores damaged; high scores are suspicious": (1 - tpr, 1 - tnr),
            "these are percent or counts; shares between 0 and 1 are asked": (100 * tpr, 100 * tnr),
        }
        if max(abs(a - b) for a, b in zip(pair, (tpr, tnr), strict=True)) > 1e-6:
            close = (
                what
                for what, each in mistakes.items()
                if max(abs(a - b) for a, b in zip(pair, each, strict=True)) < 1e-6
            )
            hint = next(close, "TPR is the share of `bad` at or above the limit, TNR the share of `good` below")
            told = f"({_share(tpr)}, {_share(tnr)})"
            raise Wrong(
                f"rates(good, bad, {limit:g}) is to be {told} for {good.tolist()} and {bad.tolist()}, "
                f"came ({_share(pair[0])}, {_share(pair[1])}): {hint}"
            )


def check_threshold(answer: Answer) -> None:
    """No other threshold has a larger smaller rate on the same scores."""
    for n, m in ((50, 50), (200, 20), (20, 200)):
        good = torch.randn(n, dtype=torch.float64).exp()
        bad = (1.2 + 1.5 * torch.randn(m, dtype=torch.float64)).exp()
        limit = answer.number("threshold", good, bad)
        came, best = min(_rates(good, bad, limit)), _best(good, bad)
        if came < best - 1e-9:
            tpr, tnr = _rates(good, bad, limit)
            hint = ""
            if tnr == 1.0:
                hint = ": it lies above all good scores, and misses damages"
            elif tpr == 1.0:
                hint = ": it lies below all damaged scores, and good pictures do not pass"
            elif abs((tpr * m + tnr * n) - _most(good, bad)) < 1e-6 and n != m:
                hint = ": it makes the fewest mistakes in all, which forgets the rarer kind"
            elif abs(limit - (good.mean() + bad.mean()).item() / 2) < 1e-6:
                hint = ": it lies in the middle between the means, which a few large scores move"
            raise Wrong(
                f"threshold for {n} good and {m} damaged scores: TPR {_share(tpr)} and TNR {_share(tnr)}{hint}; "
                f"both can be {_share(best)} or more"
            )


def _most(good: Tensor, bad: Tensor) -> float:
    """The largest possible number of right answers."""
    every = torch.cat([good, bad, torch.tensor([float("inf")], dtype=good.dtype)]).tolist()
    return max(tpr * len(bad) + tnr * len(good) for tpr, tnr in (_rates(good, bad, limit) for limit in every))


def check_score(answer: Answer) -> None:
    """A score is high where the restored picture differs, and does not depend on the other pictures."""
    images = torch.rand(6, 3, 16, 16)
    off = images.clone()
    amounts = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    off[:, :, 5:8, 5:8] += amounts.view(-1, 1, 1, 1)

    def restore(x: Tensor) -> Tensor:
        """What was `off` comes back as it was before."""
        known = torch.cdist(x.flatten(1), torch.cat([off, images]).flatten(1)).argmin(1) % len(images)
        return images[known]

    came = answer.tensor("score", restore, off, shape=(6,)).detach()
    if (came.diff() < 0).all():
        raise Wrong("score: the better a picture is restored, the higher its score; it is to be the other way round")
    if not (came.diff() > 0).all():
        raise Wrong(
            "score: six pictures with errors of 0, 0.1, … 0.5 in nine pixels are to get rising scores, "
            f"came {[round(v, 4) for v in came.tolist()]}"
        )
    for i in (0, 3):
        alone = answer.tensor("score", restore, off[i : i + 1], shape=(1,)).detach()
        if not torch.allclose(alone[0], came[i], rtol=1e-4, atol=1e-6):
            raise Wrong(
                f"score: a picture alone gets {alone[0]:.4f}, among others {came[i]:.4f}. Nothing may be taken from "
                "the batch, no mean and no largest score: in the test it would be a look at the test set"
            )


def _splits() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    good = {split: avatars(split).images for split in ("train", *SEEDS)}
    return good, {split: plant_defects(good[split], seed=seed)[0] for split, seed in SEEDS.items()}


def _trained(answer: Answer, good: Tensor) -> Any:
    """What `train` gave for the training pictures; trained once."""
    if RESTORE not in answer.names:
        torch.manual_seed(0)
        answer.names[RESTORE] = answer("train", good, 0)
    return lambda x: answer.tensor(RESTORE, x, shape=tuple(x.shape)).detach()


def check_restore(answer: Answer) -> None:
    """Good pictures that were held out are restored better than by the mean picture, each on its own."""
    good, _ = _splits()
    restore, held = _trained(answer, good["train"]), good["test"]
    came = restore(held)
    error = (came - held).square().flatten(1).sum(1).mean().item()
    base = (good["train"].mean(0) - held).square().flatten(1).sum(1).mean().item()
    if error > base / 4:
        raise Wrong(
            f"train: the squared error of a held-out good picture is {error:.2f}; the mean picture has {base:.2f}, "
            f"at most a quarter of it is asked"
        )
    if torch.allclose(came, held, atol=1e-4):
        raise Wrong("train: all is restored exactly, so damages would be too; the code is to be short")
    if not torch.allclose(restore(held[:1]), came[:1], atol=1e-4):
        raise Wrong("train: a picture alone is restored otherwise than among others; call eval() on what you return")


def _area(good: Tensor, bad: Tensor) -> float:
    """Area under the ROC curve: how often a damaged picture has the higher score."""
    return ((bad[:, None] > good).double() + 0.5 * (bad[:, None] == good).double()).mean().item()


def check_detector(answer: Answer) -> None:
    """With the threshold of the validation pictures, both rates on test pictures are above 95%."""
    good, bad = _splits()
    restore, mean_picture = _trained(answer, good["train"]), good["train"].mean(0)

    def judged(restore: Any) -> tuple[float, float, float]:
        scores = {
            split: [answer.tensor("score", restore, x[split], shape=(len(x[split]),)).detach() for x in (good, bad)]
            for split in SEEDS
        }
        limit = answer.number("threshold", *scores["validation"])
        tested, damaged = scores["test"]
        return *_rates(tested, damaged, limit), _area(tested, damaged)

    tpr, tnr, area = judged(restore)
    if min(tpr, tnr) > ASKED:
        return
    tpr_mean, tnr_mean, _ = judged(lambda x: mean_picture.expand_as(x))
    hint = (
        "The scores separate well, the threshold does not"
        if area > 0.99
        else "The damages are small: where in the picture does your score look? And how short is the code?"
    )
    raise Wrong(
        f"on test pictures TPR {_share(tpr)} and TNR {_share(tnr)}, area under ROC {area:.3f}; more than 95% of both "
        f"is asked, the mean picture with your score has {_share(tpr_mean)} and {_share(tnr_mean)}. {hint}"
    )
