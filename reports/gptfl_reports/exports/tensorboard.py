"""Cells as TensorBoard's event files, in ``tensorboard/`` of the run folder."""

from pathlib import Path

from gptfl_reports.exports.series import Shown, facts
from gptfl_reports.records.cells import Cell


class TensorBoard:
    """One folder a cell, which TensorBoard shows as a run."""

    def __init__(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._open = SummaryWriter
        self._writers: dict[str, tuple[SummaryWriter, Shown]] = {}

    def __call__(self, cell: Cell, run_folder: Path) -> None:
        """Write what is new in a cell; what an earlier program wrote of it is replaced."""
        name = cell.record["run_id"]
        if name not in self._writers:
            folder = run_folder / "tensorboard" / name
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
            self._writers[name] = self._open(str(folder)), Shown()
            lines = [f"    {key}: {value}" for key, value in facts(cell).items()]
            self._writers[name][0].add_text("settings", "\n".join(lines))
        writer, shown = self._writers[name]
        for series, value, step in shown.news(cell):
            writer.add_scalar(series, value, step)
        writer.flush()
        if cell.ending.status != "running":
            self._writers.pop(name)[0].close()
