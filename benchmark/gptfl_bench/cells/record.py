"""A cell's record: everything that determined its result, and where it was made."""

import hashlib
from dataclasses import asdict

from gptfl_bench.cells import provenance
from gptfl_bench.cells.profile import profile
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import World
from gptfl_bench.core import groups as g
from gptfl_reports.records.schema import SCHEMA, RunRecord


def partition_file(world: World) -> tuple[str, bytes]:
    """Return the name within the run folder, and the content, of the file of who holds what."""
    labels = world.train.labels.numpy(force=True)
    content = world.partition.to_json(labels, world.task.label_names).encode()
    # The same indices into other samples make another file.
    digest = hashlib.sha256(content).hexdigest()
    return f"partitions/{world.partition.fingerprint[:16]}-{digest[:8]}.json", content


def describe(spec: CellSpec, world: World, command: str, partition_name: str) -> RunRecord:
    """Return the record of a cell.

    Args:
        spec: The cell.
        world: What it works with.
        command: The command line.
        partition_name: The file of who holds what, relative to the run folder.
    """
    settings, task = spec.settings, world.task
    parameters, buffers = world.networks.task_size
    source, sha256 = provenance.method_source(spec.method)
    wanted = asdict(settings)
    # They have no part in the result.
    del wanted["workers"]
    del wanted["generators"], wanted["prompts"]
    # A record without a regime or a precision is of the usual one, as older ones are.
    if settings.regime == "short":
        del wanted["regime"]
    if settings.precision == "float32":
        del wanted["precision"]
    wanted["public"] = spec.public_settings
    if not settings.secure_aggregation:
        del wanted["secure"]
    if spec.code:
        # Two versions of one's own code are no repetitions of one another.
        wanted["code"] = {part: key.removeprefix("unread ")[:12] for part, key in spec.code.items()}
    if spec.uses_synthetic:
        wanted["generator"] = settings.generators.get(settings.synthetic.generator, {})
        wanted["prompts"] = settings.prompts.get(settings.synthetic.prompts, {})
        if not settings.synthetic.real:
            del wanted["synthetic"]["real"]
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
            "file": partition_name,
        },
        model={
            "name": spec.model_name,
            "parameters": parameters,
            "buffers": buffers,
            "method_parameters": g.scalars(world.networks.start["model"]),
        },
        preset={"name": spec.preset, "quick": settings.quick, "search": settings.search},
        rounds=settings.rounds,
        num_clients=len(world.partition.clients),
        cohort_size=settings.cohort_of(len(world.partition.clients)),
        metric=task.metric,
        target=settings.target,
        secure_aggregation=settings.secure_aggregation,
        config={**wanted, "method": asdict(spec.method)},
        method_source=source,
        method_sha256=sha256,
        versions=provenance.versions(),
        commit=provenance.commit(),
        device=str(world.device),
        machine=provenance.machine(world.device, settings.workers),
        command=command,
    )
