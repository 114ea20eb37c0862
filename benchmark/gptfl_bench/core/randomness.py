"""Addressed randomness: every random stream is a hash of a seed and names, never a shared state.

An address names a purpose and, where they apply, a round and a client, but never a method. All
methods of a run therefore see the same partition, cohorts, batch order and initial weights, and
a resumed or reordered run needs no saved generator state.
"""

import hashlib
import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import SupportsIndex

import numpy as np
import torch

from gptfl_bench.core.errors import UsageError

Name = str | int
Seeds = SupportsIndex | Iterable[SupportsIndex]
"""One or several whole numbers of any library."""
LARGEST_SEED = 2**63 - 1
"""What every library and file format can hold."""


def as_seed(value: SupportsIndex) -> int:
    """Return a whole number of any library (NumPy, torch, pandas) as a seed.

    The seed's text is hashed, so ``0.0`` or ``True`` would silently be other seeds than 0 and 1.

    Raises:
        UsageError: If it is none, negative, or too large.
    """
    kind = str(getattr(value, "dtype", type(value).__name__)).rpartition(".")[2]
    try:
        number = operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        number = -1
    if not 0 <= number <= LARGEST_SEED or kind == "bool":
        raise UsageError(
            f"the seed {value!r} must be a whole number of 0 or more, such as 0"
            f"{f', and at most {LARGEST_SEED}' if number > LARGEST_SEED else ''}."
        )
    return number


def as_seeds(values: Seeds) -> list[int]:
    """Return one or several whole numbers as seeds.

    Raises:
        UsageError: If there is none, one is no seed, or one is there twice.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        return [as_seed(values)]  # type: ignore[arg-type]
    try:
        listed = list(values)
    except TypeError:  # an array without dimensions
        return [as_seed(values)]  # type: ignore[arg-type]
    seeds = [as_seed(value) for value in listed]
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"seeds {seeds} must be distinct whole numbers of 0 or more.")
    return seeds


_STREAM = RLock()
"""Held by the thread that torch's global stream belongs to."""


def address_seed(seed: int, *names: Name) -> int:
    """Return a 63-bit seed for the address ``(seed, *names)``.

    The hash is BLAKE2b over an unambiguous text form, so it is the same on every platform.

    >>> address_seed(0, "batches", 1, 2) == address_seed(0, "batches", 1, 2)
    True
    >>> address_seed(0, "batches", 12) == address_seed(0, "batches", 1, 2)
    False
    """
    text = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def torch_rng(seed: int, *names: Name) -> torch.Generator:
    """Return a CPU generator at the address ``(seed, *names)``."""
    return torch.Generator().manual_seed(address_seed(seed, *names))


def numpy_rng(seed: int, *names: Name) -> np.random.Generator:
    """Return a NumPy generator at the address ``(seed, *names)``."""
    return np.random.default_rng(address_seed(seed, *names))


@contextmanager
def isolated_torch_rng(seed: int, *names: Name) -> Iterator[None]:
    """Address torch's global stream inside the block and restore it afterwards.

    Dropout and default initialisers draw from the global stream; inside this block what they draw
    depends on the address alone. All threads of a process share that stream, so they take turns.
    """
    address = address_seed(seed, *names)
    with _STREAM:
        # What torch.random.fork_rng does, without looking for GPUs at each client's visit.
        before = torch.default_generator.get_state()
        gpus = [torch.cuda.get_rng_state(number) for number in range(_gpus())]
        # torch.manual_seed would also queue a call, with a formatted stack, for every device type
        # that is not there: slow, and a queue that grows with each client's visit.
        torch.default_generator.manual_seed(address)
        if gpus:
            torch.cuda.manual_seed_all(address)
        try:
            yield
        finally:
            torch.default_generator.set_state(before)
            for number, state in enumerate(gpus):
                torch.cuda.set_rng_state(state, number)


@cache
def _gpus() -> int:
    """Return the number of GPUs, which takes a library's load to find out."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
