"""Small grids, run anywhere."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.runs import grid, launchers
from gptfl_reports.records.cells import Cell

Launch = Callable[..., list[Cell]]


@pytest.fixture
def cells() -> tuple[CellSpec, ...]:
    """Four cells of digits."""
    settings = ["rounds=2", "model=linear"]
    return grid.plan(["fedavg", "fedprox"], "digits", "quick", [0, 1], settings).cells


@pytest.fixture
def launch(cells: tuple[CellSpec, ...], tmp_path: Path) -> Launch:
    """Return what runs the cells in a folder, and returns them in their order."""

    def launch(folder: str, launcher: launchers.Launcher, **told: str) -> list[Cell]:
        context = Context(tmp_path / folder, Artifacts(tmp_path / "cache"))
        ended = launchers.launch(cells, replace(context, launching=told), launcher=launcher)
        by_id = {cell.record["run_id"]: cell for cell in ended}
        return [by_id[spec.run_id] for spec in cells]

    return launch


@pytest.fixture
def serial(launch: Launch) -> list[object]:
    """What happened in the cells one after another."""
    return told(launch("serial", "basic"))


@pytest.fixture(name="told")
def _told() -> Callable[[list[Cell]], list[object]]:
    """Return what tells all that happened in cells but for how long it took."""
    return told


def told(cells: list[Cell]) -> list[object]:
    return [_happened(cell) for cell in cells]


def _happened(cell: Cell) -> list[object]:
    row = {key: value for key, value in cell.row().items() if key != "seconds"}
    events: list[object] = [
        replace(e, seconds=0) if hasattr(e, "seconds") else e  # type: ignore[arg-type]
        for e in cell.events
    ]
    return [row, *events]
