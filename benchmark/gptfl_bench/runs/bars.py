"""Progress in a terminal: bars, or plain lines where there is none."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichBars
from rich.text import Text

from gptfl_bench.core.progress import Progress, Silent


class Plain(Silent):
    """A line for each cell's beginning and end, and now and then one for a long stage.

    Args:
        write: Takes a line; standard error if left out.
        every: Least seconds between lines of a stage.
    """

    def __init__(self, write: Callable[[str], None] | None = None, every: float = 15.0) -> None:
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        self._every = every
        self._last = time.monotonic()
        self._name = ""

    def cell(self, number: int, total: int, name: str) -> None:
        """Write that a cell begins."""
        self._name = name
        self._last = time.monotonic()
        self._write(f"[{number}/{total}] {name}")

    def stage(self, name: str, done: int, total: int) -> None:
        """Write how far a stage is, if the last line is old enough."""
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._write(f"  {self._name}: {name} {done}/{total}")

    def ended(self, name: str, text: str) -> None:
        """Write how a cell ended."""
        self._write(f"  {name}: {text}")


class _BarsAndMore(RichBars):
    """Bars below a text that may change."""

    above = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the text, as far as it fits above the bars, and then the bars."""
        # Asked for once before there is a console.
        if self.above:
            room = max(self.console.height - len(self.tasks) - 2, 0)
            shown = self.above.splitlines()[:room]
            yield Text("\n".join(shown), no_wrap=True, overflow="ellipsis")
        yield from super().get_renderables()


class Bars(Silent):
    """Bars for cells and for the stages of the current one, below the leaderboard so far."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = _BarsAndMore(
            TextColumn("{task.description}", justify="left"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._cells = self._bars.add_task("cells", total=None)
        self._stages: dict[str, TaskID] = {}

    def cell(self, number: int, total: int, name: str) -> None:
        """Move on to a cell."""
        for bar in self._stages.values():
            self._bars.remove_task(bar)
        self._stages.clear()
        self._bars.update(self._cells, total=total, completed=number - 1, description=name)

    def stage(self, name: str, done: int, total: int) -> None:
        """Move a stage's bar."""
        if name not in self._stages:
            self._stages[name] = self._bars.add_task(f"  {name}", total=total)
        self._bars.update(self._stages[name], completed=done, total=total)

    def ended(self, name: str, text: str) -> None:
        """Leave a line above the bars."""
        self._bars.advance(self._cells)
        self._console.print(f"{name}: {text}", markup=False, highlight=False, soft_wrap=True)

    def standing(self, leaderboard: Callable[[], str]) -> None:
        """Show the leaderboard above the bars."""
        self._bars.above = leaderboard()

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bars."""
        self._bars.stop()


def for_caller() -> Progress:
    """Return bars on a terminal, lines in a notebook, and nothing in any other program."""
    if sys.stderr.isatty():
        return Bars()
    return Plain(print) if _in_notebook() else Silent()


def _in_notebook() -> bool:
    """Return whether a notebook's kernel runs this, without loading IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def for_terminal() -> Progress:
    """Return bars on a terminal, plain lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Plain()
