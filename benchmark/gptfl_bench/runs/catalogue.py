"""What there is, as tables and as JSON."""

import csv
import json
from collections.abc import Mapping
from functools import partial
from importlib.resources import files

from tabulate import tabulate

from gptfl_bench.architectures.network import models
from gptfl_bench.cells.profile import profile
from gptfl_bench.core.code.identity import of_program
from gptfl_bench.core.registry import Registry
from gptfl_bench.data import loaders
from gptfl_bench.data.access import Access
from gptfl_bench.data.partition import partitions
from gptfl_bench.data.task import tasks
from gptfl_bench.engine.method import Need, methods
from gptfl_bench.runs.config import PRESETS
from gptfl_bench.synthesis.auto import Choice, choose, wanted_for
from gptfl_bench.synthesis.generator import generators, prompt_writers

Entry = dict[str, str | int | list[str]]


def entries(kind: str) -> list[Entry]:
    """Return all parts of a kind with what is known about each.

    Args:
        kind: ``methods``, ``datasets``, ``models``, ``generators``, ``prompts``, ``partitions``,
            ``presets``.
    """
    if kind == "presets":
        return _presets()
    registries: dict[str, Registry[object]] = {
        "methods": methods,  # type: ignore[dict-item]
        "datasets": tasks,  # type: ignore[dict-item]
        "models": models,  # type: ignore[dict-item]
        "generators": generators,  # type: ignore[dict-item]
        "prompts": prompt_writers,  # type: ignore[dict-item]
        "partitions": partitions,  # type: ignore[dict-item]
    }
    registry = registries[kind]
    found: list[Entry] = []
    for name in registry.names():
        about = registry.reference(name)
        found.append(
            {
                "name": name,
                "title": about.title,
                "source": about.source,
                "year": about.year,
                "needs": about.needs or (_needs(name) if kind == "methods" else ""),
            }
        )
    return found


def _needs(name: str) -> str:
    """Return in words what a method needs."""
    needs = methods.get(name)().needs
    return "; ".join(need for need in Need if need in needs)


def profiles() -> list[tuple[str, dict[str, str], bool | None]]:
    """Return for each method its row of the paper's Table 1 and what was observed of it.

    The last value is whether its server was seen to read single replies: in ``conf/observed.csv``
    for the methods of this distribution; None for one from elsewhere, which has to be run.
    """
    text = (files("gptfl_bench.conf") / "observed.csv").read_text(encoding="utf-8")
    seen = {r["method"]: r["server_saw_clients"] == "true" for r in csv.DictReader(text.split())}
    return [(name, profile(methods.get(name)()), seen.get(name)) for name in methods.names()]


def automatic() -> dict[str, Choice]:
    """Return what ``synthetic.generator=auto`` takes here for each data set, as it is by default.

    Data that have to be read for that are left out, but for those that come with a package.
    """
    access = Access()
    found = {}
    for name in tasks.names():
        comes_along = of_program(tasks.get(name)) and not loaders.reads_files(name)
        if loaders.modality(name) is None and not comes_along:
            continue
        wanted = wanted_for(name, access, partial(loaders.load, name, {}, access))
        found[name] = choose(wanted, {})
    return found


def as_json(kind: str, paper: Mapping[str, Mapping[str, str]]) -> str:
    """Return a list as JSON; methods with their row of Table 1 and the paper's own.

    Generators have the data sets for which ``auto`` takes them here.

    Args:
        kind: As for :func:`entries`.
        paper: The paper's rows by method.
    """
    found: list[dict[str, object]] = [dict(entry) for entry in entries(kind)]
    if kind == "generators":
        chosen = automatic()
        for entry in found:
            name = entry["name"]
            entry["auto"] = [dataset for dataset, choice in chosen.items() if choice.name == name]
    if kind == "methods":
        for entry, (name, row, saw) in zip(found, profiles(), strict=True):
            entry |= {**row, "server_saw_clients": saw, "paper": paper.get(name)}
    return json.dumps(found, indent=1)


def as_text(kind: str) -> str:
    """Return a list as a table, empty columns left out."""
    found = entries(kind)
    columns = [key for key in found[0] if any(entry[key] for entry in found)]
    text = _table(columns, [[_cell(entry[column]) for column in columns] for entry in found])
    if kind != "generators":
        return text
    rows = [[name, str(choice)] for name, choice in automatic().items()]
    return f"{text}\n\n{_table(['data set', 'synthetic.generator=auto takes here'], rows, 90)}"


def _table(columns: list[str], rows: list[list[str]], width: int = 48) -> str:
    return tabulate(rows, headers=columns, tablefmt="simple", maxcolwidths=width)


def _cell(value: str | int | list[str]) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "")


def _presets() -> list[Entry]:
    root = files("gptfl_bench.conf") / "presets"
    found: list[Entry] = []
    for dataset in ("any", *tasks.names()):
        names = [name for name in PRESETS if (root / dataset / f"{name}.yaml").is_file()]
        if names:
            found.append({"dataset": dataset, "presets": names})
    return found
