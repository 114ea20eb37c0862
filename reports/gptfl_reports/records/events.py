"""What happens in a cell, one typed event a line; the log is the data, all text is a view of it."""

import json
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from gptfl_reports.records import checksums
from gptfl_reports.records.checksums import Checksum
from gptfl_reports.records.errors import StorageError
from gptfl_reports.records.files import storing

Status = Literal["finished", "running", "diverged", "refused", "failed"]
Direction = Literal["down", "up", "once"]
_MOST = 2**28
"""Bytes that a packed log may hold."""


@dataclass(frozen=True)
class PhaseFinished:
    """A named part of the work before round 1 ended; ``seconds`` is what it took."""

    phase: str
    seconds: float


@dataclass(frozen=True)
class LabelsDiscovered:
    """Label discovery ended: how many clients hold each label name, and what stayed unread.

    ``withheld`` names were held by too few clients to be told; counts carry noise for ``epsilon``.
    """

    num_clients: int
    counts: dict[str, int]
    not_decoded: int
    withheld: int = 0
    epsilon: float | None = None


@dataclass(frozen=True)
class SyntheticReady:
    """The synthetic data set is there; ``cached`` if it was made by an earlier cell."""

    generator: str
    prompts: str
    samples: int
    sha256: str
    cached: bool
    seconds: float


@dataclass(frozen=True)
class PretrainEpoch:
    """A pass of central training on synthetic data ended; ``loss`` is its mean.

    ``validation_*`` are on synthetic samples that were not trained on, ``test_accuracy`` on
    ``test_examples`` real ones, which have no say in training; not a number where there are none.
    ``architecture`` is empty for the task's own network.
    """

    epoch: int
    loss: float
    validation_loss: float
    validation_accuracy: float
    test_accuracy: float
    test_examples: int
    architecture: str = ""


@dataclass(frozen=True)
class Pretrained:
    """Central training on synthetic data ended; ``loss`` is the mean over its last epoch.

    ``kept_epoch`` is the one whose weights are kept; 0 if unknown, as in older logs.
    """

    steps: int
    examples: int
    loss: float
    cached: bool
    seconds: float
    kept_epoch: int = 0


@dataclass(frozen=True)
class TrafficCounted:
    """What one group cost in one round and direction, over the whole cohort.

    ``once`` is data handed to a client a single time and kept there; ``nbytes`` counts tensors,
    ``wire_bytes`` the encoded messages with their headers.
    """

    round: int
    direction: Direction
    group: str
    messages: int
    scalars: int
    nbytes: int
    wire_bytes: int


@dataclass(frozen=True)
class RoundAggregated:
    """A cohort's replies became the next state.

    ``gradient_diversity`` is sum_i ||d_i||^2 / ||sum_i d_i||^2 over the cohort's updates (Yin et
    al. 2018, paper section 4.2); ``server_saw_clients`` whether single replies were read.
    """

    round: int
    clients: list[int]
    examples: int
    steps: int
    train_loss: float
    gradient_diversity: float | None
    server_saw_clients: bool
    client_state_bytes: int
    seconds: float


@dataclass(frozen=True)
class SecureSum:
    """Secure aggregation gave the sum of one exchange.

    ``asked`` clients began and ``stayed`` are in the sum of vectors of ``entries`` integers of
    ``modulus_bits`` bits. ``clipped`` coordinates were cut off. A coordinate of a mean over clients
    is off by ``bound`` at most through rounding and by ``error`` in fact, clipping included, as
    only the simulation can tell. ``seconds`` are the protocol's, without the clients' own work.
    """

    round: int
    protocol: str
    asked: int
    stayed: int
    entries: int
    modulus_bits: int
    clipped: int
    bound: float
    error: float
    seconds: float


@dataclass(frozen=True)
class ClientsSkipped:
    """Clients of a round's cohort that hold no sample, and so had no part in it."""

    round: int
    clients: list[int]


@dataclass(frozen=True)
class RoundLost:
    """A round was abandoned, for too few clients stayed in it; the state is as before."""

    round: int
    reason: str
    seconds: float


@dataclass(frozen=True)
class RoundEvaluated:
    """The global model was tested; round 0 is before any federated round."""

    round: int
    accuracy: float
    macro_f1: float
    loss: float
    examples: int
    seconds: float


@dataclass(frozen=True)
class CellEnded:
    """The last event of a cell; ``reason`` is a sentence unless it finished.

    ``interrupted`` if it was stopped from outside, so that the same command goes on with it.
    """

    status: Status
    reason: str = ""
    interrupted: bool = False


Event = (
    PhaseFinished
    | LabelsDiscovered
    | SyntheticReady
    | PretrainEpoch
    | Pretrained
    | TrafficCounted
    | RoundAggregated
    | SecureSum
    | ClientsSkipped
    | RoundLost
    | RoundEvaluated
    | CellEnded
)
_TYPES: dict[str, type] = {kind.__name__: kind for kind in Event.__args__}


def to_line(event: Event) -> str:
    """Return the event as one line of JSON; a number that is not finite becomes null."""
    values = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(event).items()
    }
    return json.dumps({"event": type(event).__name__, **values}, allow_nan=False)


def from_line(line: str) -> Event | None:
    """Return the event a line holds; None for a kind this version does not know.

    Raises:
        ValueError: If the line is not a JSON object with the fields of its kind.
    """
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("an event must be a JSON object")
    kind = _TYPES.get(str(values.pop("event", "")))
    if kind is None:
        return None
    known = {item.name: item for item in fields(kind)}
    kept = {
        # "from __future__" is not used, so a field's type is the type itself
        key: math.nan if value is None and known[key].type is float else value
        for key, value in values.items()
        if key in known
    }
    try:
        event: Event = kind(**kept)
    except TypeError as error:
        raise ValueError(f"an event of kind {kind.__name__} lacks a field: {error}") from error
    return event


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a log; a last line that was cut off by a kill is left out.

    Args:
        path: The log. Where it is missing, one packed with gzip beside it is read: ``path.gz``.

    Raises:
        ValueError: If the log is damaged, or holds more than 256 MiB unpacked.
    """
    try:
        log = checksums.read(path, begins=True).decode()
    except FileNotFoundError:
        try:
            log = _unpacked(checksums.read(packed(path))).decode()
        except FileNotFoundError:
            return
    for line in log.split("\n")[:-1]:
        event = from_line(line)
        if event is not None:
            yield event


def packed(path: Path) -> Path:
    """Return where a log lies that was packed with gzip, to a seventh of its size."""
    return path.with_name(f"{path.name}.gz")


def _unpacked(data: bytes) -> bytes:
    """Return what gzip packed, which may be far larger than its file."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        log = unpacking.decompress(data, _MOST)
    except zlib.error as error:
        raise ValueError(f"a packed log is damaged: {error}") from error
    if not unpacking.eof:
        raise ValueError(f"a packed log is cut off, or holds more than {_MOST:,} bytes")
    return log


def says_ended(path: Path) -> bool:
    """Return whether the last whole line of a log, damaged or not, is the end of a cell.

    Only logs of cells that have ended are packed.
    """
    if not path.exists() and packed(path).exists():
        return True
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    try:
        return isinstance(from_line(lines[-1].decode()), CellEnded) if lines else False
    except ValueError:
        return False


def holds(path: Path, length: int, crc32: str = "") -> bool:
    """Return whether the first ``length`` bytes of a log are there, and whole events all of them.

    A copy of a folder that is being written, or a loss of power, may leave less, or zeros.

    Args:
        path: The log.
        length: Number of bytes.
        crc32: Their checksum; empty if it is not known.
    """
    kept = path.read_bytes()[:length] if path.exists() else b""
    if len(kept) < length or not kept.endswith(b"\n" if length else b""):
        return False
    if crc32 and not Checksum(length, crc32).fits(kept):
        return False
    try:
        for line in kept.decode().split("\n")[:-1]:
            from_line(line)
    except ValueError:
        return False
    return True


class EventLog:
    """Appends events to a file, each written out before the next.

    Args:
        path: The file; made if missing.
        keep: Number of bytes of it that hold, no more than it has; the rest was written after the
            last checkpoint and is cut off. None keeps all whole lines.

    Raises:
        StorageError: If it can't be written to.
        ValueError: If it has fewer bytes than ``keep``.
    """

    def __init__(self, path: Path, keep: int | None = None) -> None:
        self._path = path
        there = path.stat().st_size if path.exists() else 0
        if keep is None:
            keep = path.read_bytes().rfind(b"\n") + 1 if there else 0
        if keep > there:
            raise ValueError(f"{path} has {there} bytes, fewer than the {keep} to keep")
        kept = path.read_bytes()[:keep] if there else b""
        self._length, self._crc32 = keep, zlib.crc32(kept)
        if keep < there:
            # Readers may come at any moment, and are told before it is cut.
            self.seal()
        with storing(path):
            # Without a buffer: what a full disk refuses must not be tried again when it closes.
            self._file = path.open("ab", buffering=0)
            self._file.truncate(keep)

    def append(self, event: Event) -> None:
        """Write one event out to the system.

        Raises:
            StorageError: If there is no room for it; the log is as it was before.
        """
        line = memoryview((to_line(event) + "\n").encode())
        with storing(self._path):
            try:
                rest = line
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                self._file.truncate(self._length)
                raise
        self._crc32 = zlib.crc32(line, self._crc32)
        self._length += len(line)

    def sync(self) -> None:
        """Bring all events to the disk, so that they outlast a loss of power."""
        with storing(self._path):
            os.fsync(self._file.fileno())

    @property
    def offset(self) -> int:
        """Length of the log in bytes."""
        return self._length

    @property
    def checksum(self) -> Checksum:
        """What the log holds."""
        return Checksum(self._length, f"{self._crc32:08x}")

    def seal(self) -> None:
        """Let readers know what the log holds so far.

        Raises:
            StorageError: If there is no room for it.
        """
        checksums.note(self._path, self.checksum, synced=True)

    def close(self) -> None:
        """Close the file; readers know what it holds unless there is no room for that."""
        self._file.close()
        with suppress(StorageError):
            self.seal()
