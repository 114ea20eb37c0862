"""Write docs/defaults.md and docs/presets.md: where defaults come from, and what presets change.

    python ci/document_defaults.py

A method's defaults are its dataclass's fields; `defaults.yaml` beside the methods says what their
authors have. A field without a line there, a line without a field and a line with another value
are errors, so no default changes unseen.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gptfl_bench.data.task import tasks
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.runs import config
from gptfl_bench.training.fit import Plan

DOCS = Path(__file__).resolve().parents[1] / "docs"
DEFAULTS = """\
# Defaults of the methods, and where they come from

Made by `python ci/document_defaults.py` from the methods' dataclasses; a test fails where this page
and the code differ. Presets change some of them for a data set: [presets.md](presets.md). Every
field is set by `methods.NAME.FIELD=value`. *As FedAvg* is the task's own plan of local training
(`plan.*`), the same for all methods of a table.
"""
PRESETS = """\
# What the presets set

Made by `python ci/document_defaults.py`; a test fails where this page and the presets differ. A
setting is listed if any preset of the data set gives it another value than its default;
`methods.X.*` is left out where it is the task's `plan.*`, and `warm.X.*` (inside `gptfl+X`) where
it is that of `methods.X.*`. `gptfl-bench run --cfg --dataset D --preset P` prints all of them.

Every preset has two budgets, **regimes**: the `short` one is the default; a second table under each
data set lists what `regime=long` sets otherwise.
"""


def defaults_page(known: Mapping[str, type[Method]], told: Mapping[str, Any]) -> str:
    """Return the page of the methods' defaults.

    Args:
        known: Method classes by name.
        told: Content of ``defaults.yaml``.

    Raises:
        ValueError: If a field has no line, a line has no field or no source, or values differ.
    """
    parts = [DEFAULTS]
    if set(known) != set(told):
        raise ValueError(f"defaults.yaml and the methods differ: {set(known) ^ set(told)}")
    for name, kind in sorted(known.items()):
        ours, lines = _defaults(kind), told[name]
        missing, extra = ours.keys() - _usual(kind) - lines.keys(), lines.keys() - ours.keys()
        if missing or extra:
            raise ValueError(f"{name}: defaults.yaml lacks {missing} and has {extra} too many")
        parts.append(
            f"\n## {name}\n\n| field | ours | authors | read in | why ours differs |\n"
            "| --- | --- | --- | --- | --- |\n"
        )
        for field, line in lines.items():
            value = ours[field]
            if _words(line["ours"]) != value:
                raise ValueError(
                    f"{name}.{field} is {value}, but defaults.yaml says {line['ours']}"
                )
            if not line.get("source"):
                raise ValueError(f"{name}.{field} has no source in defaults.yaml")
            cells = (field, value, _words(line["authors"]), line["source"], line.get("why", ""))
            parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def _defaults(kind: type[Method]) -> dict[str, str]:
    """Return each field's default in words, those of nested settings by dotted names."""
    found = {}
    for item in fields(kind):
        value = _default(item)
        if item.name == "plan":
            found["plan"] = _plan(kind, value)
        elif isinstance(value, Method):
            found[item.name] = type(value).__name__
        elif is_dataclass(value):
            for part in fields(value):
                found[f"{item.name}.{part.name}"] = _words(getattr(value, part.name))
        else:
            found[item.name] = _words(value)
    return found


def _usual(kind: type[Method]) -> set[str]:
    """Return the fields of nested plans that are as in any plan and need no line."""
    nested = {item.name: _default(item) for item in fields(kind) if item.name != "plan"}
    return {
        f"{name}.{part.name}"
        for name, value in nested.items()
        if isinstance(value, Plan)
        for part in fields(value)
        if getattr(value, part.name) == _default(part)
    }


def _plan(kind: type[Method], value: object) -> str:
    plan = Plan()
    if value != plan or (plan.epochs, plan.optimizer) != (1, "sgd"):
        return str(value)
    return (
        f"one epoch, batch {plan.batch_size}, SGD at {plan.lr}"
        if kind.__name__ == "FedAvg"
        else "as FedAvg"
    )


def _default(item: "Field[Any]") -> object:
    return item.default if item.default is not MISSING else item.default_factory()


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def presets_page() -> str:
    """Return the page of what each preset of each data set sets."""
    parts = [PRESETS]
    for dataset in ["any", *tasks.names()]:
        short, long = (
            {
                name: _told(config.load(dataset, name, [f"regime={regime}"]))
                for name in config.PRESETS
            }
            for regime in ("short", "long")
        )
        plain = dict.fromkeys(config.PRESETS, _told(config.defaults(dataset)))
        first = plain[config.PRESETS[0]]
        parts.append(f"\n## {dataset}\n\n")
        parts += _table({"default": first, **{f"`{n}`": t for n, t in short.items()}}, short, plain)
        parts.append("\nIn the long regime:\n\n")
        parts += _table({f"`{n}`": t for n, t in long.items()}, long, short)
    return "".join(parts)


Settings = Mapping[str, Mapping[str, str]]
"""Settings in words by dotted name, for each column of a table."""


def _table(shown: Settings, new: Settings, old: Settings) -> Iterator[str]:
    """Yield the lines of a table of what is ``new`` in any preset compared with the ``old``."""
    keys = {
        key
        for name, tree in new.items()
        for key in tree.keys() | old[name].keys()
        if tree.get(key) != old[name].get(key)
    }
    yield f"| setting | {' | '.join(shown)} |\n| --- {'| --- ' * len(shown)}|\n"
    for key in sorted(keys):
        values = [tree.get(key, "").strip('"') for tree in shown.values()]
        yield f"| `{key}` | {' | '.join(values)} |\n"


def _told(settings: config.Config) -> dict[str, str]:
    """Return settings by name, those left out that only repeat another one."""
    leaves = dict(_leaves(settings.tree, ""))
    return {
        key: value
        for key, value in leaves.items()
        if all(value != leaves.get(other) for other in _above(key))
    }


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a tree by dotted name, in JSON."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)


def _above(key: str) -> Iterator[str]:
    """Yield the settings that a setting falls back on."""
    section, _, rest = key.partition(".")
    if section == "warm":
        yield f"methods.{rest}"
    if section in ("methods", "warm") and ".plan." in key:
        yield f"plan.{rest.partition('.plan.')[2]}"


def origins() -> dict[str, Any]:
    """Return the content of ``defaults.yaml``."""
    text = (files("gptfl_methods") / "defaults.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(text))
    return found


def pages() -> dict[str, str]:
    """Return both pages by name."""
    every = {name: methods.get(name) for name in methods.names()}
    known = {n: kind for n, kind in every.items() if kind.__module__.startswith("gptfl_methods.")}
    return {
        "defaults.md": defaults_page(known, origins()),
        "presets.md": presets_page(),
    }


if __name__ == "__main__":
    for name, page in pages().items():
        (DOCS / name).write_text(page, encoding="utf-8")
