"""What is said of a run before it starts: counted from the plan, measured once, and true after."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.engine.method import methods
from gptfl_bench.runs import launchers
from gptfl_bench.runs.forecast import calibration, outlook
from gptfl_bench.runs.forecast.calibration import Calibration, Pace
from gptfl_bench.runs.forecast.forecast import forecast

Specs = Callable[..., CellSpec]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path / "runs", Artifacts(tmp_path / "cache"))


@pytest.fixture
def pace(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine on which a training step takes a second, all else nothing; what was timed."""
    timed: list[str] = []

    def of(self: Calibration, kind: str, networks: object) -> Pace:
        timed.append(kind)
        return Pace(1.0 if kind == "train" else 0.0, 0.0)

    monkeypatch.setattr(Calibration, "pace", of)
    monkeypatch.setattr("gptfl_bench.runs.forecast.kept.rate", lambda *_: 0.5)
    return timed


def test_a_line_goes_through_two_measurements() -> None:
    pace = Pace.through([(10, 3.0), (30, 5.0)])
    assert pace.seconds(20) == 4.0
    assert pace.seconds(0) == 2.0
    # Noise must not make larger batches faster, or small ones cost less than nothing.
    assert Pace.through([(10, 3.0), (30, 2.0)]).seconds(1000) == 3.0
    assert Pace.through([(10, 1.0), (30, 5.0)]).seconds(10) == 2.0


def _steps(specs: Sequence[CellSpec], context: Context) -> list[int]:
    """Return the local steps that cells took."""
    cells = launchers.execute(specs, context)
    return [sum(getattr(event, "steps", 0) for event in cell.events) for cell in cells]


@pytest.mark.usefixtures("pace")
def test_local_steps_are_those_of_the_very_cohorts_that_are_drawn(
    make_spec: Specs, context: Context
) -> None:
    specs = [make_spec(methods.get("fedavg")(), seed=seed, rounds=5) for seed in (0, 1)]
    ahead = forecast(specs, context)
    assert [cell.seconds for cell in ahead.cells] == _steps(specs, context)
    again = forecast(specs, context)
    assert [cell.ended for cell in again.cells] == ["finished", "finished"]
    assert (again.seconds, again.to_run) == (0, ())


@pytest.mark.usefixtures("pace")
def test_what_cells_share_is_made_once(make_spec: Specs, context: Context) -> None:
    gptfl, fedavg = methods.get("gptfl")(), methods.get("fedavg")()
    specs = [make_spec(method, seed=seed) for method in (fedavg, gptfl) for seed in (0, 1)]
    plain, _, first, second = (cell.seconds for cell in forecast(specs, context).cells)
    # 30 synthetic samples at half a second, 27 of them in one batch of 20 epochs.
    assert first == plain + 15 + 20
    assert second == forecast(specs[1:2], context).seconds + 20
    ahead = forecast(specs[2:3], context)
    ahead.keep(context.artifacts, list(launchers.execute(specs[2:3], context)), 1.0)
    other = Context(context.out / "other", context.artifacts)
    assert forecast(specs[2:3], other).seconds == plain


@pytest.mark.usefixtures("pace")
def test_a_cell_that_will_be_refused_takes_no_time(make_spec: Specs, context: Context) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    spec = make_spec(methods.get("moon")(), network=network)
    (cell,) = forecast([spec], context).cells
    assert "an encoder" in cell.refused
    assert cell.seconds == 0


def test_the_machine_is_measured_once(make_spec: Specs, context: Context) -> None:
    spec = make_spec(methods.get("fedavg")())
    first = forecast([spec], context).seconds
    assert 0 < first < 60
    files = {path: path.read_bytes() for path in context.artifacts.folder.rglob("seconds.json")}
    assert {json.loads(data)["kind"] for data in files.values()} == {"train", "predict", "visit"}
    assert forecast([spec], context).seconds == first
    assert {path: path.read_bytes() for path in files} == files
    # Damage is measured anew.
    for path in files:
        path.write_text("[")
    assert 0 < forecast([spec], context).seconds < 60


def test_true_times_are_kept_beside_the_estimate(make_spec: Specs, context: Context) -> None:
    specs = [make_spec(methods.get("fedavg")())]
    ahead = forecast(specs, context)
    ahead.keep(context.artifacts, list(launchers.execute(specs, context)), 12.5)
    (line,) = (context.artifacts.folder / "forecasts.jsonl").read_text().splitlines()
    found: dict[str, Any] = json.loads(line)
    assert found["took"] == 12.5
    assert found["work_estimated"] == ahead.seconds


def test_a_measurement_leaves_random_numbers_alone(make_spec: Specs, context: Context) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    forecast([make_spec(methods.get("fedavg")())], context)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("pace")
def test_a_busy_machine_takes_longer(
    make_spec: Specs, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(methods.get("fedavg")())
    monkeypatch.setattr(outlook, "free_share", lambda: 0.25)
    ahead = outlook.look_ahead([spec], context, "basic")
    assert ahead.seconds == 4 * ahead.forecast.seconds
    assert "25 % of a core" in "\n".join(outlook.lines(ahead, "default"))


@pytest.mark.usefixtures("pace")
def test_a_long_run_is_told_of_shorter_ways_once(
    make_spec: Specs, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr(outlook, "free_share", lambda: 1.0)
    long, short = (make_spec(methods.get("fedavg")(), rounds=rounds) for rounds in (3000, 80))
    tiny = make_spec(methods.get("fedavg")(), rounds=3)
    ahead = outlook.look_ahead(
        [long], context, "basic", {"cpu": lambda: [short], "quick": lambda: [tiny]}
    )
    lines = outlook.lines(ahead, "default")
    ways = [line for line in lines if line.startswith("shorter: ")]
    assert ["--preset cpu" in ways[0], "--launcher joblib" in ways[1]] == [True, True]
    assert len(ways) == 2
    assert not outlook.look_ahead([tiny], context, "basic").ways


def test_the_share_of_a_core_is_a_share() -> None:
    assert 0 < calibration.free_share(0.02) <= 1
