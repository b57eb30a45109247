r"""How good are samples? Two clouds of feature vectors, real and drawn, and the numbers that compare them.

All functions take features (N, D) of any float dtype and count in float64. A score belongs to its features and to its
sample sizes: state both, and compare only scores that share them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dgm.checks import require, require_count, require_number

ROWS = 1_024  # rows of a matrix of all pairs that are held at once


def inception_score(probabilities: Tensor) -> float:
    r"""How sure a classifier is of each sample, and how even it finds them all together.

    $$\text{IS} = \exp \E_{\x} \KL\bigl(p(y \mid \x) \,\Vert\, p(y)\bigr) = \exp\bigl(H(y) - H(y \mid \x)\bigr),
    \qquad p(y) = \E_{\x}\, p(y \mid \x)$$

    Args:
        probabilities: $p(y \mid \x)$ of each sample, shape (N, classes), rows that sum to 1.

    Returns:
        A number from 1 (nothing is said about y) to the number of classes (each sample sure, all classes alike).

    Source:
        Tim Salimans, Ian Goodfellow, Wojciech Zaremba, Vicki Cheung, Alec Radford, Xi Chen (2016), Improved Techniques
        for Training GANs.

    >>> round(inception_score(torch.eye(4)), 12)
    4.0
    """
    p = require(probabilities, "probabilities", shape="N classes", dtype="float", low=0.0, high=1.0).double()
    if (off := (p.sum(1) - 1).abs().max()) > 1e-4:
        raise ValueError(f"probabilities: expected rows that sum to 1, came one that is off by {off:.2g}")
    entropy = torch.special.entr  # −p log p, and 0 where p is 0
    return (entropy(p.mean(0)).sum() - entropy(p).sum(1).mean()).exp().item()


# --- distances of two laws ---------------------------------------------------------------------------------------


def frechet_gaussians(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    r"""The squared Wasserstein-2 distance between $\N(\mu_1, \Sigma_1)$ and $\N(\mu_2, \Sigma_2)$.

    $$\lVert\mu_1 - \mu_2\rVert^2 + \tr\bigl(\Sigma_1 + \Sigma_2 - 2(\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2})^{1/2}\bigr)$$

    With factors $\Sigma_i = L_i L_i^\top$ the trace of the root is the sum of the singular values of $L_1^\top L_2$.
    No root of a rounded eigenvalue is taken after the product, so flat (singular) covariances cost no digits.

    Args:
        mean1, mean2: shape (D,).
        cov1, cov2: shape (D, D), symmetric, no negative eigenvalue.

    Returns:
        The distance in squared units of the features.

    Source:
        D. C. Dowson, B. V. Landau (1982), The Fréchet distance between multivariate normal distributions.

    >>> eye = torch.eye(3)
    >>> round(frechet_gaussians(torch.zeros(3), eye, torch.ones(3), 4 * eye), 12)  # 3·1² + 3·(2 − 1)²
    6.0
    """
    mean1 = require(mean1, "mean1", shape="D", dtype="float").double()
    D = len(mean1)
    mean2 = require(mean2, "mean2", shape=f"{D}", dtype="float").double()
    root1, root2 = _root(cov1, "cov1", D), _root(cov2, "cov2", D)
    overlap = torch.linalg.svdvals(root1.T @ root2).sum()
    squared = (mean1 - mean2).square().sum() + root1.square().sum() + root2.square().sum() - 2 * overlap
    return squared.clamp(min=0).item()  # equal laws: 0, and not −1e-15


def frechet_distance(x: Tensor, y: Tensor) -> float:
    r"""`frechet_gaussians` of the two clouds' means and covariances (divisor N − 1): the FID, on any features.

    It sees two moments and nothing else, and its mean over draws lies above its limit by about c/N.

    Args:
        x: features, shape (N, D), N ≥ 2.
        y: features, shape (M, D), M ≥ 2.

    Source:
        Martin Heusel, Hubert Ramsauer, Thomas Unterthiner, Bernhard Nessler, Sepp Hochreiter (2017), GANs Trained by a
        Two Time-Scale Update Rule Converge to a Local Nash Equilibrium.
    """
    x, y = _pair(x, "x", y, "y", least=2)
    return frechet_gaussians(x.mean(0), _cov(x), y.mean(0), _cov(y))


def kernel_distance(x: Tensor, y: Tensor) -> float:
    r"""The unbiased estimate of the squared maximum mean discrepancy with a cubic kernel: the KID, on any features.

    $$\E\,k(x, x') + \E\,k(y, y') - 2\,\E\,k(x, y), \qquad k(x, y) = \bigl(x^\top y / D + 1\bigr)^3$$

    Means go over all pairs of two different rows. All rows are used at once; the published KID is the mean over random
    subsets, which has the same expectation and more noise.

    Args:
        x: features, shape (N, D), N ≥ 2.
        y: features, shape (M, D), M ≥ 2.

    Returns:
        An estimate that may be negative: its mean is 0 where the laws are equal.

    Source:
        Mikołaj Bińkowski, Dougal Sutherland, Michael Arbel, Arthur Gretton (2018), Demystifying MMD GANs.
    """
    x, y = _pair(x, "x", y, "y", least=2)
    between = _kernel_sum(x, y) / (len(x) * len(y))
    return (_kernel_within(x) + _kernel_within(y) - 2 * between).item()


# --- neighbourhoods: which samples lie among the data --------------------------------------------------------------


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    r"""The share of samples among the data, and of data among the samples.

    A point is among a cloud if it lies in the ball of *any* point c of that cloud. The radius $r_k(c)$ belongs to the
    cloud's point: the distance from c to its k-th nearest neighbour in its own cloud.

    $$\text{precision} = \tfrac1M \sum_j \bigl[\exists i: \lVert y_j - x_i\rVert \le r_k(x_i)\bigr], \qquad
    \text{recall} = \tfrac1N \sum_i \bigl[\exists j: \lVert x_i - y_j\rVert \le r_k(y_j)\bigr]$$

    Args:
        real: features $x_i$ of data, shape (N, D), N > k.
        fake: features $y_j$ of samples, shape (M, D), M > k.
        k: which neighbour.

    Returns:
        Precision and recall, each in [0, 1].

    Source:
        Tuomas Kynkäänniemi, Tero Karras, Samuli Laine, Jaakko Lehtinen, Timo Aila (2019), Improved Precision and Recall
        Metric for Assessing Generative Models.

    >>> data, drawn = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([[0.5], [0.6], [9.0]])
    >>> precision_recall(data, drawn, k=1)  # 9 lies in no ball; its own, of radius 8.4, holds the data 1, 2 and 3
    (0.6666666666666666, 0.75)
    """
    real, fake = _pair(real, "real", fake, "fake", least=require_count(k, "k") + 1)
    samples, _, recalled = _meet(real, fake, _radii(real, k), _radii(fake, k)[0])
    return _share(samples[0]), _share(recalled)


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    r"""How many balls of data hold a sample, over k, and the share of balls that hold one at all.

    $$\text{density} = \tfrac{1}{kM} \sum_{i, j} \bigl[\lVert y_j - x_i\rVert \le r_k(x_i)\bigr], \qquad
    \text{coverage} = \tfrac1N \sum_i \bigl[\exists j: \lVert y_j - x_i\rVert \le r_k(x_i)\bigr]$$

    All balls are those of data, so a stray sample cannot help by a wide ball of its own. Where the laws are equal, the
    density is 1 on average and the coverage $1 - \frac{(N-1) \cdots (N-k)}{(M+N-1) \cdots (M+N-k)}$.

    Args:
        real: features $x_i$ of data, shape (N, D), N > k.
        fake: features $y_j$ of samples, shape (M, D).
        k: which neighbour sets the radius.

    Returns:
        Density, which may exceed 1, and coverage in [0, 1].

    Source:
        Muhammad Ferjad Naeem, Seong Joon Oh, Youngjung Uh, Yunjey Choi, Jaejun Yoo (2020), Reliable Fidelity and
        Diversity Metrics for Generative Models.
    """
    real, fake = _pair(real, "real", fake, "fake")
    if len(real) <= require_count(k, "k"):
        raise ValueError(f"real: expected at least {k + 1} rows, came {len(real)}")
    _, balls, _ = _meet(real, fake, _radii(real, k))
    return balls[0].sum().item() / (k * len(fake)), _share(balls[0] > 0)


def mode_counts(points: Tensor, centres: Tensor, radius: float) -> Tensor:
    """How many points lie within `radius` of each centre: what a mixture's samples left out, and how much hit none.

    Args:
        points: samples, shape (N, D).
        centres: of the modes, shape (K, D), further than 2 · radius from each other.
        radius: what still counts as a hit; three standard deviations of a peak hold 98.9 % of its mass in the plane.

    Returns:
        Whole numbers, (K,); their sum over N is the share of points near any mode.

    >>> mode_counts(torch.tensor([[0.1], [0.0], [5.0]]), torch.tensor([[0.0], [1.0]]), 0.3)
    tensor([2, 0])
    """
    points = require(points, "points", shape="N D", dtype="float").detach()
    centres = require(centres, "centres", shape=f"K {points.shape[1]}", dtype="float").to(points)
    near, which = _distances(points, centres).min(1)
    radius = require_number(radius, "radius", low=0.0, open_low=True)
    return torch.bincount(which[near <= radius], minlength=len(centres))


def nearest_distances(points: Tensor, cloud: Tensor) -> Tensor:
    """From each point to the nearest of a cloud; samples that copy training data lie nearer to it than fresh data do.

    Args:
        points: shape (N, D).
        cloud: shape (M, D).

    Returns:
        Euclidean distances, float64 (N,).

    >>> nearest_distances(torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [3.5], [9.0]]))
    tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    points, cloud = _pair(points, "points", cloud, "cloud")
    return torch.cat([_distances(rows, cloud).amin(1) for rows in points.split(ROWS)])


# --- all of them -------------------------------------------------------------------------------------------------


def compare(real: Tensor, fake: Tensor) -> dict[str, float]:
    """The distances and shares above by name, with the neighbours of their papers (3 and 5).

    Args:
        real: features of data, shape (N, D), N ≥ 6.
        fake: features of samples, shape (M, D), M ≥ 4.
    """
    real, fake = _pair(real, "real", fake, "fake", least=4)
    if len(real) < 6:
        raise ValueError(f"real: expected at least 6 rows, came {len(real)}")
    samples, balls, recalled = _meet(real, fake, _radii(real, 3, 5), _radii(fake, 3)[0])
    return {
        "FD": frechet_distance(real, fake),
        "KD": kernel_distance(real, fake),
        "precision": _share(samples[0]),
        "recall": _share(recalled),
        "density": balls[1].sum().item() / (5 * len(fake)),
        "coverage": _share(balls[1] > 0),
    }


# --- pieces ------------------------------------------------------------------------------------------------------


def _pair(x: Tensor, x_name: str, y: Tensor, y_name: str, *, least: int = 1) -> tuple[Tensor, Tensor]:
    """Two clouds of features as float64: (N, D) and (M, D), each of at least `least` rows."""
    x = require(x, x_name, shape="N D", dtype="float")
    y = require(y, y_name, shape=f"M {x.shape[1]}", dtype="float")
    for cloud, name in ((x, x_name), (y, y_name)):
        if len(cloud) < least:
            raise ValueError(f"{name}: expected at least {least} rows, came {len(cloud)}")
    return x.detach().double(), y.detach().double()


def _cov(x: Tensor) -> Tensor:
    """The covariance (D, D) of the rows of x (N, D), divisor N − 1."""
    centred = x - x.mean(0)
    return centred.T @ centred / (len(x) - 1)


def _root(cov: Tensor, name: str, D: int) -> Tensor:
    """A factor L of Σ = LLᵀ, shape (D, D); Σ may be singular."""
    cov = require(cov, name, shape=f"{D} {D}", dtype="float").double()
    values, vectors = torch.linalg.eigh(cov)
    rounding = 1e-5 * values.abs().max()
    if (cov - cov.T).abs().max() > rounding or values[0] < -rounding:
        raise ValueError(f"{name}: expected a covariance: symmetric, without negative eigenvalues")
    return vectors * values.clamp(min=0).sqrt()


def _kernel(products: Tensor, D: int) -> Tensor:
    return (products / D + 1) ** 3


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    """The kernel summed over all pairs of a row of x and a row of y."""
    return torch.stack([_kernel(rows @ y.T, x.shape[1]).sum() for rows in x.split(ROWS)]).sum()


def _kernel_within(x: Tensor) -> Tensor:
    """The kernel's mean over all pairs of two different rows of x."""
    alone = _kernel(x.square().sum(1), x.shape[1]).sum()  # each row with itself
    return (_kernel_sum(x, x) - alone) / (len(x) * (len(x) - 1))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances (N, M) taken by differences: two equal rows are at distance 0, d(a, b) and d(b, a) are equal."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(cloud: Tensor, *ks: int) -> list[Tensor]:
    """From each point to its k-th nearest neighbour, for each k; the point itself, at distance 0, is none."""
    most = max(ks) + 1
    nearest = torch.cat([_distances(rows, cloud).topk(most, largest=False).values for rows in cloud.split(ROWS)])
    return [nearest[:, k] for k in ks]  # rising along a row


def _meet(
    real: Tensor, fake: Tensor, real_radii: list[Tensor], fake_radii: Tensor | None = None
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Who lies in whose ball; every distance is taken once, and a radius is that of the ball's centre.

    Args:
        real: data, shape (N, D).
        fake: samples, shape (M, D).
        real_radii: of the balls around data, shape (N,), one tensor for each choice of k.
        fake_radii: of the balls around samples, shape (M,).

    Returns:
        For each choice, which samples lie in a ball of data, bool (M,), and how many samples lie in each ball,
        int64 (N,); then which data lie in a ball of a sample, bool (N,), none without `fake_radii`.
    """
    held = [torch.zeros(len(fake), dtype=torch.bool) for _ in real_radii]
    counts: list[list[Tensor]] = [[] for _ in real_radii]
    recalled = []
    for start in range(0, len(real), ROWS):
        distances = _distances(real[start : start + ROWS], fake)
        for choice, radii in enumerate(real_radii):
            inside = distances <= radii[start : start + ROWS, None]
            held[choice] |= inside.any(0)
            counts[choice].append(inside.sum(1))
        recalled.append((distances <= (-1.0 if fake_radii is None else fake_radii)).any(1))
    return held, [torch.cat(parts) for parts in counts], torch.cat(recalled)


def _share(flags: Tensor) -> float:
    return flags.double().mean().item()
