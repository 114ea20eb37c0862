"""The command ``data``: where a data set is looked for, and whether it is whole."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_bench.commands.options import OK, PRESETS_HELP, access_of, arrange_access, expanded
from gptfl_bench.core.errors import UsageError

if TYPE_CHECKING:
    from gptfl_bench.data.access import Access
    from gptfl_bench.data.task import Task


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``data``."""
    parser.add_argument("dataset", metavar="D", help="data set")
    add = parser.add_argument
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--verify", action="store_true", help="read all again, compare checksums")
    either.add_argument("--prepare", action="store_true", help="download what is missing, decode")
    add("--partition", action="store_true", help="draw which client holds what")
    add("--preset", default="auto", metavar="P", help=PRESETS_HELP)
    add("--seed", type=int, default=0, metavar="S", help="seed of the partition (default: 0)")
    add(
        "--out", type=expanded, default=Path("partitions"), metavar="DIR", help="folder of drawings"
    )
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings, as of run")


def run(options: argparse.Namespace) -> int:
    """Say where a data set is and whether it is whole."""
    from gptfl_bench.data.task import tasks
    from gptfl_bench.runs import config

    tasks.get(options.dataset)
    settings = config.load(options.dataset, options.preset, options.overrides).settings
    task = _load(
        options.dataset,
        settings.data,
        access_of(options),
        verify=options.verify,
        prepare=options.prepare,
    )
    print(_describe(task, verified=options.verify))
    if options.partition:
        from gptfl_bench.cells.world import divide
        from gptfl_reports.figures import holdings, holdings_figure

        division = divide(task, settings, options.seed)
        train, partition = division.train, division.partition
        held = holdings.Holdings(
            f"{task.name} · {partition.describe()}",
            task.label_names,
            tuple(
                tuple(row)
                for row in partition.counts(train.labels.numpy(), task.num_classes).tolist()
            ),
            partition.fingerprint,
        )
        print(f"\n{holdings.summary_text(held)}")
        stem = f"{task.name}-{partition.fingerprint[:12]}"
        for path in holdings_figure.write(held, options.out, stem):
            print(path)
    return OK


def _load(
    dataset: str,
    options: Mapping[str, object],
    access: "Access",
    *,
    verify: bool = False,
    prepare: bool = False,
) -> "Task":
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
    from gptfl_bench.data import loaders

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


def _describe(task: "Task", *, verified: bool = False) -> str:
    """Return where a data set comes from and what was read, in lines."""
    from gptfl_bench.data.task import tasks

    about = tasks.reference(task.name)
    shape = " x ".join(str(length) for length in task.input_shape)
    lines = [f"{task.name}: {about.title}", f"source: {about.source}"]
    if task.read:
        lines.append(f"read from: {task.read}")
    lines.append(
        f"read: {len(task.train):,} training and {len(task.test):,} test samples of {shape}, "
        f"{task.num_classes} classes, metric {task.metric}"
    )
    lines.append(f"classes, training + test samples: {_classes(task)}")
    if task.groups:
        lines.append(f"groups: {len(set(task.groups)):,}, the clients of partition group")
    if task.note:
        lines.append(f"note: {task.note}")
    lines.append(f"SHA-256 of training samples: {task.train.checksum()}")
    lines.append(f"SHA-256 of test samples: {task.test.checksum()}")
    if verified:
        lines.append("whole: read again without a complaint, the samples are the same")
    return "\n".join(lines)


def _classes(task: "Task") -> str:
    """Return the classes with how many samples each has."""
    train, test = (
        part.labels.bincount(minlength=task.num_classes).tolist()
        for part in (task.train, task.test)
    )
    counted = zip(task.label_names, train, test, strict=True)
    return ", ".join(f"{name} ({first:,} + {second:,})" for name, first, second in counted)
