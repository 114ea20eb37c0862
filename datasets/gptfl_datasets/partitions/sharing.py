"""What the partition recipes share: their randomness, their checks and their form.

Letters in shapes: N samples, C classes that occur, K clients.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import address_seed
from gptfl_bench.data.partition import Partition

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def rng_of(seed: int, recipe: str) -> np.random.RandomState:
    """Return the source of a recipe's draws."""
    # RandomState and not Generator: NumPy promises to keep RandomState's streams for ever, so a
    # fingerprint made today can be made again with any later version.
    return np.random.RandomState(address_seed(seed, "partition", recipe) % 2**32)


def check(num_samples: int, num_clients: int, min_size: int, alpha: float = 1.0) -> None:
    """Raise UsageError for a request that no draw can meet."""
    if num_clients < 1:
        raise UsageError(f"num_clients must be at least 1, not {num_clients}; add clients.")
    check_min_size(min_size)
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


def check_min_size(min_size: int) -> None:
    """Refuse a smallest client of no samples.

    Raises:
        UsageError: If it is below 1.
    """
    if min_size < 1:
        raise UsageError(
            f"min_size must be at least 1, not {min_size}; a client without samples can't train."
        )


def partition_of(
    recipe: str,
    clients: Sequence[Integers | list[int]],
    settings: dict[str, str | int | float | None],
) -> Partition:
    """Return a partition with each client's indices in ascending order."""
    ascending = tuple(tuple(sorted(int(index) for index in indices)) for indices in clients)
    return Partition(ascending, recipe, settings)
