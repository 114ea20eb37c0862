"""What identifies a cell: everything that determines its result, and the key made of it."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from types import FunctionType
from typing import TypeVar

from gptfl_bench.architectures.network import models
from gptfl_bench.architectures.weights import weights_sha256
from gptfl_bench.cells.provenance import program_bases
from gptfl_bench.cells.settings import Settings
from gptfl_bench.core.cache import digest
from gptfl_bench.core.code.identity import Description, describe, of_program
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.registry import Registry
from gptfl_bench.data import loaders
from gptfl_bench.data.access import Access
from gptfl_bench.data.partition import partitions
from gptfl_bench.data.samples import as_float
from gptfl_bench.data.task import Task, tasks
from gptfl_bench.engine.handed import Handed, name_of
from gptfl_bench.engine.method import Method, Need
from gptfl_bench.synthesis.generator import (
    Generator,
    Placed,
    Plain,
    PromptWriter,
    generators,
    make,
    placed,
    plain_fields,
    prompt_writers,
)

T = TypeVar("T")


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
        network: A network in place of ``settings.model``, or what makes one.
        access: Where the data set may be looked for; without downloads no weights are fetched
            either.
        token: Stands for own code that can't be read, so that what a run makes with it is found
            again by that run alone.
        no_generator: Why ``synthetic.generator=auto`` found none; empty if it did.
    """

    name: str
    method: Method
    seed: int
    dataset: str | Task
    preset: str
    settings: Settings
    network: Handed | None = None
    access: Access = field(default_factory=Access)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    no_generator: str = ""

    @property
    def dataset_name(self) -> str:
        """Name of the data set."""
        return self.dataset if isinstance(self.dataset, str) else self.dataset.name

    def load_task(self) -> Task:
        """Return the task; a named one is read once in a process.

        Raises:
            UsageError: If the data are not there or damaged.
        """
        if not isinstance(self.dataset, str):
            return self.dataset
        return _read_task(self.dataset, tuple(sorted(self.settings.data.items())), self.access)

    @property
    def data_fingerprint(self) -> str:
        """What the data are; empty for a package's own data set, which its name determines."""
        named = isinstance(self.dataset, str) and of_program(tasks.get(self.dataset))
        if named and not loaders.reads_files(self.dataset_name):
            return ""
        return self.load_task().fingerprint

    @property
    def model_name(self) -> str:
        """Name of the network in tables: as registered, or its class."""
        return self.settings.model if self.network is None else name_of(self.network)

    @property
    def model_key(self) -> str:
        """What determines a network, how it computes and its start, beside seed and shape."""
        arguments: dict[str, object] = dict(self.model_arguments)
        if self.network is None:
            arguments["model"] = self.settings.model
        # A registered network takes no argument of such a name: "-" stands in none.
        if "model" in self.code:
            arguments["own-code"] = self.code["model"]
        if self.settings.precision != "float32":
            arguments["in-precision"] = self.settings.precision
        return digest(arguments)

    @property
    def start_key(self) -> str:
        """What determines the network that the method makes of the task's, and its start."""
        kinds = [type(part) for part in _parts(self.method)]
        changed = {next(k for k in kind.__mro__ if "network" in vars(k)) for kind in kinds}
        if all(map(of_program, changed)):
            return self.model_key
        return digest({"model": self.model_key, "method": self.code["method"]})

    @cached_property
    def _own(self) -> dict[str, Description]:
        """What was found out about own code that has a part in the result, by part."""
        found = {"method": describe(self.method, *map(program_bases, _parts(self.method)))}
        if self.network is not None:
            found["model"] = _describe_network(self.network, self.token)
        elif not of_program(factory := models.get(self.settings.model)):
            found["model"] = describe(factory)
        small = [models.get(name) for name in self.method.architectures()]
        found["small models"] = describe(*(part for part in small if not of_program(part)))
        found["partition"] = describe(partitions.get(self.settings.partition.recipe))
        found["task"] = describe(*self._forms)
        return found

    @property
    def _forms(self) -> tuple[object, ...]:
        """What turns a handed task's samples into others; empty if this program's functions do."""
        if isinstance(self.dataset, str) and of_program(tasks.get(self.dataset)):
            return ()
        task = self.load_task()
        transforms = (task.train.transform, task.test.transform, task.synthetic_transform)
        forms = (*(part or as_float for part in transforms), task.from_media)
        ours = all(isinstance(part, FunctionType) and of_program(part) for part in forms)
        return () if ours else forms

    @cached_property
    def code(self) -> dict[str, str]:
        """What stands for own code that has a part in the result, by part; empty if none has."""
        handed = {"model": self.network is not None, "task": bool(self._forms)}
        return {
            part: about.key(self.token)
            for part, about in self._own.items()
            if about.own or about.unread or handed.get(part)
        }

    @property
    def unread(self) -> str:
        """A sentence about own code that can't be read; empty if all can."""
        for part, about in self._own.items():
            if about.unread:
                return (
                    f"the {part}'s code can't be read ({about.unread!r} has no source file or "
                    "holds what can't be looked into), so no result of it is used again; define "
                    "it in a file."
                )
        return ""

    @property
    def model_arguments(self) -> dict[str, str | int | float | bool | None]:
        """The network's further arguments, with the content of a file of weights for its path."""
        arguments = self.settings.model_args
        weights = weights_sha256(self.settings.model, arguments)
        return {**arguments, "weights": weights} if weights else arguments

    @property
    def uses_public(self) -> bool:
        """Whether public data have a part in the result."""
        needs = self.method.needs
        return self.settings.buffers == "recompute" or Need.PUBLIC in needs

    @property
    def public_settings(self) -> dict[str, object]:
        """The settings of public data, as far as they have a part in the result."""
        public = self.settings.public
        if public.always and not self.uses_public:
            # Whatever the source, this method meets no more of it than the samples that are gone.
            return {"always": True, "share": public.share}
        settings = asdict(public)
        if not public.always:
            # Cells were made before there was this choice.
            del settings["always"]
        return settings

    @property
    def uses_synthetic(self) -> bool:
        """Whether synthetic data have a part in the result."""
        public = self.uses_public and self.settings.public.source == "synthetic"
        return public or Need.GENERATOR in self.method.needs

    @property
    def uses_generator(self) -> bool:
        """Whether a generator has a part in the result; real samples may take the place of its."""
        return self.uses_synthetic and not self.settings.synthetic.real

    def identity(self) -> dict[str, object]:
        """Return everything that determines the result.

        Threads, workers and device are left out: they change speed, and rounding at most.
        """
        settings = asdict(self.settings)
        left_out = (
            "threads",
            "workers",
            "device",
            "search",
            "plan",
            "start",
            "generators",
            "prompts",
            "quality",
        )
        for name in left_out:
            # The plan is part of the method by now, and so is a warm start; generators and prompt
            # writers have fingerprints.
            del settings[name]
        settings["public"] = self.public_settings
        if not self.uses_public and not self.settings.public.withheld:
            # What is held out is kept from the clients of every method, synthetic data from none.
            del settings["public"]
        made_by: list[str] = []
        if self.uses_synthetic:
            if self.uses_generator:
                # Other weights under the same name make other data.
                made_by += [self._generator_fingerprint, self.prompt_writer().fingerprint]
                # Cells were made before real samples could take their place.
                del settings["synthetic"]["real"]
        else:
            del settings["synthetic"], settings["labels"]
        if not self.settings.secure_aggregation:
            del settings["secure"]
        if settings["regime"] == "short":
            # Cells were made before there was another regime.
            del settings["regime"]
        if settings["precision"] == "float32":
            # Nor was there another precision.
            del settings["precision"]
        # It only looks on.
        del settings["evaluation"]["pretraining"]
        settings["model_args"] = self.model_arguments
        options = loaders.telling(settings.pop("data"))
        return {
            **settings,
            "made_by": made_by,
            "method": self.name,
            "fields": _plain(self.method),
            "seed": self.seed,
            "dataset": self.dataset_name,
            "checksum": self.data_fingerprint,
            **({"data": options} if options else {}),
            "model": self.settings.model if self.network is None else self.model_key,
            **({"code": self.code} if self.code else {}),
        }

    def generator(self) -> Generator:
        """Return the generator the settings name.

        Raises:
            UsageError: If it does not exist or a field does not fit.
        """
        if self.no_generator:
            raise UsageError(self.no_generator)
        name = self.settings.synthetic.generator
        return self._part(generators, name, self.settings.generators.get(name, {}))

    def bring_generator(self) -> None:
        """Download what the generator hands out, if it is not there.

        Raises:
            UsageError: If it can't or may not be downloaded, or is not what it should be.
        """
        if self.uses_generator and not self.no_generator:
            part = self.generator()
            if isinstance(part, Placed):
                part.bring()

    def prompt_writer(self) -> PromptWriter:
        """Return the prompt writer the settings name.

        Raises:
            UsageError: If it does not exist or a field does not fit.
        """
        name = self.settings.synthetic.prompts
        return self._part(prompt_writers, name, self.settings.prompts.get(name, {}))

    def _part(
        self, registry: Registry[Callable[[], T]], name: str, values: Mapping[str, Plain]
    ) -> T:
        """Return a generator or prompt writer, which fetches no weights if nothing may be."""
        field = "local_files_only"
        if not self.access.download and field in plain_fields(registry.get(name)):
            values = {**values, field: True}
        return placed(make(registry, name, values), self.access)

    @property
    def _generator_fingerprint(self) -> str:
        if self.no_generator:
            return ""
        name = self.settings.synthetic.generator
        values = self.settings.generators.get(name, {})
        return _fingerprint(generators.get(name), name, tuple(sorted(values.items())))

    @cached_property
    def run_id(self) -> str:
        """Method, data set, seed and a hash of what determines the result; a folder's name."""
        words = f"{self.name}-{self.dataset_name}-s{self.seed}"
        return f"{re.sub(r'[^A-Za-z0-9+_.-]', '_', words)}-{digest(self.identity())[:12]}"


@cache
def _fingerprint(
    factory: Callable[[], Generator], name: str, values: tuple[tuple[str, Plain], ...]
) -> str:
    """Return a generator's fingerprint, for which it may read all its weights, once a process."""
    return make(generators, name, dict(values)).fingerprint


@cache
def _describe_network(network: Handed, token: str) -> Description:
    """Return what is known of a run's network, whose weights are read once in a process."""
    return describe(network)


def forget_tasks() -> None:
    """Let the next plan of this process see files as they are by then."""
    _read_task.cache_clear()
    _describe_network.cache_clear()
    _fingerprint.cache_clear()


@cache
def _read_task(
    name: str, options: tuple[tuple[str, str | int | float | bool | None], ...], access: Access
) -> Task:
    return loaders.load(name, dict(options), access)


def _parts(method: Method) -> list[Method]:
    """Return a method and those it wraps."""
    inner = getattr(method, "inner", None)
    return [method, *(_parts(inner) if isinstance(inner, Method) else ())]


def _plain(method: Method) -> dict[str, object]:
    # Another process is not told within which function a class was made.
    name = type(method).__qualname__.rpartition("<locals>.")[2]
    return {"class": f"{type(method).__module__}.{name}", **asdict(method)}
