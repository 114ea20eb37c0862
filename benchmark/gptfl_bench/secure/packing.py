"""Replies as vectors for secure aggregation, and their sum as tensors again.

A client's reply becomes one vector of integers modulo R. What the server learns is the sum of these
vectors over the clients that stayed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.cohort import Sums, Weighting
from gptfl_bench.secure.protocol.quantise import Quantiser
from gptfl_bench.secure.protocol.ring import Ring


@dataclass
class Packing(ABC):
    """Where the tensors of a reply lie in its vector; the first reply decides for all.

    Attributes:
        clipped: Coordinates that were cut off, so far.
    """

    clipped: int = field(default=0, init=False)
    _places: list[tuple[str, str, torch.Size, torch.dtype]] = field(
        default_factory=list, init=False
    )

    @property
    @abstractmethod
    def ring(self) -> Ring:
        """Where vectors are summed."""

    @property
    def bound(self) -> float:
        """Largest error that rounding can make in a coordinate of a mean."""
        return 0.0

    @abstractmethod
    def encode(self, reply: Groups, examples: int) -> Tensor:
        """Return a client's vector, (d,) int64 in [0, R).

        Args:
            reply: What it would have sent.
            examples: Its number of samples.

        Raises:
            UsageError: If the reply has other tensors than the first, or does not fit the ring.
        """

    @abstractmethod
    def decode(self, total: Tensor) -> tuple[Sums, int]:
        """Return the sums that a sum of vectors stands for, and the number of samples in them."""

    def _flat(self, reply: Groups, integers: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the integers of all tensors of a reply, one after the other."""
        places = [
            (group, name, tensor.shape, tensor.dtype)
            for group, tree in sorted(reply.items())
            for name, tensor in sorted(tree.items())
        ]
        self._places = self._places or places
        if places != self._places:
            raise UsageError(
                "clients send tensors of other names or shapes than one another, which secure "
                "aggregation can't add up; set secure_aggregation=false."
            )
        flat = [integers(reply[group][name]).reshape(-1) for group, name, _, _ in places]
        return torch.cat(flat) if flat else torch.empty(0, dtype=torch.int64)

    def _trees(
        self, total: Tensor, value: Callable[[Tensor, torch.dtype], Tensor]
    ) -> tuple[Groups, Tensor]:
        """Return tensors made of a sum's integers, and the integers that are left."""
        groups: Groups = {}
        for group, name, shape, dtype in self._places:
            part, total = total[: shape.numel()], total[shape.numel() :]
            groups.setdefault(group, {})[name] = value(part, dtype).reshape(shape)
        return groups, total


@dataclass
class FieldPacking(Packing):
    """Tensors of integers that are in the ring already, such as sketches.

    Attributes:
        modulus: R.
    """

    modulus: int

    @property
    def ring(self) -> Ring:
        """Where vectors are summed."""
        return Ring(self.modulus)

    def encode(self, reply: Groups, examples: int) -> Tensor:
        """Return the integers as they are; how many samples a client has stays with it."""
        return self._flat(reply, lambda tensor: tensor.long())

    def decode(self, total: Tensor) -> tuple[Sums, int]:
        """Return plain sums modulo R."""
        groups, _ = self._trees(total, lambda part, dtype: part)
        return {"uniform": groups}, 0


@dataclass
class FixedPointPacking(Packing):
    """Floats clipped and rounded to steps, integers as they are, all times the client's weight.

    The vector ends with the client's number of samples, which weighted means are divided by.

    Attributes:
        quantiser: Makes integers of floats.
        weightings: Which sums are asked for; each has a part of the vector.
    """

    quantiser: Quantiser
    weightings: tuple[Weighting, ...]

    @property
    def ring(self) -> Ring:
        """Where vectors are summed."""
        return self.quantiser.ring

    @property
    def bound(self) -> float:
        """Half a step, c / 2**b, as in each of the clients' vectors."""
        return self.quantiser.step / 2

    def encode(self, reply: Groups, examples: int) -> Tensor:
        """Return a client's vector; see :class:`Packing`."""

        def part(weight: int) -> Tensor:
            return self._flat(reply, lambda tensor: self._weighted(tensor, weight))

        parts = [part(examples if w == "examples" else 1) for w in self.weightings]
        return torch.cat([*parts, torch.tensor([examples])])

    def decode(self, total: Tensor) -> tuple[Sums, int]:
        """Return the sums of each weighting in the tensors' own types, integers in 64 bits."""

        def value(part: Tensor, dtype: torch.dtype) -> Tensor:
            if dtype.is_floating_point:
                return self.quantiser.decode(part).to(dtype)
            return self.ring.signed(part)

        sums: Sums = {}
        for weighting in self.weightings:
            sums[weighting], total = self._trees(total, value)
        return sums, int(total[0])

    def _weighted(self, tensor: Tensor, weight: int) -> Tensor:
        if not tensor.dtype.is_floating_point:
            return self._integers(tensor, weight)
        if not weight:
            # A client without samples has no say in a mean by samples.
            return torch.zeros(tensor.numel(), dtype=torch.int64)
        quantised = self.quantiser.encode(tensor, weight)
        self.clipped += quantised.clipped
        return quantised.values

    def _integers(self, tensor: Tensor, weight: int) -> Tensor:
        values = tensor.detach().cpu().reshape(-1).long()
        # Weights add up to total_weight at most, so a sum of no more than this can't wrap round.
        most = (self.ring.modulus - 1) // (2 * self.quantiser.total_weight)
        largest = int(values.abs().max()) if values.numel() else 0
        if largest > most:
            raise UsageError(
                f"a counter of {largest:,} is too large for secure aggregation with "
                f"secure.bits={self.quantiser.bits}; set it higher."
            )
        return self.ring.reduce(values * weight)
