"""Prompts that somebody wrote already, such as those of a language model asked elsewhere."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import numpy_rng
from gptfl_bench.synthesis.generator import prompt_writers
from gptfl_datasets.backends.words import spoken
from gptfl_datasets.prompts.writer import Asked, Writer

_MOST = 64 << 20
"""Most bytes of a file."""

_LONGEST = 2_000
"""Most letters of a prompt."""


@prompt_writers.register("list", title="Prompts from files", needs="prompts.list.path")
@dataclass(frozen=True)
class ListWriter(Writer):
    """Hands out the prompts of files, each once in their order before any is drawn again.

    Attributes:
        path: A folder with ``<label>.txt`` (a prompt a line) or ``<label>.jsonl`` (a string or
            ``{"text": ...}`` a line) for each label, or one ``.jsonl`` file with ``label`` and
            ``text`` a line.
    """

    path: str | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all labels and prompts.

        Raises:
            UsageError: If they can't be read.
        """
        return hashlib.sha256(json.dumps(self.prompts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def prompts(self) -> Mapping[str, Sequence[str]]:
        """The prompts of each label, labels in lower case with blanks.

        Raises:
            UsageError: If a file can't be read, or a line is no prompt or too long.
        """
        if self.path is None:
            raise UsageError(
                "the prompt writer 'list' needs prompts.list.path=PATH with a text file for each "
                "label or one file of JSON lines."
            )
        place = Path(self.path).expanduser()
        found: dict[str, list[str]] = {}
        if place.is_dir():
            for path in sorted(place.iterdir()):
                if path.suffix.lower() in (".txt", ".jsonl"):
                    texts = [text for _, text in _read(path, path.stem)]
                    found.setdefault(_plain(path.stem), []).extend(texts)
        else:
            for label, text in _read(place, None):
                found.setdefault(_plain(label), []).append(text)
        return found

    def texts(self, asked: Asked) -> list[str]:
        """Return ``count`` prompts of ``label``; a shorter list is the start of a longer one.

        Raises:
            UsageError: If there are none for the label, or the files can't be read.
        """
        texts = self.prompts.get(_plain(asked.label), ())
        if not texts:
            raise UsageError(
                f"{self.path!r} has no prompts for the label {asked.label!r}; add some, or set "
                "synthetic.prompts=grammar."
            )
        return spread(texts, asked.count, asked.label, asked.seed)


def spread(texts: Sequence[str], count: int, label: str, seed: int) -> list[str]:
    """Return the first ``count`` texts; if there are fewer, the rest is drawn from them uniformly.

    The released code draws all of them; here none is left out while another comes twice.
    """
    rng = numpy_rng(seed, "repeated prompts", label)
    missing = max(count - len(texts), 0)
    return [*texts[:count], *(texts[int(rng.integers(len(texts)))] for _ in range(missing))]


def _read(path: Path, label: str | None) -> list[tuple[str, str]]:
    """Return labels and prompts of a file.

    Args:
        path: Text if it ends in ``.txt``, else JSON lines.
        label: Whose prompts they are; None if each line says it.

    Raises:
        UsageError: If the file can't be read, or a line is no prompt or too long.
    """
    try:
        if path.stat().st_size > _MOST:
            raise UsageError(f"{str(path)!r} has more than the {_MOST:,} bytes allowed; split it.")
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} can't be read ({error.strerror}); give a folder or file of prompts."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{str(path)!r} is no UTF-8 text; save it as such.") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        pair = (label, line) if path.suffix.lower() == ".txt" else _pair(line, label)
        text = " ".join(pair[1].split()) if isinstance(pair[1], str) else ""
        if not isinstance(pair[0], str) or not 0 < len(text) <= _LONGEST:
            raise UsageError(
                f"line {number} of {str(path)!r} is no prompt of 1 to {_LONGEST:,} letters"
                f"{'' if label else ' with its label'}; repair it."
            )
        found.append((pair[0], text))
    return found


def _pair(line: str, label: str | None) -> tuple[object, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None, None
    if isinstance(row, dict):
        return label or row.get("label"), row.get("text")
    return label, row


def _plain(label: str) -> str:
    return spoken(label.replace("-", " ")).lower()
