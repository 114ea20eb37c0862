"""What the caption of a table says about a task: everything that moves a number in it."""

from collections.abc import Mapping
from typing import Any

from gptfl_reports.numbers.by_hand import by_hand
from gptfl_reports.numbers.tasks import TaskGroup, budget, plan_of, read_from, sharing


def caption(task: TaskGroup) -> tuple[str, ...]:
    """Return the sentences that describe a task, in reading order."""
    record = task.cells[0].record
    data, model = record["dataset"], record["model"]
    note = f" Note: {data['note'].rstrip('.')}." if data["note"] else ""
    target = record["target"]
    made = _synthetic(task)
    return (
        f"Data: {data['name']} version {data['version']}{_read(task)}, {data['train']:,} training "
        f"and {data['test']:,} test samples, SHA-256 {data['sha256'][:12]}; measured on "
        f"{data['evaluated_on']}, metric {task.metric} in percent.{note}",
        f"Partition: {sharing(record)}; SHA-256 {_fingerprints(task)}.",
        f"Model: {model['name']} with {model['parameters']:,} parameters and "
        f"{model['buffers']:,} buffer scalars.{_other_networks(task)}",
        f"Budget: {budget(record)}.{_plan(task)}",
        *([f"Synthetic data: {made}."] if made else []),
        f"Preset: {record['preset']['name']}; rates from {_searches(task)}.{_given(task)}",
        "Target: none." if target is None else f"Target: {100 * target:g} percent.",
    )


def _read(task: TaskGroup) -> str:
    """Return what the data were read from, if the records say so."""
    files = read_from(cell.record for cell in task.cells)
    return f", read from {files}" if files else ""


def _other_networks(task: TaskGroup) -> str:
    """Return the sizes of networks that methods made of the task's, if any."""
    other = []
    for entrant in task.entrants:
        model = entrant.cells[0].record["model"]
        own = model.get("method_parameters", model["parameters"])
        if own != model["parameters"]:
            other.append(f"{entrant.label} {own:,}")
    return f" With parts of its own: {', '.join(other)}." if other else ""


def _fingerprints(task: TaskGroup) -> str:
    """Return the partitions by seed, and a warning where one seed has several."""
    by_seed: dict[int, set[str]] = {}
    for cell in task.cells:
        digest = cell.record["partition"]["sha256"][:12]
        by_seed.setdefault(cell.record["seed"], set()).add(digest)
    listed = ", ".join(
        f"{'/'.join(sorted(digests))} (seed {seed})" for seed, digests in sorted(by_seed.items())
    )
    if any(len(digests) > 1 for digests in by_seed.values()):
        listed += "; the same seed has several partitions, which can't be compared"
    return listed


def _plan(task: TaskGroup) -> str:
    plans = {entrant.label: plan_of(entrant.cells[0].record) for entrant in task.entrants}
    keys = list(dict.fromkeys(key for plan in plans.values() for key in plan))
    if "steps" in keys:  # steps replace epochs
        keys = [key for key in keys if key != "epochs"]
    values = {key: {label: plan.get(key, "null") for label, plan in plans.items()} for key in keys}
    same = [key for key in keys if len(set(values[key].values())) == 1]
    sentence = ", ".join(f"{key}={next(iter(values[key].values()))}" for key in same)
    text = f" Local plan: {sentence}." if sentence else ""
    for key in keys:
        if key not in same:
            text += f" Differs: {key} {_by_value(values[key])}."
    return text


def _synthetic(task: TaskGroup) -> str:
    """Return what made the synthetic data and how much, by entrant; empty if nobody used any."""
    made = {}
    for entrant in task.entrants:
        of = entrant.cells[0].record["config"].get("synthetic")
        # Where auto found no generator, the cells are refused.
        made[entrant.label] = "none"
        if isinstance(of, Mapping) and of["generator"] != "auto":
            made[entrant.label] = _made_by(of)
    return _by_value(made) if set(made.values()) != {"none"} else ""


def _made_by(settings: Mapping[str, Any]) -> str:
    if settings.get("real"):
        return f"real samples kept from all clients, {settings['multiplier']:g} times the rest"
    return (
        f"{settings['generator']} with prompts by {settings['prompts']}, "
        f"{settings['multiplier']:g} times the training samples"
    )


def _searches(task: TaskGroup) -> str:
    search = {e.label: e.cells[0].record["preset"]["search"] or "no search" for e in task.entrants}
    words = set(search.values())
    return words.pop().rstrip(".") if len(words) == 1 else _by_value(search)


def _given(task: TaskGroup) -> str:
    """Return who ran with settings of its own instead, if anyone."""
    who = [e.label for e in task.entrants if any(by_hand(cell.record) for cell in e.cells)]
    return f" With settings from the command line: {', '.join(who)}." if who else ""


def _by_value(of: Mapping[str, str]) -> str:
    """Return ``value (who, who), value (all others)``."""
    who: dict[str, list[str]] = {}
    for name, value in of.items():
        who.setdefault(value, []).append(name)
    ordered = sorted(who.items(), key=lambda item: (len(item[1]), item[0]))
    listed = [f"{value} ({', '.join(names)})" for value, names in ordered]
    if len(ordered[-1][1]) > len(ordered[0][1]):
        listed[-1] = f"{ordered[-1][0]} (all others)"
    return ", ".join(listed)
