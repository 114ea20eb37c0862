"""Reads the pickles in which CIFAR is published, without running anything they say.

CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009)
come as dictionaries that Python 2 pickled. A pickle names functions to be called; here the few
names that occur in such files lead to stand-ins, which only keep what they are given, and every
other name ends the reading. NumPy never sees the pickle: arrays are made of what was kept.
"""

import io
import pickle
import pickletools
import re
from typing import Any, cast

import numpy as np

from gptfl_bench.core.errors import UsageError

_NUMBERS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")


class _Wrong(Exception):  # noqa: N818 - turned into the sentence of one file
    """A pickle holds what such a file never does; the reason is for the user."""


class _StandIn:
    """What a name in a pickle leads to; keeps the arguments and the state it is given."""

    def __init__(self, *given: object) -> None:
        self.given = given
        self.state: Any = None

    # Defined for the class itself, too, which a pickle could otherwise change.
    def __setstate__(self, state: object) -> None:
        self.state = state


class _Array(_StandIn):
    """An array of the old pickles: its state is version, shape, type, order and bytes."""

    def value(self) -> np.ndarray:
        _, shape, dtype, by_columns, data = self.state
        return _array(data, dtype, shape, "F" if by_columns else "C")


class _Buffer(_StandIn):
    """An array of protocol 5: it is given bytes, type, shape and order."""

    def value(self) -> np.ndarray:
        data, dtype, shape, order = cast(tuple[Any, ...], self.given)
        return _array(data, dtype, shape, order)


class _Type(_StandIn):
    """An array's type: it is given its name, its state begins with version and byte order."""

    def value(self) -> np.dtype[Any]:
        name, order = _text(self.given[0]), _text(self.state[1])
        if not _NUMBERS.fullmatch(order + name):
            raise _Wrong(f"it holds an array of {(order + name)[:40]!r}, no numbers")
        return np.dtype(order + name)


class _Bytes(_StandIn):
    """Bytes as Python 3 writes them for Python 2: it is given text and "latin1"."""

    def value(self) -> bytes:
        text, encoding = self.given
        if not isinstance(text, str) or _text(encoding) != "latin1":
            raise _Wrong("it holds bytes encoded in an unknown way")
        return text.encode("latin1")


_NAMES: dict[tuple[str, str], type[_StandIn]] = {
    ("numpy", "ndarray"): _StandIn,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Bytes,
}
# NumPy 2 renamed its inner packages.
for _core in ("numpy.core", "numpy._core"):
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _Array
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _Buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_StandIn]:
        """Return the stand-in of a name.

        Raises:
            _Wrong: If such files never use it.
        """
        if (module, name) not in _NAMES:
            raise _Wrong(f"it asks for {f'{module}.{name}'[:80]!r}")
        return _NAMES[module, name]


def read_batch(data: bytes, where: str) -> dict[str, Any]:
    """Return what a CIFAR batch or its file of class names holds.

    Args:
        data: The whole file.
        where: What to call the file in an error.

    Returns:
        Values by name, such as ``data`` (uint8 (N, 3072)) and ``labels``: arrays of numbers,
        numbers, bytes, text, and lists of the last three. Python 2's strings are bytes.

    Raises:
        UsageError: If the file is damaged or holds anything else.
    """
    try:
        for opcode, argument, _ in pickletools.genops(data):
            # The unpickler makes room for as many remembered values as a pickle says.
            if "PUT" in opcode.name and isinstance(argument, int) and argument > len(data):
                raise _Wrong("it asks for too much memory")
        values = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(values, dict):
            raise _Wrong("it holds no dictionary")
        return {_text(_value(key)): _value(value) for key, value in values.items()}
    # Damaged bytes make the unpickler raise nearly anything.
    except Exception as error:
        reason = str(error) if isinstance(error, _Wrong) else "damaged or no pickle"
        raise UsageError(
            f"{where} is not read as a CIFAR batch: {reason}; fetch the data set again from its "
            "owner."
        ) from error


def _value(found: object) -> Any:  # noqa: ANN401 - one of several plain types, by the file
    """Return a plain value, made of what a stand-in kept if it is one."""
    if isinstance(found, list):
        return [_single(item) for item in found]
    return found.value() if isinstance(found, _Array | _Buffer) else _single(found)


def _single(found: object) -> int | float | str | bytes:
    if isinstance(found, _Bytes):
        return found.value()
    if isinstance(found, int | float | str | bytes):
        return found
    raise _Wrong(f"it holds a value of type {type(found).__name__.strip('_')}")


def _text(found: object) -> str:
    """Return a name, which Python 2 writes as bytes."""
    text = found.decode("latin1") if isinstance(found, bytes) else found
    if not isinstance(text, str):
        raise _Wrong("it names a value by what is no text")
    return text


def _array(data: object, dtype: object, shape: tuple[int, ...], order: Any) -> np.ndarray:  # noqa: ANN401
    """Return an array of its own memory."""
    if not isinstance(dtype, _Type):
        raise _Wrong("it holds an array without a type")
    if not isinstance(data, bytes | bytearray | _Bytes):
        raise _Wrong("it holds an array of objects, no numbers")
    raw = data.value() if isinstance(data, _Bytes) else data
    return np.frombuffer(raw, dtype.value()).reshape(shape, order=order).copy()
