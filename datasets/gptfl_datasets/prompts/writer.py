"""What prompt writers have in common: what they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from gptfl_bench.data.task import Modality


@dataclass(frozen=True)
class Asked:
    """What a prompt writer is asked for.

    Attributes:
        label: The class name.
        count: How many texts.
        modality: What is to be made from them.
        seed: Determines the texts, as far as the writer lets it.
        labels: All class names; a text may name no other than its own.
    """

    label: str
    count: int
    modality: Modality
    seed: int
    labels: Sequence[str] = ()


class Writer(ABC):
    """A prompt writer."""

    def write(
        self,
        label: str,
        count: int,
        *,
        modality: Modality,
        seed: int,
        labels: Sequence[str] = (),
    ) -> list[str]:
        """Return ``count`` texts for ``label``; see :class:`Asked` for the arguments.

        Raises:
            UsageError: If the writer can't be used, or has no text for the label.
        """
        return self.texts(Asked(label, count, modality, seed, labels))

    @abstractmethod
    def texts(self, asked: Asked) -> list[str]:
        """Return the texts that are asked for."""
