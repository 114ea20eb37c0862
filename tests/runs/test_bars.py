"""What a person sees of ``run``: lines in a notebook, nothing in any other program."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import gptfl_bench as gb
from gptfl_bench.runs.bars import Bars, Plain


class ZMQInteractiveShell:
    """Named as the shell of a notebook's kernel is."""


def _run(tmp_path: Path, **how: Any) -> None:
    settings: dict[str, Any] = {"preset": "quick", "rounds": 1, "model": "linear"}
    gb.run("fedavg", seeds=[0], out=tmp_path / "run", cache=tmp_path, **settings, **how)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace(get_ipython=ZMQInteractiveShell)
    monkeypatch.setitem(sys.modules, "IPython", shell)


@pytest.mark.usefixtures("notebook")
def test_a_notebook_shows_each_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path)
    said = capsys.readouterr()
    first, last = said.out.splitlines()
    assert first == "[1/1] fedavg seed 0"
    assert last.startswith("  fedavg seed 0: ")
    assert "% accuracy after 1 rounds" in last
    assert said.err == ""


@pytest.mark.usefixtures("notebook")
def test_it_can_be_silenced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path, progress=False)
    assert capsys.readouterr() == ("", "")


def test_another_program_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path)
    assert capsys.readouterr() == ("", "")


def test_the_leaderboard_stands_above_the_bars_and_leaves_room_for_them() -> None:
    bars = Bars()
    screen = io.StringIO()
    bars._console = bars._bars.live.console = Console(file=screen, force_terminal=True, height=8)
    bars.cell(1, 2, "fedavg seed 0")
    bars.standing(lambda: "\n".join(f"method {n}" for n in range(20)))
    above, _ = bars._bars.get_renderables()
    assert str(above).splitlines()[0] == "method 0"
    assert len(str(above).splitlines()) + len(bars._bars.tasks) < 8
    bars.standing(lambda: "")
    assert len([*bars._bars.get_renderables()]) == 1


def test_a_leaderboard_is_worked_out_for_a_terminal_alone() -> None:
    def never() -> str:
        raise AssertionError

    Plain(lambda line: None).standing(never)
