"""A run: methods x seeds on one task, planned whole before anything is written."""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from gptfl_bench.architectures.network import models
from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.settings import Settings
from gptfl_bench.cells.spec import CellSpec, forget_tasks
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import UsageError, unknown
from gptfl_bench.core.randomness import Seeds, as_seeds
from gptfl_bench.data.access import Access, check_folder, default_cache
from gptfl_bench.data.handed import check_task
from gptfl_bench.data.partition import partitions
from gptfl_bench.data.task import Task, tasks
from gptfl_bench.engine.handed import Handed, accepted, name_of
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.runs import config
from gptfl_bench.runs.config import Config
from gptfl_bench.runs.naming import named_objects
from gptfl_bench.synthesis.auto import Choice, choose, wanted_for
from gptfl_bench.synthesis.generator import AUTO, generators, make, prompt_writers
from gptfl_reports.records.schema import ABLATED


@dataclass(frozen=True)
class RunPlan:
    """All cells of a run, checked.

    Attributes:
        cells: The cells, seeds taking turns within a method.
        config: The configuration they share.
    """

    cells: tuple[CellSpec, ...]
    config: Config

    def bring(self) -> None:
        """Read the data, and download them and what a generator hands out where they lack.

        Raises:
            UsageError: If they can't be read or brought.
        """
        self.cells[0].load_task()
        for cell in [cell for cell in self.cells if cell.uses_generator][:1]:
            cell.bring_generator()


def plan(
    methods_asked: Sequence[str | Method],
    dataset: str | Task,
    preset: str,
    seeds: Seeds,
    overrides: Sequence[str] = (),
    network: Handed | None = None,
    access: Access | None = None,
) -> RunPlan:
    """Return the cells of a run; nothing is downloaded or written.

    Args:
        methods_asked: Names (``all`` is every registered one, ``gptfl+X`` warm-starts X,
            ``X-ablated`` leaves out what sets X apart, ``ablations`` does so for every X that can)
            or method objects.
        dataset: Name of a data set, or a task.
        preset: Name of the preset; ``auto`` for the one that fits the machine.
        seeds: Roots of randomness.
        overrides: ``key=value`` settings, one value each.
        network: A network in place of the one the settings name, or what makes one.
        access: Where data sets may be looked for.

    Raises:
        UsageError: If any name or value does not fit.
    """
    roots = as_seeds(seeds)
    forget_tasks()
    _check_objects(methods_asked)
    if not isinstance(dataset, str):
        check_task(dataset)
    if network is not None:
        network = accepted(network)
    dataset_name = dataset if isinstance(dataset, str) else dataset.name
    if isinstance(dataset, str):
        tasks.get(dataset)
    named = expand([item for item in methods_asked if isinstance(item, str)])
    tree = config.load(dataset_name, preset, overrides)
    settings = tree.settings
    if network is not None:
        settings = replace(settings, model_args=_own_arguments(network, settings, overrides))
    partitions.get(settings.partition.recipe)
    cores, workers = os.cpu_count() or 1, settings.workers
    if settings.threads > cores:
        raise UsageError(
            f"threads={settings.threads} must be at most {cores}, the cores of this machine."
        )
    if workers != "auto" and workers * settings.threads > cores:
        raise UsageError(
            f"workers={workers} must be at most {cores // settings.threads}, for this machine has "
            f"{cores} cores and threads={settings.threads}; workers=auto takes what is free."
        )
    synthetic = settings.synthetic
    if synthetic.generator != AUTO:
        make(generators, synthetic.generator, settings.generators.get(synthetic.generator, {}))
    make(prompt_writers, synthetic.prompts, settings.prompts.get(synthetic.prompts, {}))
    if network is None:
        models.get(settings.model)
    chosen: dict[str, Method] = {}
    for name in started(named, settings.start):
        chosen[name] = tree.method(name)
    chosen |= named_objects([item for item in methods_asked if isinstance(item, Method)], chosen)
    if not chosen:
        raise UsageError("no method is named; choose from " + ", ".join(methods.names()) + ".")
    for method in chosen.values():
        for architecture in method.architectures():
            models.get(architecture)
    token = secrets.token_hex(16)
    # The preset's own name: "auto" is another one on another machine.
    where = (dataset, tree.preset, settings, network, access or Access(), token)
    cells = tuple(
        CellSpec(name, method, seed, *where) for name, method in chosen.items() for seed in roots
    )
    return RunPlan(_with_generator(cells, tree), tree)


def expand(asked: Sequence[str]) -> list[str]:
    """Return method names without repeats, with ``all`` and its like replaced by what they name.

    Raises:
        UsageError: If a name does not exist.
    """
    ablated = [name + ABLATED for name in methods.names() if methods.get(name).ablation]
    references = methods.unlisted()
    warm = [f"{wrapper}+{name}" for wrapper in config.wrappers() for name in references]
    many = {"all": methods.names(), "ablations": ablated, "references": [*references, *warm]}
    names: list[str] = []
    for item in asked:
        for name in many.get(item, [item]):
            for part in name.removesuffix(ABLATED).split("+"):
                if part not in [*methods.names(), *references]:
                    known = [*many, *methods.names(), *references]
                    # A group, as in ``all+moon``, or nothing is no name to be near to.
                    wrong = name if part in ("", *many) else part
                    raise unknown("method", wrong, known)
            outer, _, inner = name.partition("+")
            if inner and inner == methods.get(outer).wraps:
                name = outer
            if name not in names:
                names.append(name)
    return names


def started(names: Sequence[str], start: str) -> list[str]:
    """Return names as the option ``start`` asks: all warm, all cold, or as they are.

    Raises:
        UsageError: If all are to start warm and several methods could do it.
    """
    wrappers = config.wrappers()
    if start == "warm" and len(wrappers) != 1:
        raise UsageError(
            f"start=warm could mean any of {', '.join(wrappers)}; name the methods instead, such "
            f"as {wrappers[0]}+{names[0]}."
        )

    def change(name: str) -> str:
        outer, _, inner = name.partition("+")
        inner = (inner or methods.get(outer).wraps) if outer in wrappers else name
        if start == "cold":
            return inner
        if start == "warm":
            (wrapper,) = wrappers
            return wrapper if inner == methods.get(wrapper).wraps else f"{wrapper}+{inner}"
        return name

    return list(dict.fromkeys(change(name) for name in names))


def context(
    out: Path,
    command: str = "",
    force: bool | Sequence[str] = False,
    cache: Path | None = None,
    cells: Sequence[CellSpec] = (),
    processes: int = 0,
    launching: Mapping[str, str] | None = None,
) -> Context:
    """Return what cells are given.

    Args:
        out: The run folder.
        command: The command line, for records.
        force: Whether cells that have ended are run again; or the ids of those that are.
        cache: Folder of results that cells share.
        cells: The cells of the run, whose ids may be given.
        processes: In how many processes they are to run; 0 for what fits the machine.
        launching: What the launcher is told.

    Raises:
        UsageError: If ``out`` is a file, or an id is none of the run's.
    """
    check_folder(out)
    check_folder(cache := cache or default_cache())
    if isinstance(force, bool):
        again: bool | frozenset[str] = force
    else:
        again = frozenset(_known(force, cells))
    artifacts, told = Artifacts(cache), launching or {}
    return Context(out, artifacts, command, again, processes=processes, launching=told)


def _known(force: str | Sequence[str], cells: Sequence[CellSpec]) -> list[str]:
    """Return the ids of cells to run again.

    Raises:
        UsageError: If one is none of the run's.
    """
    known = [cell.run_id for cell in cells]
    wanted = [force] if isinstance(force, str) else list(force)
    for run_id in wanted:
        if run_id not in known:
            raise unknown("cell of this run", run_id, known)
    return wanted


def _check_objects(asked: Sequence[object]) -> None:
    """Refuse what is neither the name of a method nor a method."""
    for item in asked:
        if isinstance(item, type) and issubclass(item, Method):
            raise UsageError(
                f"{item.__name__} is a class; hand over {item.__name__}(), with its fields' "
                "values, or the name of a registered method for the preset's."
            )
        if not isinstance(item, str | Method):
            raise UsageError(
                f"{item!r} is neither the name of a method nor a method; choose from "
                f"{', '.join(methods.names())}, or hand over an object such as FedAvg()."
            )


def _with_generator(cells: tuple[CellSpec, ...], tree: Config) -> tuple[CellSpec, ...]:
    """Return cells that name the generator which ``auto`` takes, or say why there is none."""
    users = [cell for cell in cells if cell.uses_synthetic]
    settings = cells[0].settings
    if settings.synthetic.generator != AUTO or not users:
        return cells
    try:
        wanted = wanted_for(users[0].dataset, users[0].access, users[0].load_task)
    except UsageError as error:
        # As it is said when the data are needed; to look at settings they are not.
        choice = Choice("", refusal=str(error))
    else:
        choice = choose(wanted, settings.generators)
    named = replace(settings.synthetic, generator=choice.name or AUTO)
    settings, tree.tree["synthetic"] = replace(settings, synthetic=named), asdict(named)
    return tuple(replace(cell, settings=settings, no_generator=choice.refusal) for cell in cells)


def _own_arguments(
    network: Handed, settings: Settings, overrides: Sequence[str]
) -> dict[str, str | int | float | bool | None]:
    """Return arguments given for a network of one's own; a preset's are for another one.

    Raises:
        UsageError: If there are some, and the network is made already.
    """
    keys = {text.lstrip("+").partition("=")[0] for text in overrides}
    given = {k: v for k, v in settings.model_args.items() if f"model_args.{k}" in keys}
    if given and isinstance(network, nn.Module):
        raise UsageError(
            f"model_args={given} can't be used, for the network {name_of(network)} is made; hand "
            "over its class instead."
        )
    return given
