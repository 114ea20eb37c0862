"""Real or synthetic public data, on the same clients: the choice moves who needs them alone."""

from pathlib import Path

import pytest

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import build_world
from gptfl_bench.cli import main
from gptfl_bench.runs import experiment
from gptfl_bench.runs.launchers import execute
from gptfl_reports.numbers.tasks import group

SMALL = ["model=linear", "rounds=1", "synthetic.multiplier=0.05", "quality.samples=0"]


def _cell(method: str, *settings: str) -> CellSpec:
    (spec,) = experiment.plan([method], "digits", "quick", [0], [*SMALL, *settings]).cells
    return spec


@pytest.mark.parametrize("method", ["feddf", "dsfl", "fedet"])
def test_presets_hold_real_samples_out_of_all_clients_alike(method: str) -> None:
    spec, fedavg = build_world(_cell(method)), build_world(_cell("fedavg"))
    assert spec.public is not None
    assert (len(spec.public), len(spec.train)) == (287, 1150)
    assert fedavg.partition == spec.partition
    assert _cell(method).uses_synthetic is False


def test_data_draws_the_partition_that_runs_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "digits", "--preset", "quick", "--partition", "--out", str(tmp_path)]) == 0
    assert build_world(_cell("fedavg")).partition.fingerprint[:12] in capsys.readouterr().out


def test_synthetic_ones_leave_the_clients_as_they_are() -> None:
    real, synthetic = _cell("feddf"), _cell("feddf", "public.source=synthetic")
    assert build_world(synthetic).partition == build_world(real).partition
    assert build_world(synthetic).public is None
    assert real.run_id != synthetic.run_id


def test_the_source_is_no_part_of_a_cell_that_does_without() -> None:
    other = ("public.source=synthetic", "public.limit=7")
    assert _cell("fedavg").run_id == _cell("fedavg", *other).run_id
    assert _cell("fedavg").run_id != _cell("fedavg", "public.share=0.3").run_id
    assert _cell("fedavg").run_id != _cell("fedavg", *other, "public.always=false").run_id


def test_each_source_has_a_row_in_the_same_table(tmp_path: Path) -> None:
    context = experiment.context(tmp_path, cache=tmp_path / "cache")
    asked = [_cell("fedavg"), _cell("feddf"), _cell("feddf", "public.source=synthetic")]
    (task,) = group(execute(asked, context))
    assert [entrant.label for entrant in task.entrants] == [
        "fedavg",
        "feddf (public data=held_out)",
        "feddf (public data=synthetic)",
    ]
