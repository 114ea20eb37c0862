"""How long cells will take here: what each method computes, times what that took when measured.

Start weights, synthetic samples and a look at these are made once for the cells that share them,
and not again where an earlier run left them in the cache.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import torch

from gptfl_bench.cells.cell import KEPT, Context
from gptfl_bench.cells.refusals import refuse_unmet
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import build_networks
from gptfl_bench.core import groups as g
from gptfl_bench.core.cache import Artifacts, digest
from gptfl_bench.core.device import pick_device
from gptfl_bench.core.errors import Refusal, StorageError, UsageError
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import Method
from gptfl_bench.engine.networks import Networks
from gptfl_bench.runs.forecast import kept
from gptfl_bench.runs.forecast.calibration import MOST, Calibration
from gptfl_bench.runs.forecast.setup import Setup
from gptfl_bench.synthesis.costs import keep_rate, rate
from gptfl_bench.synthesis.source import SyntheticSource
from gptfl_bench.training.work import Work
from gptfl_reports.records.cells import RECORD, Cell, read_cell

_ENOUGH = 20
"""Samples whose making tells how long one takes, loading of weights and all."""


@dataclass(frozen=True)
class CellForecast:
    """What one cell is going to take.

    Attributes:
        spec: The cell.
        seconds: Its work; 0 if nothing is left to do.
        nbytes: Models on their way, both directions.
        ended: What has become of it already; empty if it is to run.
        refused: Why it will be refused; empty if it won't, as far as can be told.
        makes: Keys of what it makes for other cells, too.
    """

    spec: CellSpec
    seconds: float = 0.0
    nbytes: int = 0
    ended: str = ""
    refused: str = ""
    makes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Forecast:
    """What a run is going to take.

    Attributes:
        cells: Its cells in the order they run.
        unknown: What takes time that can't be told, in words.
    """

    cells: tuple[CellForecast, ...]
    unknown: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Work of all cells, one after another."""
        return sum(cell.seconds for cell in self.cells)

    @property
    def nbytes(self) -> int:
        """Models on their way in all cells."""
        return sum(cell.nbytes for cell in self.cells)

    @property
    def to_run(self) -> tuple[CellForecast, ...]:
        """Cells with something left to do."""
        return tuple(cell for cell in self.cells if not cell.ended and not cell.refused)

    def keep(self, artifacts: Artifacts, cells: Sequence[Cell], seconds: float) -> None:
        """Keep beside the estimate how long a run took in truth, and what it made.

        Args:
            artifacts: The cache; one that can't be written to keeps nothing.
            cells: The cells, as they ended.
            seconds: What they took together.
        """
        ended = {cell.record["run_id"]: cell for cell in cells}
        with suppress(StorageError):
            for ahead in self.to_run:
                cell = ended[ahead.spec.run_id]
                made = cell.synthetic
                if made is not None and made.samples >= _ENOUGH and not made.cached:
                    fingerprint = ahead.spec.generator().fingerprint
                    # One that was tried has been timed without whatever else ran here.
                    if rate(artifacts, fingerprint) is None:
                        keep_rate(artifacts, fingerprint, made.seconds / made.samples)
                if cell.ending.status in KEPT:
                    kept.note_made(artifacts, ahead.makes)
            about = {
                "cells": len(self.to_run),
                "methods": sorted({ahead.spec.name for ahead in self.to_run}),
                "datasets": sorted({ahead.spec.dataset_name for ahead in self.to_run}),
                "presets": sorted({ahead.spec.preset for ahead in self.to_run}),
                "work_estimated": self.seconds,
                "work": sum(ended[ahead.spec.run_id].seconds for ahead in self.to_run),
                "took": seconds,
            }
            kept.log_truth(artifacts, about)

    def in_processes(self, count: int) -> float:
        """Return the seconds in so many processes, each with cores of its own."""
        longest = max((cell.seconds for cell in self.cells), default=0.0)
        return max(self.seconds / count, longest)


def forecast(cells: Sequence[CellSpec], context: Context) -> Forecast:
    """Return what cells are going to take; measures what was not measured before.

    Raises:
        UsageError: If data or settings don't fit.
    """
    ahead = _Ahead(context)
    return Forecast(tuple(map(ahead.cell, cells)), tuple(dict.fromkeys(ahead.unknown)))


class _Ahead:
    """Goes through cells in order; what one of them makes, a later one has."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._setups: dict[str, Setup] = {}
        self._networks: dict[str, Networks] = {}
        self._calibrations: dict[str, Calibration] = {}
        self._made: set[str] = set()
        self.unknown: list[str] = []

    def cell(self, spec: CellSpec) -> CellForecast:
        """Return what a cell is going to take."""
        if ended := _ended(spec, self._context):
            return CellForecast(spec, ended=ended)
        setup = self._setup(spec)
        task, source = setup.data.task, setup.source(spec, self._context.artifacts)
        networks, calibration = self._networks_of(spec, task), self._calibration(spec, task)
        try:
            refuse_unmet(spec, setup.world(networks))
            samples, parts = self._synthesis(spec, setup, source)
        except (Refusal, UsageError) as reason:
            return CellForecast(spec, refused=str(reason))
        origin = setup.origin(spec, source) if samples else {}
        quality = spec.settings.quality
        if samples and quality.samples:
            judging = Work("train", quality.plan.batch_size, quality.judge_steps)
            key = _key("quality", origin, asdict(quality), spec.model_key)
            parts[key] = calibration.seconds(judging, networks)
        amounts = setup.amounts(spec, samples)
        every = spec.settings.evaluation.every
        tested = amounts.looked_at(len(setup.data.evaluation), 1 + -(-amounts.rounds // every))
        seconds = calibration.pace("visit", networks).seconds(1) * amounts.visits
        for work in (*spec.method.work(amounts), *tested):
            part = calibration.seconds(work, networks)
            if work.shared:
                parts[_key("pretrained", asdict(work), str(networks), spec.seed, origin)] = part
            else:
                seconds += part
        makes = tuple(key for key in parts if self._lacking(key))
        seconds += sum(parts[key] for key in makes)
        nbytes = amounts.visits * 2 * _model_bytes(spec, networks)
        return CellForecast(spec, seconds, nbytes, makes=makes)

    def _lacking(self, key: str) -> bool:
        """Return whether something is still to be made, and take it as made from here on."""
        lacking = key not in self._made and not kept.is_made(self._context.artifacts, key)
        self._made.add(key)
        return lacking

    def _setup(self, spec: CellSpec) -> Setup:
        key = repr((spec.dataset_name, spec.settings, spec.seed))
        if key not in self._setups:
            self._setups[key] = Setup.of(spec)
        return self._setups[key]

    def _networks_of(self, spec: CellSpec, task: Task) -> Networks:
        """Return networks as a cell's, whatever the seed: weights have no part in a time."""
        innermost = spec.method
        while isinstance(inner := getattr(innermost, "inner", None), Method):
            innermost = inner
        own = "" if type(innermost).network is Method.network else spec.name
        key = repr((spec.dataset_name, spec.model_key, spec.settings.device, own))
        if key not in self._networks:
            device, adapt = pick_device(spec.settings.device), spec.method.network
            self._networks[key] = build_networks(spec, task, spec.seed, device, adapt)
        return self._networks[key]

    def _calibration(self, spec: CellSpec, task: Task) -> Calibration:
        settings = spec.settings
        key = repr((spec.dataset_name, settings.data, settings.plan, settings.device))
        if key not in self._calibrations:
            few = task.train.select(torch.arange(min(len(task.train), MOST)))
            samples = few.with_labels(few.labels).to(pick_device(settings.device))
            self._calibrations[key] = Calibration(
                self._context.artifacts, samples, settings.plan, settings.threads
            )
        return self._calibrations[key]

    def _synthesis(
        self, spec: CellSpec, setup: Setup, source: SyntheticSource
    ) -> tuple[int, dict[str, float]]:
        """Return the number of synthetic samples, and by key the seconds of making them.

        Raises:
            Refusal: If they can't be made for the task.
            UsageError: If they can't be made here.
        """
        if not spec.uses_synthetic:
            return 0, {}
        labels = source.task.label_names
        samples = source.each(labels) * len(labels)
        if not spec.uses_generator:
            return samples, {}
        generator = source.fitting_generator()
        each = kept.seconds_a_sample(source, generator)
        if each is None:
            self.unknown.append(f"generation by {source.settings.generator!r}")
        return samples, {_key("synthetic", setup.origin(spec, source)): samples * (each or 0.0)}


def _ended(spec: CellSpec, context: Context) -> str:
    """Return how a cell ended that won't run again; empty if it is to run."""
    folder = context.out / spec.run_id
    if context.forces(spec.run_id) or not (folder / RECORD).exists():
        return ""
    try:
        status = read_cell(folder).ending.status
    except UsageError:
        return ""
    return status if status in KEPT else ""


def _model_bytes(spec: CellSpec, networks: Networks) -> int:
    """Return the bytes of what clients train: the model, or the mean of the small ones."""
    small = [networks.variant(name) for name in spec.method.architectures()] or [networks]
    return sum(sum(map(g.nbytes, of.start.values())) for of in small) // len(small)


def _key(kind: str, *about: object) -> str:
    return digest({kind: about})
