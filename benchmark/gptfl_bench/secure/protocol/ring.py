"""Integers modulo R, in which masked vectors are summed."""

from dataclasses import dataclass

import torch
from torch import Tensor

MERSENNE = 2**31 - 1
"""Prime modulus of label sketches and of LightSecAgg."""


@dataclass(frozen=True)
class Ring:
    """Integers modulo R; vectors have entries in [0, R).

    Sums are taken in 64 bits and reduced once at their end. A power of two divides 2**64, so what
    wraps round stays right; other moduli are so small that 2**31 entries add without wrapping.

    Attributes:
        modulus: R, a power of two from 2 to 2**62 or any number from 3 to 2**32.
    """

    modulus: int

    def __post_init__(self) -> None:
        """Refuse a modulus whose sums 64 bits can't hold.

        Raises:
            ValueError: Naming the modulus and what is allowed.
        """
        if not 2 <= self.modulus <= (2**62 if self.is_power_of_two else 2**32):
            raise ValueError(
                f"the modulus {self.modulus} must be a power of two from 2 to 2**62, or any number "
                "up to 2**32"
            )

    @property
    def is_power_of_two(self) -> bool:
        """Whether R is a power of two."""
        return self.modulus.bit_count() == 1

    @property
    def bits(self) -> int:
        """Bits of the largest entry."""
        return (self.modulus - 1).bit_length()

    @property
    def dtype(self) -> torch.dtype:
        """The narrowest type that holds an entry: 32 bits up to R = 2**31, else 64."""
        return torch.int32 if self.modulus <= 2**31 else torch.int64

    def reduce(self, x: Tensor) -> Tensor:
        """Return int64 values of any sign modulo R, in [0, R).

        >>> Ring(8).reduce(torch.tensor([-1, 9])).tolist()
        [7, 1]
        """
        return x & (self.modulus - 1) if self.is_power_of_two else x % self.modulus

    def signed(self, x: Tensor) -> Tensor:
        """Return what entries stand for if sums of both signs are smaller than R / 2.

        >>> Ring(8).signed(torch.tensor([3, 4, 7])).tolist()
        [3, -4, -1]
        """
        return torch.where(x > (self.modulus - 1) // 2, x - self.modulus, x)

    def holds(self, x: Tensor) -> bool:
        """Return whether all entries are in [0, R)."""
        return x.numel() == 0 or (int(x.min()) >= 0 and int(x.max()) < self.modulus)
