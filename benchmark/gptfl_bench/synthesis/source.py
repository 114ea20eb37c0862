"""The synthetic data set of a task: prompts, generation with resume, and the cache in front."""

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from gptfl_bench.core.cache import Artifacts, digest
from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.randomness import address_seed, numpy_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.synthesis import shards
from gptfl_bench.synthesis.generator import AUTO, Generator, Prompt, PromptWriter
from gptfl_bench.synthesis.prompts import Key, Texts, key
from gptfl_reports.records.events import SyntheticReady
from gptfl_reports.records.files import write_atomically


@dataclass(frozen=True)
class SyntheticSettings:
    """How synthetic data are made.

    Attributes:
        generator: Registered generator; ``auto`` takes the first that can make the task's samples
            here.
        prompts: Registered prompt writer.
        multiplier: Amount in units of the real training set ("1x", paper section 4.2).
        guidance_low: Smallest guidance scale drawn for an image.
        guidance_high: Largest; the paper draws from 1 to 5 (section 3.1).
        seed: Seed of prompts and samples; one set serves all seeds of a run.
        real: Whether real samples that no client gets, with their labels, take the place of
            generated ones, as many of them: what a start from them would be worth. They are those
            of ``public.source=held_out``.
    """

    generator: str = AUTO
    prompts: str = "grammar"
    multiplier: float = 1.0
    guidance_low: float = 1.0
    guidance_high: float = 5.0
    seed: int = 0
    real: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if not 0 < self.multiplier <= 100:
            raise ValueError(f"multiplier={self.multiplier} must be above 0 and at most 100")
        if not 0 <= self.guidance_low <= self.guidance_high:
            raise ValueError(
                f"guidance_low={self.guidance_low} must be 0 or more and at most "
                f"guidance_high={self.guidance_high}"
            )


@dataclass(frozen=True)
class SyntheticSet:
    """A synthetic data set that is there.

    Attributes:
        samples: Its samples in the form the task stores.
        ready: What to log about it.
        place: The folder of what the generator made, for :mod:`gptfl_bench.synthesis.shards`.
    """

    samples: Samples
    ready: SyntheticReady
    place: Path


@dataclass(frozen=True)
class SyntheticSource:
    """Makes the synthetic data set of one task.

    Attributes:
        settings: How it is made.
        task: What it stands in for; its training size is the unit of the amount.
        train_size: Real training samples, "1x".
        artifacts: The cache.
        generator: Makes the generator.
        writer: Makes the prompt writer.
        progress: Called with samples done and due.
    """

    settings: SyntheticSettings
    task: Task
    train_size: int
    artifacts: Artifacts
    generator: Callable[[], Generator]
    writer: Callable[[], PromptWriter]
    progress: Callable[[int, int], None] = lambda done, due: None

    def samples(self, labels: Sequence[str]) -> SyntheticSet:
        """Return the samples for ``labels``, equally many of each.

        Raises:
            Refusal: If the generator can't make the task's modality.
            UsageError: If generator or prompt writer don't exist or can't work here.
        """
        started = time.perf_counter()
        generator = self.fitting_generator()
        prompts = self.write_prompts(labels)
        rows = [asdict(prompt) for prompt in prompts]
        origin = digest({"prompts": rows, "generator": generator.fingerprint})
        with self.artifacts.claim("synthetic", origin) as place:
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            write_atomically(place / "metadata.jsonl", lines.encode())
            made = shards.complete(place, generator, prompts, self.progress)
        media = shards.media(place)
        index = {name: number for number, name in enumerate(self.task.label_names)}
        samples = Samples(
            self._fitting(self.task.from_media(media)),
            torch.tensor([index[prompt.label] for prompt in prompts]),
            transform=self.task.synthetic_transform or self.task.train.transform,
        )
        sha256 = hashlib.sha256(media.tobytes()).hexdigest()
        ready = SyntheticReady(
            self.settings.generator,
            self.settings.prompts,
            len(samples),
            sha256,
            cached=made == 0,
            seconds=time.perf_counter() - started,
        )
        return SyntheticSet(samples, ready, place)

    def _fitting(self, x: Tensor) -> Tensor:
        """Return generated samples if they have the form of the task's.

        Raises:
            Refusal: If they have another.
        """
        wanted = tuple(self.task.train.x.shape[1:])
        if tuple(x.shape[1:]) != wanted:
            raise Refusal(
                f"the generator {self.settings.generator!r} made samples of shape "
                f"{tuple(x.shape[1:])} for the task {self.task.name!r}, whose own have {wanted}; "
                "give the task a from_media that turns one into the other."
            )
        return x

    def fitting_generator(self) -> Generator:
        """Return the generator if it makes what the task's samples are.

        Raises:
            Refusal: If it makes something else.
        """
        generator = self.generator()
        if self.task.modality not in generator.modalities:
            raise Refusal(
                f"the generator {self.settings.generator!r} makes "
                f"{', '.join(sorted(generator.modalities))}, not {self.task.modality}; set "
                "synthetic.generator to one that does (gptfl-bench list generators)."
            )
        return generator

    def write_prompts(
        self, labels: Sequence[str], there: Mapping[Key, Prompt] = MappingProxyType({})
    ) -> list[Prompt]:
        """Return all prompts, classes taking turns, so that any first part is balanced.

        Args:
            labels: All class names.
            there: Prompts that were written before and stay as they are; nobody is asked for the
                texts of a label that has all.

        Raises:
            UsageError: If the prompt writer can't be used.
        """
        planned = self.planned(labels)
        texts = {
            missing.label: missing.first(self.each(labels)) for missing in self.texts(labels, there)
        }
        return [
            there.get(key(prompt)) or replace(prompt, text=texts[prompt.label][prompt.number])
            for prompt in planned
        ]

    def planned(self, labels: Sequence[str]) -> list[Prompt]:
        """Return all prompts without their texts."""
        settings, each = self.settings, self.each(labels)
        by_label = []
        for label in labels:
            address = (settings.seed, "synthetic", label)
            scales = numpy_rng(*address, "guidance").uniform(
                settings.guidance_low, settings.guidance_high, each
            )
            by_label.append(
                [
                    Prompt(label, "", round(float(scale), 3), address_seed(*address, n), n)
                    for n, scale in enumerate(scales)
                ]
            )
        return list(itertools.chain.from_iterable(zip(*by_label, strict=True)))

    def texts(
        self, labels: Sequence[str], there: Mapping[Key, Prompt] = MappingProxyType({})
    ) -> list[Texts]:
        """Return where texts come from, for each label that has not all its prompts."""
        numbers = range(self.each(labels))
        lacking = [label for label in labels if any((label, n) not in there for n in numbers)]
        if not lacking:
            return []
        writer, modality = self.writer(), self.task.modality
        fingerprint = writer.fingerprint
        return [
            Texts(
                self.artifacts,
                writer,
                fingerprint,
                label,
                labels,
                modality,
                address_seed(self.settings.seed, "synthetic", label, "prompts"),
            )
            for label in lacking
        ]

    def each(self, labels: Sequence[str]) -> int:
        """Return how many samples there are of each label."""
        return max(-(-round(self.settings.multiplier * self.train_size) // len(labels)), 1)
