"""Partitions: which client holds which training samples, made by pure functions.

Several recipes are called "Dirichlet partition" in the literature and give different results at
the same alpha, so each has a name of its own. A recipe's result depends on its arguments alone,
and every sample goes to exactly one client (``group`` may be asked to leave some out).

Letters in shapes: N samples, C classes that occur, K clients.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gptfl_bench.errors import UsageError
from gptfl_bench.randomness import address_seed
from gptfl_bench.task import Partition, partitions

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# At alpha 0.1, 100 clients and 32 samples (the paper's CIFAR-10), 1 draw in 140 is large enough.
_CAPPED_DRAWS = 2000
# A draw of the balanced recipe may cost a thousand passes, but nearly every one is large enough.
_BALANCED_DRAWS = 50
_PASSES = 1000
_BALANCE_TOLERANCE = 1e-6
# A tiny alpha can round a client's shares of all classes to zero or NaN, which no scaling repairs.
_TINY = 1e-200


@partitions.register("iid", title="Equal random shares of all samples")
def iid(
    labels: Integers,
    groups: Sequence[str] | None = None,
    *,
    num_clients: int,
    seed: int = 0,
    alpha: float = 1.0,
    min_size: int = 1,
) -> Partition:
    """Return a partition into random shares whose sizes differ by one at most.

    The arguments are those of :func:`dirichlet`; ``groups`` and ``alpha`` play no part.

    Raises:
        UsageError: If there are too few samples for ``num_clients`` and ``min_size``.
    """
    _check(len(labels), num_clients, min_size)
    order = _rng(seed, "iid").permutation(len(labels))
    return _partition(
        "iid", np.array_split(order, num_clients), {"num_clients": num_clients, "seed": seed}
    )


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
    _check(len(labels), num_clients, min_size, alpha)
    rng = _rng(seed, "dirichlet")
    classes = _shuffled_classes(labels, rng)
    cap = len(labels) / num_clients

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

    counts = _large_enough("dirichlet", draw, _CAPPED_DRAWS, alpha, min_size)
    return _partition(
        "dirichlet", _deal(classes, counts), _settings(num_clients, seed, alpha, min_size)
    )


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
    _check(len(labels), num_clients, min_size, alpha)
    rng = _rng(seed, "dirichlet_balanced")
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
    return _partition(
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
    _check(len(labels), num_clients, min_size, alpha)
    rng = _rng(seed, "dirichlet_prior")
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
    return _partition(
        "dirichlet_prior",
        clients,
        {"num_clients": num_clients, "seed": seed, "alpha": float(alpha)},
    )


@partitions.register(
    "group",
    title="Natural partition: one client for each speaker, author or other group id",
    needs="a data set with group ids",
)
def group(
    labels: Integers,
    groups: Sequence[str] | None,
    *,
    num_clients: int,
    seed: int = 0,
    alpha: float = 1.0,
    min_size: int = 1,
) -> Partition:
    """Return the natural partition; clients are in the order of their group ids.

    Args:
        labels: Class of each training sample, (N,); only its length matters.
        groups: Group id of each training sample, (N,).
        num_clients: Number of groups to draw at random as clients; 0 for all groups.
        seed: Root of the randomness; plays no part if all groups are clients.
        alpha: Not used.
        min_size: Groups with fewer samples are left out; 1 leaves out none.

    Raises:
        UsageError: If there are no group ids, or fewer groups of that size than ``num_clients``.
    """
    if groups is None:
        raise UsageError(
            "partition 'group' needs group ids, but the data set has none; "
            "choose iid, dirichlet, dirichlet_balanced or dirichlet_prior."
        )
    if len(groups) != len(labels):
        raise UsageError(
            f"{len(groups)} group ids do not fit {len(labels)} samples; give one for each sample."
        )
    if num_clients < 0:
        raise UsageError(
            f"num_clients must be at least 1, or 0 for all groups, not {num_clients}; change it."
        )
    _check_min_size(min_size)
    _, group_of, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    kept = np.flatnonzero(sizes >= min_size)
    if len(kept) == 0:
        raise UsageError(
            f"no group has min_size {min_size} samples or more, the largest has "
            f"{sizes.max(initial=0)}; use a smaller min_size."
        )
    if num_clients > len(kept):
        raise UsageError(
            f"num_clients {num_clients} is more than the {len(kept)} of {len(sizes)} groups that "
            f"have min_size {min_size} samples or more; use at most {len(kept)}, or 0 for all."
        )
    settings: dict[str, str | int | float | None] = {"num_clients": len(kept), "min_size": min_size}
    if 0 < num_clients < len(kept):
        kept = np.sort(_rng(seed, "group").permutation(kept)[:num_clients])
        settings |= {"num_clients": num_clients, "seed": seed}
    by_group = np.split(np.argsort(group_of, kind="stable"), sizes.cumsum()[:-1])
    return _partition("group", [by_group[position] for position in kept], settings)


def _rng(seed: int, recipe: str) -> np.random.RandomState:
    # RandomState and not Generator: NumPy promises to keep RandomState's streams for ever, so a
    # fingerprint made today can be made again with any later version.
    return np.random.RandomState(address_seed(seed, "partition", recipe) % 2**32)


def _check(num_samples: int, num_clients: int, min_size: int, alpha: float = 1.0) -> None:
    """Raise UsageError for a request that no draw can meet."""
    if num_clients < 1:
        raise UsageError(f"num_clients must be at least 1, not {num_clients}; add clients.")
    _check_min_size(min_size)
    if not (math.isfinite(alpha) and alpha > 0):
        raise UsageError(
            f"alpha must be a finite number above 0, not {alpha}; "
            "0.1 gives strong label skew, 100 nearly none."
        )
    if num_clients > num_samples:
        raise UsageError(
            f"num_clients {num_clients} is more than the {num_samples} training samples; "
            f"use at most {num_samples}."
        )
    if num_clients * min_size > num_samples:
        raise UsageError(
            f"{num_clients} clients with min_size {min_size} need {num_clients * min_size} "
            f"training samples, but there are {num_samples}; "
            f"use fewer clients or a min_size of at most {num_samples // num_clients}."
        )


def _check_min_size(min_size: int) -> None:
    if min_size < 1:
        raise UsageError(
            f"min_size must be at least 1, not {min_size}; a client without samples can't train."
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


def _partition(
    recipe: str,
    clients: Sequence[Integers | list[int]],
    settings: dict[str, str | int | float | None],
) -> Partition:
    ascending = tuple(tuple(sorted(int(index) for index in indices)) for indices in clients)
    return Partition(ascending, recipe, settings)
