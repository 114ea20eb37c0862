"""Partitions: which client holds which training samples, made by pure functions.

Several recipes are called "Dirichlet partition" in the literature and give different results at
the same alpha, so each has a name of its own. A recipe's result depends on its arguments alone,
and every sample goes to exactly one client (``group`` may be asked to leave some out).

Letters in shapes: N samples, C classes that occur, K clients.
"""

from collections.abc import Sequence

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.partition import Partition, partitions
from gptfl_datasets.partitions.sharing import Integers, check, check_min_size, partition_of, rng_of


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
    check(len(labels), num_clients, min_size)
    order = rng_of(seed, "iid").permutation(len(labels))
    return partition_of(
        "iid", np.array_split(order, num_clients), {"num_clients": num_clients, "seed": seed}
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
    check_min_size(min_size)
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
        kept = np.sort(rng_of(seed, "group").permutation(kept)[:num_clients])
        settings |= {"num_clients": num_clients, "seed": seed}
    by_group = np.split(np.argsort(group_of, kind="stable"), sizes.cumsum()[:-1])
    return partition_of("group", [by_group[position] for position in kept], settings)
