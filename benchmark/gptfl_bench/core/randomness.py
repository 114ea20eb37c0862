"""Addressed randomness: every random stream is a hash of a seed and names, never a shared state.

An address names a purpose and, where they apply, a round and a client, but never a method. All
methods of a run therefore see the same partition, cohorts, batch order and initial weights, and
a resumed or reordered run needs no saved generator state.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch

Name = str | int
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
    with _STREAM, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        # torch.manual_seed would also queue a call, with a formatted stack, for every device type
        # that is not there: slow, and a queue that grows with each client's visit.
        torch.default_generator.manual_seed(address)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(address)
        yield
