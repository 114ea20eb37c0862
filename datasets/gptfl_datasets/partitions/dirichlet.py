"""Partitions with label skew, drawn from a Dirichlet distribution.

Letters in shapes: N samples, C classes that occur, K clients.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.partition import Partition, partitions
from gptfl_datasets.partitions.sharing import Floats, Integers, check, partition_of, rng_of

# At alpha 0.1, 100 clients and 32 samples (the paper's CIFAR-10), 1 draw in 140 is large enough.
_DRAWS = 2000
# A draw of the balanced recipe may cost a thousand passes, but nearly every one is large enough.
_BALANCED_DRAWS = 50
_PASSES = 1000
_BALANCE_TOLERANCE = 1e-6
# A tiny alpha can round a client's shares of all classes to zero or NaN, which no scaling repairs.
_TINY = 1e-200


@partitions.register(
    "dirichlet",
    title="Label skew: each class split by a Dirichlet draw, large clients capped (NIID-Bench)",
    source="Li et al., Federated Learning on Non-IID Data Silos, arXiv:2102.02079; GPT-FL's code",
    year=2022,
)
def dirichlet(
    labels: Integers,
    groups: Sequence[str] | None = None,
    *,
    num_clients: int,
    seed: int = 0,
    alpha: float,
    min_size: int = 1,
) -> Partition:
    """Return the capped Dirichlet partition, the one of GPT-FL's released code.

    For each class draw the clients' shares from Dir(alpha), give nothing to clients that already
    hold N/K samples or more, renormalise, and cut the shuffled class at the rounded-down cumulated
    shares. All classes are drawn again until the smallest client has ``min_size`` samples. The
    cap makes sizes less skewed than a pure Dirichlet draw. Rounding down favours the last client,
    by up to one sample a class.

    Differs from the released code: a class is shuffled once and not at every repetition, which
    changes no probability because sizes don't depend on the order.

    Args:
        labels: Class of each training sample, (N,).
        groups: Not used.
        num_clients: K, from 1 to N.
        seed: Root of the randomness.
        alpha: Concentration, above 0; the smaller, the stronger the skew.
        min_size: Samples the smallest client must have, at least 1.

    Raises:
        UsageError: If the request is impossible, or no draw gave every client enough samples.
    """
    cap = len(labels) / max(num_clients, 1)
    return _by_class("dirichlet", labels, cap, num_clients, seed, alpha, min_size)


@partitions.register(
    "dirichlet_uncapped",
    title="Label skew: each class split by a Dirichlet draw, sizes as they fall",
    source="Yurochkin et al., Bayesian Nonparametric Federated Learning, arXiv:1905.12022; Flower",
    year=2019,
)
def dirichlet_uncapped(
    labels: Integers,
    groups: Sequence[str] | None = None,
    *,
    num_clients: int,
    seed: int = 0,
    alpha: float,
    min_size: int = 1,
) -> Partition:
    """Return the plain Dirichlet partition: as :func:`dirichlet`, but no client is capped.

    Flower's ``DirichletPartitioner`` gives the same sizes from the same draws; it deals out each
    class in file order, this recipe in random order.

    The arguments and errors are those of :func:`dirichlet`.
    """
    return _by_class("dirichlet_uncapped", labels, math.inf, num_clients, seed, alpha, min_size)


@partitions.register(
    "dirichlet_balanced",
    title="Label skew with clients of about equal size: doubly normalised Dirichlet matrix",
    source="Pi et al., DynaFed, arXiv:2211.10878 (released code)",
    year=2023,
)
def dirichlet_balanced(
    labels: Integers,
    groups: Sequence[str] | None = None,
    *,
    num_clients: int,
    seed: int = 0,
    alpha: float,
    min_size: int = 1,
) -> Partition:
    """Return DynaFed's partition, in which all clients hold about N/K samples.

    Draw a C x K matrix of shares, each row from Dir(alpha), and scale alternately its columns to
    N/K samples and its rows to the size of the class, until both hold or for 1,000 passes; then
    cut each shuffled class at the cumulated shares, rounded down after adding an offset drawn for
    the class from [0, 1), so that what a client gets is right on average.

    Differs from the released code: columns are scaled in samples, not in shares, so that sizes
    are equal for classes of unequal size as well (for equal classes it is the same); the offset,
    because without it the last client gets up to one sample of every class too many; classes are
    shuffled; and the draw is repeated if a client stays below ``min_size``.

    The arguments and errors are those of :func:`dirichlet`.
    """
    check(len(labels), num_clients, min_size, alpha)
    rng = rng_of(seed, "dirichlet_balanced")
    classes = _shuffled_classes(labels, rng)
    class_sizes = np.array([len(members) for members in classes])

    def draw() -> Integers:
        shares = rng.dirichlet(np.full(num_clients, alpha), size=len(classes))
        if not shares.sum(axis=0).min() > _TINY:
            return np.zeros(shares.shape, dtype=np.int64)
        shares = _doubly_normalised(shares, class_sizes)
        rows = zip(shares, class_sizes, rng.random_sample(len(classes)), strict=True)
        return np.stack([_cut(row, size, offset) for row, size, offset in rows])

    counts = _large_enough("dirichlet_balanced", draw, _BALANCED_DRAWS, alpha, min_size)
    return partition_of(
        "dirichlet_balanced", _deal(classes, counts), _settings(num_clients, seed, alpha, min_size)
    )


@partitions.register(
    "dirichlet_prior",
    title="Label skew with clients of equal size: each client draws classes from its own prior",
    source="Zhang et al., FedFTG, arXiv:2203.09249 (released code)",
    year=2022,
)
def dirichlet_prior(
    labels: Integers,
    groups: Sequence[str] | None = None,
    *,
    num_clients: int,
    seed: int = 0,
    alpha: float,
    min_size: int = 1,
) -> Partition:
    """Return FedFTG's partition, in which sizes differ by one at most.

    Each client has a prior over the classes from Dir(alpha). The clients take turns in random
    order; at its turn a client draws a class from its prior and takes a random sample of it that
    nobody has. A class that is used up leaves all priors, which are renormalised; a client whose
    prior has nothing left draws from what remains. The last turns therefore follow the prior least.

    Differs from the released code: the N mod K samples it drops go to the first clients.

    The arguments and errors are those of :func:`dirichlet`.
    """
    check(len(labels), num_clients, min_size, alpha)
    rng = rng_of(seed, "dirichlet_prior")
    classes = [members.tolist() for members in _shuffled_classes(labels, rng)]
    priors = rng.dirichlet(np.full(len(classes), alpha), size=num_clients)
    if not np.isfinite(priors).all():
        raise UsageError(
            f"partition 'dirichlet_prior': at alpha {alpha:g} the draws round to zero; "
            "use a larger alpha."
        )
    owners = np.arange(len(labels)) % num_clients
    clients: list[list[int]] = [[] for _ in range(num_clients)]
    points = rng.random_sample(len(labels))
    for client, point in zip(rng.permutation(owners), points, strict=True):
        weights = priors[client]
        if not weights.any():
            weights = np.array([float(len(members)) for members in classes])
        cumulated = weights.cumsum()
        # Divided and not multiplied: the last entry is then exactly 1, and the point below it.
        drawn = int((cumulated / cumulated[-1]).searchsorted(point, side="right"))
        clients[client].append(classes[drawn].pop())
        if not classes[drawn]:
            priors[:, drawn] = 0
    return partition_of(
        "dirichlet_prior",
        clients,
        {"num_clients": num_clients, "seed": seed, "alpha": float(alpha)},
    )


def _by_class(
    recipe: str,
    labels: Integers,
    cap: float,
    num_clients: int,
    seed: int,
    alpha: float,
    min_size: int,
) -> Partition:
    """Return a partition that cuts each class at Dirichlet shares of clients below ``cap``."""
    check(len(labels), num_clients, min_size, alpha)
    rng = rng_of(seed, recipe)
    classes = _shuffled_classes(labels, rng)

    def draw() -> Integers:
        counts = np.zeros((len(classes), num_clients), dtype=np.int64)
        sizes = np.zeros(num_clients, dtype=np.int64)
        draws = rng.dirichlet(np.full(num_clients, alpha), size=len(classes))
        for row, share, members in zip(counts, draws, classes, strict=True):
            share *= sizes < cap
            if not share.sum() > 0:  # a tiny alpha rounded all that is left to zero or NaN
                return np.zeros_like(counts)
            row[:] = _cut(share / share.sum(), len(members))
            sizes += row
        return counts

    counts = _large_enough(recipe, draw, _DRAWS, alpha, min_size)
    return partition_of(
        recipe, _deal(classes, counts), _settings(num_clients, seed, alpha, min_size)
    )


def _settings(
    num_clients: int, seed: int, alpha: float, min_size: int
) -> dict[str, str | int | float | None]:
    return {
        "num_clients": num_clients,
        "seed": seed,
        "alpha": float(alpha),
        "min_size": min_size,
    }


def _shuffled_classes(labels: Integers, rng: np.random.RandomState) -> list[Integers]:
    """Return the sample indices of each class that occurs, by class, in random order."""
    return [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]


def _cut(share: Floats, size: int, offset: float = 0.0) -> Integers:
    """Return how many of ``size`` samples go to each client, (K,), from shares that sum to 1."""
    ends = np.floor(share.cumsum() * size + offset).astype(np.int64).clip(max=size)
    ends[-1] = size
    counts: Integers = np.diff(ends, prepend=0)
    return counts


def _doubly_normalised(shares: Floats, class_sizes: Integers) -> Floats:
    """Return shares (C, K) with rows of sum 1 that give each client about equally many samples."""
    samples = shares * class_sizes[:, None]
    target = class_sizes.sum() / shares.shape[1]
    for _ in range(_PASSES):
        columns = samples.sum(axis=0)
        if np.abs(columns / target - 1).max() < _BALANCE_TOLERANCE:
            break
        samples *= target / columns
        samples *= (class_sizes / samples.sum(axis=1))[:, None]
    scaled: Floats = samples / class_sizes[:, None]
    return scaled


def _large_enough(
    recipe: str, draw: Callable[[], Integers], attempts: int, alpha: float, min_size: int
) -> Integers:
    """Return the first drawn table of counts (C, K) that gives each client ``min_size`` samples.

    Raises:
        UsageError: If none of the attempts does; the sentence names the smallest client of the
            best one.
    """
    best, smallest, num_clients = -1, 0, 0
    for _ in range(attempts):
        counts = draw()
        sizes = counts.sum(axis=0)
        if sizes.min() >= min_size:
            return counts
        if sizes.min() > best:
            best, smallest, num_clients = int(sizes.min()), int(sizes.argmin()), len(sizes)
    raise UsageError(
        f"partition {recipe!r}: in the best of {attempts} draws client {smallest} has {best} "
        f"samples, fewer than min_size {min_size}, at alpha {alpha:g} with {num_clients} clients; "
        "use a larger alpha, fewer clients or a smaller min_size."
    )


def _deal(classes: list[Integers], counts: Integers) -> list[Integers]:
    """Return each client's samples: ``counts`` (C, K) says how many of each class it gets."""
    cuts = [
        np.split(members, row.cumsum()[:-1]) for members, row in zip(classes, counts, strict=True)
    ]
    return [np.concatenate(parts) for parts in zip(*cuts, strict=True)]
