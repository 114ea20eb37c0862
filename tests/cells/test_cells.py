"""Cells: how they end, what is written, and what the same command does the next time."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

import gptfl_bench
from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.settings import EvaluationSettings
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Silent
from gptfl_bench.data.task import Task
from gptfl_bench.runs import launchers
from gptfl_bench.synthesis.generator import generators
from gptfl_bench.synthesis.source import SyntheticSettings
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.gptfl import GptFl
from gptfl_reports.records.cells import read_cell

RunCell = Callable[..., Any]
PLAN = Plan(batch_size=4)
METHOD = FedAvg(plan=PLAN)


class Counts(Silent):
    """Counts rounds that were run."""

    def __init__(self) -> None:
        self.rounds = 0

    def stage(self, name: str, done: int, total: int) -> None:
        self.rounds += name == "clients" and done == total


def test_a_finished_cell_is_kept_and_force_runs_it_again(run_cell: RunCell, tmp_path: Path) -> None:
    news = [Counts() for _ in range(3)]
    first = run_cell(METHOD, out=tmp_path / "a", progress=news[0])
    kept = run_cell(METHOD, out=tmp_path / "a", progress=news[1])
    forced = run_cell(METHOD, out=tmp_path / "a", progress=news[2], force=True)
    assert [counter.rounds for counter in news] == [3, 0, 3]
    assert kept.cell == first.cell
    assert forced.untimed == first.untimed
    assert forced.bits == first.bits


def test_what_is_written(run_cell: RunCell, tiny_task: Task) -> None:
    cell = run_cell(METHOD, seed=4, target=0.9).cell
    record = cell.record
    assert (record["method"], record["seed"], record["rounds"]) == ("fedavg", 4, 3)
    assert record["dataset"]["sha256"] == tiny_task.train.checksum()
    assert (record["dataset"]["train"], record["dataset"]["test"]) == (60, 30)
    size = {"parameters": 51, "buffers": 0, "method_parameters": 51}
    assert record["model"] == {"name": "linear", **size}
    assert record["partition"]["sizes"] == [3, 5, 8, 11, 14, 19]
    assert record["config"]["method"] == json.loads(json.dumps(asdict(METHOD)))
    # Numbers differ in their last bits between processors with AVX2 and with AVX512.
    able = torch.backends.cpu.get_cpu_capability()
    assert (f"with {able}" in record["machine"]) is (able != "DEFAULT")
    partition = json.loads((cell.folder.parent / record["partition"]["file"]).read_text())
    assert sorted(i for rows in partition["clients"] for i in rows) == list(range(60))
    assert partition["sha256"] == record["partition"]["sha256"]
    assert [e.round for e in cell.evaluations] == [0, 1, 2, 3]
    aggregated = [e for e in cell.events if type(e).__name__ == "RoundAggregated"]
    for event in aggregated:
        assert len(set(event.clients)) == 3
        assert event.examples == sum(record["partition"]["sizes"][k] for k in event.clients)
        steps = sum(-(-record["partition"]["sizes"][k] // 4) for k in event.clients)
        assert event.steps == steps
        assert event.gradient_diversity > 0


def test_gradient_diversity_and_traffic_repeat(run_cell: RunCell) -> None:
    """A network of several tensors, whose order must not matter to any sum."""
    fields = {"model": "cnn_small", "model_args": {"width": 2, "hidden": 4}, "rounds": 2}
    runs = [run_cell(METHOD, **fields) for _ in range(4)]
    assert len({str(run.untimed) for run in runs}) == 1


@dataclass(frozen=True)
class Breaks(FedAvg):
    """Fails, refuses or diverges in round 2."""

    how: str = "bug"

    def aggregate(self, state: Groups, cohort: Any, server: Any) -> Groups:
        following = super().aggregate(state, cohort, server)
        if server.round == 2 and self.how == "bug":
            raise ZeroDivisionError("a bug")
        if server.round == 2 and self.how == "nan":
            return {**following, "extra": {"x": torch.tensor(float("nan"))}}
        return following


def test_a_diverged_cell_stands(run_cell: RunCell, tmp_path: Path) -> None:
    """It is an outcome, not an error, and is not tried again."""
    method = Breaks(plan=PLAN, how="nan")
    first = run_cell(method, out=tmp_path / "a")
    assert first.cell.ending.status == "diverged"
    assert "round 2" in first.cell.ending.reason
    assert first.cell.row()["rounds"] == 2
    news = Counts()
    assert run_cell(method, out=tmp_path / "a", progress=news).cell == first.cell
    assert news.rounds == 0


def test_a_step_too_large_ends_as_diverged(run_cell: RunCell) -> None:
    outcome = run_cell(FedAvg(plan=Plan(batch_size=4, lr=1e38, epochs=3)))
    assert outcome.cell.ending.status == "diverged"
    assert outcome.cell.row()["value_last"] is not None


def test_a_failed_cell_is_recorded_and_tried_again(run_cell: RunCell, tmp_path: Path) -> None:
    method = Breaks(plan=PLAN)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run_cell(method, out=tmp_path / "a")
    (folder,) = (path.parent for path in (tmp_path / "a").glob("*/record.json"))
    cell = read_cell(folder)
    where = f"{folder.name}/traceback.txt"
    reason = f"ZeroDivisionError: a bug (traceback in {where})"
    assert (cell.ending.status, cell.ending.reason) == ("failed", reason)
    told = (folder.parent / where).read_text(encoding="utf-8")
    assert told.startswith("Traceback")
    assert "in aggregate" in told
    assert told.endswith("ZeroDivisionError: a bug\n")
    assert [e.round for e in cell.evaluations] == [0, 1], "the first try left nothing behind"


def test_a_failed_cell_does_not_stop_the_others(make_spec: Any, tmp_path: Path) -> None:
    specs = [make_spec(Breaks(plan=PLAN)), make_spec(METHOD)]
    context = Context(tmp_path, Artifacts(tmp_path / "cache"))
    found = [cell.ending.status for cell in launchers.execute(specs, context)]
    assert found == ["failed", "finished"]


def test_cells_that_begin_together_write_their_partition_in_turn(
    run_cell: RunCell, tmp_path: Path
) -> None:
    """Another cell holds the file's lock; this one waits and finds what it needs."""
    outcomes: list[Any] = []
    (tmp_path / "partitions").mkdir()
    with FileLock(tmp_path / "partitions" / ".lock"):
        cell = Thread(target=lambda: outcomes.append(run_cell(METHOD, out=tmp_path)))
        cell.start()
        cell.join(0.3)
        assert not list(tmp_path.glob("*/record.json"))
    cell.join()
    (outcome,) = outcomes
    assert (tmp_path / outcome.cell.record["partition"]["file"]).exists()


def test_an_error_before_the_record_is_not_hidden(
    make_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("gptfl_bench.cells.cell.write_atomically", fails)
    context = Context(tmp_path, Artifacts(tmp_path))
    with pytest.raises(OSError, match="no space left"):
        list(launchers.execute([make_spec(METHOD)], context))


def test_no_rounds_is_an_evaluation_of_the_start(run_cell: RunCell) -> None:
    outcome = run_cell(METHOD, rounds=0)
    row = outcome.cell.row()
    assert (row["status"], row["rounds"], row["scalars_up"]) == ("finished", 0, 0)
    assert len(outcome.cell.evaluations) == 1


def test_clients_without_training_steps_are_no_divergence(
    run_cell: RunCell, tiny_task: Task
) -> None:
    outcome = run_cell(FedAvg(plan=Plan(epochs=0)))
    assert outcome.cell.ending.status == "finished"
    assert len({e.loss for e in outcome.cell.evaluations}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"rounds": 4},
        {"cohort_size": 2},
        {"model": "cnn_small"},
        {"buffers": "none"},
        {"target": 0.5},
        {"evaluation": EvaluationSettings(every=2)},
        {"evaluation": EvaluationSettings(on="validation")},
    ],
    ids=str,
)
def test_whatever_determines_a_result_is_in_its_id(make_spec: Any, change: Any) -> None:
    assert make_spec(METHOD, **change).run_id != make_spec(METHOD).run_id


@pytest.mark.parametrize(
    "other",
    [
        FedAvg(plan=replace(PLAN, lr=0.2)),
        FedAvg(plan=PLAN, weighting="uniform"),
        Breaks(plan=PLAN),
        GptFl(inner=METHOD),
    ],
    ids=lambda method: type(method).__name__,
)
def test_a_method_is_in_the_id(make_spec: Any, other: Any) -> None:
    assert make_spec(other).run_id != make_spec(METHOD).run_id
    assert make_spec(FedAvg(plan=Plan(batch_size=4))).run_id == make_spec(METHOD).run_id


def test_what_does_not_matter_is_not_in_the_id(make_spec: Any) -> None:
    """Threads and device change speed; synthetic data concern methods that use them."""
    same = make_spec(METHOD).run_id
    assert make_spec(METHOD, threads=2).run_id == same
    assert make_spec(METHOD, synthetic=SyntheticSettings("fake", seed=3)).run_id == same
    warm = [make_spec(GptFl(), synthetic=SyntheticSettings("fake", seed=s)).run_id for s in (0, 1)]
    assert warm[0] != warm[1]


def test_a_network_object_is_in_the_id(make_spec: Any) -> None:
    first, second = (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2))
    ids = {make_spec(METHOD, network=n).run_id for n in (None, first, second, first)}
    assert len(ids) == 3


def test_a_network_object_is_the_start_and_stays_as_it_is(run_cell: RunCell) -> None:
    layer = nn.Linear(16, 3)
    network = nn.Sequential(nn.Flatten(), layer)
    before = layer.weight.detach().clone()
    outcome = run_cell(METHOD, network=network)
    assert outcome.cell.ending.status == "finished"
    assert torch.equal(layer.weight, before)
    assert not torch.equal(outcome.state["model"]["1.weight"], before)
    start = run_cell(METHOD, network=network, rounds=0)
    assert torch.equal(start.state["model"]["1.weight"], before)


def test_validation_samples_come_out_of_the_training_set(run_cell: RunCell) -> None:
    """A search never sees the test set: 20 % of 60 are held out, 48 are shared among clients."""
    on = EvaluationSettings(on="validation")
    record = run_cell(METHOD, evaluation=on).cell.record
    assert (record["dataset"]["train"], record["dataset"]["test"]) == (48, 12)
    assert sum(record["partition"]["sizes"]) == 48


def test_a_validation_set_without_samples_is_refused(run_cell: RunCell) -> None:
    """Half a percent of 60 samples is none: an accuracy of zero would be no measurement."""
    on = EvaluationSettings(on="validation", validation_share=0.005)
    with pytest.raises(UsageError):
        run_cell(METHOD, evaluation=on)


def test_more_clients_than_a_cohort_can_have_is_one_sentence(run_cell: RunCell) -> None:
    with pytest.raises(UsageError, match=r"^cohort_size=9 is more than the 6 clients"):
        run_cell(METHOD, cohort_size=9)


def test_a_model_that_does_not_fit_is_one_sentence(run_cell: RunCell, tiny_task: Task) -> None:
    with pytest.raises(UsageError, match="can't be made for samples of shape"):
        run_cell(METHOD, model="cnn_small", model_args={"norm": "weight"})


@pytest.mark.parametrize("modality", ["speech", "sound"])
def test_a_generator_for_another_modality_refuses_the_method(
    run_cell: RunCell,
    tiny_task: Task,
    modality: Any,
) -> None:
    task = replace(tiny_task, modality=modality)
    ending = run_cell(GptFl(inner=METHOD), task=task).cell.ending
    assert ending.status == "refused"
    assert f"'fake' makes image, not {modality}" in ending.reason


def test_tiny_amounts_of_synthetic_data(run_cell: RunCell) -> None:
    """Less than half a sample is none: said in a sentence, not by a crash."""
    settings = SyntheticSettings("fake", multiplier=0.001)
    outcome = run_cell(GptFl(inner=METHOD), synthetic=settings)
    assert outcome.cell.ending.status in ("refused", "finished")


def test_pretraining_is_shared_by_cells_that_agree(run_cell: RunCell, tmp_path: Path) -> None:
    """Two methods in one folder pre-train once; another plan pre-trains again."""
    pretrain = Plan(epochs=1, batch_size=8)
    first, second, other = (
        run_cell(GptFl(inner=METHOD, pretrain=plan), out=tmp_path / "a", rounds=rounds)
        for plan, rounds in (
            (pretrain, 1),
            (pretrain, 2),
            (replace(pretrain, lr=0.5), 1),
        )
    )
    assert [run.cell.pretrained.cached for run in (first, second, other)] == [False, True, False]
    assert [run.cell.synthetic.cached for run in (first, second, other)] == [False, True, True]
    assert first.cell.evaluations[0].loss == second.cell.evaluations[0].loss
    assert first.cell.evaluations[0].loss != other.cell.evaluations[0].loss


def test_pretraining_is_not_shared_by_tasks_that_differ(
    run_cell: RunCell, tiny_task: Task, tmp_path: Path
) -> None:
    """The same pictures with classes numbered or scaled otherwise train another model."""
    plan = Plan(epochs=1, batch_size=8)
    method = GptFl(inner=METHOD, pretrain=plan)

    def darker(media: np.ndarray) -> Tensor:
        return tiny_task.from_media(media) / 4

    tasks = {
        "as it is": tiny_task,
        "renumbered": replace(tiny_task, label_names=tiny_task.label_names[::-1]),
        "darker": replace(tiny_task, from_media=darker),
    }
    for name, task in tasks.items():
        fields = {"task": task, "rounds": 0}
        shared = run_cell(method, **fields, out=tmp_path / name, cache=tmp_path / "shared")
        assert shared.bits == run_cell(method, **fields).bits, name


def test_run_returns_a_row_for_each_cell(tiny_task: Task, tmp_path: Path) -> None:
    """Seeds and methods; the folder holds the same cells, and a second call runs none again."""
    fields: dict[str, Any] = {
        "model": "linear",
        "rounds": 1,
        "num_clients": 6,
        "cohort_size": 2,
        "device": "cpu",
        "partition": {"recipe": "iid"},
        "plan": {"batch_size": 4},
        "cache": tmp_path / "cache",
    }
    first = gptfl_bench.run(["fedavg", "fedprox"], tiny_task, (0, 1), tmp_path / "a", **fields)
    again = gptfl_bench.run("fedavg", tiny_task, (0, 1), tmp_path / "a", **fields)
    assert first[["method", "seed"]].to_records(index=False).tolist() == [
        ("fedavg", 0),
        ("fedavg", 1),
        ("fedprox", 0),
        ("fedprox", 1),
    ]
    assert (first["status"] == "finished").all()
    assert again["run_id"].tolist() == first["run_id"].tolist()[:2]
    assert again["seconds"].tolist() == first["seconds"].tolist()[:2]
    assert len(list((tmp_path / "a").glob("*/record.json"))) == 4


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"methods": "fedagv"}, r"unknown method 'fedagv': did you mean fedavg"),
        ({"methods": "fedavg", "seeds": (1, 1)}, "must be distinct"),
        ({"methods": "fedavg", "seeds": ()}, "must be distinct"),
        ({"methods": "fedavg", "rounds": -1}, "rounds=-1 must be 0 or more"),
        ({"methods": "fedavg", "model": "liner"}, "did you mean linear"),
        ({"methods": "scaffold+fedavg"}, "wraps no other method; write gptfl[+]scaffold"),
        ({"methods": "gptfl+gptfl"}, "is a wrapper itself"),
        ({"methods": "scaffold", "plan": {"momentum": 0.9}}, "option='II' needs plain SGD"),
    ],
    ids=str,
)
def test_wrong_use_is_one_sentence(
    tiny_task: Task, tmp_path: Path, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as error:
        gptfl_bench.run(dataset=tiny_task, out=tmp_path / "a", cache=tmp_path, **asked)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "a").exists(), "nothing is written"


def test_other_weights_of_the_generator_make_another_cell(
    make_spec: Callable[..., Any], fake_generator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only cells that use synthetic data change their id."""
    before = [make_spec(method).run_id for method in (GptFl(), FedAvg())]
    renewed = generators.get(fake_generator)()
    renewed.fingerprint = "fake-2"  # type: ignore[misc]
    monkeypatch.setitem(generators._parts, fake_generator, lambda: renewed)
    after = [make_spec(method).run_id for method in (GptFl(), FedAvg())]
    assert after[0] != before[0]
    assert after[1] == before[1]
