"""Making a synthetic data set as a folder: class folders with files, and ``metadata.jsonl``.

The metadata follow the convention of Hugging Face's image and audio folders, so what was made can
be looked at, shared, and read back by the generator ``folder``. Every sample depends on its own
prompt alone, so several processes may share the work, a kill costs at most the samples being made,
and three times the amount makes only what is missing.

``prompts.jsonl`` holds the prompts; once it is there it counts, whatever a prompt writer would say
by then. ``replaced.jsonl`` holds what a sample was made from where the generator took another
prompt than it was given. The metadata say what each sample was made from.
"""

import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis import prompts as prompt_files
from gptfl_bench.synthesis.costs import BudgetSpent
from gptfl_bench.synthesis.generator import SAMPLE_RATE, Generator, Prompt, sixteen_bits
from gptfl_bench.synthesis.prompts import key
from gptfl_reports.records.files import write_atomically

METADATA, PLAN = "metadata.jsonl", "plan.json"
PROMPTS, REPLACED = "prompts.jsonl", "replaced.jsonl"


@dataclass(frozen=True)
class Budget:
    """When to stop, and which part of the work is this process's.

    Attributes:
        samples: Most samples to make; all if null.
        seconds: Most seconds to work; a sample that was begun is finished.
        rank: Number of this process, from 0.
        ranks: Number of processes.
        money: Most money to spend, in the currency of the price.
    """

    samples: int | None = None
    seconds: float | None = None
    rank: int = 0
    ranks: int = 1
    money: float | None = None

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
        if self.money is not None and not 0 < self.money <= 1_000_000_000:
            raise ValueError(f"money={self.money} must be above 0 and at most 1000000000")

    @classmethod
    def parse(
        cls, limit: int | None, seconds: float | None, rank: str, money: float | None = None
    ) -> "Budget":
        """Return the budget that a command line asks for; ``rank`` is ``R/N``.

        Raises:
            UsageError: If a value does not fit.
        """
        first, _, all_ = rank.partition("/")
        if not (first.isdecimal() and all_.isdecimal()):
            raise UsageError(f"--rank {rank!r} must be R/N, such as 0/2 and 1/2 for two processes.")
        try:
            return cls(limit, seconds, int(first), int(all_), money)
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
        stopped: Why it ended early, if a budget of money was spent.
    """

    made: int
    there: int
    wanted: int
    seconds: float
    stopped: str = ""


def generate(
    folder: Path,
    prompts: Sequence[Prompt],
    generator: Generator,
    origin: Mapping[str, str],
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
    check_origin(folder, origin)
    names = file_names(prompts, origin["modality"])
    due = missing(folder, prompts, names, budget)
    # What a process that was killed may have left behind.
    noted = prompt_files.read(folder / REPLACED).keys()
    done, stopped = 0, ""
    try:
        samples = generator.generate([prompt for prompt, _ in due]) if due else iter(())
        for (prompt, name), sample in zip(due, samples, strict=True):
            if not done:
                # Not before: a generator that can't work leaves nothing behind.
                agreed = _claim(folder, origin, prompts)
                if agreed != list(prompts):
                    # Another process was first, and its prompts count.
                    return generate(folder, agreed, generator, origin, budget, progress)
            if sample.prompt != prompt or key(prompt) in noted:
                _note(folder, prompt, sample.prompt)
            write_atomically(folder / name, encoded(sample.media))
            done += 1
            progress(done, len(due))
            if budget.seconds is not None and time.monotonic() - started >= budget.seconds:
                break
    except BudgetSpent as error:
        stopped = str(error)
    finally:
        there = _describe(folder, prompts, names, origin) if (folder / PLAN).exists() else 0
    return Made(done, there, len(prompts), time.monotonic() - started, stopped)


def missing(
    folder: Path, prompts: Sequence[Prompt], names: Sequence[str], budget: Budget
) -> list[tuple[Prompt, str]]:
    """Return the prompts, with the names of their files, that a process is to make samples of."""
    mine = list(zip(prompts, names, strict=True))[budget.rank :: budget.ranks]
    lacking = [(prompt, name) for prompt, name in mine if not (folder / name).exists()]
    return lacking[: budget.samples]


def file_names(prompts: Sequence[Prompt], modality: str) -> list[str]:
    """Return the path of each prompt's file: its label as a folder, its number as a name.

    Raises:
        UsageError: If two labels would share a folder.
    """
    folders = {prompt.label: _slug(prompt.label) for prompt in prompts}
    if len(set(folders.values())) < len(folders):
        raise UsageError(f"labels {sorted(folders)} can't be told apart as names of folders.")
    suffix = "png" if modality == "image" else "wav"
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


def check_origin(folder: Path, origin: Mapping[str, str]) -> None:
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


def _claim(folder: Path, origin: Mapping[str, str], prompts: Sequence[Prompt]) -> list[Prompt]:
    """Keep a folder to one origin and its prompts as they are, and return the prompts that count.

    Of two processes that begin at once with other origins, one may be refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        check_origin(folder, origin)
        there = prompt_files.read(folder / PROMPTS)
        agreed = [there.get(key(prompt), prompt) for prompt in prompts]
        wanted = {key(prompt) for prompt in agreed}
        more = [prompt for at, prompt in there.items() if at not in wanted]
        if [*agreed, *more] != list(there.values()):
            prompt_files.write(folder / PROMPTS, [*agreed, *more])
        write_atomically(folder / PLAN, json.dumps(origin, indent=1).encode())
    return agreed


def _note(folder: Path, asked: Prompt, used: Prompt) -> None:
    """Keep what a sample is made from, before it is there, if it is not what was asked."""
    path = folder / REPLACED
    with FileLock(folder / ".lock"):
        there = prompt_files.read(path)
        there.pop(key(asked), None)
        if used != asked:
            there[key(asked)] = replace(used, label=asked.label, number=asked.number)
        if there:
            prompt_files.write(path, (there[at] for at in sorted(there)))
        else:
            path.unlink(missing_ok=True)


def _describe(
    folder: Path, prompts: Sequence[Prompt], names: Sequence[str], origin: Mapping[str, str]
) -> int:
    """Write the metadata of the samples that are there, and return their number."""
    with FileLock(folder / ".lock"):
        made_from = prompt_files.read(folder / PROMPTS) | prompt_files.read(folder / REPLACED)

        def rows() -> Iterator[str]:
            for planned, name in zip(prompts, names, strict=True):
                if (folder / name).exists():
                    prompt = made_from.get(key(planned), planned)
                    about = {"prompt": prompt.text, **vars(prompt)}
                    del about["text"]
                    yield json.dumps({"file_name": name, **about, **origin}) + "\n"

        lines = list(rows())
        write_atomically(folder / METADATA, "".join(lines).encode())
    return len(lines)


def _slug(label: str) -> str:
    return re.sub(r"[^\w-]+", "_", label).strip("_")
