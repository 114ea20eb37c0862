"""Masks: vectors uniform in the ring, expanded from 32-byte seeds by AES-256 in counter mode."""

from collections.abc import Iterator

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

from gptfl_bench.secure.protocol.ring import Ring

CHUNK = 2**18
"""Entries expanded at a time, so that memory does not grow with the vector."""


def add_mask(total: Tensor, seed: bytes, ring: Ring, sign: int = 1) -> None:
    """Add the mask of a seed to ``total`` in place, without reducing it.

    Args:
        total: (d,), int64.
        seed: 32 bytes, used for this mask alone.
        ring: Where entries lie.
        sign: 1 or -1.
    """
    start = 0
    for part in _parts(seed, total.numel(), ring):
        total[start : start + part.numel()].add_(part, alpha=sign)
        start += part.numel()


def mask(seed: bytes, length: int, ring: Ring) -> Tensor:
    """Return the mask of a seed, (length,) int64 in [0, R); a shorter one is its beginning."""
    total = torch.zeros(length, dtype=torch.int64)
    add_mask(total, seed, ring)
    return total


def _parts(seed: bytes, length: int, ring: Ring) -> Iterator[Tensor]:
    """Yield a mask in pieces: the key stream's words, cut to the bits of R, that are below R.

    Words that are not are left out, so there is no bias; a power of two leaves out none.
    """
    # A counter from zero is safe, for a seed makes one key stream only.
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    width = ring.dtype.itemsize
    while length > 0:
        drawn = stream.update(bytes(width * min(length, CHUNK)))
        words = np.frombuffer(drawn, f"<i{width}") & ((1 << ring.bits) - 1)
        part = torch.from_numpy(words)
        if not ring.is_power_of_two:
            part = part[part < ring.modulus]
        yield part
        length -= part.numel()
