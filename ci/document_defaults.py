"""Writes docs/defaults.md and docs/presets.md: where each default comes from, and what presets change.

    python ci/document_defaults.py

A method's defaults are its dataclass's fields; `defaults.yaml` beside the methods says what their
authors have. A field without a line there, a line without a field and a line with another value
are errors, so no default changes unseen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from gptfl_bench.data.task import tasks
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.runs import config
from gptfl_bench.training.fit import Plan
from gptfl_reports.numbers.tasks import flat

DOCS = Path(__file__).resolve().parents[1] / "docs"
DEFAULTS = """\
# Defaults of the methods, and where they come from

Made by `python ci/document_defaults.py` from the methods' dataclasses; a test fails where this page and the code differ.
Presets change some of them for a data set: [presets.md](presets.md). Every field is set by `methods.NAME.FIELD=value`.
*As FedAvg* is the task's own plan of local training (`plan.*`), the same for all methods of a table.
"""
PRESETS = """\
# What the presets set

Made by `python ci/document_defaults.py`; a test fails where this page and the presets differ. A setting is listed if any
preset of the data set gives it another value than its default; `methods.X.*` is left out where it is the task's `plan.*`,
and `warm.X.*` (inside `gptfl+X`) where it is that of `methods.X.*`. `gptfl-bench run --cfg --dataset D --preset P` prints all of them.
"""


def defaults_page(known: Mapping[str, type[Method]], lines: Mapping[str, Any]) -> str:
    """Return the page of the methods' defaults.

    Args:
        known: Method classes by name.
        lines: Content of ``defaults.yaml``.

    Raises:
        ValueError: If a field has no line, a line has no field or no source, or values differ.
    """
    parts = [DEFAULTS]
    if set(known) != set(lines):
        raise ValueError(f"defaults.yaml and the methods differ: {set(known) ^ set(lines)}")
    for name, kind in sorted(known.items()):
        ours, told = dict(_defaults(kind)), lines[name]
        if set(ours) != set(told):
            raise ValueError(f"{name}: defaults.yaml and the fields differ: {set(ours) ^ set(told)}")
        parts.append(
            f"\n## {name}\n\n| field | ours | authors | read in | why ours differs |\n"
            "| --- | --- | --- | --- | --- |\n"
        )
        for field, value in ours.items():
            line = told[field]
            if _words(line["ours"]) != value:
                raise ValueError(f"{name}.{field} is {value}, but defaults.yaml says {line['ours']}")
            if not line.get("source"):
                raise ValueError(f"{name}.{field} has no source in defaults.yaml")
            cells = (field, value, _words(line["authors"]), line["source"], line.get("why", ""))
            parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def _defaults(kind: type[Method]) -> Iterator[tuple[str, str]]:
    """Yield each field's default in words; of a nested plan what differs from a plan's own."""
    for item in fields(kind):
        value = _default(item)
        if item.name == "plan":
            plan = Plan()
            shared = f"one epoch, batch {plan.batch_size}, SGD at {plan.lr}"
            same = (plan.epochs, plan.optimizer) == (1, "sgd") and value == plan
            yield "plan", (shared if kind.__name__ == "FedAvg" else "as FedAvg") if same else str(value)
        elif isinstance(value, Method):
            yield item.name, type(value).__name__
        elif is_dataclass(value):
            for part in fields(value):
                own = getattr(value, part.name)
                if not isinstance(value, Plan) or own != _default(part):
                    yield f"{item.name}.{part.name}", _words(own)
        else:
            yield item.name, _words(value)


def _default(item: "Field[Any]") -> object:
    return item.default if item.default is not MISSING else item.default_factory()  # type: ignore[misc]


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def presets_page() -> str:
    """Return the page of what each preset of each data set sets."""
    parts = [PRESETS]
    for dataset in ["any", *tasks.names()]:
        trees = {name: _told(dataset, name) for name in config.PRESETS}
        plain = _told(dataset, None)
        keys = sorted({key for tree in trees.values() for key in tree if tree[key] != plain.get(key)})
        parts.append(f"\n## {dataset}\n\n| setting | default | {' | '.join(trees)} |\n")
        parts.append(f"| --- {'| --- ' * (len(trees) + 1)}|\n")
        for key in keys:
            values = [plain.get(key, ""), *(tree.get(key, "") for tree in trees.values())]
            parts.append(f"| `{key}` | {' | '.join(value.strip(chr(34)) for value in values)} |\n")
    return "".join(parts)


def _told(dataset: str, preset: str | None) -> dict[str, str]:
    """Return the settings of a preset by name, those left out that only repeat another one."""
    leaves = flat(config.load(dataset, preset, []).tree)
    return {
        key: value
        for key, value in leaves.items()
        if all(value != leaves.get(other) for other in _above(key))
    }


def _above(key: str) -> Iterator[str]:
    """Yield the settings that a setting falls back on."""
    section, _, rest = key.partition(".")
    if section == "warm":
        yield f"methods.{rest}"
    if section in ("methods", "warm") and ".plan." in key:
        yield f"plan.{rest.partition('.plan.')[2]}"


def pages() -> dict[str, str]:
    """Return both pages by name."""
    text = (files("gptfl_methods") / "defaults.yaml").read_text(encoding="utf-8")
    known = {name: methods.get(name) for name in methods.names()}
    return {
        "defaults.md": defaults_page(known, yaml.safe_load(text)),
        "presets.md": presets_page(),
    }


if __name__ == "__main__":
    for name, page in pages().items():
        (DOCS / name).write_text(page, encoding="utf-8")
