import builtins
import functools
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.unpickle import read_batch

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 12) * 9
"""Values above 127, which text in pickles writes as two bytes."""

# What cPickle of Python 2 wrote for {"data": uint8 [[1, 2, 255]], "labels": [6, 300],
# "batch_label": "a\xe9"}: strings are SHORT_BINSTRING ("U"), pixels BINSTRING ("T").
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
    b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x01K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R"
    b"q\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x03\x00\x00\x00\x01\x02\xff"
    b"tbU\x06labelsq\x08]q\x09(K\x06M,\x01eU\x0bbatch_labelq\x0aU\x02a\xe9u."
)


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *given: object) -> None:
        self.call = (function, given)

    def __reduce__(self) -> Any:
        return self.call


def batch(values: object, protocol: int = 2) -> bytes:
    return pickle.dumps(values, protocol=protocol)


def refused(data: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        read_batch(data, "data_batch_1")
    sentence = str(caught.value)
    assert sentence.startswith("data_batch_1 ")
    assert "\n" not in sentence
    assert len(sentence) < 250
    return sentence


def test_what_python_2_wrote_is_read() -> None:
    values = read_batch(PYTHON_2, "here")
    assert list(values) == ["data", "labels", "batch_label"]
    np.testing.assert_array_equal(values["data"], np.array([[1, 2, 255]], np.uint8))
    assert values["data"].dtype == np.uint8
    assert values["labels"] == [6, 300]
    assert values["batch_label"] == b"a\xe9"


@pytest.mark.parametrize("protocol", range(6))
def test_an_official_batch_is_read_in_every_protocol(protocol: int) -> None:
    written: dict[bytes, Any] = {
        b"data": PIXELS,
        b"fine_labels": [99, 0],
        b"coarse_labels": [19, 3],
        b"filenames": [b"aardvark_s_000017.png", b"x\xff.png"],
        b"batch_label": b"training batch 1 of 1",
    }
    values = read_batch(batch(written, protocol), "here")
    np.testing.assert_array_equal(values.pop("data"), PIXELS)
    assert values == {key.decode(): value for key, value in written.items() if key != b"data"}


def test_class_names_are_read_with_text_as_names() -> None:
    meta = {"label_names": ["airplane", "automobile"], "num_vis": 3072}
    assert read_batch(batch(meta), "here") == meta


@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "<f4", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_keep_type_and_layout(dtype: str, order: Any, protocol: int) -> None:
    array = np.asarray(PIXELS.astype(dtype), order=order)
    found = read_batch(batch({b"data": array}, protocol), "here")["data"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_an_array_can_be_written_to() -> None:
    read_batch(PYTHON_2, "here")["data"][:] = 0
    assert read_batch(PYTHON_2, "here")["data"].max() == 255


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_a_pickle_wants_to_run_is_not_run(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "ran"
    data = batch({b"data": Call(os.system, f"touch {trap}")}, protocol)
    assert "system" in refused(data)
    assert not trap.exists()
    # The trap works: without the restriction it is sprung.
    pickle.loads(data)  # noqa: S301 - our own bytes
    assert trap.exists()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Call(builtins.eval, "1"), "eval"),
        (Call(functools.partial, int), "functools.partial"),
        (Call(np.load, "x"), "numpy.load"),
        (Call(getattr, "x", "y"), "getattr"),
        (Call(bytearray, 1 << 40), "bytearray"),
    ],
)
def test_other_names_are_refused(call: Call, name: str) -> None:
    assert name in refused(batch({b"data": call}))


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.array([{}, None]), "O8"),
        (np.array(["text"]), "U4"),
        (np.zeros(2, [("a", "u1")]), "V1"),
        (np.zeros(2, "M8[s]"), "M8"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_of_other_than_numbers_are_refused(
    array: np.ndarray, named: str, protocol: int
) -> None:
    sentence = refused(batch({b"data": array}, protocol))
    assert "objects" in sentence or named in sentence


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        b"text",
        {b"data": [[1]]},
        {b"data": {b"a": 1}},
        {b"data": None},
        {b"data": (1, 2)},
        {5: b"x"},
        {b"data": [PIXELS]},
        {b"data": np.dtype("u1")},
        {b"data": Call(np.ndarray, (1 << 40,))},
        {b"data": np.ndarray},
    ],
)
def test_values_that_no_batch_holds_are_refused(values: object) -> None:
    refused(batch(values))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"cnumpy\ndtype\n", b"cnumpy\nndarray\n"),
        (b"(K\x01K\x01K\x03\x86", b"(K\x01K\x02K\x03\x86"),
        (b"T\x03\x00\x00\x00\x01", b"T\x02\x00\x00\x00"),
    ],
    ids=["type", "shape", "bytes"],
)
def test_an_array_that_contradicts_itself_is_refused(old: bytes, new: bytes) -> None:
    assert PYTHON_2.count(old) == 1
    refused(PYTHON_2.replace(old, new))


def test_a_pickle_can_not_change_how_the_next_one_is_read() -> None:
    # BUILD with a pair as state sets attributes of whatever lies on the stack: here of a name.
    for name in ("numpy\nndarray", "numpy\ndtype", "_codecs\nencode"):
        refused(b"\x80\x02c" + name.encode() + b"\n(N}X\x05\x00\x00\x00valueK\x01stb.")
    test_what_python_2_wrote_is_read()
    test_an_official_batch_is_read_in_every_protocol(2)


def test_memory_is_not_reserved_for_what_is_not_there() -> None:
    # LONG_BINPUT to an index of a billion, which would make a table of 16 GB.
    assert "memory" in refused(b"\x80\x02}r\xff\xff\xff\x3f.")
    # BYTEARRAY8 of a terabyte.
    refused(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".")


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_batch_that_was_cut_short_is_refused(protocol: int) -> None:
    data = batch({b"data": PIXELS, b"labels": [1, 2]}, protocol)
    for end in range(len(data)):
        refused(data[:end])


@given(st.binary(max_size=60))
def test_nonsense_is_refused(data: bytes) -> None:
    try:
        values = read_batch(data, "data_batch_1")
    except UsageError:
        return
    assert isinstance(values, dict)


@given(st.integers(0, len(PYTHON_2) - 1), st.integers(0, 255))
def test_a_changed_byte_never_does_more_than_change_values(position: int, byte: int) -> None:
    changed = bytearray(PYTHON_2)
    changed[position] = byte
    try:
        values = read_batch(bytes(changed), "data_batch_1")
    except UsageError:
        return
    assert all(isinstance(key, str) for key in values)


def test_the_python_2_bytes_use_python_2_strings() -> None:
    names = {opcode.name for opcode, _, _ in pickletools.genops(PYTHON_2)}
    assert {"SHORT_BINSTRING", "BINSTRING"} <= names
    assert "BINUNICODE" not in names
