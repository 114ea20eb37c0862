"""Fixed-point numbers: float vectors as integers whose sums are exact."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gptfl_bench.core.errors import Diverged
from gptfl_bench.secure.protocol.ring import Ring


@dataclass(frozen=True)
class Quantised:
    """A client's vector in the ring.

    Attributes:
        values: (d,), int64 in [0, R).
        clipped: Number of coordinates that lay outside the clipping range.
    """

    values: Tensor
    clipped: int


@dataclass(frozen=True)
class Quantiser:
    """Clips to [-c, c] and rounds to the nearest of 2**b steps of c / 2**(b-1).

    A coordinate of a sum is off by half a step for each client, m * c / 2**b at most, and a mean
    by c / 2**b, plus what clipping took. Zero stays zero.

    With weights, a client multiplies the rounded coordinates by its integer weight, which costs no
    precision: the weighted mean is off by c / 2**b at most.

    Attributes:
        clip: c, above 0.
        bits: b, 1 to 32.
        ring: Where sums are taken; R must be above ``total_weight * 2**bits``.
        total_weight: Most that the weights of a cohort add up to: its size m if all weigh 1, or
            its number of samples.
    """

    clip: float
    bits: int
    ring: Ring
    total_weight: int

    def __post_init__(self) -> None:
        """Refuse settings under which a sum could wrap round.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise ValueError(f"clip={self.clip} must be above 0 and finite")
        if not 1 <= self.bits <= 32:
            raise ValueError(f"bits={self.bits} must be 1 to 32")
        if self.total_weight < 1:
            raise ValueError(f"total_weight={self.total_weight} must be 1 or more")
        if self.ring.modulus <= self.total_weight << self.bits:
            raise ValueError(
                f"bits={self.bits} and a total weight of {self.total_weight} need a modulus above "
                f"{self.total_weight << self.bits}, not {self.ring.modulus}; take fewer bits"
            )

    @classmethod
    def narrowest(cls, clip: float, bits: int, total_weight: int) -> "Quantiser":
        """Return the quantiser with the smallest power of two as its modulus.

        >>> Quantiser.narrowest(1.0, 16, 10).ring.bits
        20
        """
        return cls(clip, bits, Ring(1 << (total_weight << bits).bit_length()), total_weight)

    @property
    def step(self) -> float:
        """Width of a step."""
        return math.ldexp(self.clip, 1 - self.bits)

    def encode(self, x: Tensor, weight: int = 1) -> Quantised:
        """Return a client's vector, to be summed.

        Args:
            x: Floats of any shape; flattened.
            weight: The client's weight, 1 to ``total_weight``.

        Raises:
            Diverged: If a coordinate is infinite or not a number.
            ValueError: If the weight is outside its range.
        """
        if not 1 <= weight <= self.total_weight:
            raise ValueError(f"weight={weight} must be 1 to {self.total_weight}")
        wide = x.detach().cpu().reshape(-1).double()
        if not bool(torch.isfinite(wide).all()):
            raise Diverged("an update that was to be quantised is infinite or not a number.")
        clipped = int((wide.abs() > self.clip).sum())
        steps = torch.round(wide.clamp(-self.clip, self.clip) / self.step).long()
        return Quantised(self.ring.reduce(steps * weight), clipped)

    def decode(self, total: Tensor) -> Tensor:
        """Return what a sum in the ring stands for, (d,) in float64."""
        return self.ring.signed(total).double() * self.step
