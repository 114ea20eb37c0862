"""Real processes on loopback by FedML's gRPC; it takes minutes, for each of them loads FedML."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_bench.cli import main
from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.records.events import RoundAggregated, read_events

pytestmark = pytest.mark.slow
pytest.importorskip("grpc", reason="needs gptfl-bench[fedml]")
pytest.importorskip("fedml", reason="needs gptfl-bench[fedml]")

AUDIT = """
import os, sys
log = open(os.environ["AUDITED"], "a", buffering=1)
def hook(event, words):
    if event in ("socket.connect", "socket.sendto"):
        log.write(f"{words[1]}\\n")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        log.write(f"{words[0]}\\n")
sys.addaudithook(hook)
"""
SETTINGS = ("--preset", "quick", "rounds=4", "synthetic.generator=renderer")
Process = subprocess.Popen[str]


@pytest.fixture
def federation(tmp_path: Path) -> Callable[[], list[Process]]:
    """Return what starts a server and three clients, each of which tells whom it contacts."""
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "sitecustomize.py").write_text(AUDIT)
    path = os.pathsep.join([str(tmp_path / "audit"), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path)}
    environment |= {"AUDITED": str(tmp_path / "contacted"), "PYTHONWARNINGS": "ignore"}

    def start() -> list[Process]:
        ports = []
        for _ in range(4):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                ports.append(free.getsockname()[1])
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        run = [sys.executable, "-m", "gptfl_bench", "federate"]
        common = ["--hosts", hosts, "--patience", "600", "--out", str(tmp_path / "fed")]
        roles = [
            ["server", "--method", "gptfl", *SETTINGS],
            *(["client", "--number", n] for n in "123"),
        ]
        streams = {"stderr": subprocess.PIPE, "text": True}
        return [
            subprocess.Popen([*run, *role, *common], env=environment, **streams)  # type: ignore[call-overload]
            for role in roles
        ]

    return start


def _simulated(tmp_path: Path) -> Cell:
    words = ["run", "--methods", "gptfl", "--seeds", "0", *SETTINGS]
    out = ["num_clients=3", "cohort_size=3", "--out", str(tmp_path / "sim")]
    assert main([*words, *out]) == 0
    return read_cells(tmp_path / "sim")[0]


def _row(cell: Cell) -> dict[str, object]:
    return {key: value for key, value in cell.row().items() if key != "seconds"}


def test_a_server_and_three_clients_have_the_numbers_of_the_simulation(
    federation: Callable[[], list[Process]], tmp_path: Path
) -> None:
    processes = federation()
    said = [process.communicate(timeout=1500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    (cell,) = read_cells(tmp_path / "fed")
    assert _row(cell) == _row(_simulated(tmp_path))
    contacted = set((tmp_path / "contacted").read_text().splitlines())
    assert all("127.0.0.1" in place or "localhost" in place for place in contacted), contacted


def test_a_client_killed_in_round_2_is_named_and_the_same_commands_go_on(
    federation: Callable[[], list[Process]], tmp_path: Path
) -> None:
    processes = federation()
    while not any(
        isinstance(event, RoundAggregated)
        for log in (tmp_path / "fed").glob("gptfl*/events.jsonl")
        for event in read_events(log)
    ):
        assert processes[0].poll() is None
        time.sleep(0.01)
    processes[2].kill()
    said = [process.communicate(timeout=600)[1] for process in processes]
    assert "client 2 of the federation is gone (round " in said[0]
    assert "the same command goes on from here" in said[0]
    assert [process.returncode for process in processes] == [130, 0, -9, 0]
    processes = federation()
    said = [process.communicate(timeout=1500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert _row(read_cells(tmp_path / "fed")[0]) == _row(_simulated(tmp_path))
