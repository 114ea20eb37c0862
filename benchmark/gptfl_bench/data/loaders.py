"""Calling a data set's loader with the options a user may set as ``data.key=value``.

A loader takes nothing, or ``(access: Access, options: Options = Options())`` where ``Options`` is a
frozen dataclass; its fields and their defaults are the settings under ``data``. Where reading may
mean a download, ``Options`` has a class variable ``modality``: what the samples are.
"""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gptfl_bench.core.code.identity import of_program
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.access import Access
from gptfl_bench.data.handed import check_task
from gptfl_bench.data.task import Modality, Task, tasks
from gptfl_reports.records.typed import build

WHERE_NOT_WHAT = frozenset({"path"})
"""Options that say where data lie; the data's own fingerprint says what they are."""
_LATER = frozenset({"classes", "valid"})
"""Options that cells made before them don't have; unset, they are no part of what a cell is."""


def reads_files(name: str) -> bool:
    """Return whether a data set is read from the user's files or from a package.

    Raises:
        UsageError: If there is no such data set.
    """
    return bool(inspect.signature(tasks.get(name)).parameters)


def options(name: str) -> dict[str, Any]:
    """Return the options of a data set's loader with their defaults; empty if it takes none.

    Raises:
        UsageError: If there is no such data set.
    """
    return asdict(_default(name)) if reads_files(name) else {}


def modality(name: str) -> Modality | None:
    """Return what a data set's samples are if that is known without reading them.

    Raises:
        UsageError: If there is no such data set.
    """
    said: Modality | None = getattr(_default(name), "modality", None) if reads_files(name) else None
    return said


def telling(values: Mapping[str, object]) -> dict[str, object]:
    """Return those options of a data set that say which task is made of it."""
    unset = {key for key in _LATER if values.get(key) is None}
    return {key: values[key] for key in values.keys() - WHERE_NOT_WHAT - unset}


def load(name: str, values: Mapping[str, object], access: Access) -> Task:
    """Return the task called ``name``.

    Args:
        name: A registered data set.
        values: Options that differ from their defaults.
        access: Where files lie.

    Raises:
        UsageError: If an option does not fit, or the data are not there or damaged.
    """
    loader = tasks.get(name)
    if not reads_files(name):
        if values:
            raise UsageError(f"data set {name!r} has no options, so {dict(values)} can't be used.")
        task = loader()
    else:
        default = _default(name)
        task = loader(access, build(type(default), {**asdict(default), **values}, "data"))
    return task if of_program(loader) else check_task(task)


def _default(name: str) -> Any:  # noqa: ANN401 - each loader has its own dataclass
    return inspect.signature(tasks.get(name)).parameters["options"].default
