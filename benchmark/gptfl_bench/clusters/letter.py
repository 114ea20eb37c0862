"""What travels to a worker of Dask: bytes, so that a scheduler need not load what is in them."""

from collections.abc import Callable

import cloudpickle


def sealed(work: Callable[[], object]) -> bytes:
    """Return a piece of work as bytes."""
    data: bytes = cloudpickle.dumps(work)
    return data


def opened(letter: bytes) -> object:
    """Do the work, and return what comes of it."""
    work: Callable[[], object] = cloudpickle.loads(letter)
    return work()
