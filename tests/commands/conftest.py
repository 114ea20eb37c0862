"""The command line, in this process or in one that can be killed."""

import runpy
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from gptfl_bench.cli import main


@dataclass(frozen=True)
class Answer:
    """What a command said: its exit code and both streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def bench(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Return a function that runs ``gptfl-bench`` with the words given to it."""

    def run(*words: object) -> Answer:
        capfd.readouterr()
        code = main([str(word) for word in words])
        return Answer(code, *capfd.readouterr())

    return run


def _from_a_terminal() -> None:
    """Run the module as a shell's foreground does; background jobs are started deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        runpy.run_module("gptfl_bench", None, "__main__")
    finally:
        # What an interpreter does at its end and a process of multiprocessing leaves out: without
        # it, the workers of joblib are waited for until they are idle for long enough.
        threading._shutdown()  # type: ignore[attr-defined]


@pytest.fixture
def start(
    nursery: ForkServerContext, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[object]], BaseProcess]:
    """Return a function that starts ``gptfl-bench`` in a process of its own."""

    def begin(words: Sequence[object]) -> BaseProcess:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["gptfl-bench", *map(str, words)])
            process = nursery.Process(target=_from_a_terminal)
            process.start()
        return process

    return begin


@pytest.fixture
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "shared-cache"
