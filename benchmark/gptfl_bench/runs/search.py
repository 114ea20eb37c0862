"""Searching rates: the same number of trials for every arm, scored on held-out training data.

A search file (``conf/searches/<data set>.yaml``) names for each arm a grid of settings. Every
point runs on several seeds with the test set out of reach; the best point of each arm becomes a
part of a preset, with a sentence that says how it was found.
"""

import csv
import io
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

from omegaconf import OmegaConf

from gptfl_bench.cells.cell import Context
from gptfl_bench.core.errors import UsageError, unknown
from gptfl_bench.core.progress import Progress
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import tasks
from gptfl_bench.runs import experiment, launchers
from gptfl_bench.runs.launchers import Launcher
from gptfl_reports.records.cells import mean

ON_VALIDATION = "evaluation.on=validation"


@dataclass(frozen=True)
class Trial:
    """One point of an arm's grid and what it scored.

    Attributes:
        arm: The method's name.
        point: Settings of the point.
        scores: Mean of the last evaluations for each seed; None if it did not converge.
    """

    arm: str
    point: Mapping[str, object]
    scores: tuple[float | None, ...]

    @property
    def score(self) -> float:
        """Mean over seeds; below every real score if one did not converge."""
        known = [score for score in self.scores if score is not None]
        return mean(known) if len(known) == len(self.scores) else -1.0


@dataclass(frozen=True)
class Grid:
    """What is searched for one data set.

    Attributes:
        dataset: The data set.
        seeds: Seeds of each trial, other than those of the results.
        arms: For each method's name the values of each setting.
    """

    dataset: str
    seeds: tuple[int, ...]
    arms: Mapping[str, Mapping[str, list[object]]]

    def points(self, arm: str) -> Iterator[dict[str, object]]:
        """Yield all points of an arm's grid."""
        grid = self.arms[arm]
        for values in itertools.product(*grid.values()):
            yield dict(zip(grid, values, strict=True))

    @property
    def trials(self) -> int:
        """Trials of each arm.

        Raises:
            UsageError: If arms differ in it, which would favour one.
        """
        counts = {arm: len(list(self.points(arm))) for arm in self.arms}
        if len(set(counts.values())) != 1:
            raise UsageError(f"the search gives arms different numbers of trials: {counts}.")
        return next(iter(counts.values()))


def read_grid(dataset: str) -> Grid:
    """Return the search file of a data set.

    Raises:
        UsageError: If there is none, or its arms differ in their number of trials.
    """
    tasks.get(dataset)
    folder = files("gptfl_bench.conf") / "searches"
    path = folder / f"{dataset}.yaml"
    if not path.is_file():
        files_there = (entry.name for entry in folder.iterdir())
        known = [name.removesuffix(".yaml") for name in files_there if name.endswith(".yaml")]
        raise unknown("search", dataset, known)
    plain = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
    assert isinstance(plain, dict)
    grid = Grid(dataset, tuple(plain["seeds"]), plain["arms"])
    grid.trials  # noqa: B018 - refuse an unfair grid before anything runs
    return grid


def search(
    grid: Grid,
    preset: str,
    overrides: list[str],
    context: Context,
    progress: Progress,
    launcher: Launcher = "basic",
    access: Access | None = None,
) -> list[Trial]:
    """Run every trial that is missing and return all.

    Raises:
        UsageError: If a setting does not fit.
    """
    planned = [
        (
            arm,
            point,
            experiment.plan(
                [arm],
                grid.dataset,
                preset,
                grid.seeds,
                [*overrides, ON_VALIDATION, *(f"{key}={value}" for key, value in point.items())],
                access=access,
            ),
        )
        for arm in grid.arms
        for point in grid.points(arm)
    ]
    cells = [spec for _, _, plan in planned for spec in plan.cells]
    ended = {
        cell.record["run_id"]: cell.row()
        for cell in launchers.execute(cells, context, progress, launcher)
    }
    trials = []
    for arm, point, plan in planned:
        rows = [ended[spec.run_id] for spec in plan.cells]
        scores = (r["value_mean_last"] if r["status"] == "finished" else None for r in rows)
        trials.append(Trial(arm, point, tuple(scores)))
    return trials


def best(trials: list[Trial]) -> dict[str, Trial]:
    """Return the best trial of each arm; of equal ones the first in the grid."""
    arms = dict.fromkeys(trial.arm for trial in trials)
    return {arm: max((t for t in trials if t.arm == arm), key=lambda t: t.score) for arm in arms}


def as_preset(trials: list[Trial]) -> str:
    """Return the best points as the part of a preset that they make, in YAML."""
    tree = OmegaConf.create()
    for trial in best(trials).values():
        for key, value in trial.point.items():
            OmegaConf.update(tree, key, value, force_add=True)
    return OmegaConf.to_yaml(tree)


def as_csv(trials: list[Trial], seeds: tuple[int, ...]) -> str:
    """Return all trials as CSV, in percent."""
    chosen = list(best(trials).values())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["arm", "settings", *(f"seed_{seed}" for seed in seeds), "mean", "chosen"])
    for trial in trials:
        settings = " ".join(f"{key}={value}" for key, value in trial.point.items())
        scores = ["diverged" if s is None else f"{100 * s:.2f}" for s in trial.scores]
        mean = "diverged" if trial.score < 0 else f"{100 * trial.score:.2f}"
        writer.writerow([trial.arm, settings, *scores, mean, "yes" if trial in chosen else ""])
    return text.getvalue()
