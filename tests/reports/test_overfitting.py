"""The curves of pre-training: means by hand, who shares one, and where nothing is known."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gptfl_reports.figures.overfitting import Pretraining, overfitting_csv, pretrainings
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.events import Event, Pretrained, PretrainEpoch, to_line
from gptfl_reports.report import write_report

MakeCell = Callable[..., Path]
NAN = float("nan")


def trains(folder: Path, own: Sequence[float], real: Sequence[float], kept: int = 1) -> Path:
    """Put epochs before a cell's other events."""
    epochs = [
        PretrainEpoch(n, 1 / n, 0.5, synthetic, test, 360 if test == test else 0)
        for n, (synthetic, test) in enumerate(zip(own, real, strict=True), 1)
    ]
    small = PretrainEpoch(1, 0.1, 0.1, 0.1, 0.1, 360, "cnn_tiny")
    done = Pretrained(10, 40, 0.5, False, 2.0, kept)
    path = folder / "events.jsonl"
    logged: list[Event] = [*epochs, small, done]
    lines = [to_line(event) + "\n" for event in logged]
    path.write_text("".join(lines) + path.read_text())
    return folder


def drawn(run_folder: Path) -> tuple[Pretraining, ...]:
    return pretrainings(leaderboard(read_cells(run_folder)))


def test_means_over_the_seeds_that_came_so_far(make_cell: MakeCell, tmp_path: Path) -> None:
    trains(make_cell("gptfl", 0), [0.5, 0.9], [0.2, 0.4], kept=2)
    trains(make_cell("gptfl", 1), [0.7], [0.4], kept=1)
    make_cell("fedavg", 0)
    (one,) = drawn(tmp_path / "run")
    assert one.labels == ("gptfl",)
    assert one.kept == (2, 1)
    first, second = one.epochs
    assert first.synthetic is not None
    assert first.real is not None
    assert (first.synthetic.mean, first.real.mean) == pytest.approx((0.6, 0.3))
    assert first.real.sd == pytest.approx(0.02**0.5)
    assert second.real is not None
    assert (second.real.n, second.real.mean, second.real.sd) == (1, 0.4, None)
    rows = list(csv.DictReader(io.StringIO(overfitting_csv([one]))))
    assert [(row["epoch"], row["n"]) for row in rows] == [("1", "2"), ("2", "1")]
    assert float(rows[1]["synthetic"]) == 0.9


def test_methods_that_start_from_the_same_training_share_its_curve(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    for method in ("gptfl", "gptfl+fedopt"):
        trains(make_cell(method), [0.5, NAN], [0.2, 0.3])
    trains(make_cell("gptfl+moon"), [0.5, 0.8], [0.2, 0.1])
    assert sorted(one.labels for one in drawn(tmp_path / "run")) == [
        ("gptfl", "gptfl+fedopt"),
        ("gptfl+moon",),
    ]


def test_what_nobody_looked_at_is_left_out(make_cell: MakeCell, tmp_path: Path) -> None:
    trains(make_cell("gptfl"), [NAN, NAN], [NAN, NAN])
    (one,) = drawn(tmp_path / "run")
    assert [(epoch.synthetic, epoch.real) for epoch in one.epochs] == [(None, None)] * 2
    written = {path.name for path in write_report(tmp_path / "run", tmp_path / "report")}
    assert {"overfitting.csv", "overfitting.svg", "overfitting.png"} <= written


def test_the_page_shows_the_curves_and_a_report_without_them_has_none(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    trains(make_cell("gptfl"), [0.5, 0.9], [0.2, 0.4])
    out = tmp_path / "report"
    write_report(tmp_path / "run", out)
    ElementTree.fromstring((out / "overfitting.svg").read_text())
    assert "over-fits to synthetic data" in (out / "index.html").read_text()
    make_cell("fedavg", run_folder=tmp_path / "cold")
    write_report(tmp_path / "cold", out)
    assert not list(out.glob("overfitting*"))
    assert "over-fits" not in (out / "index.html").read_text()
