"""Hands the cells of a run to tools, while they run and when they have ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from threading import Lock
from typing import Protocol

from gptfl_reports.exports.mlflow import MLflow
from gptfl_reports.exports.tensorboard import TensorBoard
from gptfl_reports.exports.wandb import WandB
from gptfl_reports.records.cells import Cell, read_cell
from gptfl_reports.records.errors import UsageError, unknown
from gptfl_reports.records.files import write_atomically


class Export(Protocol):
    """Shows a tool a cell as it is now; what the tool has of it already is not sent again."""

    def __call__(self, cell: Cell, run_folder: Path) -> None:
        """Show ``cell``, which may be running."""
        ...


EXPORTS: dict[str, Callable[[], Export]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
"""What makes an export, by name; its extra is of the same name."""


@dataclass
class HandOver:
    """Hands cells of a run folder to a tool, and those that it did not take at the next call.

    Those are kept by name in the run folder, so that a run goes on without the tool.

    Attributes:
        name: The tool.
        export: Hands over a cell.
        warn: Takes a sentence.
        works: Whether the tool has taken all so far; after a failure it is left alone, for each
            further try may take minutes.
    """

    name: str
    export: Export
    warn: Callable[[str], None]
    works: bool = True
    _lock: Lock = field(default_factory=Lock, repr=False)
    _ended: set[str] = field(default_factory=set, repr=False)

    def __call__(self, cell: Cell, run_folder: Path) -> None:
        """Hand over a cell that has ended, and those that are still missing there."""
        path = run_folder / f"not-in-{self.name}.txt"
        missing = path.read_text(encoding="utf-8").split() if path.exists() else []
        due: dict[str, Cell | None] = {name: None for name in missing}
        due[cell.record["run_id"]] = cell
        for name in list(due):
            found = due[name] or _kept(run_folder / name)
            if found is None or self._taken(found, run_folder):
                del due[name]
        if due:
            write_atomically(path, "".join(f"{name}\n" for name in due).encode())
        else:
            path.unlink(missing_ok=True)

    def so_far(self, cell: Cell, run_folder: Path) -> None:
        """Show a cell that is running; it is handed over whole when it has ended."""
        self._taken(cell, run_folder)

    def _taken(self, cell: Cell, run_folder: Path) -> bool:
        # Cells that run are shown from another thread.
        with self._lock:
            name, running = cell.record["run_id"], cell.ending.status == "running"
            if not self.works or (running and name in self._ended):
                return False
            if not running:
                self._ended.add(name)
            try:
                self.export(cell, run_folder)
            except Exception as error:
                self.works = False
                reason = str(error) or type(error).__name__
                reason = shorten(reason, 200, placeholder="...").rstrip(".")
                self.warn(
                    f"{self.name} took no results ({reason}); the run goes on, and the next one "
                    f"with the same --out and --export {self.name} hands them over."
                )
            return self.works


def _kept(folder: Path) -> Cell | None:
    """Return a cell unless it was removed or damaged since."""
    try:
        return read_cell(folder)
    except UsageError:
        return None


def exporters(names: Sequence[str], warn: Callable[[str], None]) -> list[HandOver]:
    """Return what hands cells to some tools.

    Args:
        names: The tools.
        warn: Takes a sentence about a tool that fails.

    Raises:
        UsageError: If there is no such export, or its package is not installed.
    """
    made = []
    for name in dict.fromkeys(names):
        if name not in EXPORTS:
            raise unknown("export", name, EXPORTS)
        try:
            export = EXPORTS[name]()
        except ImportError as error:
            raise UsageError(
                f"the export {name!r} needs its package: pip install 'gptfl-bench[{name}]'."
            ) from error
        made.append(HandOver(name, export, warn))
    return made
