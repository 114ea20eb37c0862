"""Readers meet what nobody wrote: each gives a value or its own refusal, never another error.

A few seconds here; ``ci/torture fuzz`` gives each reader minutes, and tells for how long.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.core.errors import UsageError
from gptfl_bench.labels.sketch import FIELD, Shape, Sketch
from gptfl_bench.secure.protocol import messages
from gptfl_bench.secure.protocol.errors import ProtocolError
from gptfl_datasets.files.own.metadata import metadata_of
from gptfl_datasets.files.tree import open_tree
from gptfl_datasets.generators.folder import Folder
from gptfl_datasets.prompts.from_files import ListWriter
from gptfl_reports import targets
from gptfl_reports.records.cells import read_cell

ROOT = Path(__file__).parents[2]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=6), inside, max_size=3)
    ),
    max_leaves=6,
)
DEEP = st.sampled_from(["[" * 20_000, '{"a":' * 20_000, "9" * 5_000])


def _objects(*names: str) -> st.SearchStrategy[bytes]:
    """Return lines of JSON: objects that have some of the names, and anything else."""
    row = st.dictionaries(st.sampled_from(names), JSON, max_size=len(names)) | JSON
    line = row.map(json.dumps) | DEEP | st.text(max_size=20)
    return st.lists(line, max_size=3).map(lambda lines: "\n".join(lines).encode(errors="replace"))


@st.composite
def _changed(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return a file with some bytes changed, cut short or with more at its end."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=9))


def _checkpoint() -> bytes:
    path = Path(tempfile.mkdtemp()) / "checkpoint"
    Checkpoint(3, {"model": {"w": torch.ones(2, 3)}}, 7, {1: 2}).write(path)
    return path.read_bytes()


def _cell(name: str) -> Callable[[Path, bytes], object]:
    """Return a reader of a cell of which one file is given; nothing has a checksum."""

    def read(folder: Path, data: bytes) -> object:
        (folder / "record.json").write_text("{}")
        (folder / name).write_bytes(data)
        cell = read_cell(folder)
        return cell.row() if name == "events.jsonl" else cell

    return read


def _tree(read: Callable[[Path], object], name: str) -> Callable[[Path, bytes], object]:
    def go(folder: Path, data: bytes) -> object:
        (folder / name).write_bytes(data)
        return read(folder)

    return go


def _target_file() -> bytes:
    return (ROOT / "ci" / "targets" / "digits-quick.yaml").read_bytes()[:3000]


READERS: Mapping[str, tuple[Callable[[Path, bytes], object], st.SearchStrategy[bytes]]] = {
    "checkpoint": (
        _tree(lambda folder: Checkpoint.read(folder / "c"), "c"),
        _changed(_checkpoint()) | st.binary(max_size=60),
    ),
    "record": (_cell("record.json"), _objects("schema", "run_id", "method", "config")),
    "log": (_cell("events.jsonl"), _objects("event", "round", "value", "status", "seconds")),
    "metadata in JSON": (
        _tree(lambda folder: metadata_of(open_tree(folder), ()), "metadata.jsonl"),
        _objects("file_name", "label", "client"),
    ),
    "metadata in CSV": (
        _tree(lambda folder: metadata_of(open_tree(folder), ()), "metadata.csv"),
        _changed(b'file_name,label\n0.png,cat\n"1.png",dog\n') | st.binary(max_size=40),
    ),
    "targets": (
        _tree(lambda folder: targets.read(folder / "t.yaml"), "t.yaml"),
        _changed(_target_file()) | st.text(max_size=30).map(lambda t: t.encode(errors="replace")),
    ),
    "prompts": (
        _tree(lambda folder: ListWriter(str(folder / "p.jsonl")).prompts, "p.jsonl"),
        _objects("label", "text"),
    ),
    "synthetic samples": (
        _tree(lambda folder: Folder(str(folder)).files, "metadata.jsonl"),
        _objects("file_name", "label"),
    ),
}
LONG = float(os.environ.get("GPTFL_BENCH_FUZZ_SECONDS", "60"))
EFFORTS = [25, pytest.param(0, marks=pytest.mark.slow)]
"""Examples for each reader; 0 for as many as fit into the seconds of the long form."""


def _try(given_data: Any, check: Callable[[Any], None], examples: int) -> None:
    """Check examples, or go on with new ones for the seconds of the long form."""
    tried, ends = 0, time.monotonic() + LONG

    @settings(max_examples=examples or 1000, database=None)
    @given(given_data)
    def one(data: Any) -> None:
        nonlocal tried
        tried += 1
        check(data)

    one()
    while not examples and time.monotonic() < ends:
        one()
    print(f"{tried:,} inputs")


@pytest.mark.parametrize("examples", EFFORTS)
@pytest.mark.parametrize("name", READERS)
def test_files_are_read_or_refused(name: str, examples: int, tmp_path: Path) -> None:
    read, data = READERS[name]
    numbers = iter(range(10**9))

    def check(content: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            place = Path(folder) / str(next(numbers))
            place.mkdir()
            (place / "0.png").touch()
            said = "read"
            try:
                read(place, content)
            except UsageError as refusal:
                said = str(refusal)
            # One line, whatever the file holds.
            assert len(said.splitlines()) == 1

    _try(data, check, examples)


KINDS = [
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type)
    and issubclass(kind, messages.Message)
    and kind is not messages.Message
]
TENSORS = st.builds(
    lambda dtype, shape, low: torch.full(shape, low).to(dtype),
    st.sampled_from([torch.uint8, torch.int32, torch.int64, torch.float32]),
    st.lists(st.sampled_from([0, 1, 3, 32, 66]), max_size=3),
    st.sampled_from([-1, 0, 1, 2**31 - 1]),
)


@pytest.mark.parametrize("examples", EFFORTS)
def test_messages_are_read_or_refused(examples: int) -> None:
    names = sorted({name for kind in KINDS for name in messages._forms(kind)})
    payload = st.dictionaries(st.sampled_from([*names, "header", "more"]), TENSORS)
    header = st.just(torch.tensor([1, 2, 3]))

    def check(drawn: tuple[type[messages.Message], dict[str, torch.Tensor], torch.Tensor]) -> None:
        kind, tensors, head = drawn
        for content in (tensors, {**tensors, "header": head}):
            try:
                message = kind.read(content)
            except ProtocolError:
                continue
            again = kind.read(message.payload())
            assert again.session == message.session

    whole = st.sampled_from(KINDS).flatmap(
        lambda kind: st.tuples(
            st.just(kind),
            payload | st.fixed_dictionaries(dict.fromkeys(messages._forms(kind), TENSORS)),
            header,
        )
    )
    _try(whole, check, examples)


@pytest.mark.parametrize("examples", EFFORTS)
def test_sketches_are_read_to_an_end(examples: int) -> None:
    """Names, their cells moved about, and numbers that no client could send."""
    shape = Shape(capacity=4, max_bytes=6)
    size = (shape.repetitions, shape.cells, shape.chunks + 2)

    def check(drawn: tuple[list[str], list[tuple[int, int, int, int]], int]) -> None:
        names, changes, shift = drawn
        sketch = Sketch.of(names, shape)
        table = np.roll(sketch.table, shift, axis=1)
        for row, cell, entry, value in changes:
            table[row % size[0], cell % size[1], entry % size[2]] = value
        found = Sketch(shape, table, sketch.values).decode()
        if not changes and not shift and found.not_decoded == 0:
            assert found.counts.keys() == set(names)

    texts = st.text("abcé", min_size=1, max_size=3)
    numbers = st.tuples(*[st.integers(0, 99)] * 3, st.integers(0, FIELD - 1))
    sketches = st.tuples(
        st.lists(texts, max_size=6), st.lists(numbers, max_size=6), st.integers(0, 3)
    )
    _try(sketches, check, examples)


def test_a_name_that_is_no_text_ends_no_decoding() -> None:
    """As a client could send that keeps to the sketch's arithmetic and to nothing else."""
    shape = Shape(capacity=4, max_bytes=6)
    name = b"\xff\xfe"
    table = Sketch.of(["cat"], shape).table
    for row, cell in enumerate(shape.positions(name)):
        table[row, cell] += np.array([*shape.spell(name), 1, shape.check(name)])
    found = Sketch(shape, table, table[:, :, :1]).decode()
    assert found.counts == {"cat": 1}
    assert found.not_decoded == 1
