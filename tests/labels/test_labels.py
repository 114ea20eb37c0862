"""The command ``labels``: what the server learns is the true histogram, and what that costs."""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gptfl_bench.cells.world import divide
from gptfl_bench.cli import main
from gptfl_bench.labels.discovery import plain
from gptfl_bench.labels.sketch import Shape, Sketch
from gptfl_bench.runs import config
from gptfl_datasets.tasks.digits import digits
from gptfl_datasets.tasks.flowers102 import _names as flowers

NAMES = Path(__file__).parents[1] / "datasets" / "class_names.json"
Packs = Callable[[str], Path]


def told(text: str) -> dict[str, int]:
    found = re.search(r"Discovered label names and counts:\n(\{.*\})\n", text)
    assert found
    counts: dict[str, int] = ast.literal_eval(found[1])
    return counts


def test_the_server_learns_the_true_histogram(capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred clients by Dirichlet(0.1) and a capacity of 50, as in the paper's section 3.2."""
    chosen = ["num_clients=100", "partition.min_size=1", "cohort_size=10"]
    assert main(["labels", *chosen]) == 0
    out = capsys.readouterr().out
    task = digits()
    settings = config.load("digits", "default", chosen).settings
    division = divide(task, settings, 0)
    held = division.partition.counts(division.train.labels.numpy(), 10)
    assert told(out) == {
        name: int(np.count_nonzero(held[:, index])) for index, name in enumerate(task.label_names)
    }
    assert out.startswith("Number of clients participated: 100\n")
    assert "Sketch: 576 + 96 numbers a client for 50 names of up to 10 bytes" in out
    assert "The server saw: 100 masked vectors and their sum (bonawitz" in out


def test_what_it_costs_and_hides_without_secure_aggregation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["labels", "secure_aggregation=false"]) == 0
    out = capsys.readouterr().out
    # 672 entries of 32 bits.
    assert "Sent: 2,688 bytes up and 0 bytes down a client" in out
    assert "The server saw: 20 sketches" in out


def test_names_held_by_few_are_withheld_and_counts_get_noise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["labels", "labels.k_anonymity=8", "labels.epsilon=40"]) == 0
    out = capsys.readouterr().out
    assert "Counts carry noise: each table is 40-differentially private." in out
    assert all(count >= 8 for count in told(out).values())
    assert "Withheld, for too few clients hold them:" in out


def test_too_many_lost_clients_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "secure.dropout=0.9"]) == 2
    caught = capsys.readouterr()
    assert re.fullmatch(r"gptfl-bench: label discovery: round 0 is abandoned: .*\n", caught.err)
    assert caught.out == ""


def test_decode_rates_are_drawn_with_their_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["labels", "secure_aggregation=false", "--decode-rates", str(tmp_path)]) == 0
    text = (tmp_path / "decode-rates-50.csv").read_text().splitlines()
    rows = [line.split(",") for line in text[1:]]
    here = {float(row[3]): int(row[4]) / int(row[5]) for row in rows if row[0] == "here"}
    assert here[0.2] == 1
    assert here[1.0] >= 0.85
    assert here[2.0] == 0
    assert sum(row[0] == "earlier" for row in rows) == 8
    assert (tmp_path / "decode-rates-50.png").is_file()


@pytest.mark.parametrize(("dataset", "number"), [("cifar100", 100), ("flowers102", 102)])
def test_long_lists_of_names_are_read_whole(dataset: str, number: int) -> None:
    """Under the presets' sizes, from half of the names at each of two clients and all at one."""
    if dataset == "cifar100":
        coarse = json.loads(NAMES.read_text())["cifar100"]
        names = [plain(name) for fine in coarse.values() for name in fine]
    else:
        names = [plain(name) for name in flowers()]
    assert len(set(names)) == number
    labels = config.load(dataset, "default", []).settings.labels
    shape = Shape(labels.capacity, labels.max_bytes, labels.repetitions, labels.seed)
    parts = [Sketch.of(some, shape) for some in (names, names[::2], names[1::2])]
    table, values = (
        np.sum([getattr(part, field) for part in parts], axis=0) for field in ("table", "values")
    )
    summed = Sketch(shape, table, values).decode()
    assert summed.not_decoded == 0
    assert summed.counts == dict.fromkeys(names, 2)


@pytest.mark.slow
def test_the_papers_experiment_on_cifar10(packs: Packs, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"data.path={packs('cifar10_jpeg')}"
    chosen = ["num_clients=100", "partition.alpha=0.1", "labels.capacity=50"]
    assert main(["labels", "--dataset", "cifar10", path, *chosen]) == 0
    counts = told(capsys.readouterr().out)
    published = {"dog", "automobile", "bird", "horse", "cat"}
    assert published | {"frog", "deer", "truck", "airplane", "ship"} == set(counts)
    # The published ones lie between 27 and 59; which client holds what is drawn anew.
    assert all(15 < count < 75 for count in counts.values())
