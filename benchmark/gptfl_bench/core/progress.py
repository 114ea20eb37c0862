"""What a person sees while cells run; a view of what happens, never a source of numbers."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(AbstractContextManager["Progress", None], Protocol):
    """Takes news of a run, between its entry and its exit."""

    def cell(self, number: int, total: int, name: str) -> None:
        """A cell begins; ``number`` counts from 1."""

    def stage(self, name: str, done: int, total: int) -> None:
        """A stage of the cell, such as rounds or clients, has come so far."""

    def ended(self, name: str, text: str) -> None:
        """A cell ended."""

    def standing(self, leaderboard: Callable[[], str]) -> None:
        """The leaderboard so far can be told."""


class Silent(AbstractContextManager["Silent", None]):
    """Shows nothing."""

    def cell(self, number: int, total: int, name: str) -> None:
        """Show nothing."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Show nothing."""

    def ended(self, name: str, text: str) -> None:
        """Show nothing."""

    def standing(self, leaderboard: Callable[[], str]) -> None:
        """Show nothing."""

    def __exit__(self, *_: object) -> None:
        """End."""


def say(line: str) -> None:
    """Tell the user what no result shows, such as work that takes long, on standard error."""
    print(f"gptfl-bench: {line}", file=sys.stderr, flush=True)


@contextmanager
def bar(what: str, *, of_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yield what moves a bar on a terminal, from the amount done and due; elsewhere it is mute.

    Args:
        what: What is being done.
        of_bytes: Whether amounts are bytes.
    """
    if not sys.stderr.isatty():
        yield lambda done, due: None
        return
    from rich import progress
    from rich.console import Console

    amount = progress.DownloadColumn() if of_bytes else progress.MofNCompleteColumn()
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), amount)
    console = Console(stderr=True)
    times = (progress.TimeElapsedColumn(), progress.TimeRemainingColumn())
    with progress.Progress(*columns, *times, console=console, transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, due: bars.update(task, completed=done, total=due or None)
