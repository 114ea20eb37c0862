"""Whether a data set is there and whole."""

from collections.abc import Mapping
from dataclasses import replace

from gptfl_bench.core.errors import UsageError
from gptfl_bench.tasks import loaders
from gptfl_bench.tasks.access import Access
from gptfl_bench.tasks.task import Task, tasks


def load(
    dataset: str,
    options: Mapping[str, object],
    access: Access,
    *,
    verify: bool = False,
    prepare: bool = False,
) -> Task:
    """Return a data set for looking at; nothing is downloaded unless asked for.

    Args:
        dataset: Name of the data set.
        options: Options of its loader.
        access: Where it is looked for.
        verify: Whether to read everything again and compare checksums.
        prepare: Whether to download what is missing.

    Raises:
        UsageError: If it is not there or damaged; the sentence says what is missing and how to
            bring it.
    """
    access = replace(access, download=access.download and prepare)
    task = loaders.load(dataset, options, access)
    if verify:
        again = loaders.load(dataset, options, replace(access, anew=True))
        if again.fingerprint != task.fingerprint:
            raise UsageError(
                f"data set {dataset!r} was decoded to other samples than are kept in "
                f"{str(access.cache)!r}; they were replaced, run cells on it again."
            )
    return task


def describe(task: Task, *, verified: bool = False) -> str:
    """Return where a data set comes from and what was read, in lines."""
    about = tasks.reference(task.name)
    shape = " x ".join(str(length) for length in task.input_shape)
    lines = [f"{task.name}: {about.title}", f"source: {about.source}"]
    if task.read:
        lines.append(f"read from: {task.read}")
    lines.append(
        f"read: {len(task.train):,} training and {len(task.test):,} test samples of {shape}, "
        f"{task.num_classes} classes, metric {task.metric}"
    )
    if task.groups:
        lines.append(f"groups: {len(set(task.groups)):,}, the clients of partition group")
    if task.note:
        lines.append(f"note: {task.note}")
    lines.append(f"SHA-256 of training samples: {task.train.checksum()}")
    lines.append(f"SHA-256 of test samples: {task.test.checksum()}")
    if verified:
        lines.append("whole: read again without a complaint, the samples are the same")
    return "\n".join(lines)
