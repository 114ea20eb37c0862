"""What a launcher is told: ``launcher.address=`` for Dask, ``launcher.partition=`` for Slurm."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from gptfl_bench.core.errors import UsageError, unknown

PREFIX = "launcher."
CLUSTERS = ("auto", "slurm", "local")
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Dask:
    """Settings of ``--launcher dask``.

    Attributes:
        address: A scheduler's address, such as ``tcp://10.0.0.1:8786``; empty starts workers here.
        collect: Whether workers send a cell's folder back, for machines without a shared disk.
        patience: Seconds without any worker after which cells that are left are given up.
    """

    address: str = ""
    collect: bool = False
    patience: int = 60


@dataclass(frozen=True)
class Submitit:
    """Settings of ``--launcher submitit``; what is 0 or empty is left to the cluster.

    Attributes:
        cluster: ``slurm``, ``local`` for processes of this machine, or ``auto``: Slurm if it is
            there.
        partition: Slurm's partition.
        account: Whom Slurm charges.
        gpus: GPUs of each job.
        cpus: Cores of each job; 0 for as many as its cell asks for.
        memory: Memory of each job in GB.
        minutes: After which a job is ended; its cell goes on in another one.
        array: Jobs at once.
        modules: Environment modules that a job loads first, with commas.
    """

    cluster: str = "auto"
    partition: str = ""
    account: str = ""
    gpus: int = 0
    cpus: int = 0
    memory: int = 0
    minutes: int = 24 * 60
    array: int = 0
    modules: tuple[str, ...] = ()


OF_LAUNCHER: Mapping[str, type[Dask] | type[Submitit]] = {"dask": Dask, "submitit": Submitit}
_POSITIVE = ("minutes", "patience")
T = TypeVar("T", bound=Dask | Submitit)


def parted(launcher: str, overrides: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return a launcher's settings by name, checked, and all other settings.

    Args:
        launcher: Where cells run.
        overrides: ``key=value`` settings.

    Raises:
        UsageError: If the launcher has no such setting, or a value does not fit.
    """
    mine = [text for text in overrides if text.lstrip("+").startswith(PREFIX)]
    kind = OF_LAUNCHER.get(launcher)
    if mine and kind is None:
        raise UsageError(
            f"{mine[0]!r} is for --launcher dask or submitit; {launcher!r} has no settings."
        )
    told = dict(_pair(text) for text in mine)
    if kind is not None:
        read(kind, told)
    return told, [text for text in overrides if text not in mine]


def read(kind: type[T], told: Mapping[str, str]) -> T:
    """Return a launcher's settings.

    Raises:
        UsageError: If there is no such setting, or a value does not fit.
    """
    defaults: dict[str, Any] = {field.name: field.default for field in fields(kind)}
    for key in told:
        if key not in defaults:
            raise unknown("setting", f"{PREFIX}{key}", [PREFIX + name for name in defaults])
    return kind(**{key: _value(key, text, defaults[key]) for key, text in told.items()})


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.lstrip("+").partition("=")
    # As Python's interface and some shells write a text.
    if value.startswith(('"', "[")):
        found = json.loads(value)
        value = ",".join(map(str, found)) if isinstance(found, list) else str(found)
    return key.removeprefix(PREFIX), value


def _value(key: str, text: str, default: object) -> Any:  # noqa: ANN401 - as the default
    if isinstance(default, bool):
        if text.lower() in _TRUTH:
            return _TRUTH[text.lower()]
        raise UsageError(f"{PREFIX}{key}={text} must be true or false.")
    if isinstance(default, int):
        least = 1 if key in _POSITIVE else 0
        if text.isascii() and text.isdigit() and int(text) >= least:
            return int(text)
        raise UsageError(f"{PREFIX}{key}={text} must be a whole number of {least} or more.")
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if key == "cluster" and text not in CLUSTERS:
        raise unknown("cluster", text, CLUSTERS)
    return text
