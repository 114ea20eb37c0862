"""Cells as jobs of Slurm, or as processes of this machine, by submitit."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.clusters.settings import Submitit
from gptfl_bench.clusters.work import Stopped, Tried, Work, in_a_line
from gptfl_bench.core.errors import UsageError

TRIES = 2
"""Jobs that a cell gets: one that is lost is given in once more, and its cell goes on."""
POLL = 0.5
"""Seconds between two looks at jobs."""


def run(
    cells: Sequence[CellSpec],
    context: Context,
    settings: Submitit,
    cpus: int,
    at_once: int,
    work: Work,
    stopped: Stopped,
) -> Tried:
    """Run cells as jobs, and yield each as its job ends.

    Args:
        cells: The cells.
        context: What they are given.
        settings: What the user says.
        cpus: Cores that a job needs.
        at_once: Jobs at the same time where they are processes of this machine.
        work: Runs a cell, where it is sent to.
        stopped: Returns a cell that was stopped from outside.

    Raises:
        UsageError: If submitit is missing, or there is no such cluster.
    """
    made = executor(context.out / "jobs", settings, cpus)
    # Slurm keeps jobs back by itself; of processes all would begin now.
    most = len(cells) if made.cluster == "slurm" else settings.array or at_once
    waiting = [(spec, 1) for spec in cells]
    under_way: list[tuple[CellSpec, int, Any]] = []
    while waiting or under_way:
        taken = waiting[: most - len(under_way)]
        del waiting[: len(taken)]
        if taken:
            # Slurm gets a batch as one array.
            with made.batch():
                jobs = [made.submit(work, spec, context) for spec, _ in taken]
            under_way += [(*told, job) for told, job in zip(taken, jobs, strict=True)]
        over = [entry for entry in under_way if entry[2].done()]
        if not over:
            time.sleep(POLL)
        for spec, number, job in over:
            under_way.remove((spec, number, job))
            try:
                yield spec, job.result()
            except Exception as error:
                # Killed, out of time, or its node is gone; submitit's words run over many lines.
                if number < TRIES:
                    waiting.append((spec, number + 1))
                    continue
                reason = f"its job {job.job_id} gave no result ({in_a_line(error)})."
                yield spec, stopped(spec, context, reason)


def executor(folder: Path, settings: Submitit, cpus: int) -> Any:  # noqa: ANN401 - submitit's
    """Return what gives jobs in, and keeps their scripts and logs in a folder.

    Args:
        folder: The folder.
        settings: What the user says.
        cpus: Cores that a job needs.

    Raises:
        UsageError: If submitit is missing, or there is no such cluster.
    """
    try:
        import submitit
    except ImportError as error:
        raise UsageError(
            "the launcher 'submitit' is not installed; install gptfl-bench[cluster] or use "
            "--launcher joblib."
        ) from error
    named = None if settings.cluster == "auto" else settings.cluster
    try:
        made = submitit.AutoExecutor(folder=folder, cluster=named)
    except RuntimeError as error:
        raise UsageError(
            f"launcher.cluster={settings.cluster} is not there ({in_a_line(error)}); use "
            "launcher.cluster=local, or give the command on a machine of the cluster."
        ) from error
    made.update_parameters(**parameters(settings, cpus, made.cluster))
    return made


def parameters(settings: Submitit, cpus: int, cluster: str) -> dict[str, Any]:
    """Return the settings in submitit's words; what is not set is left to the cluster.

    Args:
        settings: What the user says.
        cpus: Cores that a job needs.
        cluster: ``slurm`` or ``local``.
    """
    words: dict[str, Any] = {
        "name": "gptfl-bench",
        "timeout_min": settings.minutes,
        "cpus_per_task": settings.cpus or cpus,
        "gpus_per_node": settings.gpus,
        "mem_gb": settings.memory,
    }
    if cluster == "slurm":
        words |= {
            "slurm_partition": settings.partition,
            "slurm_account": settings.account,
            "slurm_array_parallelism": settings.array,
            "slurm_setup": [f"module load {name}" for name in settings.modules],
        }
    return {key: value for key, value in words.items() if value}
