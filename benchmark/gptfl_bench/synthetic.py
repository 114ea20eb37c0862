"""The synthetic data set of a task: prompts, generation with resume, and the cache in front."""

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from gptfl_bench.artifacts import Artifacts, digest
from gptfl_bench.checkpoint import write_atomically
from gptfl_bench.errors import Refusal
from gptfl_bench.events import SyntheticReady
from gptfl_bench.generator import Generator, Prompt, PromptWriter
from gptfl_bench.randomness import address_seed, numpy_rng
from gptfl_bench.task import Samples, Task

SHARD = 256
"""Samples in one file: what a kill can cost."""


@dataclass(frozen=True)
class SyntheticSettings:
    """How synthetic data are made.

    Attributes:
        generator: Registered generator.
        prompts: Registered prompt writer.
        multiplier: Amount in units of the real training set ("1x", paper section 4.2).
        guidance_low: Smallest guidance scale drawn for an image.
        guidance_high: Largest; the paper draws from 1 to 5 (section 3.1).
        seed: Seed of prompts and samples; one set serves all seeds of a run.
    """

    generator: str = "embedded"
    prompts: str = "grammar"
    multiplier: float = 1.0
    guidance_low: float = 1.0
    guidance_high: float = 5.0
    seed: int = 0

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

    def __call__(self, labels: Sequence[str]) -> tuple[Samples, SyntheticReady]:
        """Return the samples for ``labels``, equally many of each, and what to log about them.

        Raises:
            Refusal: If the generator can't make the task's modality.
            UsageError: If generator or prompt writer don't exist or can't work here.
        """
        started = time.perf_counter()
        generator = self.fitting_generator()
        prompts = self.write_prompts(labels)
        key = digest({"prompts": [asdict(p) for p in prompts], "generator": generator.fingerprint})
        with self.artifacts.claim("synthetic", key) as place:
            made = self._complete(place, generator, prompts)
        media = np.concatenate([np.load(path, allow_pickle=False) for path in _shards(place)])
        index = {name: number for number, name in enumerate(self.task.label_names)}
        samples = Samples(
            self.task.from_media(media),
            torch.tensor([index[prompt.label] for prompt in prompts]),
            transform=self.task.synthetic_transform or self.task.train.transform,
        )
        sha256 = hashlib.sha256(media.tobytes()).hexdigest()
        return samples, SyntheticReady(
            self.settings.generator,
            self.settings.prompts,
            len(samples),
            sha256,
            cached=made == 0,
            seconds=time.perf_counter() - started,
        )

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

    def write_prompts(self, labels: Sequence[str]) -> list[Prompt]:
        """Return all prompts, classes taking turns, so that any first part is balanced."""
        settings = self.settings
        writer = self.writer()
        each = max(-(-round(settings.multiplier * self.train_size) // len(labels)), 1)
        by_label = []
        for label in labels:
            address = (settings.seed, "synthetic", label)
            texts = writer.write(
                label, each, modality=self.task.modality, seed=address_seed(*address, "prompts")
            )
            scales = numpy_rng(*address, "guidance").uniform(
                settings.guidance_low, settings.guidance_high, each
            )
            by_label.append(
                [
                    Prompt(label, text, round(float(scale), 3), address_seed(*address, n), n)
                    for n, (text, scale) in enumerate(zip(texts, scales, strict=True))
                ]
            )
        return list(itertools.chain.from_iterable(zip(*by_label, strict=True)))

    def _complete(self, place: Path, generator: Generator, prompts: Sequence[Prompt]) -> int:
        """Make the shards that are missing; return how many samples were made."""
        lines = "".join(json.dumps(asdict(prompt)) + "\n" for prompt in prompts)
        write_atomically(place / "metadata.jsonl", lines.encode())
        made = 0
        for start in range(0, len(prompts), SHARD):
            path = place / f"media-{start:08d}.npy"
            wanted = prompts[start : start + SHARD]
            if not path.exists():
                part = path.with_suffix(".part")
                with part.open("wb") as file:
                    np.save(file, np.stack([s.media for s in generator.generate(wanted)]))
                part.replace(path)
                made += len(wanted)
            self.progress(start + len(wanted), len(prompts))
        return made


def _shards(place: Path) -> list[Path]:
    return sorted(place.glob("media-*.npy"))
