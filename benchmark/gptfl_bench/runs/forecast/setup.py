"""What cells of one task and one seed have in common, and the amounts of work that follow."""

from collections import Counter
from dataclasses import asdict, dataclass

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import Division, World, data_of
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.engine.federation import draw_cohort
from gptfl_bench.engine.networks import Networks
from gptfl_bench.synthesis.source import SyntheticSource
from gptfl_bench.training.work import Amounts


@dataclass(frozen=True)
class Setup:
    """What cells of one task and one seed have in common.

    Attributes:
        data: Samples and partition.
        visited: How many visits of all rounds go to clients of how many samples.
    """

    data: Division
    visited: Counter[int]

    @classmethod
    def of(cls, spec: CellSpec) -> "Setup":
        """Return what a cell has in common with others.

        Raises:
            UsageError: If data or settings don't fit.
        """
        data, settings = data_of(spec), spec.settings
        sizes = data.partition.sizes
        cohort = settings.cohort_of(len(sizes))
        drawn = (
            draw_cohort(spec.seed, number, len(sizes), cohort)
            for number in range(1, settings.rounds + 1)
        )
        # Clients without samples are not visited.
        visited = Counter(sizes[client] for clients in drawn for client in clients if sizes[client])
        return cls(data, visited)

    def world(self, networks: Networks) -> World:
        """Return a cell's world with these networks, its samples where they were read."""
        data = self.data
        parts = (data.task, data.train, data.evaluation, data.public, data.partition)
        return World(*parts, networks, networks.device)

    def source(self, spec: CellSpec, artifacts: Artifacts) -> SyntheticSource:
        """Return what makes a cell's synthetic data."""
        settings, size = spec.settings.synthetic, len(self.data.train)
        task, parts = self.data.task, (spec.generator, spec.prompt_writer)
        return SyntheticSource(settings, task, size, artifacts, *parts)

    def origin(self, spec: CellSpec, source: SyntheticSource) -> dict[str, object]:
        """Return what determines a cell's synthetic data."""
        task = source.task
        return {
            "made_by": [part.fingerprint for part in (source.generator(), source.writer())],
            "settings": asdict(source.settings),
            "task": [task.name, task.version, source.train_size, list(task.label_names)],
        }

    def amounts(self, spec: CellSpec, synthetic: int) -> Amounts:
        """Return what a cell gives its method to work on, with so many synthetic samples."""
        settings, held_out = spec.settings, self.data.public
        public = (synthetic if held_out is None else len(held_out)) if spec.uses_public else 0
        return Amounts(
            settings.rounds,
            settings.cohort_of(len(self.data.partition.clients)),
            self.visited,
            min(public, settings.public.limit or public),
            synthetic,
            self.data.task.num_classes,
            self.data.evaluation.at_once,
        )
