"""The table of ``results`` in a terminal: it fits, says what ended how, and follows a run."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from gptfl_bench.cli import main
from gptfl_bench.commands import results as results_command
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.events import CellEnded, to_line
from gptfl_reports.tables.rows import colourful

MakeCell = Callable[..., Path]


def shown(run_folder: Path, width: int) -> str:
    out = io.StringIO()
    console = Console(width=width, file=out)
    console.print(colourful(read_cells(run_folder)))
    return out.getvalue()


def test_all_columns_fit_into_eighty(make_cell: MakeCell, tmp_path: Path) -> None:
    make_cell("gptfl", 0, [0.1, 0.95], down=10**12)
    make_cell("fedavg", 0, [0.1], status="refused", reason="[bold]no[/bold] generator")
    text = shown(tmp_path / "run", 80)
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if line.startswith("method"))
    assert "…" not in header
    (line,) = [line for line in lines if line.startswith("gptfl")]
    assert "95.00" in line
    assert "1.00 TB" in line
    # A sentence is text, whatever is in it.
    assert "fedavg seed 0: refused: [bold]no[/bold] generator" in text


def test_watching_ends_with_the_run(
    make_cell: MakeCell,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results_command, "_EVERY", 0.05)
    folder = make_cell("gptfl", 0, [0.1, 0.95], status="running")

    def end() -> None:
        with (folder / "events.jsonl").open("a") as log:
            log.write(to_line(CellEnded("finished")) + "\n")

    threading.Timer(0.3, end).start()
    assert main(["results", str(tmp_path / "run"), "--watch"]) == 0
    assert "finished" in capsys.readouterr().out


def test_watching_goes_with_the_table_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", str(tmp_path), "--watch", "--format", "csv"]) == 2
    assert "--watch renews the table, not csv" in capsys.readouterr().err
