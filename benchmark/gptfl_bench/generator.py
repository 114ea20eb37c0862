"""Synthetic data: prompts in, samples out.

A generator is used only through its call, as a service: nothing here knows its insides.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from gptfl_bench.registry import Registry

Modality = Literal["image", "speech", "sound"]


@dataclass(frozen=True)
class Prompt:
    """What a generator is asked for.

    Attributes:
        label: The class name the sample must show.
        text: The full prompt.
        guidance: Guidance scale; the paper draws it from 1 to 5 for each image (section 3.1).
        seed: Seed of this sample alone, so that neither batch size nor order matters.
    """

    label: str
    text: str
    guidance: float
    seed: int


@dataclass(frozen=True)
class Sample:
    """One generated sample.

    Attributes:
        media: uint8 image (H, W, channels) or float32 audio (time,) in [-1, 1].
        prompt: What it was made from.
    """

    media: np.ndarray
    prompt: Prompt


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


class PromptWriter(Protocol):
    """Makes prompt texts for a class."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that determines the texts beside label and seed."""
        ...

    def write(self, label: str, count: int, *, modality: Modality, seed: int) -> list[str]:
        """Return ``count`` prompt texts for the class called ``label``."""
        ...


generators: Registry[Callable[[], Generator]] = Registry(
    "generator", "gptfl_datasets", "gptfl_bench.generators"
)
"""Factories by generator name, called without arguments."""

prompt_writers: Registry[Callable[[], PromptWriter]] = Registry(
    "prompt writer", "gptfl_datasets", "gptfl_bench.prompts"
)
"""Factories by prompt writer name, called without arguments."""
