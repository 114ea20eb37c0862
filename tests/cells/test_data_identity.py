"""A cell is the same where its data are the same, wherever they lie."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import check_worlds
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.access import Access
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import methods
from gptfl_bench.runs import experiment
from gptfl_methods.gptfl import GptFl


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of six images."""
    root = tmp_path / "images"
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def cell(path: Path, *settings: str) -> CellSpec:
    access = Access(path.parent / "data", path.parent / "cache", download=False)
    overrides = [f"data.path={path}", "data.size=12", "num_clients=2", "cohort_size=1", *settings]
    planned = experiment.plan(["fedavg"], "image_folder", "quick", [0], overrides, access=access)
    return planned.cells[0]


def test_the_place_does_not_matter_but_the_content_does(images: Path, tmp_path: Path) -> None:
    first = cell(images).run_id
    shutil.copytree(images, tmp_path / "elsewhere")
    assert cell(tmp_path / "elsewhere").run_id == first
    Image.new("RGB", (12, 12)).save(images / "cat" / "3.png")
    assert cell(images).run_id != first


@pytest.mark.parametrize(
    "change",
    ["data.augmentation=none", "data.test_share=0.5", "data.size=16", "data.classes='^([^/]+)/'"],
)
def test_what_is_made_of_the_data_matters(images: Path, change: str) -> None:
    assert cell(images, change).run_id != cell(images).run_id


def test_settings_that_came_later_count_only_where_they_are_set(images: Path) -> None:
    """What determines a cell of before them is what it was."""
    before = {"size": 12, "augmentation": "light", "clients": None, "test_share": 0.2}
    assert cell(images).identity()["data"] == before
    shutil.copytree(images, images / "train", ignore=lambda *_: ["train"])
    shutil.copytree(images / "train", images / "val")
    for insect in ("cat", "dog"):
        shutil.rmtree(images / insect)
    assert cell(images).identity()["data"] == before
    chosen = cell(images, "data.valid=test")
    assert chosen.identity()["data"] == before | {"valid": "test"}
    assert chosen.run_id != cell(images).run_id


def test_classes_of_one_name_are_refused_before_anything_runs(
    make_spec: Callable[..., CellSpec], tiny_task: Task
) -> None:
    task = replace(tiny_task, label_names=("sea_lion", "dog", "Sea-Lion"))
    with pytest.raises(UsageError, match="'sea_lion' and 'Sea-Lion', which are the same but for"):
        check_worlds([make_spec(methods.get("fedavg")(), task=task)])


def test_a_packages_own_data_are_not_loaded_to_name_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptfl_bench.data.loaders.load", None)
    planned = experiment.plan(["fedavg"], "digits", "quick", [0])
    assert planned.cells[0].run_id.startswith("fedavg-digits-s0-")


def test_weights_count_by_content_and_not_by_name(
    make_spec: Callable[..., CellSpec], tmp_path: Path
) -> None:
    def ids(path: Path) -> tuple[str, str]:
        arguments = {"weights": str(path)}
        spec = make_spec(methods.get("fedavg")(), model="resnet18", model_args=arguments)
        return spec.run_id, spec.model_key

    first, second = tmp_path / "first.pth", tmp_path / "second.pth"
    weights = resnet18(num_classes=2).state_dict()
    torch.save(weights, first)
    shutil.copy(first, second)
    assert ids(first) == ids(second)
    weights["conv1.weight"][0, 0, 0, 0] += 1
    torch.save(weights, second)
    assert all(a != b for a, b in zip(ids(first), ids(second), strict=True))


def test_other_augmentation_of_the_same_media_is_pretrained_anew(
    run_cell: Callable[..., Any], tiny_task: Task, tmp_path: Path
) -> None:
    def brighter(x: torch.Tensor, rng: torch.Generator | None = None) -> torch.Tensor:
        return x + 1

    def starts(task: Task) -> Any:
        ran = run_cell(GptFl(), task=task, rounds=0, cache=tmp_path / "cache")
        return ran.bits

    plain = starts(tiny_task)
    changed = replace(tiny_task, synthetic_transform=brighter, version="2")
    assert starts(changed) != plain
    assert starts(tiny_task) == plain


def test_samples_in_words() -> None:
    y = torch.zeros(2, dtype=torch.int64)
    assert Samples(torch.zeros(2, 3, 4, 4), y).form == "(3, 4, 4) torch.float32 as_float"


@pytest.mark.parametrize("part", ["label_names", "test", "groups"])
def test_a_task_object_is_in_the_id(make_spec: Any, tiny_task: Task, part: str) -> None:
    """Class names decide what is generated, groups who holds what, test samples the score."""
    values: dict[str, Any] = {
        "label_names": tiny_task.label_names[::-1],
        "test": tiny_task.test.select(torch.arange(10)),
        "groups": tuple(f"author {row % 6}" for row in range(60)),
    }
    other = replace(tiny_task, **{part: values[part]})
    assert make_spec(GptFl(), task=tiny_task).run_id != make_spec(GptFl(), task=other).run_id
