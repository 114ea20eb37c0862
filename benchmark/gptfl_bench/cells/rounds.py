"""Running one cell from its start or its checkpoint to its end."""

import hashlib
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from gptfl_bench.cells import provenance
from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.cells.profile import profile
from gptfl_bench.cells.refusals import refuse_own_data
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import World, build_server, build_subject, build_world
from gptfl_bench.core import groups as g
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import Diverged, Refusal, RoundAbandoned, UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Progress, Silent
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.engine.buffers import recompute
from gptfl_bench.engine.method import Need
from gptfl_bench.engine.server import Server
from gptfl_bench.quality.describe import check, write_quality
from gptfl_bench.quality.pictures import write_pictures
from gptfl_bench.training.evaluate import evaluate
from gptfl_reports.records.cells import Cell, read_cell, write_record
from gptfl_reports.records.events import (
    CellEnded,
    EventLog,
    PhaseFinished,
    RoundAggregated,
    RoundEvaluated,
    RoundLost,
)
from gptfl_reports.records.files import write_atomically
from gptfl_reports.records.schema import QUALITY_PHASE, SCHEMA, RunRecord

KEPT = ("finished", "diverged")
"""Endings that stand; a refused or failed cell is tried again by the same command."""


@dataclass(frozen=True)
class Context:
    """What a run gives to each of its cells.

    Attributes:
        out: The run folder.
        artifacts: Shared results.
        command: The command line, for the record.
        force: Whether finished cells are run again.
    """

    out: Path
    artifacts: Artifacts
    command: str = ""
    force: bool = False


def run_cell(spec: CellSpec, context: Context, progress: Progress | None = None) -> Cell:
    """Run a cell unless it has ended already, and return it.

    A cell that was killed goes on from its checkpoint; its event log is first cut back to what the
    checkpoint covers, so that its end equals an undisturbed run's.

    Raises:
        UsageError: If data or settings don't fit; nothing is left behind.
    """
    torch.set_num_threads(spec.settings.threads)
    folder = context.out / spec.run_id
    world = build_world(spec)
    if spec.uses_synthetic:
        check(spec.settings.quality, world.task)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            if context.force:
                _clear(folder)
            if (folder / "record.json").exists():
                cell = read_cell(folder)
                if cell.ending.status in KEPT:
                    return cell
                if cell.ending.status in ("refused", "failed"):
                    _clear(folder)
            _run(spec, world, folder, context, progress or Silent())
    except Timeout as error:
        raise UsageError(
            f"the cell {spec.run_id!r} is being run by another process; wait for it or choose "
            "another --out."
        ) from error
    return read_cell(folder)


def _run(spec: CellSpec, world: World, folder: Path, context: Context, progress: Progress) -> None:
    checkpoint = Checkpoint.read(folder / "state" / "checkpoint.safetensors")
    partition_name, partition = _partition_file(world)
    record = _record(spec, world, context.command, partition_name)
    if checkpoint is None:
        partition_file = context.out / partition_name
        partition_file.parent.mkdir(parents=True, exist_ok=True)
        # Cells with the same seed share the file, and may begin at the same moment.
        with FileLock(partition_file.parent / ".lock"):
            if not partition_file.exists():
                write_atomically(partition_file, partition)
        write_record(folder, record)
    log = EventLog(folder / "events.jsonl", keep=checkpoint.events if checkpoint else 0)
    server = build_server(spec, world, folder, context.artifacts, log.append, progress)
    try:
        _rounds(spec, world, server, log, folder, checkpoint, progress)
        log.append(CellEnded("finished"))
    except (Refusal, UsageError) as reason:
        log.append(CellEnded("refused", str(reason)))
    except Diverged as reason:
        log.append(CellEnded("diverged", str(reason)))
    except Exception as error:
        log.append(CellEnded("failed", f"{type(error).__name__}: {error}"))
        raise
    finally:
        log.close()


def _rounds(
    spec: CellSpec,
    world: World,
    server: Server,
    log: EventLog,
    folder: Path,
    checkpoint: Checkpoint | None,
    progress: Progress,
) -> None:
    path = folder / "state" / "checkpoint.safetensors"
    if checkpoint is None:
        started = time.perf_counter()
        refuse_unmet(spec, world)
        with isolated_torch_rng(spec.seed, "prepare"):
            if spec.uses_public:
                server.public()
            state = spec.method.prepare(server)
        for traffic in server.federation.channel.settle():
            log.append(traffic)
        log.append(PhaseFinished("prepare", time.perf_counter() - started))
        _look_at_synthetic(spec, world, server, folder.parent, log, progress)
        _evaluate(spec, world, server, state, log)
        _store(path, 0, state, server, log)
        first = 1
    else:
        state, first = checkpoint.state, checkpoint.round + 1
        server.federation.store.versions = dict(checkpoint.clients)
    rounds = spec.settings.rounds
    for server.round in range(first, rounds + 1):
        progress.stage("rounds", server.round - 1, rounds)
        state = _round(spec, world, server, state, log)
        if server.round % spec.settings.evaluation.every == 0 or server.round == rounds:
            _evaluate(spec, world, server, state, log)
        _store(path, server.round, state, server, log)
        progress.stage("rounds", server.round, rounds)
    trained = spec.method.pictures(state)
    if trained:
        write_pictures(folder, trained, world.task.label_names)


def _look_at_synthetic(
    spec: CellSpec,
    world: World,
    server: Server,
    run_folder: Path,
    log: EventLog,
    progress: Progress,
) -> None:
    """Describe the synthetic data of a cell, if it has any, in its run folder."""
    made, server.synthetic_set = server.synthetic_set, None
    if made is None or not spec.settings.quality.samples:
        return
    started = time.perf_counter()
    progress.stage("quality of synthetic data", 0, 1)
    subject = build_subject(spec, world, made)
    write_quality(subject, spec.settings.quality, server.artifacts, run_folder)
    progress.stage("quality of synthetic data", 1, 1)
    log.append(PhaseFinished(QUALITY_PHASE, time.perf_counter() - started))


def refuse_unmet(spec: CellSpec, world: World) -> None:
    """Refuse a method whose needs the task does not meet.

    Raises:
        Refusal: With what is missing, and the setting that lifts a mere convention.
    """
    needs, modality = spec.method.requires(), world.task.modality
    if Need.FEATURES in needs and not world.networks.has_features:
        raise Refusal(f"{spec.name} needs {Need.FEATURES}; choose another model.")
    if spec.uses_public and spec.settings.public.source == "none":
        who = spec.name if Need.PUBLIC in needs else "buffers=recompute"
        raise Refusal(
            f"{who} needs {Need.PUBLIC}, and public.source=none leaves it without; choose "
            "public.source=synthetic or public.source=held_out."
        )
    if Need.IMAGES in needs and modality != "image" and not spec.settings.lift_conventions:
        raise Refusal(
            f"{spec.name} was published for {Need.IMAGES}, not for {modality}; set "
            "lift_conventions=true to run it all the same."
        )
    if Need.REPLIES in needs and spec.settings.secure_aggregation:
        raise Refusal(
            f"{spec.name} needs {Need.REPLIES}, which secure aggregation hides from the server; "
            "set secure_aggregation=false."
        )
    refuse_own_data(spec, world.task)
    shape = world.task.input_shape
    if Need.IMAGE_SHAPE in needs and len(shape) != 3:
        raise Refusal(f"{spec.name} makes {Need.IMAGE_SHAPE}, not of shape {shape}; leave it out.")


def _round(spec: CellSpec, world: World, server: Server, state: Groups, log: EventLog) -> Groups:
    started = time.perf_counter()
    federation, round = server.federation, server.round
    try:
        cohort = federation.exchange(
            round,
            federation.sample_cohort(round, spec.settings.cohort_size),
            lambda client_id: spec.method.downlink(state, client_id),
            spec.method.client_update,
            lambda: spec.method.once(state, server),
        )
    except RoundAbandoned as reason:
        for traffic in federation.channel.settle():
            log.append(traffic)
        log.append(RoundLost(round, str(reason), time.perf_counter() - started))
        return state
    if cohort.sealed:
        log.append(cohort.sealed)
    with isolated_torch_rng(spec.seed, "server", "round", round):
        following = spec.method.aggregate(state, cohort, server)
    if federation.buffers == "recompute" and following.get("buffers"):
        following = recompute(following, world.networks, server.public())
    for traffic in federation.channel.settle():
        log.append(traffic)
    log.append(
        RoundAggregated(
            round,
            cohort.clients,
            cohort.examples,
            cohort.steps,
            cohort.train_loss,
            cohort.gradient_diversity,
            cohort.saw_clients,
            federation.store.nbytes,
            time.perf_counter() - started,
        )
    )
    # A cohort without a single training step has no loss; that is no divergence.
    bad_loss = cohort.drawn > 0 and not math.isfinite(cohort.train_loss)
    if bad_loss or not all(g.is_finite(tree) for tree in following.values()):
        raise Diverged(f"not converged: a loss or weight was not finite in round {round}.")
    return following


def _evaluate(spec: CellSpec, world: World, server: Server, state: Groups, log: EventLog) -> None:
    started = time.perf_counter()
    with isolated_torch_rng(spec.seed, "evaluate"):
        score = evaluate(lambda x: spec.method.predict(state, server, x), world.evaluation)
    log.append(
        RoundEvaluated(
            server.round,
            score.accuracy,
            score.macro_f1,
            score.loss,
            score.examples,
            time.perf_counter() - started,
        )
    )
    if not math.isfinite(score.loss):
        raise Diverged(f"not converged: the test loss was not finite in round {server.round}.")


def _store(path: Path, round: int, state: Groups, server: Server, log: EventLog) -> None:
    store = server.federation.store
    Checkpoint(round, state, log.offset, dict(store.versions)).write(path)
    store.prune()


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _partition_file(world: World) -> tuple[str, bytes]:
    """Return the name within the run folder, and the content, of the file of who holds what."""
    labels = world.train.labels.numpy(force=True)
    content = world.partition.to_json(labels, world.task.label_names).encode()
    # The same indices into other samples make another file.
    digest = hashlib.sha256(content).hexdigest()
    return f"partitions/{world.partition.fingerprint[:16]}-{digest[:8]}.json", content


def _record(spec: CellSpec, world: World, command: str, partition_file: str) -> RunRecord:
    settings, task = spec.settings, world.task
    parameters, buffers = world.networks.task_size
    source, sha256 = provenance.method_source(spec.method)
    wanted = asdict(settings)
    del wanted["generators"], wanted["prompts"]
    if not settings.secure_aggregation:
        del wanted["secure"]
    if spec.uses_synthetic:
        wanted["generator"] = settings.generators.get(settings.synthetic.generator, {})
        wanted["prompts"] = settings.prompts.get(settings.synthetic.prompts, {})
    else:
        del wanted["synthetic"], wanted["quality"]
    return RunRecord(
        schema=SCHEMA,
        run_id=spec.run_id,
        method=spec.name,
        profile=profile(spec.method),
        seed=spec.seed,
        dataset={
            "name": task.name,
            "version": task.version,
            "note": task.note,
            "train": len(world.train),
            "test": len(world.evaluation),
            "evaluated_on": settings.evaluation.on,
            "sha256": task.train.checksum(),
            "read": task.read,
            "modality": task.modality,
        },
        partition={
            "recipe": world.partition.recipe,
            "settings": world.partition.settings,
            "sha256": world.partition.fingerprint,
            "sizes": world.partition.sizes,
            "file": partition_file,
        },
        model={
            "name": settings.model if spec.network is None else type(spec.network).__name__,
            "parameters": parameters,
            "buffers": buffers,
            "method_parameters": g.scalars(world.networks.start["model"]),
        },
        preset={"name": spec.preset, "quick": settings.quick, "search": settings.search},
        rounds=settings.rounds,
        num_clients=len(world.partition.clients),
        cohort_size=settings.cohort_size,
        metric=task.metric,
        target=settings.target,
        secure_aggregation=settings.secure_aggregation,
        config={**wanted, "method": asdict(spec.method)},
        method_source=source,
        method_sha256=sha256,
        versions=provenance.versions(),
        commit=provenance.commit(),
        device=str(world.device),
        machine=provenance.machine(world.device),
        command=command,
    )
