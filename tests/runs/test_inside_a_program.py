"""A caller's own Hydra, threads and signals are left as they are, and change no number."""

import importlib
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from torch import nn

import gptfl_bench as gb
from gptfl_bench.cli import main
from gptfl_bench.core.registry import Registry
from gptfl_bench.data.task import Task
from gptfl_bench.runs import config

SHAPE: dict[str, Any] = {
    "num_clients": 4,
    "cohort_size": 2,
    "rounds": 4,
    "partition": {"min_size": 1},
}
_MAIN = """
import hydra
import gptfl_bench as gb
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig

ConfigStore.instance().store(name="base", node={"mine": 1})

@hydra.main(version_base="1.3", config_path=None, config_name="base")
def job(settings):
    rows = gb.run("fedavg", seeds=[0], preset="quick", rounds=1, out=settings.get("out")).rows
    print(list(rows["status"]), settings.mine, HydraConfig.get().job.name)

job()
"""


def test_a_configuration_store_keeps_the_callers_entries() -> None:
    store = ConfigStore.instance()
    before = dict(store.repo)
    store.store(name="base", node={"mine": 1})
    try:
        config.load("digits", "quick", ["rounds=2"])
        assert store.load("base.yaml").node == {"mine": 1}
    finally:
        store.repo = before


def test_a_run_within_the_callers_own_configuration(tmp_path: Path, tiny_task: Task) -> None:
    (tmp_path / "mine.yaml").write_text("lr: 3\n", encoding="utf-8")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        rows = gb.run("fedavg", tiny_task, [0], model="linear", preset="quick", **SHAPE).rows
        assert compose("mine").lr == 3
    assert list(rows["status"]) == ["finished"]


def test_a_run_within_hydra_main(python: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(_MAIN, encoding="utf-8")
    code = "import runpy, sys; sys.argv[0] = 'job.py'; runpy.run_path('job.py', None, '__main__')"
    words = [f"+out={tmp_path / 'runs'}", f"hydra.run.dir={tmp_path}"]
    done = python(code, *words, cwd=tmp_path)
    assert done.stdout.splitlines()[-1:] == ["['finished'] 1 job"], done.stderr


def test_threads_get_the_numbers_of_one_after_another(tiny_task: Task) -> None:
    """Dropout draws from the one stream that all threads share."""
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))

    def run(seed: int) -> object:
        settings: dict[str, Any] = {**SHAPE, "rounds": 12}
        results = gb.run(["fedavg", "fedprox"], tiny_task, [seed], model=network, **settings)
        return [[(e.loss, e.accuracy) for e in cell.evaluations] for cell in results.cells]

    alone = [run(seed) for seed in (0, 1, 2)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run, (0, 1, 2))) == alone


def test_a_second_thread_is_told_all_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "parts_found_late"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text(
        "import time, parts_found_late as package\n"
        "package.begun.set()\n"
        "time.sleep(0.2)\n"
        "package.registry.register('late', title='found last')(object())\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    found: Any = importlib.import_module("parts_found_late")
    found.registry = Registry("thing", "parts_found_late", "no.such.group")
    found.begun = threading.Event()
    first = threading.Thread(target=found.registry.names)
    first.start()
    assert found.begun.wait(5)
    assert found.registry.names() == ["late"]
    first.join()


def test_the_command_line_in_a_thread(tmp_path: Path) -> None:
    words = ["run", "--methods", "fedavg", "--seeds", "0", "--preset", "quick", "rounds=1"]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, [*words, "--out", str(tmp_path / "runs")]).result() == 0


@pytest.mark.parametrize("words", [["--version"], ["nothing"]])
def test_the_callers_handlers_are_put_back(words: list[str]) -> None:
    handler: Callable[..., None] = lambda *_: None  # noqa: E731 - a handler to tell apart
    before = signal.signal(signal.SIGTERM, handler)
    try:
        main(words)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
