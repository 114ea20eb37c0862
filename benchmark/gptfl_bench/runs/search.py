"""Searching rates: the same number of trials for every arm, scored on held-out training data.

A search file (``conf/searches/<data set>.yaml``) names for each arm a grid of settings. Every
point runs on several seeds with the test set out of reach; the best point of each arm becomes a
part of a preset, with a sentence that says how it was found. Points that a short first run shows to
be worse can end there, as many for every arm. A best point at the edge of its grid can be followed
by one step beyond, by the same rule for every arm.
"""

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from omegaconf import OmegaConf

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.settings import Settings
from gptfl_bench.core.errors import UsageError, unknown
from gptfl_bench.core.progress import Progress
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import tasks
from gptfl_bench.runs import config, experiment, launchers
from gptfl_bench.runs.launchers import Launcher
from gptfl_reports.records.cells import Cell, mean
from gptfl_reports.records.events import CellEnded

ON_VALIDATION = "evaluation.on=validation"

Score = float | CellEnded
"""Mean of a cell's last evaluations; or how it ended, if it did not finish."""


@dataclass(frozen=True)
class Trial:
    """One point of an arm's grid and what it scored.

    Attributes:
        arm: The method's name.
        point: Settings of the point.
        first: Score of the short first run; None if there was none.
        scores: Score for each seed. Empty if the trial ended with the first run.
    """

    arm: str
    point: Mapping[str, object]
    first: Score | None
    scores: tuple[Score, ...]

    @property
    def score(self) -> float | None:
        """Mean over seeds; None if one of them did not finish or none was run."""
        known = [score for score in self.scores if isinstance(score, float)]
        return mean(known) if known and len(known) == len(self.scores) else None


@dataclass(frozen=True)
class First:
    """Successive halving in one step: which trials end early, by the same rule for every arm.

    Attributes:
        share: Part of the rounds that every trial runs first, on the first seed alone.
        keep: How many trials of an arm go on to all rounds and all seeds.
    """

    share: float
    keep: int

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 < self.share < 1:
            raise ValueError(f"first.share={self.share} must be between 0 and 1")
        if self.keep < 1:
            raise ValueError(f"first.keep={self.keep} must be 1 or more")


@dataclass(frozen=True)
class Grid:
    """What is searched for one data set in one regime.

    Attributes:
        dataset: The data set.
        seeds: Seeds of each trial, other than those of the results.
        arms: For each method's name the values of each setting.
        regime: The preset's regime.
        first: Which trials end early; none if None.
        extend: Whether an arm whose best point lies at an edge is tried one step beyond it.
    """

    dataset: str
    seeds: tuple[int, ...]
    arms: Mapping[str, Mapping[str, list[object]]]
    regime: str = Settings.regime
    first: First | None = None
    extend: bool = False

    @property
    def name(self) -> str:
        """Name of its file: the data set, and the regime where it is not the short one."""
        return _name(self.dataset, self.regime)

    def only(self, arms: Sequence[str]) -> "Grid":
        """Return the grid of some of its arms.

        Raises:
            UsageError: If it has no arm of a name.
        """
        for arm in arms:
            if arm not in self.arms:
                raise unknown("arm of the search", arm, list(self.arms))
        return replace(self, arms={arm: self.arms[arm] for arm in arms})

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

    def beyond(self, trial: Trial) -> Iterator[dict[str, object]]:
        """Yield a point one step beyond the grid for each setting in which a trial is at its edge.

        A step is the ratio of the two outermost values; the new value has one significant digit.
        From or to zero there is no ratio, so nothing lies beyond.
        """
        for key, value in trial.point.items():
            values = sorted(v for v in self.arms[trial.arm][key] if isinstance(v, int | float))
            if len(values) < 2 or value not in (values[0], values[-1]):
                continue
            edge, inner = values[:2] if value == values[0] else values[:-3:-1]
            if edge and inner:
                yield {**trial.point, key: type(edge)(float(f"{edge * edge / inner:.1g}"))}


def read_grid(dataset: str, regime: str = Settings.regime) -> Grid:
    """Return the search file of a data set: ``DATASET.yaml``, or ``DATASET-REGIME.yaml``.

    Raises:
        UsageError: If there is none, or its arms differ in their number of trials.
    """
    tasks.get(dataset)
    folder = files("gptfl_bench.conf") / "searches"
    name = _name(dataset, regime)
    path = folder / f"{name}.yaml"
    if not path.is_file():
        files_there = (entry.name for entry in folder.iterdir())
        known = [name.removesuffix(".yaml") for name in files_there if name.endswith(".yaml")]
        raise unknown("search", name, known)
    plain = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
    assert isinstance(plain, dict)
    first = First(**plain["first"]) if "first" in plain else None
    extend = plain.get("extend", False)
    grid = Grid(dataset, tuple(plain["seeds"]), plain["arms"], regime, first, extend)
    grid.trials  # noqa: B018 - refuse an unfair grid before anything runs
    return grid


def _name(dataset: str, regime: str) -> str:
    return dataset if regime == Settings.regime else f"{dataset}-{regime}"


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
    common = [*overrides, ON_VALIDATION, f"regime={grid.regime}"]

    def scores(trials: list[Trial], seeds: tuple[int, ...], *more: str) -> list[tuple[Score, ...]]:
        plans = [
            experiment.plan(
                [trial.arm],
                grid.dataset,
                preset,
                seeds,
                [*common, *more, *(f"{key}={value}" for key, value in trial.point.items())],
                access=access,
            )
            for trial in trials
        ]
        cells = [spec for plan in plans for spec in plan.cells]
        ended = launchers.execute(cells, context, progress, launcher)
        found = {cell.record["run_id"]: _score(cell) for cell in ended}
        return [tuple(found[spec.run_id] for spec in plan.cells) for plan in plans]

    trials = [Trial(arm, point, None, ()) for arm in grid.arms for point in grid.points(arm)]
    going_on = trials
    if grid.first is not None:
        rounds = config.load(grid.dataset, preset, common).settings.rounds
        shorter = f"rounds={max(round(grid.first.share * rounds), 1)}"
        found = scores(trials, grid.seeds[:1], shorter)
        trials = [replace(t, first=score) for t, (score,) in zip(trials, found, strict=True)]
        going_on = _kept(trials, grid.first.keep)
    for trial, whole in zip(going_on, scores(going_on, grid.seeds), strict=True):
        trials[trials.index(trial)] = replace(trial, scores=whole)
    if not grid.extend:
        return trials
    chosen = best(trials).values()
    further = [Trial(t.arm, point, None, ()) for t in chosen for point in grid.beyond(t)]
    found = scores(further, grid.seeds)
    extended = [replace(t, scores=whole) for t, whole in zip(further, found, strict=True)]
    return sorted([*trials, *extended], key=lambda t: list(grid.arms).index(t.arm))


def _score(cell: Cell) -> Score:
    value = cell.row()["value_mean_last"]
    return value if cell.ending.status == "finished" and value is not None else cell.ending


def _kept(trials: list[Trial], keep: int) -> list[Trial]:
    """Return the best trials of each arm by their first run; of equal ones the grid's first."""
    kept: list[Trial] = []
    for arm in dict.fromkeys(trial.arm for trial in trials):
        own = [trial for trial in trials if trial.arm == arm]
        kept += sorted(own, key=lambda t: _rank(t.first), reverse=True)[:keep]
    return kept


def _rank(score: Score | None) -> float:
    """Return a score, or less than any for a trial without."""
    return score if isinstance(score, float) else -1.0


def at_edge(trial: Trial, trials: list[Trial]) -> list[str]:
    """Return the settings of a trial that are the least or the largest of three or more tried."""
    found = []
    for key, value in trial.point.items():
        tried = {t.point[key] for t in trials if t.arm == trial.arm}
        values = [v for v in tried if isinstance(v, int | float)]
        if len(values) > 2 and value in (min(values), max(values)):
            found.append(key)
    return found


def best(trials: list[Trial]) -> dict[str, Trial]:
    """Return the best trial of each arm that has a score; of equal ones the first in the grid."""
    scored = [trial for trial in trials if trial.score is not None]
    arms = dict.fromkeys(trial.arm for trial in scored)
    own = {arm: [trial for trial in scored if trial.arm == arm] for arm in arms}
    return {arm: max(own[arm], key=lambda t: _rank(t.score)) for arm in arms}


def troubles(trials: list[Trial]) -> dict[str, CellEnded]:
    """Return how the first trial without a score ended, of the arms for which that matters.

    That is of an arm none of whose trials has a score, or one of whose was refused or failed. That
    some of an arm's trials diverge is what a search finds out.
    """
    chosen = best(trials)
    found: dict[str, CellEnded] = {}
    for trial in trials:
        for score in (trial.first, *trial.scores):
            if isinstance(score, CellEnded) and (
                score.status != "diverged" or trial.arm not in chosen
            ):
                found.setdefault(trial.arm, score)
    return found


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
    halved = any(trial.first is not None for trial in trials)
    columns = [*(f"seed_{seed}" for seed in seeds), "mean", "chosen"]
    writer.writerow(["arm", "settings", *(["first"] if halved else []), *columns])
    for trial in trials:
        settings = " ".join(f"{key}={value}" for key, value in trial.point.items())
        first = [_percent(trial.first)] if halved else []
        ended = [_percent(score) for score in trial.scores] or [""] * len(seeds)
        without = next((s for s in trial.scores if isinstance(s, CellEnded)), None)
        mean = _percent(trial.score if without is None else without)
        choice = "yes" if trial in chosen else ""
        writer.writerow([trial.arm, settings, *first, *ended, mean, choice])
    return text.getvalue()


def _percent(score: Score | None) -> str:
    if score is None:
        return ""
    return score.status if isinstance(score, CellEnded) else f"{100 * score:.2f}"
