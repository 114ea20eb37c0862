"""Synthetic data: prompts in, samples out.

A generator is used only through its call, as a service: nothing here knows its insides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import IntEnum
from typing import ClassVar, Protocol, Self, TypeVar, get_type_hints, runtime_checkable

import numpy as np

from gptfl_bench.core.errors import UsageError, unknown
from gptfl_bench.core.registry import Registry
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Modality as Modality
from gptfl_reports.records.typed import build

T = TypeVar("T")

SAMPLE_RATE = 16_000
"""Samples a second that all sound is brought to, as in FedAudio."""


@dataclass(frozen=True)
class Prompt:
    """What a generator is asked for.

    Attributes:
        label: The class name the sample must show.
        text: The full prompt.
        guidance: Guidance scale; the paper draws it from 1 to 5 for each image (section 3.1).
        seed: Seed of this sample alone, so that neither batch size nor order matters.
        number: Place among the samples of its label, from 0.
    """

    label: str
    text: str
    guidance: float
    seed: int
    number: int = 0


@dataclass(frozen=True)
class Sample:
    """One generated sample.

    Attributes:
        media: uint8 image (H, W, channels) or float32 audio (time,) in [-1, 1].
        prompt: What it was made from.
    """

    media: np.ndarray
    prompt: Prompt


def sixteen_bits(wave: np.ndarray) -> np.ndarray:
    """Return sound as recordings are stored, int16 (..., time); divided by 32,768 it is as before.

    Args:
        wave: Floats (..., time); what is outside [-1, 1) is cut off.
    """
    scaled = np.rint(wave.astype(np.float32) * np.float32(32768))
    stored: np.ndarray = np.clip(scaled, -32768, 32767).astype(np.int16)
    return stored


class Generator(Protocol):
    """A pre-trained generator behind its call.

    Attributes:
        modalities: What it can make.
    """

    modalities: ClassVar[frozenset[Modality]]

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that determines a sample beside its prompt."""
        ...

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Yield one sample for each prompt, in order."""
        ...


class Turn(IntEnum):
    """When ``synthetic.generator=auto`` asks a generator; within a turn they go by name."""

    COMES_ALONG = 0
    WEIGHTS = 1
    PUBLISHED = 2
    NEURAL_VOICE = 3
    FORMANT_VOICE = 4


@dataclass(frozen=True)
class Wanted:
    """What is known of a task when a generator is chosen for it.

    Attributes:
        dataset: Name of its data set.
        modality: What a sample is.
        labels: Its class names; None for data that are not read yet, none of which are digits.
        access: Where files may be looked for, and whether any may be downloaded.
    """

    dataset: str
    modality: Modality
    labels: tuple[str, ...] | None
    access: Access


@runtime_checkable
class Automatic(Protocol):
    """A generator that ``synthetic.generator=auto`` may take.

    Attributes:
        turn: When it is asked.
    """

    turn: ClassVar[Turn]

    def lacks(self, wanted: Wanted) -> str | None:
        """Return what it lacks on this machine to make the samples, with the line that brings it.

        Empty if it lacks nothing, None if it could never make them. Nothing is loaded or fetched.
        """
        ...


@runtime_checkable
class Placed(Protocol):
    """A generator whose samples lie in files that are found as a data set's are."""

    def placed(self, access: Access) -> Self:
        """Return the same, which looks where it may."""
        ...

    @property
    def to_fetch(self) -> int:
        """Bytes, at least roughly, that are to be downloaded before its first sample."""
        ...

    def bring(self) -> None:
        """Download what is not there.

        Raises:
            UsageError: If it can't or may not be downloaded, or is not what it should be.
        """
        ...


class PromptWriter(Protocol):
    """Makes prompt texts for a class."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that determines the texts beside label and seed."""
        ...

    def write(
        self, label: str, count: int, *, modality: Modality, seed: int, labels: Sequence[str]
    ) -> list[str]:
        """Return ``count`` prompt texts for the class called ``label``.

        Args:
            label: The class name.
            count: How many.
            modality: What is to be made from them.
            seed: Determines them, as far as the writer lets it.
            labels: All class names; a text may name no other than its own.
        """
        ...


AUTO = "auto"
"""In a generator's place: the first that can make a task's samples here."""

Plain = str | int | float | bool | None
"""What a field may hold to be a setting."""

generators: Registry[Callable[[], Generator]] = Registry(
    "generator", "gptfl_datasets.generators", "gptfl_bench.generators"
)
"""Factories by generator name, called without arguments."""

prompt_writers: Registry[Callable[[], PromptWriter]] = Registry(
    "prompt writer", "gptfl_datasets.prompts", "gptfl_bench.prompts"
)
"""Factories by prompt writer name, called without arguments."""


def plain_fields(factory: Callable[[], object]) -> dict[str, Plain]:
    """Return the fields of a generator or prompt writer that are settings, with their defaults."""
    if not (isinstance(factory, type) and is_dataclass(factory)):
        return {}
    defaults = {item.name: item.default for item in fields(factory) if item.init}
    return {name: value for name, value in defaults.items() if isinstance(value, Plain)}


def make(registry: Registry[Callable[[], T]], name: str, values: Mapping[str, Plain]) -> T:
    """Return a generator or prompt writer with some fields set.

    Args:
        registry: ``generators`` or ``prompt_writers``.
        name: A registered name.
        values: Fields that differ from their defaults.

    Raises:
        UsageError: If there is no such part or field, or a value does not fit.
    """
    factory = registry.get(name)
    known = plain_fields(factory)
    part = factory()
    changed = {}
    for field, value in values.items():
        if field not in known:
            raise unknown(f"field of {registry.kind} {name!r}", field, known)
        if value != known[field]:
            hint = get_type_hints(type(part))[field]
            changed[field] = build(hint, value, f"{field} of {registry.kind} {name!r}")
    try:
        return replace(part, **changed) if changed else part  # type: ignore[type-var]
    except ValueError as error:
        raise UsageError(f"{registry.kind} {name!r}: {error}.") from error


def placed(part: T, access: Access) -> T:
    """Return a generator or prompt writer that looks for its files, if it has any, where it may."""
    return part.placed(access) if isinstance(part, Placed) else part
