"""The command ``reproduce``: which cells stand for a number of the paper, and what is printed."""

import csv
from pathlib import Path

import pytest

from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_bench.runs import reproductions
from gptfl_reports.tables.beside import Measured, as_text, write


@pytest.mark.parametrize("name", ["table2", "table3", "table4", "table5", "table6"])
def test_every_published_number_of_a_table_has_its_cells(name: str) -> None:
    """None is left out, and none is measured that the paper does not give or leaves blank."""
    path = Path(__file__).parents[2] / "reports/gptfl_reports/published/results.csv"
    with path.open() as lines:
        published = {
            (row["dataset"], row["model"], row["partition"], row["method"])
            for row in csv.DictReader(lines)
            if row["table"] == name
        }
    planned = {
        (block.dataset, block.model, block.partition, arm.published)
        for block in reproductions.blocks(name, "paper")
        for arm in block.arms
    }
    assert published <= planned
    # Table 2 has dashes where a method did not run.
    assert planned - published == set() or name == "table2"


def test_plans_resolve_and_nothing_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="give --scale paper"):
        reproductions.blocks("table6", "cpu")
    assert main(["reproduce", "tabel5"]) == 2
    assert "table5" in capsys.readouterr().err
    assert main(["reproduce", "table5", "--dataset", "digits"]) == 2
    assert "data set of table5" in capsys.readouterr().err
    assert main(["reproduce", "table5", "--scale", "huge"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_measured_stands_beside_published(tmp_path: Path) -> None:
    """FedAvg on CIFAR-10 in Table 5 is 64.48 (0.13); what the paper lacks has a dash."""
    measured = [
        Measured(
            "table5",
            "CIFAR-10",
            "ResNet18",
            "dirichlet_alpha_not_stated_100clients",
            method,
            values,
            reason,
            "convnet, 50 rounds of 10 of 100 clients",
            "accuracy",
        )
        for method, values, reason in (
            ("FedAvg", (0.5, 0.6), ""),
            ("GPT-FL w/ FedAvg", (), "refused: no generator"),
            ("Nobody", (0.1,), ""),
        )
    ]
    text = as_text(measured, "cpu")
    assert "55.00 ± 7.07" in text
    assert "64.48 ± 0.13" in text
    assert "81.38 ± 0.05" in text
    assert "refused: no generator" in text
    assert "says nothing about it" in text
    files = {path.name: path for path in write(measured, "cpu", tmp_path, "table5")}
    assert set(files) == {"table5.md", "table5.csv", "table5.tex"}
    rows = list(csv.DictReader(files["table5.csv"].read_text().splitlines()))
    assert [row["published_mean"] for row in rows] == ["0.6448", "0.8138", ""]
    assert [row["n"] for row in rows] == ["2", "0", "1"]
