"""95 % intervals for the mean of a few values, and the distributions behind them.

The distributions are exact for whole degrees of freedom: Abramowitz and Stegun, Handbook of
Mathematical Functions, 26.4.4 and 26.4.5 (chi-square), 26.7.3 and 26.7.4 (Student's t).
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import mul

from gptfl_reports.numbers.spread import Spread

RESAMPLES = 10_000
Interval = tuple[float, float]


def t_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of the mean by Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    spread = Spread.of(values)
    half = t_quantile(len(values) - 1) * (spread.sd or 0.0) / math.sqrt(len(values))
    return spread.mean - half, spread.mean + half


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95 % percentile interval of the mean over 10,000 resamples of the values.

    The resamples come from a fixed seed, the same for all values of one number. None for fewer
    than two values.
    """
    return _middle_of_means(tuple(values)) if len(values) > 1 else None


@lru_cache(maxsize=4096)  # the page and the files of a report ask for the same
def _middle_of_means(values: tuple[float, ...]) -> Interval:
    n = len(values)
    means = sorted((sum(map(mul, times, values)) / n, count) for times, count in _resamples(n))
    passed = list(accumulate(count for _, count in means))
    low, high = (
        next(mean for (mean, _), count in zip(means, passed, strict=True) if count >= share)
        for share in (0.025 * RESAMPLES, 0.975 * RESAMPLES)
    )
    return low, high


@lru_cache
def t_quantile(freedom: int) -> float:
    """Return what Student's t exceeds in size with a probability of 5 %.

    Args:
        freedom: Degrees of freedom; at least 1.
    """
    return solve(lambda t: _t_within(t, freedom), 0.95, 13.0)


def chi_square_above(value: float, freedom: int) -> float:
    """Return the probability that chi-square exceeds ``value``.

    Args:
        value: At least 0.
        freedom: Degrees of freedom; at least 1.
    """
    half = value / 2
    odd = freedom % 2
    shape = 0.5 if odd else 1.0
    above = math.erfc(math.sqrt(half)) if odd else math.exp(-half)
    while shape < freedom / 2:
        above += half**shape * math.exp(-half) / math.gamma(shape + 1)
        shape += 1
    return above


def solve(grows: Callable[[float], float], wanted: float, high: float) -> float:
    """Return where a function that grows on [0, high] has the wanted value."""
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if grows(middle) < wanted else (low, middle)
    return high


def _t_within(t: float, freedom: int) -> float:
    """Return the probability that Student's t lies between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= (k - 1) / k * math.cos(angle) ** 2
    inside = math.sin(angle) * total
    return 2 / math.pi * (angle + inside) if odd else inside


@lru_cache
def _resamples(n: int) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Return resamples of n values: how often each value is in it, and how many are like it."""
    rng = random.Random(0)
    drawn = Counter(tuple(sorted(rng.choices(range(n), k=n))) for _ in range(RESAMPLES))
    return tuple(
        (tuple(indices.count(i) for i in range(n)), count) for indices, count in drawn.items()
    )
