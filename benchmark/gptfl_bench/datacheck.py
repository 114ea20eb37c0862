"""Whether a data set is there and whole."""

from gptfl_bench.task import tasks


def describe(dataset: str, *, verify: bool = False, prepare: bool = False) -> str:
    """Return where a data set comes from and what was read.

    Args:
        dataset: Name of the data set.
        verify: Whether to say what was checked; loaders compare checksums at every load.
        prepare: Whether to say what has to be brought.

    Raises:
        UsageError: If there is no such data set, or it can't be read or is damaged; the sentence
            says what is missing and how to bring it.
    """
    about = tasks.reference(dataset)
    task = tasks.get(dataset)()
    shape = " x ".join(str(length) for length in task.input_shape)
    lines = [
        f"{task.name}: {about.title}",
        f"source: {about.source}",
        f"read: {len(task.train):,} training and {len(task.test):,} test samples of {shape}, "
        f"{task.num_classes} classes, metric {task.metric}",
    ]
    if task.note:
        lines.append(f"note: {task.note}")
    lines += [f"SHA-256 of training samples: {task.train.checksum()}"]
    lines += [f"SHA-256 of test samples: {task.test.checksum()}"]
    if verify:
        lines.append("whole: read without a complaint")
    if prepare:
        lines.append("nothing is missing")
    return "\n".join(lines)
