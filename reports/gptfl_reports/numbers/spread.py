"""A mean with the number of values behind it and their spread, alone or paired by seed."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from gptfl_reports.records.cells import mean


@dataclass(frozen=True)
class Spread:
    """The mean of some values.

    Attributes:
        n: How many values; at least 1.
        mean: Their arithmetic mean.
        sd: Their sample standard deviation, with n - 1 in the denominator; None for one value,
            because one value says nothing about a spread.
    """

    n: int
    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return mean and spread of at least one value.

        Raises:
            ValueError: If there is no value.
        """
        if not values:
            raise ValueError("a mean needs at least one value")
        middle = mean(values)
        if len(values) == 1:
            return cls(1, middle, None)
        squares = math.fsum((value - middle) ** 2 for value in values)
        return cls(len(values), middle, math.sqrt(squares / (len(values) - 1)))


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and spread of the values, or None if there are none."""
    return Spread.of(values) if values else None


def paired(ours: Mapping[Hashable, float], theirs: Mapping[Hashable, float]) -> Spread | None:
    """Return mean and spread of ``ours - theirs`` over the keys both have, or None if none.

    Args:
        ours: Value by what pairs it, for example by seed.
        theirs: The values they are compared with.
    """
    return spread([ours[key] - theirs[key] for key in ours if key in theirs])
