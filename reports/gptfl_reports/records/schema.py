"""The forms of a record and of a row, and words that both sides use."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from gptfl_reports.records.events import Status

SCHEMA = 1
ABLATED = "-ablated"
"""Ends the name of a method without what sets it apart: ``moon-ablated`` is MOON with mu = 0."""
QUALITY_PHASE = "quality"
"""Name of the phase in which synthetic data are looked at, for readers alone."""
LAST_EVALUATIONS = 10
"""How many of the last evaluations of trained rounds ``value_mean_last`` averages at most."""


class Row(TypedDict):
    """A cell in one line: the keys of ``results --format json`` and the columns of its CSV.

    Values are fractions in [0, 1]; counts cover the whole cohort; ``*_to_target`` are null when
    the target was never reached, and sum both directions from round 0 on. ``rounds_lost`` counts
    the rounds in which too few clients stayed for a secure sum, so that nothing was learnt.
    """

    run_id: str
    method: str
    dataset: str
    partition: str
    model: str
    seed: int
    status: Status
    reason: str
    rounds: int
    num_clients: int
    cohort_size: int
    metric: str
    value_last: float | None
    value_best: float | None
    value_mean_last: float | None
    scalars_down: int
    scalars_up: int
    bytes_down: int
    bytes_up: int
    client_bytes_once: int
    target: float | None
    rounds_to_target: int | None
    scalars_to_target: int | None
    bytes_to_target: int | None
    seconds: float
    server_saw_clients: bool
    secure_aggregation: bool
    rounds_lost: int


class DatasetRecord(TypedDict):
    """What was learned from; ``read`` says from which files, where it is no package's own.

    Older records don't say whether samples are ``image``, ``speech`` or ``sound``.
    """

    name: str
    version: str
    note: str
    train: int
    test: int
    evaluated_on: str
    sha256: str
    read: NotRequired[str]
    modality: NotRequired[str]


class PartitionRecord(TypedDict):
    """How the clients share it; ``file`` is relative to the run folder."""

    recipe: str
    settings: dict[str, str | int | float | None]
    sha256: str
    sizes: list[int]
    file: str


class ModelRecord(TypedDict):
    """The task's network in scalars, and the one a method made of it; older records lack that."""

    name: str
    parameters: int
    buffers: int
    method_parameters: NotRequired[int]


class PresetRecord(TypedDict):
    """Where the settings come from; ``search`` says which search made the rates."""

    name: str
    quick: bool
    search: str


class RunRecord(TypedDict):
    """``record.json``: everything that determined a cell's result, and where it was made.

    ``profile`` is what the method needs and makes in the words of the paper's Table 1, by column;
    older records have none.
    """

    schema: int
    run_id: str
    method: str
    seed: int
    dataset: DatasetRecord
    partition: PartitionRecord
    model: ModelRecord
    preset: PresetRecord
    rounds: int
    num_clients: int
    cohort_size: int
    metric: str
    target: float | None
    secure_aggregation: bool
    config: dict[str, object]
    profile: NotRequired[dict[str, str]]
    method_source: str
    method_sha256: str
    versions: dict[str, str]
    commit: str
    device: str
    machine: str
    command: str


def describe(
    recipe: str,
    settings: Mapping[str, str | int | float | None],
    *,
    fingerprint: str = "",
    seed: bool = False,
) -> str:
    """Return a partition in a line: ``dirichlet(alpha=0.1, num_clients=20) 0123456789ab``.

    Args:
        recipe: How it was made, by name.
        settings: The recipe's arguments; those that are None are left out.
        fingerprint: Its SHA-256 as hex, of which 12 digits end the line; empty for none.
        seed: Whether to name the seed.
    """
    told = {k: v for k, v in settings.items() if v is not None and (seed or k != "seed")}
    inside = ", ".join(f"{key}={value}" for key, value in sorted(told.items()))
    return f"{recipe}({inside})" + (f" {fingerprint[:12]}" if fingerprint else "")
