"""How often label discovery's table is read whole, by how full it is."""

from collections.abc import Sequence
from dataclasses import replace

from gptfl_bench.labels.sketch import Shape, Sketch


def read_whole(shape: Shape, distinct: Sequence[int], trials: int) -> list[int]:
    """Return in how many trials a table is read whole, for each number of names.

    Who holds a name makes no difference, so each trial is one sketch of all.

    Args:
        shape: Size of the table; trials differ in its seed.
        distinct: Numbers of distinct names.
        trials: Trials for each.
    """

    def whole(count: int, seed: int) -> bool:
        names = (f"{number:x}" for number in range(count))
        return Sketch.of(names, replace(shape, seed=seed)).decode().not_decoded == 0

    return [sum(whole(count, seed) for seed in range(trials)) for count in distinct]
