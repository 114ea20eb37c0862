"""Clients in silos: the numbers of the simulation, states that stay, and ends of processes."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.cells.cell import Context, run_cell
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cli import main
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import ProcessLost
from gptfl_bench.data.access import Access
from gptfl_bench.engine.server import Server
from gptfl_bench.runs import experiment
from gptfl_bench.silos.client import LEDGER, Silo
from gptfl_bench.silos.messages import Ask, Here, opened, packed
from gptfl_bench.silos.server import Silos
from gptfl_bench.silos.wire import Gone
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.events import TrafficCounted, read_events

COUNT = 3


class Within:
    """A wire within this process: a silo works when it is sent a message."""

    def __init__(self, folder: Path, gone: Callable[[int, int], bool]) -> None:
        self.silos = [Silo(Access(), folder / str(number)) for number in range(1, COUNT + 1)]
        self.gone, self.read = gone, deque((n, packed(Here())) for n in range(1, COUNT + 1))
        self.asked: list[bytes] = []

    def send(self, to: int, data: bytes) -> None:
        message = opened(data)
        if isinstance(message, Ask) and self.gone(to, message.number):
            raise Gone(str(to))
        answer = self.silos[to - 1].answer(message)
        if answer is not None:
            self.read.append((to, packed(answer)))

    def receive(self, seconds: float) -> tuple[int, bytes] | None:
        return self.read.popleft() if self.read else None

    def close(self) -> None:
        for silo in self.silos:
            silo.close()


def spec_of(method: str, *settings: str) -> CellSpec:
    common = [f"num_clients={COUNT}", f"cohort_size={COUNT}", "rounds=3", "model=linear"]
    generator = "synthetic.generator=renderer"
    words = [*common, generator, *settings]
    return experiment.plan([method], "digits", "quick", [0], words).cells[0]


Federate = Callable[..., Cell]


@pytest.fixture
def federate(tmp_path: Path) -> Federate:
    """Return what runs a cell by a server and three silos."""

    def federate(spec: CellSpec, gone: Callable[[int, int], bool] = lambda to, n: False) -> Cell:
        silos = Silos(Within(tmp_path / "silos", gone), COUNT)
        context = Context(tmp_path / "federated", Artifacts(tmp_path / "cache"))
        try:
            silos.gather(1.0)
            silos.open(spec)
            return run_cell(spec, replace(context, apart=silos))
        finally:
            silos.close()

    return federate


def simulated(spec: CellSpec, folder: Path) -> Cell:
    return run_cell(spec, Context(folder / "simulated", Artifacts(folder / "cache")))


def told(cell: Cell) -> list[Any]:
    """What a cell tells but for its time, the cache, and how much its clients keep."""
    row = {key: value for key, value in cell.row().items() if key != "seconds"}
    hidden = ("seconds", "cached", "client_state_bytes")
    events = [
        replace(event, **{name: 0 for name in hidden if hasattr(event, name)})  # type: ignore[arg-type]
        for event in cell.events
    ]
    return [row, *events]


@pytest.mark.parametrize("method", ["fedavg", "fedprox", "fedopt", "scaffold", "moon", "gptfl"])
def test_a_federation_has_rows_and_bytes_of_the_simulation(
    federate: Federate, tmp_path: Path, method: str
) -> None:
    spec = spec_of(method)
    cell = federate(spec)
    assert told(cell) == told(simulated(spec, tmp_path))
    counted = [
        event
        for ledger in (tmp_path / "silos").glob(f"*/{LEDGER}")
        for event in read_events(ledger)
        if isinstance(event, TrafficCounted)
    ]
    for direction, key in (("up", "bytes_up"), ("down", "bytes_down")):
        there = sum(event.nbytes for event in counted if event.direction == direction)
        assert there == cell.row()[key], "both ends of the channel count the same"  # type: ignore[literal-required]


def test_what_clients_keep_stays_in_their_silos(federate: Federate, tmp_path: Path) -> None:
    cell = federate(spec_of("scaffold"))
    kept = list((tmp_path / "silos").rglob("client-*.safetensors"))
    assert {path.relative_to(tmp_path / "silos").parts[0] for path in kept} == {"1", "2", "3"}
    at_server = list(cell.folder.rglob("client-*.safetensors"))
    assert (
        max(path.stat().st_size for path in at_server) < 100 < min(p.stat().st_size for p in kept)
    )


@pytest.mark.parametrize("method", ["scaffold", "moon", "gptfl"])
def test_a_client_that_is_gone_ends_all_and_the_same_goes_on(
    federate: Federate, tmp_path: Path, method: str
) -> None:
    spec = spec_of(method)
    with pytest.raises(ProcessLost, match=r"client 2 of the federation is gone \(round 2\)"):
        federate(spec, lambda to, number: (to, number) == (2, 2))
    assert told(federate(spec)) == told(simulated(spec, tmp_path))


class Restarted:
    """A wire to a silo that was started again and so says that it is there, and nothing else."""

    def send(self, to: int, data: bytes) -> None:
        pass

    def receive(self, seconds: float) -> tuple[int, bytes]:
        return 2, packed(Here())

    def close(self) -> None:
        pass


def test_a_client_that_was_started_again_is_not_waited_for(
    parabola: Callable[..., Server],
) -> None:
    federation = parabola([[0.0], [1.0]]).federation
    visit = Silos(Restarted(), COUNT).begin(
        federation, 2, [1], lambda client: {}, lambda received, client: {}, dict
    )
    with pytest.raises(ProcessLost, match="client 2 of the federation came anew"):
        visit(1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["servant"], "unknown role 'servant'"),
        (["server", "--hosts", "here"], "must be the address:port"),
        (["server", "--hosts", "a:1,a:1"], "must be the address:port"),
        (["client", "--number", "2"], "--number '2' must be a whole number from 1 to 1"),
        (["server", "--method", "all"], "federate runs one method"),
        (["server", "--method", "feddf"], "need sums over clients alone"),
        (["server", "secure_aggregation=true"], "is for the simulation"),
    ],
)
def test_wrong_use_is_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["federate", *words, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert not (tmp_path / "out").exists()
