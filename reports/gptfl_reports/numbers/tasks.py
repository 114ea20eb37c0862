"""Cells sorted into tasks and, within a task, into entrants: what is compared with what.

Cells share a task if everything a fair comparison needs is the same: data, how they are shared
(up to the seed), model, budget, metric, target and preset. Within a task an entrant is one method
with one setting; its cells differ only by seed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gptfl_reports.numbers.variants import labels
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.schema import ABLATED, RunRecord, describe

QUICK = "QUICK RUN - not for comparison"
"""The stamp on everything made from quick cells."""
_NOT_SETTINGS = {"seed", "seeds", "methods", "out", "launcher", "search", "quality"}
"""Parts of a resolved configuration that may differ between cells of one entrant."""
_MAKERS = ("gptfl-bench", "torch")
"""Whose versions must be equal for cells to differ in nothing but the seed."""
LOCAL_BUDGET = ("epochs", "steps", "batch_size")
"""Parts of the local plan that are budget, not tuning: a comparison must hold them equal."""


@dataclass(frozen=True)
class Entrant:
    """One method with one setting on one task.

    Attributes:
        label: The method's name; with what sets it apart where a task has it more than once. The
            variant that was run without such settings has the name alone.
        method: The method's name.
        cells: Its cells by seed, whatever became of them.
    """

    label: str
    method: str
    cells: tuple[Cell, ...]

    @property
    def ablated(self) -> bool:
        """Whether the method runs without what sets it apart."""
        return self.method.endswith(ABLATED)

    @property
    def reference(self) -> bool:
        """Whether it is no federated method, but what one is seen beside; it has no rank."""
        return "reference" in self.cells[0].record.get("profile", {})

    @property
    def finished(self) -> tuple[Cell, ...]:
        """The cells whose values count."""
        return tuple(cell for cell in self.cells if cell.ending.status == "finished")

    @property
    def status(self) -> str:
        """What became of the cells, with every sentence; "not converged" for divergence.

        Cells of different versions of PyTorch or of this program may differ in more than the seed,
        which is said, too.
        """
        return "; ".join([self._fates, *self.versions])

    @property
    def versions(self) -> list[str]:
        """The versions by seed, where cells have different ones."""
        made: dict[str, list[int]] = {}
        for cell in self.cells:
            found = cell.record["versions"]
            words = ", ".join(f"{name} {found.get(name, 'unknown')}" for name in _MAKERS)
            made.setdefault(words, []).append(cell.record["seed"])
        if len(made) == 1:
            return []
        return [f"{_seeds(seeds)} made by {words}" for words, seeds in made.items()]

    @property
    def _fates(self) -> str:
        fates: dict[str, list[int]] = {}
        for cell in self.cells:
            words = fate(cell.ending.status, cell.ending.reason)
            fates.setdefault(words, []).append(cell.record["seed"])
        done = len(self.finished)
        if not done and len(fates) == 1:
            return next(iter(fates))
        others = {cell.ending.status for cell in self.cells} - {"finished"}
        verb = "converged" if others == {"diverged"} else "finished"
        sentences = [
            f"{_seeds(seeds)}: {words}" for words, seeds in fates.items() if words != "finished"
        ]
        return "; ".join([f"{done} of {len(self.cells)} {verb}", *sentences])


@dataclass(frozen=True)
class TaskGroup:
    """All cells of one task.

    Attributes:
        title: The task in a line; no two tasks of a report share it.
        quick: Whether the cells are a quick run.
        metric: The metric in words: what all values are but those named accuracy.
        entrants: Who was measured, by label.
    """

    title: str
    quick: bool
    metric: str
    entrants: tuple[Entrant, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells of the task."""
        return tuple(cell for entrant in self.entrants for cell in entrant.cells)

    @property
    def stamp(self) -> str:
        """The warning that goes on everything made from the task; empty for none."""
        return QUICK if self.quick else ""


def group(cells: Iterable[Cell]) -> tuple[TaskGroup, ...]:
    """Return the tasks of some cells in alphabetical order."""
    tasks: dict[str, list[Cell]] = {}
    for cell in cells:
        tasks.setdefault(_task_key(cell.record), []).append(cell)
    groups: list[TaskGroup] = []
    seen: dict[str, int] = {}
    for _, members in sorted(tasks.items()):
        record = members[0].record
        title = _title([cell.record for cell in members])
        seen[title] = seen.get(title, 0) + 1
        if seen[title] > 1:
            title = f"{title} ({seen[title]})"
        quick = record["preset"]["quick"]
        metric = metric_words(record["metric"])
        groups.append(TaskGroup(title, quick, metric, _entrants(members)))
    return tuple(groups)


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def metric_words(metric: str) -> str:
    """Return a metric's name as people write it."""
    return "macro F1" if metric == "macro_f1" else metric


def fate(status: str, reason: str = "") -> str:
    """Return what became of a cell in words, with its sentence; "not converged" for divergence."""
    word = "not converged" if status == "diverged" else status
    if not reason or word == "finished":
        return word
    return reason if reason.startswith(word) else f"{word}: {reason}"


def sharing(record: RunRecord) -> str:
    """Return the partition's recipe with its settings, what hangs on the seed left out."""
    return describe(record["partition"]["recipe"], sharing_settings(record))


def sharing_settings(record: RunRecord) -> dict[str, str | int | float | None]:
    """Return a partition's settings without the number of clients where the data decide it.

    Where clients are speakers, one of whose samples are all held out is missing with some seeds.
    """
    settings = dict(record["partition"]["settings"])
    if clients(record) is None:
        settings.pop("num_clients", None)
    return settings


def clients(record: RunRecord) -> int | None:
    """Return a task's number of clients; None where the data decide it, so that seeds differ."""
    return None if record["config"].get("num_clients") == 0 else record["num_clients"]


def cohort(record: RunRecord) -> str:
    """Return how many clients take part in a round, and of how many: ``10 of 100 clients``."""
    of = clients(record)
    return f"{record['cohort_size']}{'' if of is None else f' of {of}'} clients"


def budget(record: RunRecord) -> str:
    """Return how many rounds of how many clients a task has, in words."""
    lifted = ", conventions lifted" if _lifted(record) else ""
    return f"{record['rounds']} rounds of {cohort(record)}" + regime_words(record, ", {}") + lifted


def _lifted(record: RunRecord) -> bool:
    """Return whether methods ran on data that they were not published for."""
    return bool(record["config"].get("lift_conventions", False))


def regime(record: RunRecord) -> str:
    """Return a task's regime; older records are of the short one."""
    return str(record["config"].get("regime", "short"))


def regime_words(record: RunRecord, form: str = "{}") -> str:
    """Return a task's regime in words; empty for the short one."""
    name = regime(record)
    return "" if name == "short" else form.format(f"{name} local training")


def in_a_line(record: RunRecord, *more: str, data: str = "", between: str = ", ") -> str:
    """Return a task in a line: its data, how clients share them, its model, and what else is given.

    Args:
        record: The record of a cell of the task.
        more: Further parts.
        data: What its data are called; the data set's name if empty.
        between: What stands between two parts.
    """
    name = data or record["dataset"]["name"]
    return between.join((name, sharing(record), record["model"]["name"], *more))


def flat(settings: object, prefix: str = "") -> dict[str, str]:
    """Return nested settings as dotted names to JSON text, those of the seed left out."""
    if not isinstance(settings, Mapping):
        return {prefix: json.dumps(settings, sort_keys=True, default=str)}
    leaves: dict[str, str] = {}
    for key, value in settings.items():
        if str(key) not in _NOT_SETTINGS:
            leaves |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def plan_of(record: RunRecord) -> dict[str, str]:
    """Return the settings of a cell's local plan that are not null, by name.

    A method's own plan counts, or that of the method it wraps; the run's is what they start from.
    """
    method = record["config"].get("method")
    plan = record["config"].get("plan")
    while isinstance(method, Mapping):
        plan = method.get("plan", plan)
        method = method.get("inner")
    leaves = flat(plan) if isinstance(plan, Mapping) else {}
    return {key: value.strip('"') for key, value in leaves.items() if value != "null"}


def _task_key(record: RunRecord) -> str:
    plan = plan_of(record)
    budget = [record["rounds"], [plan.get(key) for key in LOCAL_BUDGET]]
    return json.dumps([setting_key(record), regime_words(record), budget])


def setting_key(record: RunRecord) -> str:
    """Return what is equal in a task's regimes: all but how long is trained, and how often."""
    data, model = record["dataset"], record["model"]
    return json.dumps(
        [
            [data[key] for key in ("name", "version", "note", "evaluated_on", "sha256")],
            sharing(record),
            [model["name"], model["parameters"], model["buffers"]],
            [clients(record), record["cohort_size"]],
            [record["metric"], record["target"]],
            [record["preset"]["name"], record["preset"]["quick"]],
            _lifted(record),
        ]
    )


def data_title(records: Sequence[RunRecord]) -> str:
    """Return the name of some records' data, and what was read where that is no package's own."""
    files = read_from(records)
    return records[0]["dataset"]["name"] + (f" ({files})" if files else "")


def read_from(records: Iterable[RunRecord]) -> str:
    """Return what data were read from, in words; empty if the records don't say."""
    return " and ".join(sorted({record["dataset"].get("read", "") for record in records} - {""}))


def _title(records: Sequence[RunRecord]) -> str:
    return in_a_line(records[0], budget(records[0]), data=data_title(records), between=" · ")


def _entrants(cells: Sequence[Cell]) -> tuple[Entrant, ...]:
    """Sort the cells of a task by method and setting, and name what sets them apart."""
    by_method: dict[str, dict[str, list[Cell]]] = {}
    for cell in sorted(cells, key=lambda c: (c.record["seed"], c.record["run_id"])):
        variants = by_method.setdefault(cell.record["method"], {})
        key = json.dumps(settings(cell.record), sort_keys=True)
        # Cells that share seed and settings but not the id must not be averaged as if repeated.
        while any(c.record["seed"] == cell.record["seed"] for c in variants.get(key, [])):
            key += "'"
        variants.setdefault(key, []).append(cell)
    entrants: list[Entrant] = []
    for method, variants in sorted(by_method.items()):
        firsts = [members[0].record for members in variants.values()]
        apart = labels([settings(record) for record in firsts], [r["command"] for r in firsts])
        names = [f"{method} ({text})" if text else method for text in apart]
        for label, members in zip(names, variants.values(), strict=True):
            if names.count(label) > 1:
                label = f"{method} (run {members[0].record['run_id']})"
            entrants.append(Entrant(label, method, tuple(members)))
    return tuple(sorted(entrants, key=lambda entrant: entrant.label))


def settings(record: RunRecord) -> dict[str, str]:
    """Return what must be equal for two cells to be repetitions of one another."""
    own = {k: v for k, v in flat(record["config"]).items() if not k.startswith("secure")}
    if "synthetic.generator" in own:
        # Records leave out what was not asked for.
        own = {"synthetic.real": "false"} | own
    return own | {
        "sealed": sealing(record),
        "source": record["method_sha256"][:8],
    }


def sealing(record: RunRecord) -> str:
    """Return how a cell's sums are taken, in words; ``no`` without secure aggregation."""
    if not record["secure_aggregation"]:
        return "no"
    fields = {key: value.strip('"') for key, value in flat(record["config"]["secure"]).items()}
    words = [f"{fields['protocol']}, {fields['bits']} bits, clip {fields['clip']}"]
    if float(fields["dropout"]) or fields["schedule"]:
        words.append(f"threshold {float(fields['threshold']):.2g}, dropout {fields['dropout']}")
    if fields["schedule"]:
        words.append(f"lost {fields['schedule']}")
    return ", ".join(words)
