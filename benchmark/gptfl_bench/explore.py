"""Looking before running: a task, how clients share it, and what a generator makes for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from gptfl_bench.cells.settings import PartitionSettings, Settings
from gptfl_bench.cells.world import divide
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import as_seed
from gptfl_bench.data import loaders
from gptfl_bench.data.access import Access, default_cache, default_data
from gptfl_bench.data.handed import check_task
from gptfl_bench.data.partition import Partition
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.synthesis.auto import choose, wanted_for
from gptfl_bench.synthesis.generator import (
    AUTO,
    Plain,
    generators,
    make,
    placed,
    prompt_writers,
)
from gptfl_bench.synthesis.source import SyntheticSettings, SyntheticSource

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def load(
    dataset: str,
    *,
    data_folder: str | Path | None = None,
    cache: str | Path | None = None,
    download: bool = True,
    **options: Plain,
) -> Task:
    """Return a data set by name.

    Args:
        dataset: A registered name, such as ``"digits"``.
        data_folder: Folder in which data sets are looked for and into which they are downloaded.
        cache: Folder of results that cells share.
        download: Whether a data set that is not there may be downloaded.
        **options: The loader's own, as ``data.key=value`` on the command line.

    Raises:
        UsageError: If there is no such data set, or the data are not there or damaged.
    """
    return loaders.load(dataset, options, access_to(data_folder, cache, download))


@dataclass(frozen=True)
class Shared:
    """A task's training samples, shared among clients.

    Attributes:
        task: The task.
        partition: Which client holds which samples.
    """

    task: Task
    partition: Partition

    def __repr__(self) -> str:
        """Return data and partition in a line."""
        return f"Shared: {self.task.name} by {self.partition!r}"

    @property
    def counts(self) -> "pd.DataFrame":
        """Samples of each class by client: K rows, C columns."""
        import pandas as pd

        counts = self.partition.counts(self.task.train.labels.numpy(), self.task.num_classes)
        return pd.DataFrame(
            counts,
            columns=list(self.task.label_names),
            index=pd.RangeIndex(len(counts), name="client"),
        )

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw who holds how much of what, clients from the largest on, and return the axes."""
        import matplotlib.pyplot as plt

        axes = plt.subplots()[1] if ax is None else ax
        table = self.counts
        table = table.loc[table.sum(axis=1).sort_values(ascending=False).index]
        table.plot.bar(stacked=True, width=1.0, ax=axes, legend=len(table.columns) <= 12)
        axes.set_xlabel("client")
        axes.set_ylabel("samples")
        axes.set_title(self.partition.describe())
        return axes


def share(
    task: Task | str,
    recipe: str = "dirichlet",
    *,
    clients: int = 20,
    alpha: float = 0.1,
    min_size: int = 1,
    seed: SupportsIndex = 0,
) -> Shared:
    """Return how clients would share a task's training samples.

    All of them: a preset that keeps public samples from the clients shares what is left, as
    ``gptfl-bench data D --partition`` shows.

    Args:
        task: A task, or the name of a data set.
        recipe: Name of a partition.
        clients: Number of clients K.
        alpha: Dirichlet concentration; smaller is more skewed.
        min_size: Fewest samples a client may hold.
        seed: Seed of the draw.

    Raises:
        UsageError: If the samples can't be shared so.
    """
    task = load(task) if isinstance(task, str) else check_task(task)
    root = as_seed(seed)
    recipe_settings = PartitionSettings(recipe, alpha, min_size, root)
    try:
        settings = Settings(partition=recipe_settings, num_clients=clients, cohort_size=1)
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    return Shared(task, divide(task, settings, root).partition)


def synthesise(
    task: Task | str,
    generator: str = AUTO,
    multiplier: float = 1.0,
    *,
    prompts: str = "grammar",
    labels: Sequence[str] = (),
    seed: SupportsIndex = 0,
    cache: str | Path | None = None,
    **options: Plain,
) -> Samples:
    """Return synthetic samples for a task, equally many of each label, from the cache if there.

    Args:
        task: A task, or the name of a data set.
        generator: Name of a generator; ``auto`` takes the first that can make them here.
        multiplier: Amount in units of the real training set.
        prompts: Name of a prompt writer.
        labels: Class names; all of the task's if left out.
        seed: Seed of prompts and samples.
        cache: Folder of results that cells share.
        **options: Fields of the generator; none go with ``auto``.

    Raises:
        UsageError: If a name or value does not fit, or the generator can't work here.
        Refusal: If the generator can't make the task's modality.
    """
    task = load(task, cache=cache) if isinstance(task, str) else check_task(task)
    wanted = list(labels) or list(task.label_names)
    unknown = [label for label in wanted if label not in task.label_names]
    if unknown:
        raise UsageError(
            f"{unknown[0]!r} is no class of {task.name!r}; choose from "
            f"{', '.join(task.label_names)}."
        )
    access = access_to(None, cache)
    if generator == AUTO and options:
        raise UsageError(f"name a generator for its fields {sorted(options)}; auto takes none.")
    if generator == AUTO:
        choice = choose(wanted_for(task, access, lambda: task), {})
        if not choice.name:
            raise UsageError(choice.refusal)
        generator = choice.name
    try:
        settings = SyntheticSettings(generator, prompts, multiplier, seed=as_seed(seed))
    except ValueError as error:
        raise UsageError(f"{error}.") from error
    source = SyntheticSource(
        settings,
        task,
        len(task.train),
        Artifacts(access.cache),
        lambda: placed(make(generators, generator, options), access),
        lambda: make(prompt_writers, prompts, {}),
    )
    return source.samples(wanted).samples


def access_to(
    data_folder: str | Path | None, cache: str | Path | None, download: bool = True
) -> Access:
    """Return where files may be looked for; the usual folders where none is named.

    Raises:
        UsageError: If a file stands in a folder's place.
    """
    return Access(
        Path(data_folder).expanduser() if data_folder is not None else default_data(),
        Path(cache).expanduser() if cache is not None else default_cache(),
        download,
    )
