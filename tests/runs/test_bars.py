"""What a person sees of ``run``: lines in a notebook, nothing in any other program."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gptfl_bench as gb


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
