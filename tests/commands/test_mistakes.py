"""A mistake is answered by one sentence that names it and what was meant; nothing is written."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gptfl_bench.cli import COMMANDS

ROWS = [
    pytest.param(*row, id=f"{category}: {row[0]}")
    for category, rows in yaml.safe_load(
        Path(__file__).with_name("wrong_words.yaml").read_text(encoding="utf-8")
    ).items()
    for row in rows
]


@pytest.mark.parametrize(("words", "named", "meant"), ROWS)
def test_one_sentence_and_nothing_written(
    words: str,
    named: str,
    meant: str,
    bench: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("GPTFL_BENCH_CACHE", "GPTFL_BENCH_DATA", "GPTFL_NOT_SET"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "of-the-user"))
    (tmp_path / "FILE").write_text("")
    (tmp_path / "EMPTY").mkdir()
    answer = bench(*shlex.split(words))
    assert answer.code == 2
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("gptfl-bench: ")
    assert named in answer.err
    assert meant in answer.err
    # Locks in the cache stay: another process may wait for one.
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [path.name for path in left] == ["FILE"]
    assert {path.name for path in tmp_path.iterdir()} <= {"EMPTY", "FILE", "of-the-user"}


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_there_for_every_command(command: str, bench: Callable[..., Any]) -> None:
    if command:
        with pytest.raises(SystemExit) as stopped:
            bench(command, "--help")
        assert stopped.value.code == 0
    else:
        answer = bench("--help")
        assert answer.code == 0
        assert all(name in answer.out for name in COMMANDS)


def test_help_says_what_a_command_takes(capsys: pytest.CaptureFixture[str]) -> None:
    from gptfl_bench.cli import main

    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    for option in ("--methods", "--dataset", "--preset", "--seeds", "--out", "--launcher", "--cfg"):
        assert option in text


def test_without_words_it_says_what_there_is(bench: Callable[..., Any]) -> None:
    assert bench() == bench("--help")


def test_the_version_is_the_packages(bench: Callable[..., Any]) -> None:
    import gptfl_bench

    assert bench("--version").out == f"gptfl-bench {gptfl_bench.__version__}\n"
