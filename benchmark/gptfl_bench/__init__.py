"""A benchmark of GPT-FL against other federated learning methods; see the README.

Everything a user needs has its name here and is loaded when it is first used, so that importing
this package loads neither PyTorch nor pandas::

    import gptfl_bench as gb

    results = gb.run(["fedavg", "gptfl"], preset="quick", seeds=[0, 1])
    results.compare("fedavg")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptfl_bench.api import run
    from gptfl_bench.architectures.network import Network, models
    from gptfl_bench.core import groups as trees
    from gptfl_bench.core.errors import Refusal, UsageError
    from gptfl_bench.core.groups import Groups, Tree
    from gptfl_bench.data.partition import Partition, partitions
    from gptfl_bench.data.samples import Samples
    from gptfl_bench.data.task import Task, tasks
    from gptfl_bench.engine.client import Client
    from gptfl_bench.engine.cohort import Cohort, Weighting
    from gptfl_bench.engine.method import Method, Need, methods
    from gptfl_bench.engine.server import Server
    from gptfl_bench.explore import load, share, synthesise
    from gptfl_bench.synthesis.generator import (
        Generator,
        Prompt,
        PromptWriter,
        Sample,
        generators,
        prompt_writers,
    )
    from gptfl_bench.testing.checks import check_method
    from gptfl_bench.training.central import EarlyStop
    from gptfl_bench.training.fit import Plan
    from gptfl_reports.notebook import Results, read
    from gptfl_reports.records.cells import Cell

_PLACES = {
    "gptfl_bench.api": ("run",),
    "gptfl_bench.core.errors": ("Refusal", "UsageError"),
    "gptfl_bench.core.groups": ("Groups", "Tree"),
    "gptfl_bench.engine.client": ("Client",),
    "gptfl_bench.engine.cohort": ("Cohort", "Weighting"),
    "gptfl_bench.engine.method": ("Method", "Need", "methods"),
    "gptfl_bench.engine.server": ("Server",),
    "gptfl_bench.explore": ("load", "share", "synthesise"),
    "gptfl_bench.architectures.network": ("Network", "models"),
    "gptfl_bench.synthesis.generator": (
        "Generator",
        "Prompt",
        "PromptWriter",
        "Sample",
        "generators",
        "prompt_writers",
    ),
    "gptfl_bench.data.partition": ("Partition", "partitions"),
    "gptfl_bench.data.samples": ("Samples",),
    "gptfl_bench.data.task": ("Task", "tasks"),
    "gptfl_bench.testing.checks": ("check_method",),
    "gptfl_bench.training.central": ("EarlyStop",),
    "gptfl_bench.training.fit": ("Plan",),
    "gptfl_reports.notebook": ("Results", "read"),
    "gptfl_reports.records.cells": ("Cell",),
}
"""Where names are defined, by module."""

__all__ = [
    "Cell",
    "Client",
    "Cohort",
    "EarlyStop",
    "Generator",
    "Groups",
    "Method",
    "Need",
    "Network",
    "Partition",
    "Plan",
    "Prompt",
    "PromptWriter",
    "Refusal",
    "Results",
    "Sample",
    "Samples",
    "Server",
    "Task",
    "Tree",
    "UsageError",
    "Weighting",
    "__version__",
    "check_method",
    "generators",
    "load",
    "methods",
    "models",
    "partitions",
    "prompt_writers",
    "read",
    "run",
    "share",
    "synthesise",
    "tasks",
    "trees",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    if name == "trees":
        return import_module("gptfl_bench.core.groups")
    for place, names in _PLACES.items():
        if name in names:
            value: object = getattr(import_module(place), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
