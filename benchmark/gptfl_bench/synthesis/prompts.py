"""Prompts on disk: the texts of a label in the cache, and the prompts of a folder of samples.

A service answers differently each time, so what it was asked once is kept, and more texts are
added behind those that are there.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from pydantic import TypeAdapter

from gptfl_bench.core.cache import Artifacts, digest
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Prompt, PromptWriter
from gptfl_reports.records import checksums
from gptfl_reports.records.files import write_atomically

LONGEST = 10_000
"""Most letters of a text."""

_MOST = 1 << 29
"""Most bytes of a file."""

_PROMPT = TypeAdapter(Prompt)

Key = tuple[str, int]
"""Label and number, which tell a prompt from all others of a data set."""


@dataclass(frozen=True)
class Texts:
    """The texts of one label, written once for all that share a cache.

    Attributes:
        artifacts: The cache.
        writer: Who writes them.
        fingerprint: The writer's, which may have read all its weights for it.
        label: The class name.
        labels: All class names.
        modality: What is to be made from them.
        seed: The writer's seed.
    """

    artifacts: Artifacts
    writer: PromptWriter
    fingerprint: str
    label: str
    labels: Sequence[str]
    modality: Modality
    seed: int

    def kept(self) -> list[str]:
        """Return the texts that are there.

        Raises:
            UsageError: If their file is damaged.
        """
        path = self.artifacts.place("prompts", digest(self._origin)) / "texts.json"
        if not path.exists():
            return []
        try:
            texts: object = json.loads(checksums.read(path, _bounded))["texts"]
            if not _fit(texts):
                raise ValueError("no texts")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(
                f"{str(path)!r}, which keeps prompts, is damaged; remove it to have them written "
                "again."
            ) from error
        return texts

    def first(self, count: int) -> list[str]:
        """Return the first ``count`` texts; those that are there stay the first.

        Raises:
            UsageError: If the writer can't be used, or what is kept is damaged.
        """
        with self.artifacts.claim("prompts", digest(self._origin)) as place:
            kept = self.kept()
            if len(kept) < count:
                kept += self._write(count)[len(kept) :]
                about = {**self._origin, "texts": kept}
                checksums.write(place / "texts.json", json.dumps(about).encode())
        return kept[:count]

    def _write(self, count: int) -> list[str]:
        texts = self.writer.write(
            self.label, count, modality=self.modality, seed=self.seed, labels=self.labels
        )
        if len(texts) != count or not _fit(texts):
            raise UsageError(
                f"the prompt writer {type(self.writer).__name__!r} gave {len(texts):,} texts for "
                f"the label {self.label!r}, not {count:,} of at most {LONGEST:,} letters; set "
                "another synthetic.prompts."
            )
        return texts

    @property
    def _origin(self) -> dict[str, object]:
        return {
            "prompt_writer_fingerprint": self.fingerprint,
            "modality": self.modality,
            "seed": self.seed,
            "label": self.label,
            "labels": sorted(self.labels),
        }


def read(path: Path) -> dict[Key, Prompt]:
    """Return the prompts of a file of JSON lines; none if it is not there.

    Raises:
        UsageError: If it is damaged or too large.
    """
    if not path.exists():
        return {}
    try:
        lines = _bounded(path).split(b"\n")
    except (OSError, ValueError) as error:
        raise _damaged(repr(str(path))) from error
    prompts = {}
    for number, line in enumerate(lines, 1):
        try:
            prompt = _parsed(line) if line.strip() else None
        except ValueError as error:
            raise _damaged(f"line {number} of {str(path)!r}") from error
        if prompt:
            prompts[key(prompt)] = prompt
    return prompts


def write(path: Path, prompts: Iterable[Prompt]) -> None:
    """Write prompts as JSON lines, whole or not at all."""
    write_atomically(path, "".join(json.dumps(vars(p)) + "\n" for p in prompts).encode())


def key(prompt: Prompt) -> Key:
    """Return what tells a prompt from all others of its data set."""
    return prompt.label, prompt.number


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise ValueError("too large")
    return data


def _fit(texts: object) -> TypeGuard[list[str]]:
    return isinstance(texts, list) and all(
        isinstance(text, str) and len(text) <= LONGEST for text in texts
    )


def _parsed(line: bytes) -> Prompt:
    """Return the prompt in a line of JSON.

    Raises:
        ValueError: If there is none or a value is out of its range.
    """
    prompt = _PROMPT.validate_json(line, strict=True)
    sane = (
        0 < len(prompt.label) <= LONGEST
        and len(prompt.text) <= LONGEST
        and math.isfinite(prompt.guidance)
        and 0 <= prompt.seed < 1 << 63
        and 0 <= prompt.number < 1 << 31
    )
    if not sane:
        raise ValueError("out of range")
    return prompt


def _damaged(place: str) -> UsageError:
    return UsageError(
        f"{place} can't be read as prompts; bring the file back as it was, or choose another --out."
    )
