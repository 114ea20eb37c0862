"""Groups in a file that says what it holds: safetensors with a checksum in its metadata.

The CRC-32 stands at a fixed place of the header and covers every byte but its own eight, so any
reader of safetensors takes such a file, and files without one, of older versions, are read, too.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

import safetensors

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups, Tree

_MARK = b'{"__metadata__"'
_BEFORE, _AFTER = b'{"__metadata__":{"crc32":"', b'"}'
_AT = 8 + len(_BEFORE)
_NONE = b"0" * 8
SEAL = 40
"""Bytes that a sealed file has more than the message it holds."""


def pieces(groups: Mapping[str, Tree]) -> list[bytes | memoryview]:
    """Return what a sealed file of groups holds, piece by piece; no tensor is copied.

    Raises:
        ValueError: As :func:`gptfl_bench.core.groups.encode`.
    """
    head, *tensors = g.pieces(groups)
    text = bytes(head[8:])
    more = _AFTER + (b"" if text.rstrip() == b"{}" else b",")
    seal = _BEFORE + _NONE + more
    # A multiple of eight, so that tensors stay aligned.
    text = seal + b" " * (SEAL + 1 - len(seal)) + text[1:]
    head = len(text).to_bytes(8, "little") + text
    value = zlib.crc32(head)
    for tensor in tensors:
        value = zlib.crc32(tensor, value)
    return [head[:_AT] + f"{value:08x}".encode() + head[_AT + 8 :], *tensors]


def decode(data: bytes) -> Groups:
    """Return the groups that a file holds; no memory is shared.

    Raises:
        ValueError: If it is not what was written.
    """
    view = memoryview(data)
    if _marked(data) and data[8:_AT] != _BEFORE:
        raise ValueError("its checksum is damaged")
    if _marked(data):
        value = zlib.crc32(view[_AT + 8 :], zlib.crc32(_NONE, zlib.crc32(view[:_AT])))
        if f"{value:08x}".encode() != data[_AT : _AT + 8]:
            raise ValueError("it does not fit its checksum")
    try:
        return g.decode(data)
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def size(path: Path) -> int:
    """Return the bytes of the message that a file holds, without its seal."""
    with path.open("rb") as file:
        return path.stat().st_size - SEAL * _marked(file.read(8 + len(_MARK)))


def _marked(data: bytes) -> bool:
    return data[8 : 8 + len(_MARK)] == _MARK
