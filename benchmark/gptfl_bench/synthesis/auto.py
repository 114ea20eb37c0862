"""``synthetic.generator=auto``: the first generator that can make a task's samples here.

Asked are, in this order, what comes along, weights that are here with a device to run them, sets
that others published, and offline voices: :class:`~gptfl_bench.synthesis.generator.Turn`. A
generator that states no turn is never taken unasked.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gptfl_bench.data import loaders
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task
from gptfl_bench.synthesis.generator import (
    Automatic,
    Placed,
    Plain,
    Wanted,
    generators,
    make,
    placed,
)

Fields = Mapping[str, Mapping[str, Plain]]
"""Fields of generators that differ from their defaults, by name."""


@dataclass(frozen=True)
class Choice:
    """What ``auto`` takes.

    Attributes:
        name: The generator; empty if there is none.
        to_fetch: Bytes to be downloaded before its first sample.
        refusal: If there is none, a sentence that says what would work.
    """

    name: str
    to_fetch: int = 0
    refusal: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        due = f" (about {self.to_fetch / 1e6:,.0f} MB to download)" if self.to_fetch else ""
        return self.refusal or self.name + due


def wanted_for(dataset: str | Task, access: Access, read: Callable[[], Task]) -> Wanted:
    """Return what a generator must make; data that may need a download are not read for it.

    Args:
        dataset: Name of a data set, or a task.
        access: Where files may be looked for.
        read: Reads the task.

    Raises:
        UsageError: If the data are read and can't be.
    """
    modality = loaders.modality(dataset) if isinstance(dataset, str) else None
    if isinstance(dataset, str) and modality is not None:
        return Wanted(dataset, modality, None, access)
    task = read()
    return Wanted(task.name, task.modality, task.label_names, access)


def choose(wanted: Wanted, fields: Fields) -> Choice:
    """Return the first generator that lacks nothing to make a task's samples here.

    Args:
        wanted: The task.
        fields: Fields of generators.

    Raises:
        UsageError: If a field does not fit.
    """
    would = []
    for name, part in _asked(wanted, fields):
        lacks = part.lacks(wanted)
        if lacks == "":
            return Choice(name, part.to_fetch if isinstance(part, Placed) else 0)
        if lacks is not None:
            would.append(f"{name} ({lacks})")
    made = "samples made elsewhere (synthetic.generator=folder generators.folder.path=FOLDER)"
    return Choice(
        "",
        refusal=f"no generator here makes {wanted.modality} samples for {wanted.dataset!r}; what "
        f"would: {', '.join([*would, made])}.",
    )


def _asked(wanted: Wanted, fields: Fields) -> Iterator[tuple[str, Automatic]]:
    """Yield the generators of a modality that state a turn, in turn."""
    turns = {name: getattr(generators.get(name), "turn", None) for name in generators.names()}
    for _, name in sorted((turn, name) for name, turn in turns.items() if turn is not None):
        part = placed(make(generators, name, fields.get(name, {})), wanted.access)
        if wanted.modality in part.modalities and isinstance(part, Automatic):
            yield name, part
