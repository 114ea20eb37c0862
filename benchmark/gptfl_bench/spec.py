"""What identifies a cell: everything that determines its result, and the key made of it."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache

from torch import nn

from gptfl_bench import groups as g
from gptfl_bench.artifacts import digest
from gptfl_bench.generator import Generator, generators, prompt_writers
from gptfl_bench.method import Method, Need
from gptfl_bench.settings import Settings
from gptfl_bench.task import Task, tasks


@dataclass(frozen=True)
class CellSpec:
    """One method on one task with one seed, before it has run.

    Attributes:
        name: The method's name, for example ``gptfl+fedopt``.
        method: The method.
        seed: Root of all randomness.
        dataset: Name of a registered data set, or a task.
        preset: Name of the preset the settings started from.
        settings: Everything else.
        network: A network in place of ``settings.model``.
    """

    name: str
    method: Method
    seed: int
    dataset: str | Task
    preset: str
    settings: Settings
    network: nn.Module | None = None

    @property
    def dataset_name(self) -> str:
        """Name of the data set."""
        return self.dataset if isinstance(self.dataset, str) else self.dataset.name

    def load_task(self) -> Task:
        """Return the task; a named one is read once in a process.

        Raises:
            UsageError: If the data are not there or damaged.
        """
        return _read_task(self.dataset) if isinstance(self.dataset, str) else self.dataset

    @property
    def model_key(self) -> str:
        """What determines network and start weights, beside the seed and the sample's shape."""
        if self.network is None:
            return digest({"model": self.settings.model, **self.settings.model_args})
        start = g.encode(g.model_groups(self.network)).hex()
        return digest({"model": repr(self.network), "start": start})

    @property
    def uses_public(self) -> bool:
        """Whether public data have a part in the result."""
        needs = self.method.requires()
        return self.settings.buffers == "recompute" or Need.PUBLIC in needs

    @property
    def uses_synthetic(self) -> bool:
        """Whether synthetic data have a part in the result."""
        public = self.uses_public and self.settings.public.source == "synthetic"
        return public or Need.GENERATOR in self.method.requires()

    def identity(self) -> dict[str, object]:
        """Return everything that determines the result.

        Threads and device are left out: they change speed, and rounding at most.
        """
        settings = asdict(self.settings)
        for name in ("threads", "device", "search", "plan", "start"):
            # The plan is part of the method by now, and so is a warm start.
            del settings[name]
        if not self.uses_public and self.settings.public.source != "held_out":
            # Held-out data are kept from the clients of every method, synthetic ones from none.
            del settings["public"]
        made_by: list[str] = []
        if self.uses_synthetic:
            # Other weights under the same name make other data.
            synthetic = self.settings.synthetic
            made_by.append(_generator_fingerprint(generators.get(synthetic.generator)))
            made_by.append(prompt_writers.get(synthetic.prompts)().fingerprint)
        else:
            del settings["synthetic"], settings["labels"]
        data = self.dataset
        return {
            **settings,
            "made_by": made_by,
            "method": self.name,
            "fields": _plain(self.method),
            "seed": self.seed,
            "dataset": self.dataset_name,
            "checksum": "" if isinstance(data, str) else data.fingerprint,
            "model": self.settings.model if self.network is None else self.model_key,
        }

    @property
    def run_id(self) -> str:
        """Method, data set, seed and a hash of what determines the result; a folder's name."""
        words = f"{self.name}-{self.dataset_name}-s{self.seed}"
        return f"{re.sub(r'[^A-Za-z0-9+_.-]', '_', words)}-{digest(self.identity())[:12]}"


@cache
def _generator_fingerprint(factory: Callable[[], Generator]) -> str:
    """Return a generator's fingerprint, for which it may read all its weights, once a process."""
    return factory().fingerprint


@cache
def _read_task(name: str) -> Task:
    return tasks.get(name)()


def _plain(method: Method) -> dict[str, object]:
    return {"class": f"{type(method).__module__}.{type(method).__qualname__}", **asdict(method)}
