"""What ``gptfl-bench generate`` does for a task: the plan that is shown first, then the work."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from gptfl_bench.synthesis import prompts as prompt_files
from gptfl_bench.synthesis.costs import (
    BudgetSpent,
    Estimate,
    Priced,
    Share,
    exact,
    keep_rate,
    less,
    rate,
)
from gptfl_bench.synthesis.folder import (
    PROMPTS,
    Budget,
    Made,
    file_names,
    generate,
    missing,
)
from gptfl_bench.synthesis.generator import Generator, PromptWriter
from gptfl_bench.synthesis.source import SyntheticSource

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A folder that is to hold the synthetic data set of a task, and who makes it.

    Attributes:
        folder: The folder.
        source: What is wanted.
        generator: What makes the samples.
        writer: What writes the prompts.
        origin: Modality, names and fingerprints of generator and prompt writer.
        budget: When to stop.
    """

    folder: Path
    source: SyntheticSource
    generator: Generator
    writer: PromptWriter
    origin: Mapping[str, str]
    budget: Budget

    def estimate(self) -> Estimate:
        """Return what a call is going to do; nobody is asked and nothing is written.

        Raises:
            UsageError: If the folder's prompts are damaged.
        """
        there = prompt_files.read(self.folder / PROMPTS)
        labels = self.source.task.label_names
        planned = self.source.planned(labels)
        names = file_names(planned, self.origin["modality"])
        due = len(missing(self.folder, planned, names, self.budget))
        shares = []
        money, modality = self.budget.money, self.source.task.modality
        if isinstance(self.writer, Priced):
            each = self.source.each(labels)
            lacking = self.source.texts(labels, there)
            labels_due = sum(len(texts.kept()) < each for texts in lacking)
            requests = labels_due * self.writer.requests(each, modality)
            setting = f"prompts.{self.origin['prompt_writer']}"
            shares.append(_share(setting, self.writer, requests, money))
            if money is not None:
                money = max(less(money, requests * (self.writer.price or 0)), 0.0)
        if isinstance(self.generator, Priced):
            requests = self.generator.requests(due, modality)
            setting = f"generators.{self.origin['generator']}"
            shares.append(_share(setting, self.generator, requests, money))
        return Estimate(
            len(planned),
            sum((self.folder / name).exists() for name in names),
            due,
            tuple(share for share in shares if share.requests),
            rate(self.source.artifacts, self.origin["generator_fingerprint"]),
        )

    @property
    def spent(self) -> float | None:
        """Money that this process has spent on generator and prompt writer; None without prices."""
        parts = [part for part in (self.writer, self.generator) if isinstance(part, Priced)]
        known = [exact(part.spent) for part in parts if part.price is not None]
        return float(sum(known)) if known else None

    def make(self, progress: Callable[[int, int], None] = lambda done, due: None) -> Made:
        """Make what is missing, until all is there or a budget is used up.

        Args:
            progress: Called with samples done and due.

        Raises:
            UsageError: If prompt writer, generator or folder can't be used.
        """
        money, before = self.budget.money, self.spent or 0.0
        writer = _within(self.writer, money)
        source = replace(self.source, writer=lambda: writer)
        there = prompt_files.read(self.folder / PROMPTS)
        try:
            prompts = source.write_prompts(source.task.label_names, there)
        except BudgetSpent as error:
            now = self.estimate()
            return Made(0, now.there, now.wanted, 0.0, str(error))
        if money is not None:
            money = less(money, less(self.spent or 0.0, before))
        done, started = 0, time.monotonic()

        def note(made: int, due: int) -> None:
            nonlocal done
            done = made
            progress(made, due)

        generator = _within(self.generator, money)
        try:
            return generate(self.folder, prompts, generator, self.origin, self.budget, note)
        finally:
            if done:
                seconds = (time.monotonic() - started) / done
                keep_rate(source.artifacts, self.origin["generator_fingerprint"], seconds)


def _within(part: T, money: float | None) -> T:
    return part if money is None or not isinstance(part, Priced) else part.within(money)


def _share(setting: str, part: Priced, requests: int, money: float | None) -> Share:
    left = None if part.budget is None else max(less(part.budget, part.spent), 0.0)
    return Share(setting, requests, part.price, left if money is None else money)
