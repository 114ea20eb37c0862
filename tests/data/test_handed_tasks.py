"""A task of one's own is looked over when it is handed over: one sentence says what to mend."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gptfl_bench as gb
from gptfl_bench.data.handed import check_task
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task, tasks


def _train(**changes: Any) -> Callable[[Task], Task]:
    return lambda task: replace(task, train=replace(task.train, **changes))


def _changed(name: str, change: Callable[[Tensor], Any], part: str = "train") -> Any:
    def make(task: Task) -> Task:
        samples = getattr(task, part)
        return replace(task, **{part: replace(samples, **{name: change(getattr(samples, name))})})

    return make


def _spoilt(x: Tensor) -> Tensor:
    x = x.clone()
    x[-1, 0, 0, 0] = float("nan")
    return x


def _with(**changes: Any) -> Callable[[Task], Task]:
    return lambda task: replace(task, **changes)


def _named(*names: Any) -> Callable[[Task], Task]:
    return lambda task: replace(task, label_names=names)


def _empty(task: Task) -> Task:
    return replace(task, test=Samples(task.test.x[:0], task.test.y[:0]))


FAULTS: dict[str, tuple[Callable[[Task], Any], str]] = {
    "labels from 1": (_changed("y", lambda y: y + 1), r"labels run from 1 to 3.*write y - 1"),
    "labels from 1 in the test": (_changed("y", lambda y: y + 1, "test"), r"test part.*y - 1"),
    "a label of -1": (_changed("y", lambda y: y - 1), "labels run from -1 to 1"),
    "a label without a name": (_changed("y", lambda y: 2 * y), "labels run from 0 to 4"),
    "int32": (_changed("y", lambda y: y.int()), r"y is torch.int32.*write y.long\(\)"),
    "uint8": (_changed("y", lambda y: y.byte()), r"y is torch.uint8.*write y.long\(\)"),
    "floats": (_changed("y", lambda y: y.float()), r"y is torch.float32.*write y.long\(\)"),
    "a column": (_changed("y", lambda y: y[:, None]), r"shape \(60, 1\).*write y.squeeze\(1\)"),
    "one-hot": (_changed("y", lambda y: torch.eye(3)[y]), r"shape \(60, 3\).*write y.argmax\(1\)"),
    "a single label": (_changed("y", lambda y: y[0]), r"shape \(\), where one class index"),
    "fewer labels": (_changed("y", lambda y: y[:50]), "60 samples in x and 50 labels in y"),
    "more labels": (_changed("x", lambda x: x[:9], "test"), "9 samples in x and 30 labels in y"),
    "a name twice": (_named("cat", "dog", "cat"), "class name 'cat' stands twice"),
    "too few names": (_named("cat", "dog"), "the 2 names in label_names stand for 0 to 1"),
    "an empty name": (_named("cat", "", "eel"), "an empty one can't be told"),
    "a blank name": (_named("cat", " ", "eel"), "an empty one can't be told"),
    "numbers as names": (_named(0, 1, 2), "must be a name for each class"),
    "a word as names": (_with(label_names="abc"), "must be a name for each"),
    "one class": (_named("cat"), "has 1 class in label_names"),
    "no class": (_named(), "has 0 classes in label_names"),
    "NaN": (_changed("x", _spoilt), r"not finite.*samples 0 to 59.*torch.nan_to_num\(x\)"),
    "infinity in the test": (_changed("x", lambda x: x / 0, "test"), "test part: x holds values"),
    "NumPy images": (_changed("x", lambda x: x.numpy()), r"x is of type ndarray.*torch.as_tensor"),
    "NumPy labels": (_changed("y", lambda y: y.numpy()), r"y is of type ndarray.*torch.as_tensor"),
    "a list of labels": (_changed("y", lambda y: y.tolist()), "y is of type list"),
    "a gradient": (_changed("x", lambda x: x.clone().requires_grad_()), "write x.detach()"),
    "a sparse tensor": (_changed("x", lambda x: x.to_sparse()), r"to_dense\(\)"),
    "an empty test": (_empty, "test part is empty; give it samples"),
    "an empty selection": (_train(indices=torch.arange(0)), "training part is empty"),
    "indices of int32": (_train(indices=torch.arange(3).int()), r"write indices.long\(\)"),
    "a pair of tensors": (
        _with(train=(torch.zeros(60, 1), torch.arange(60))),
        "type tuple; make it",
    ),
    "float64": (_train(transform=lambda x, rng: x.double()), r"torch.float64.*end it with .float"),
    "a transform of one argument": (_train(transform=lambda x: x), "transform can't be used"),
    "a transform to NumPy": (_train(transform=lambda x, rng: x.numpy()), "makes ndarray of 2"),
    "a transform of one row": (
        _train(transform=lambda x, rng: x[:1]),
        r"makes \(1, 1, 4, 4\) of 2",
    ),
    "a transform that crops only to train": (
        _train(transform=lambda x, rng: x if rng is None else x[..., :3]),
        r"\(1, 4, 3\) when it may draw and \(1, 4, 4\) when not",
    ),
    "another shape in the test": (_changed("x", lambda x: x[..., :3], "test"), "bring both to one"),
    "a metric of another name": (_with(metric="f1"), "accuracy, macro_f1"),
    "a modality of another name": (_with(modality="text"), "image, speech, sound"),
    "fewer groups": (_with(groups=("a",) * 9), "9 groups for 60 training samples"),
    "numbers as groups": (_with(groups=(*range(60),)), "groups must be texts"),
    "no name": (lambda task: replace(task, name=""), "must be a text"),
    "samples": (lambda task: task.train, "a task must be a gptfl_bench.Task, not Samples"),
    "nothing": (lambda task: None, "a task must be a gptfl_bench.Task, not NoneType"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_can_not_be_right_is_said_before_anything_is_written(
    fault: str, tiny_task: Task, tmp_path: Path
) -> None:
    spoil, words = FAULTS[fault]
    with pytest.raises(gb.UsageError, match=f"(?s){words}") as said:
        gb.run("fedavg", spoil(tiny_task), [0], tmp_path / "out", preset="quick", model="linear")
    assert str(said.value).endswith(".")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        _changed("x", lambda x: x.double()),
        _changed("x", lambda x: (x * 9).int()),
        _changed("x", lambda x: x.half()),
        _train(indices=torch.arange(9)),
        lambda task: replace(task, label_names=["cat", "dog", "eel"]),
        lambda task: task,
    ],
)
def test_what_is_right_passes(change: Callable[[Task], Task], tiny_task: Task) -> None:
    """The default transform makes float32 of all numbers."""
    changed = change(tiny_task)
    assert check_task(changed) is changed


def test_looking_over_moves_no_generator(tiny_task: Task) -> None:
    before = torch.get_rng_state()
    check_task(_train(transform=lambda x, rng: x + torch.rand(x.shape))(tiny_task))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_from_elsewhere_and_other_entries_are_looked_over(
    tiny_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.names()
    spoilt = _changed("y", lambda y: y + 1)(tiny_task)
    monkeypatch.setitem(tasks._parts, "mine", lambda: spoilt)
    with pytest.raises(gb.UsageError, match="write y - 1"):
        gb.load("mine")
    monkeypatch.setitem(tasks._parts, "mine", lambda: np.zeros(3))
    with pytest.raises(gb.UsageError, match=r"must be a gptfl_bench\.Task, not ndarray"):
        gb.load("mine")
    for look in (gb.share, gb.synthesise):
        with pytest.raises(gb.UsageError, match="write y - 1"):
            look(spoilt)
