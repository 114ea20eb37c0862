"""Values as callers have them: whole numbers of any library, shares of the clients, paths."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import gptfl_bench as gb
from gptfl_bench.commands.options import expanded
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import as_seeds
from gptfl_bench.runs import config, experiment


@pytest.mark.parametrize(
    "seeds",
    [
        [0, 3],
        (np.int64(0), np.uint8(3)),
        np.array([0, 3]),
        torch.tensor([0, 3]),
        pd.Series([0, 3]),
        range(0, 4, 3),
        (seed for seed in (0, 3)),
    ],
    ids=lambda seeds: type(seeds).__name__,
)
def test_whole_numbers_of_any_library_are_seeds(seeds: Any) -> None:
    found = as_seeds(seeds)
    assert found == [0, 3]
    assert {type(seed) for seed in found} == {int}


@pytest.mark.parametrize("seed", [3, np.int64(3), np.array(3), torch.tensor(3)], ids=str)
def test_one_number_is_one_seed(seed: Any) -> None:
    assert [cell.seed for cell in experiment.plan(["fedavg"], "digits", "quick", seed).cells] == [3]


@pytest.mark.parametrize(
    "seed",
    [
        *(0.0, 1.0, True, False, "0", "0,1", b"0", None, -1, np.float64(0), np.bool_(True)),
        *(Fraction(0), 1j, torch.tensor(True), torch.tensor(0.0), np.array([0.0]), [True], [[0]]),
    ],
    ids=repr,
)  # fmt: skip
def test_anything_else_is_refused(seed: Any) -> None:
    """``0.0`` and ``True`` would hash to other partitions than 0 and 1."""
    with pytest.raises(UsageError, match=r"whole number.* of 0 or more"):
        gb.run("fedavg", seeds=seed, preset="quick")
    with pytest.raises(UsageError, match="whole number of 0 or more"):
        gb.share("digits", seed=seed)


def test_partitions_of_equal_seeds_are_equal() -> None:
    prints = {gb.share("digits", seed=seed).partition.fingerprint for seed in (0, np.int64(0))}
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("share", "clients", "count"), [(0.1, 20, 2), (0.5, 5, 3), (0.001, 20, 1), (1.0, 7, 7)]
)
def test_a_share_of_the_clients_is_a_number_of_them(share: float, clients: int, count: int) -> None:
    """McMahan et al. 2017: m = max(C K, 1)."""
    by_share = [f"cohort_size={share}", f"num_clients={clients}"]
    by_number = [f"num_clients={clients}", f"cohort_size={count}"]
    plans = [experiment.plan(["fedavg"], "digits", "quick", 0, o) for o in (by_share, by_number)]
    assert plans[0].cells[0].run_id == plans[1].cells[0].run_id
    assert plans[0].cells[0].settings.cohort_size == count


def test_a_share_of_clients_that_the_data_count() -> None:
    settings = config.load("digits", "quick", ["num_clients=0", "partition.recipe=group"]).settings
    assert settings.cohort_of(40) == settings.cohort_size
    overrides = ["num_clients=0", "partition.recipe=group", "cohort_size=0.25"]
    settings = config.load("digits", "quick", overrides).settings
    assert settings.cohort_size == 0.25
    assert settings.cohort_of(40) == 10


def test_numbers_and_paths_of_libraries_are_settings(tmp_path: Path) -> None:
    done = gb.run(
        "fedavg", seeds=np.int64(0), preset="quick", rounds=np.int64(1), out=tmp_path / "run",
        plan={"lr": np.float32(0.5), "steps": np.int32(1)}, target=np.float64(0.5),
    )  # fmt: skip
    assert done.rows["rounds"].tolist() == [1]
    plan: Any = done.cells[0].record["config"]["plan"]
    assert (plan["lr"], plan["steps"]) == (0.5, 1)


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/runs") == Path("/home/me/runs")
    assert expanded("./~") == Path("~")
    assert expanded("~no-such-user/x") == Path("~no-such-user/x")
