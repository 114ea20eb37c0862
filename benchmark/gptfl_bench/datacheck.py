"""Whether a data set is there and whole."""

from gptfl_bench.errors import UsageError
from gptfl_bench.task import tasks


def describe(dataset: str, prepare: bool = False) -> str:
    """Return where a data set comes from and what was read.

    Raises:
        UsageError: If there is no such data set, or it can't be read; the sentence says what is
            missing and how to bring it.
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
    lines += [f"SHA-256 {part}: {sha256}" for part, sha256 in _checksums(dataset).items()]
    if prepare:
        lines.append("nothing is missing")
    return "\n".join(lines)


def verify(dataset: str) -> str:
    """Return a line that the checksums are those expected.

    Raises:
        UsageError: If they are not.
    """
    expected = tasks.get(dataset)().sha256
    if not expected:
        return "no checksums are known for this data set"
    for part, sha256 in _checksums(dataset).items():
        if sha256 != expected[part]:
            raise UsageError(
                f"the {part} samples of {dataset!r} have SHA-256 {sha256}, expected "
                f"{expected[part]}; install the package they come from again."
            )
    return "checksums are as expected"


def _checksums(dataset: str) -> dict[str, str]:
    task = tasks.get(dataset)()
    return {"train": task.train.checksum(), "test": task.test.checksum()}
