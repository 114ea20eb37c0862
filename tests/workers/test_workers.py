"""Clients in several processes: the numbers of one after another, and what ends a worker."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gptfl_bench as gb
from gptfl_bench.cells import assemble
from gptfl_bench.cells.world import build_world
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.data.task import Task
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.method import methods
from gptfl_bench.runs import processes
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.gptfl import GptFl
from gptfl_methods.parts.matching import Matching
from gptfl_methods.scaffold import Scaffold
from gptfl_reports.records.events import CellEnded

RunCell = Callable[..., Any]
PLAN = Plan(batch_size=4)
SMALL: dict[str, dict[str, Any]] = {
    "dynafed": {
        "length": 2,
        "matching": Matching(images_per_class=1, outer_steps=2, inner_steps=2),
    },
    "feddf": {"distillation": Plan(steps=3)},
    "fedet": {"client_models": ("linear",), "distillation": Plan(steps=3)},
    "fedftg": {"width": 4, "iterations": 2},
    "fedgen": {"generator_steps": 3},
    "gptfl": {"inner": Scaffold(plan=PLAN), "pretrain": Plan(epochs=1, batch_size=8)},
}


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def both(run_cell: RunCell, method: Any, **settings: Any) -> list[Any]:
    """A cell in one process and in two."""
    ended = [run_cell(method, workers=workers, **settings) for workers in (1, 2)]
    assert ended[0].untimed == ended[1].untimed
    assert ended[0].bits == ended[1].bits
    assert ended[0].cell.record["run_id"] == ended[1].cell.record["run_id"]
    return ended


@pytest.mark.parametrize("name", methods.names())
def test_rows_events_and_tensors_are_those_of_one_process(
    run_cell: RunCell, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    method = methods.get(name)()
    plan = {"plan": PLAN} if hasattr(method, "plan") else {}
    serial, apart = both(run_cell, replace(method, **plan, **SMALL.get(name, {})))
    assert {**serial.cell.row(), "seconds": 0} == {**apart.cell.row(), "seconds": 0}
    assert capsys.readouterr().err == "", "nothing is said of one after another"
    assert "workers=2" in apart.cell.record["machine"]


@pytest.mark.parametrize(
    "settings",
    [
        {"secure_aggregation": True},
        {"model": "cnn_small", "model_args": {"norm": "batch", "width": 2}, "buffers": "local"},
        {"network": nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))},
        {"cohort_size": 6},
    ],
    ids=["secure", "local statistics", "dropout", "all clients"],
)
def test_other_settings_change_nothing_either(run_cell: RunCell, settings: dict[str, Any]) -> None:
    both(run_cell, Scaffold(plan=PLAN), **settings)


def meet(told: Path) -> None:
    """Wait until two processes have told a folder that they work, or for half a minute."""
    deadline = time.monotonic() + 30
    while len(list(told.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)


class Where(nn.Module):
    """A network that tells a folder in which process it trained, where it waits for another."""

    def __init__(self, told: Path) -> None:
        super().__init__()
        self.told, self.layer = told, nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            (self.told / str(os.getpid())).touch()
            meet(self.told)
        logits: torch.Tensor = self.layer(x.flatten(1))
        return logits


def test_clients_work_in_as_many_processes_as_were_asked_for(
    run_cell: RunCell, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    told.mkdir()
    run_cell(FedAvg(plan=PLAN), network=Where(told), cohort_size=6, workers=2)
    processes = {path.name for path in told.iterdir()}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes


@dataclass(frozen=True)
class Counts(FedAvg):
    """Scales what a client sends by how many were there before, against the rules."""

    seen: list[int] = field(default_factory=list)

    def client_update(self, received: Groups, client: Client) -> Groups:
        self.seen.append(client.id)
        reply = super().client_update(received, client)
        scale = float(len(self.seen))
        return {**reply, "delta": {n: t * scale for n, t in reply["delta"].items()}}


class Locked(nn.Linear):
    """A network with a part that no other process can be handed."""

    def __init__(self) -> None:
        super().__init__(16, 3)
        self.lines = (line for line in ("a",))

    def __deepcopy__(self, memo: object) -> "Locked":
        return Locked()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1))


def test_clients_that_can_not_work_apart_work_one_after_another_which_is_said(
    run_cell: RunCell, capsys: pytest.CaptureFixture[str]
) -> None:
    serial, apart = (run_cell(Counts(plan=PLAN), workers=workers) for workers in (1, 2))
    assert apart.untimed == serial.untimed
    assert apart.bits == serial.bits
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "clients work one after another, for the method's object changes when a client works."
    )
    assert run_cell(FedAvg(plan=PLAN), network=Locked(), workers=2).cell.ending.status == "finished"
    (line,) = capsys.readouterr().err.splitlines()
    assert "another process can't be handed its parts (" in line


@dataclass(frozen=True)
class Fails(FedAvg):
    """Fails at a client of round 2, by an error or by a kill of the process, until healed."""

    healed: str = ""
    killed: bool = False

    def client_update(self, received: Groups, client: Client) -> Groups:
        if client.round == 2 and client.id == 5 and not Path(self.healed).exists():
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError("a bug")
        return super().client_update(received, client)


def test_an_error_or_a_kill_ends_the_cell_in_a_sentence(tiny_task: Task, tmp_path: Path) -> None:
    """The same command goes on with what was killed, and ends as if undisturbed."""
    healed = tmp_path / "healed"

    def run(out: str, workers: int) -> Any:
        asked = [Fails(plan=PLAN, healed=str(healed), killed=killed) for killed in (True, False)]
        settings: dict[str, Any] = {"num_clients": 6, "cohort_size": 6, "rounds": 3}
        settings |= {"partition": {"recipe": "group"}, "workers": workers}
        place = tmp_path / out
        return gb.run(asked, tiny_task, [0], model="linear", out=place, progress=False, **settings)

    results = run("a", 2)
    assert list(results.rows["status"]) == ["failed", "failed"]
    killed, failed = results.cells
    assert killed.ending.reason.startswith("a worker process was killed")
    assert killed.ending == CellEnded("failed", killed.ending.reason, interrupted=True)
    assert [event.round for event in killed.evaluations] == [0, 1]
    assert failed.ending.reason.startswith("ZeroDivisionError: a bug (traceback in ")
    assert "in client_update" in (failed.folder / "traceback.txt").read_text(encoding="utf-8")
    healed.touch()
    again, alone = run("a", 2), run("b", 1)
    assert list(again.rows["status"]) == ["finished", "finished"]
    losses = [[[e.loss for e in cell.evaluations] for cell in ran.cells] for ran in (again, alone)]
    assert losses[0] == losses[1]
    assert again.cells[0].evaluations[:2] == killed.evaluations, "it went on, not anew"


ORPHANS = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
import gptfl_bench as gb
from gptfl_methods import FedAvg

@dataclass(frozen=True)
class Dies(FedAvg):
    def client_update(self, received, client):
        Path("told", str(os.getpid())).touch()
        # Until both are at work.
        deadline = time.monotonic() + 30
        while len(os.listdir("told")) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return super().client_update(received, client)

    def aggregate(self, state, cohort, server):
        os.kill(os.getpid(), signal.SIGKILL)

os.cpu_count = lambda: 2
gb.run(Dies(), seeds=[0], preset="quick", workers=2, cohort_size=6, out="runs", progress=False)
"""


def test_workers_end_with_who_started_them(python: Callable[..., Any], tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.mkdir()
    done = python(ORPHANS, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    workers = {int(path.name) for path in told.iterdir()}
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        (0, "workers=0 must be 1 or more"),
        (
            3,
            "workers=3 must be at most 2, for this machine has 2 cores and threads=1; workers=auto",
        ),
        ("many", "workers"),
        (1.5, "workers"),
    ],
)
def test_wrong_numbers_are_one_sentence(tiny_task: Task, workers: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        gb.run("fedavg", tiny_task, [0], model="linear", workers=workers)


@pytest.mark.parametrize(
    ("cores", "threads", "at_once", "workers", "count"),
    [
        (8, 1, 1, "auto", 3),
        (8, 1, 4, "auto", 2),
        (8, 4, 1, "auto", 2),
        (8, 1, 8, "auto", 0),
        (1, 1, 1, "auto", 0),
        (8, 1, 1, 2, 2),
        (8, 1, 1, 1, 0),
    ],
)
def test_auto_takes_the_cores_that_are_left(
    make_spec: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    threads: int,
    at_once: int,
    workers: Any,
    count: int,
) -> None:
    """A cohort of three never has more than three."""
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    spec = make_spec(FedAvg(), threads=threads, workers=workers)
    found: Any = assemble._workers(spec, build_world(spec), at_once)
    assert (found._count if found else 0) == count


def test_cells_in_processes_leave_each_other_cores(
    make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    specs = [make_spec(GptFl(), workers=2, threads=2), make_spec(GptFl(), workers="auto")]
    assert list(map(processes.cores, specs)) == [4, 1]
