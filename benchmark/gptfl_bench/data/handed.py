"""Looking over a task that a user hands over, so that what can't be right is said at once."""

from collections import Counter
from typing import get_args

import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import isolated_torch_rng, torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Metric, Modality, Task

FEW = 2
"""Samples that a transform and a network are tried on."""


def check_task(task: object) -> Task:
    """Return a task if its samples, labels and names fit together.

    Raises:
        UsageError: Saying what does not, and how to mend it.
    """
    if not isinstance(task, Task):
        raise UsageError(
            f"a task must be a gptfl_bench.Task, not {type(task).__name__}; make one as "
            "Task(name, Samples(x, y), Samples(test_x, test_y), label_names)."
        )
    if not isinstance(task.name, str) or not task.name:
        raise UsageError(f"the task's name {task.name!r} must be a text; name it, say, 'mine'.")
    where = f"the task {task.name!r}"
    names = _names(task, where)
    for field, value, allowed in (
        ("metric", task.metric, get_args(Metric)),
        ("modality", task.modality, get_args(Modality)),
    ):
        if value not in allowed:
            raise UsageError(f"{where} has {field}={value!r}; choose from {', '.join(allowed)}.")
    shapes = [
        _part(part, names, f"{where}: the {title} part")
        for part, title in ((task.train, "training"), (task.test, "test"))
    ]
    if shapes[0] != shapes[1]:
        raise UsageError(
            f"{where}: samples are of shape {shapes[0]} in training and {shapes[1]} in the test; "
            "bring both to one."
        )
    _groups(task, where)
    return task


def _names(task: Task, where: str) -> tuple[str, ...]:
    """Return the class names if there are two or more, each a text of its own."""
    names = task.label_names
    if isinstance(names, str) or not all(isinstance(name, str) and name.strip() for name in names):
        raise UsageError(
            f"{where}: label_names={names!r} must be a name for each class, such as "
            "('cat', 'dog'); an empty one can't be told."
        )
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise UsageError(
            f"{where}: the class name {twice[0]!r} stands twice in label_names; give each class "
            "a name of its own."
        )
    if len(names) < 2:
        raise UsageError(
            f"{where} has {len(names)} class{'' if names else 'es'} in label_names, and there is "
            "nothing to tell apart; name two or more."
        )
    return tuple(names)


def _part(part: Samples, names: tuple[str, ...], where: str) -> tuple[int, ...]:
    """Return the shape of a part's samples as a network sees them, if all of it fits."""
    if not isinstance(part, Samples):
        raise UsageError(
            f"{where} is of type {type(part).__name__}; make it gptfl_bench.Samples(x, y)."
        )
    for name, value in (("x", part.x), ("y", part.y)):
        if not isinstance(value, Tensor):
            raise UsageError(
                f"{where}: {name} is of type {type(value).__name__}, where a tensor is needed; "
                f"write torch.as_tensor({name})."
            )
        if value.device.type != "cpu" or value.requires_grad or value.layout != torch.strided:
            raise UsageError(
                f"{where}: {name} must be a plain tensor on the CPU, without a gradient; write "
                f"{name}.detach().to_dense().cpu()."
            )
    _labels(part, names, where)
    if part.x.is_floating_point():
        # Row by row, so that no second copy of large data is made.
        bad = [n for n, rows in enumerate(torch.split(part.x, 1024)) if not rows.isfinite().all()]
        if bad:
            raise UsageError(
                f"{where}: x holds values that are not finite (NaN or infinite), the first within "
                f"samples {1024 * bad[0]} to {min(1024 * bad[0] + 1024, len(part.x)) - 1}; leave "
                "these samples out or write torch.nan_to_num(x)."
            )
    return _transformed(part, where)


def _labels(part: Samples, names: tuple[str, ...], where: str) -> None:
    """Refuse labels that are not one class index for each sample."""
    x, y = part.x, part.y
    if y.ndim != 1:
        squeezed = y.ndim == 2 and y.shape[1] == 1
        remedy = "y.squeeze(1)" if squeezed else "y.argmax(1) if it holds a column for each class"
        raise UsageError(
            f"{where}: y is of shape {tuple(y.shape)}, where one class index for each sample, "
            f"({len(x)},), is needed; write {remedy}."
        )
    if y.dtype != torch.int64:
        raise UsageError(
            f"{where}: y is {y.dtype}, where class indices of torch.int64 are needed; write "
            "y.long()."
        )
    if len(x) != len(y):
        raise UsageError(
            f"{where} has {len(x)} samples in x and {len(y)} labels in y; give each its label."
        )
    rows = part.indices
    if rows is not None and (not isinstance(rows, Tensor) or rows.dtype != torch.int64):
        raise UsageError(f"{where}: indices must be a tensor of torch.int64; write indices.long().")
    if not len(part):
        raise UsageError(f"{where} is empty; give it samples.")
    least, most = int(part.labels.min()), int(part.labels.max())
    if least < 0 or most >= len(names):
        from_one = least == 1 and most == len(names)
        remedy = "write y - 1" if from_one else "give each a name in label_names, or renumber them"
        raise UsageError(
            f"{where}: labels run from {least} to {most}, where the {len(names)} names in "
            f"label_names stand for 0 to {len(names) - 1}; {remedy}."
        )


def _transformed(part: Samples, where: str) -> tuple[int, ...]:
    """Return the shape of a sample after the transform, tried on a few with and without a draw."""
    indices = torch.arange(min(FEW, len(part)))
    shapes = []
    for rng in (torch_rng(0, "check"), None):
        try:
            with isolated_torch_rng(0, "check"):
                x, _ = part.batch(indices, rng)
        except Exception as error:
            raise UsageError(
                f"{where}: its transform can't be used ({type(error).__name__}: {error}); it takes "
                "stored samples (N, ...) and a torch.Generator or None, and returns a tensor."
            ) from error
        if not isinstance(x, Tensor) or x.ndim < 1 or len(x) != len(indices):
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise UsageError(
                f"{where}: its transform makes {got} of {len(indices)} samples; return a tensor "
                "with one row for each."
            )
        if x.dtype in (torch.float64, torch.complex64, torch.complex128):
            raise UsageError(
                f"{where}: its transform gives {x.dtype}, where networks take torch.float32; end "
                "it with .float()."
            )
        shapes.append(tuple(x.shape[1:]))
    if shapes[0] != shapes[1]:
        raise UsageError(
            f"{where}: its transform makes samples of shape {shapes[0]} when it may draw and "
            f"{shapes[1]} when not; bring both to one."
        )
    return shapes[1]


def _groups(task: Task, where: str) -> None:
    groups = task.groups
    if groups is None:
        return
    if isinstance(groups, str) or not all(isinstance(group, str) for group in groups):
        raise UsageError(f"{where}: groups must be texts; write tuple(map(str, groups)).")
    if len(groups) != len(task.train.x):
        raise UsageError(
            f"{where} has {len(groups)} groups for {len(task.train.x)} training samples; give "
            "each sample the group it belongs to."
        )
