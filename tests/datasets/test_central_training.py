"""Central training on real data reaches sane levels: nothing is mislabelled on the way.

FedAvg with one client that holds everything, for one round, is central training.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_bench.cli import main

CENTRAL = [
    "num_clients=1",
    "cohort_size=1",
    "partition.recipe=iid",
    "partition.min_size=1",
    "rounds=1",
]
HALF_AN_HOUR = 30 * 60


@pytest.fixture
def accuracy(
    packs: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., float]:
    """Return what trains centrally and gives the accuracy on the test samples, in [0, 1]."""

    def train(dataset: str, pack: str, *settings: str) -> float:
        out = tmp_path / "run"
        words = ["run", "--methods", "fedavg", "--seeds", "0", "--dataset", dataset]
        where = ["--out", str(out), "--no-download", f"data.path={packs(pack)}"]
        started = time.monotonic()
        assert main([*words, *where, *CENTRAL, *settings]) == 0
        assert time.monotonic() - started < HALF_AN_HOUR
        capfd.readouterr()
        events = next(out.glob("fedavg-*/events.jsonl")).read_text(encoding="utf-8").splitlines()
        tests = [e for e in map(json.loads, events) if e["event"] == "RoundEvaluated"]
        return float(tests[-1]["accuracy"])

    return train


@pytest.mark.slow
def test_convnet_on_cifar10(accuracy: Callable[..., float]) -> None:
    plan = "plan.epochs=8 plan.batch_size=64 plan.lr=0.05 plan.momentum=0.9"
    settings = [*plan.split(), "plan.weight_decay=0.0005", "data.augmentation=none"]
    assert accuracy("cifar10", "cifar10_jpeg", "model=convnet", *settings) >= 0.75


@pytest.mark.slow
def test_conv_gru_on_ten_words_of_unseen_speakers(accuracy: Callable[..., float]) -> None:
    plan = "plan.epochs=40 plan.batch_size=32 plan.optimizer=adamw plan.lr=0.002"
    settings = [*plan.split(), "plan.weight_decay=0.01", "data.words=commands"]
    assert accuracy("speech_commands", "speech_commands", "model=conv_gru", *settings) >= 0.85
