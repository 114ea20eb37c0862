"""The steps of a measurement: each does what it can in its time and returns what it found."""

import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from tabulate import tabulate

from gptfl_bench.core.memory import keep_freed_memory
from gptfl_reports.records.cells import RECORD, read_cells
from gptfl_reports.records.events import RoundAggregated
from on_gpu import agreement, engine_cost, throughput, visit_cost
from on_gpu.commands import bench, last_lines
from on_gpu.packing import FAKE, MADE, REAL
from on_gpu.place import PACK
from on_gpu.plan import Budget, Size


@dataclass
class Site:
    """What steps work with.

    Attributes:
        device: The device, as a setting.
        size: How much is measured.
        budget: The time that is left.
        work: A folder for runs; that of the last step is gone on with.
        out: Folder of the results.
        best: Cells at once that trained most; 1 until that is known.
    """

    device: str
    size: Size
    budget: Budget
    work: Path
    out: Path
    best: int = 1

    @property
    def log(self) -> Path:
        """What commands print."""
        return self.out / "log.txt"

    def late(self) -> bool:
        """Return whether the time of the step under way is up."""
        return not self.budget.left

    def fresh(self, name: str) -> Path:
        """Return a folder of this name below ``work`` that is not there."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def run(self, words: tuple[str, ...], out: Path, *more: str) -> int | None:
        """Return what a run came to; None if its time was up."""
        cache = ("--cache", str(self.work / "cache"), "--no-download")
        data = self._data() if "cifar10" in words else ()
        words = ("run", *words, *data, "--out", str(out), *cache, *more)
        return bench(words, self.budget.left, self.log)

    def _data(self) -> tuple[str, ...]:
        """Return the settings that name the data that were brought, unpacked at first."""
        import unpack_packs

        for name in (REAL, FAKE):
            if not (PACK / "packs" / f"{name}.npz").is_file():
                raise FileNotFoundError(f"{PACK}/packs/{name}.npz is absent; run ci/gpu --pack")
        real, fake = (
            unpack_packs.unpack(name, PACK / "packs", self.work / "packs")
            for name in ("cifar10_jpeg", "cifake")
        )
        share = MADE / 50_000
        return (
            *(f"data.path={real}", "synthetic.generator=folder", f"generators.folder.path={fake}"),
            f"synthetic.multiplier={share}",
        )


Found = tuple[str, bool]
"""Markdown, and whether all was well."""


def compare(site: Site) -> Found:
    """Run the quick preset on the CPU and on the device, and compare round by round."""
    folders = [site.fresh(f"compare-{place}") for place in ("cpu", "device")]
    for folder, device in zip(folders, ("cpu", site.device), strict=True):
        # Pre-training, too, is to be done on both.
        shutil.rmtree(site.work / "cache" / "pretrained", ignore_errors=True)
        code = site.run(site.size.compare, folder, f"device={device}")
        if code is None or not folder.exists():
            why = "the time was up" if code is None else last_lines(site.log, 2)
            return f"Not compared: {why}.", False
    found = agreement.compare(*folders)
    rows = [
        (row.method, row.rounds, f"{row.accuracy:.4f}", f"{row.loss:.2e}",
         "yes" if row.holds else f"**no** {row.note}".strip())
        for row in found
    ]  # fmt: skip
    head = ("method", "rounds", "accuracy", "loss", "within the bounds")
    text = (
        f"Highest differences in rounds 0 to {agreement.ROUNDS} of the quick preset on `digits`, "
        f"of accuracies (bound {agreement.ACCURACY:g}) and of losses over one plus the CPU's "
        f"(bound {agreement.LOSS:g}).\n\n" + _table(head, rows)
    )
    return text, bool(found) and all(row.holds for row in found)


def visits(site: Site) -> Found:
    """Time clients' visits without a training step."""
    keep_freed_memory()
    device = torch.device(site.device)
    rows: list[tuple[object, ...]] = []
    for number, case in enumerate(visit_cost.CASES[: site.size.visits]):
        if rows and site.late():
            break
        folder = site.fresh(f"visits-{number}")
        folder.mkdir(parents=True)
        cost = visit_cost.cost(*case, folder, device, engine_cost.clock(device))
        figures = (cost.visit, cost.passes, cost.aggregate, cost.checkpoint, cost.once)
        rows.append((*case[:2], *(f"{figure:.2f}" for figure in figures)))
        shutil.rmtree(folder)
    head = ("network", "method", "visit", "in passes", "aggregation", "checkpoint", "a pass")
    text = "Milliseconds; a pass copies the model's weights once.\n\n" + _table(head, rows)
    return text, True


def engine(site: Site) -> Found:
    """Time federated rounds against a bare loop over the same batches."""
    keep_freed_memory()
    device = torch.device(site.device)
    rows: list[tuple[object, ...]] = []
    for name in site.size.networks:
        if rows and site.late():
            break
        clients = engine_cost.federation(name, site.fresh(f"engine-{name}"), device)
        numbered = engine_cost.rounds(clients, site.size.pairs)
        spent = engine_cost.spent(clients, numbered, engine_cost.clock(device), site.late)
        ratios = [ours / bare for ours, bare in spent[1:]]
        rows.append(
            (name, len(ratios), f"{median(ratios):.3f}", f"{min(ratios):.3f}", f"{max(ratios):.3f}",
             f"{1e3 * median(bare for _, bare in spent[1:]):.0f}")
        )  # fmt: skip
    head = ("network", "pairs", "median", "least", "highest", "bare loop, ms a round")
    text = "Seconds of a round over those of the same batches in a bare loop.\n\n"
    return text + _table(head, rows), True


def processes(site: Site) -> Found:
    """Run so many cells at once, and say what they train together."""
    found: list[throughput.Throughput] = []
    note = ""
    for count in site.size.processes:
        folder = site.fresh(f"processes-{count}")
        seeds = ",".join(map(str, range(count)))
        many = ("--launcher", "joblib", "--processes", str(count), "--seeds", seeds)
        code = site.run(site.size.cell, folder, *many, f"device={site.device}")
        made = throughput.of(folder, count, site.size.full) if folder.exists() else None
        if made is None:
            why = "the time was up" if code is None else last_lines(site.log, 2)
            note = f"\n\nNot measured from {count} on: {why}."
            break
        found.append(made)
    if found:
        site.best = max(found, key=lambda made: made.steps).processes
    rows = [(made.processes, f"{made.steps:.0f}", f"{made.hour:.1f}") for made in found]
    text = f"`{' '.join(site.size.cell)}`, cells an hour of {site.size.full} rounds.\n\n"
    return text + _table(("cells at once", "steps a second", "cells an hour"), rows) + note, True


def course(site: Site) -> Found:
    """Run cells until the time is up; the same command goes on with them."""
    folder = site.work / "runs"
    many = ("--launcher", "joblib", "--processes", str(site.best))
    code = site.run(site.size.course, folder, *many, f"device={site.device}")
    cells = read_cells(folder) if folder.exists() else []
    rows = []
    for cell in cells:
        done = sum(isinstance(event, RoundAggregated) for event in cell.events)
        value = f"{100 * cell.trained_values[-1]:.2f}" if cell.trained_values else ""
        ended = f"{cell.ending.status} {cell.ending.reason}".strip()
        rounds, seconds = cell.record["rounds"], f"{cell.seconds:.0f}"
        rows.append((cell.record["method"], done, rounds, value, seconds, ended))
    head = ("method", "rounds done", "of", "accuracy so far, %", "seconds", "status")
    words = "until the time was up" if code is None else "to the end"
    text = f"`{' '.join(site.size.course)}`, {words}, {site.best} at once.\n\n"
    _keep(folder, site.out / "records.tar.gz")
    failed = any(cell.ending.status == "failed" for cell in cells)
    return text + _table(head, rows), bool(cells) and not failed


def _keep(folder: Path, archive: Path) -> None:
    """Pack the records and events of a run folder, without states."""
    with tarfile.open(archive, "w:gz") as file:
        for path in sorted(folder.rglob("*")):
            if path.name in (RECORD, "events.jsonl", "traceback.txt"):
                file.add(path, path.relative_to(folder.parent).as_posix())


def _table(head: Sequence[str], rows: Sequence[tuple[object, ...]]) -> str:
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


STEPS: dict[str, tuple[str, Callable[[Site], Found]]] = {
    "compare": ("The GPU against the CPU", compare),
    "visits": ("A client's visit without training", visits),
    "engine": ("The engine over a bare loop", engine),
    "processes": ("Several cells on one GPU", processes),
    "course": ("All methods, as far as the time went", course),
}
"""Title and function of each step, by the names of the plan."""
