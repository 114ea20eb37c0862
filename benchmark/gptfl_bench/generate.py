"""Making a synthetic data set as a folder: class folders with files, and ``metadata.jsonl``.

The metadata follow the convention of Hugging Face's image and audio folders, so what was made can
be looked at, shared, and read back by the generator ``folder``. Every sample depends on its own
prompt alone, so several processes may share the work, a kill costs at most the samples being made,
and three times the amount makes only what is missing.
"""

import io
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from gptfl_bench.access import check_folder
from gptfl_bench.artifacts import Artifacts
from gptfl_bench.checkpoint import write_atomically
from gptfl_bench.errors import Refusal, UsageError
from gptfl_bench.generator import Generator, Prompt, sixteen_bits
from gptfl_bench.spec import CellSpec
from gptfl_bench.synthetic import SyntheticSource

SAMPLE_RATE = 16_000
METADATA, PLAN = "metadata.jsonl", "plan.json"


@dataclass(frozen=True)
class Budget:
    """When to stop, and which part of the work is this process's.

    Attributes:
        samples: Most samples to make; all if null.
        seconds: Most seconds to work; a sample that was begun is finished.
        rank: Number of this process, from 0.
        ranks: Number of processes.
    """

    samples: int | None = None
    seconds: float | None = None
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if self.samples is not None and self.samples < 1:
            raise ValueError(f"limit={self.samples} must be 1 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"seconds={self.seconds} must be more than 0")
        if not 0 <= self.rank < self.ranks:
            raise ValueError(f"rank={self.rank} of {self.ranks} must be from 0 to {self.ranks - 1}")


def budget(limit: int | None, seconds: float | None, rank: str) -> "Budget":
    """Return the budget that a command line asks for; ``rank`` is ``R/N``.

    Raises:
        UsageError: If a value does not fit.
    """
    first, _, all_ = rank.partition("/")
    if not (first.isdecimal() and all_.isdecimal()):
        raise UsageError(f"--rank {rank!r} must be R/N, such as 0/2 and 1/2 for two processes.")
    try:
        return Budget(limit, seconds, int(first), int(all_))
    except ValueError as error:
        raise UsageError(f"{error}.") from error


@dataclass(frozen=True)
class Made:
    """What a call did.

    Attributes:
        made: Samples made now.
        there: Samples of the folder, of all processes.
        wanted: Samples it will have when complete.
        seconds: Seconds of work.
    """

    made: int
    there: int
    wanted: int
    seconds: float


def for_task(
    spec: CellSpec, folder: Path, budget: Budget, progress: Callable[[int, int], None]
) -> Made:
    """Make the synthetic data set of a cell's task.

    Raises:
        UsageError: If data, generator or folder can't be used.
    """
    check_folder(folder)
    task, settings = spec.load_task(), spec.settings.synthetic
    source = SyntheticSource(
        settings,
        task,
        len(task.train),
        Artifacts(spec.access.cache),
        spec.generator,
        spec.prompt_writer,
    )
    try:
        generator = source.fitting_generator()
    except Refusal as refusal:
        raise UsageError(str(refusal)) from refusal
    origin = {
        "modality": task.modality,
        "generator": settings.generator,
        "generator_fingerprint": generator.fingerprint,
        "prompt_writer": settings.prompts,
        "prompt_writer_fingerprint": spec.prompt_writer().fingerprint,
    }
    return generate(
        folder, source.write_prompts(task.label_names), generator, origin, budget, progress
    )


def generate(
    folder: Path,
    prompts: Sequence[Prompt],
    generator: Generator,
    origin: dict[str, str],
    budget: Budget = Budget(),
    progress: Callable[[int, int], None] = lambda done, due: None,
) -> Made:
    """Make the samples of ``prompts`` that a folder lacks.

    Args:
        folder: The folder; made if missing.
        prompts: What is wanted, in order.
        generator: What makes it.
        origin: Modality, names and fingerprints of generator and prompt writer; a folder has one.
        budget: When to stop.
        progress: Called with samples done and due.

    Raises:
        UsageError: If the folder holds samples of another origin, or the generator can't work.
    """
    started = time.monotonic()
    _check_origin(folder, origin)
    names = file_names(prompts, "png" if origin["modality"] == "image" else "wav")
    mine = list(zip(prompts, names, strict=True))[budget.rank :: budget.ranks]
    missing = [(prompt, name) for prompt, name in mine if not (folder / name).exists()]
    due = missing[: budget.samples]
    done = 0
    samples = generator.generate([prompt for prompt, _ in due])
    try:
        for (_, name), sample in zip(due, samples, strict=True):
            if not done:
                # Not before: a generator that can't work leaves nothing behind.
                _claim(folder, origin)
            write_atomically(folder / name, encoded(sample.media))
            done += 1
            progress(done, len(due))
            if budget.seconds is not None and time.monotonic() - started >= budget.seconds:
                break
    finally:
        there = _describe(folder, prompts, names, origin) if (folder / PLAN).exists() else 0
    return Made(done, there, len(prompts), time.monotonic() - started)


def file_names(prompts: Sequence[Prompt], suffix: str) -> list[str]:
    """Return the path of each prompt's file: its label as a folder, its number as a name.

    Raises:
        UsageError: If two labels would share a folder.
    """
    folders = {prompt.label: _slug(prompt.label) for prompt in prompts}
    if len(set(folders.values())) < len(folders):
        raise UsageError(f"labels {sorted(folders)} can't be told apart as names of folders.")
    return [f"{folders[prompt.label]}/{prompt.number:06}.{suffix}" for prompt in prompts]


def encoded(media: np.ndarray) -> bytes:
    """Return a sample as a file: PNG of uint8 (H, W, 1 or 3), 16-bit WAV of floats (time,)."""
    file = io.BytesIO()
    if media.ndim == 1:
        import soundfile

        # Given floats, libsndfile would round them down, silence to one below it.
        soundfile.write(file, sixteen_bits(media), SAMPLE_RATE, format="WAV")
    else:
        from PIL import Image

        Image.fromarray(media[:, :, 0] if media.shape[2] == 1 else media).save(file, "PNG")
    return file.getvalue()


def _check_origin(folder: Path, origin: dict[str, str]) -> None:
    """Refuse a folder that holds samples of another origin.

    Raises:
        UsageError: Naming what is other, or a damaged plan.
    """
    path = folder / PLAN
    if not path.exists():
        return
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(key for key in {*kept, *origin} if kept.get(key) != origin.get(key))
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{str(path)!r} is damaged; choose another --out.") from error
    if changed:
        raise UsageError(
            f"{str(folder)!r} holds samples with another {' and '.join(changed)}; choose "
            "another --out."
        )


def _claim(folder: Path, origin: dict[str, str]) -> None:
    """Keep a folder to one origin; of two processes that begin at once, one may be refused."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        _check_origin(folder, origin)
        write_atomically(folder / PLAN, json.dumps(origin, indent=1).encode())


def _describe(
    folder: Path, prompts: Sequence[Prompt], names: Sequence[str], origin: dict[str, str]
) -> int:
    """Write the metadata of the samples that are there, and return their number."""

    def rows() -> Iterator[str]:
        for prompt, name in zip(prompts, names, strict=True):
            if (folder / name).exists():
                about = {"prompt": prompt.text, **asdict(prompt)}
                del about["text"]
                yield json.dumps({"file_name": name, **about, **origin}) + "\n"

    with FileLock(folder / ".lock"):
        lines = list(rows())
        write_atomically(folder / METADATA, "".join(lines).encode())
    return len(lines)


def _slug(label: str) -> str:
    return re.sub(r"[^\w-]+", "_", label).strip("_")
