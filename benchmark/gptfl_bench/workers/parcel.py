"""What several processes read: pickled once, with its tensors in shared memory."""

import io
import mmap
import os
import pickle
import secrets
import tempfile
import weakref
from dataclasses import dataclass
from math import prod
from pathlib import Path

import cloudpickle
import torch
from torch import Tensor

_ALIGNED = 64
"""Bytes; where vector instructions like a tensor to begin."""

_Place = tuple[int, torch.dtype, tuple[int, ...]]
"""Where a tensor begins, its type and its shape."""


@dataclass(frozen=True)
class Address:
    """Where a parcel lies.

    Attributes:
        path: The file of its tensors and, behind them, of all else.
        tensors: Bytes of the tensors.
        token: Tells it from others that lay at the path.
    """

    path: str
    tensors: int
    token: str


class Parcel:
    """A value in shared memory, for as long as this object is there.

    Args:
        content: Anything that other processes may be handed; tensors are copied once.

    Raises:
        Exception: Of any kind, from what can't be pickled.
    """

    def __init__(self, content: object) -> None:
        # A file without a name goes with its last user, however that ends.
        if hasattr(os, "memfd_create"):
            handle = os.memfd_create("gptfl-bench")
            path, named = f"/proc/{os.getpid()}/fd/{handle}", False
        else:
            handle, path = tempfile.mkstemp(prefix="gptfl-bench-")
            named = True
        weakref.finalize(self, _drop, handle, path if named else "")
        with os.fdopen(handle, "wb", closefd=False) as file:
            rest = io.BytesIO()
            _Packer(rest, file).dump(content)
            self.address = Address(path, file.tell(), secrets.token_hex(8))
            file.write(rest.getbuffer())


def opened(address: Address) -> object:
    """Return what lies at an address; tensors are not copied before they are written to."""
    with Path(address.path).open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return _Unpacker(io.BytesIO(memory[address.tensors :]), memory).load()


def _drop(handle: int, path: str) -> None:
    os.close(handle)
    if path:
        Path(path).unlink(missing_ok=True)


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes tensors to a file, each once, and all else to another one."""

    def __init__(self, rest: io.BytesIO, file: io.BufferedWriter) -> None:
        super().__init__(rest, protocol=pickle.HIGHEST_PROTOCOL)
        self._file = file
        self._placed: dict[tuple[object, ...], _Place] = {}

    def persistent_id(self, value: object) -> _Place | None:
        """Return the place of a tensor that is written as its bytes."""
        if type(value) is not Tensor or value.device.type != "cpu" or value.requires_grad:
            return None
        # Other layouts, which a network's speed and last bits may depend on, are left to PyTorch.
        if value.layout is not torch.strided or not value.is_contiguous() or not value.numel():
            return None
        address = (value.data_ptr(), value.dtype, value.shape)
        if address not in self._placed:
            self._file.write(bytes(-self._file.tell() % _ALIGNED))
            self._placed[address] = (self._file.tell(), value.dtype, tuple(value.shape))
            self._file.write(value.reshape(-1).view(torch.uint8).numpy().data)
        return self._placed[address]


class _Unpacker(pickle.Unpickler):
    """Reads what a packer of the process that started this one has written."""

    def __init__(self, rest: io.BytesIO, memory: mmap.mmap) -> None:
        super().__init__(rest)
        self._memory = memory

    def persistent_load(self, place: _Place) -> Tensor:
        """Return the tensor at a place."""
        offset, dtype, shape = place
        flat = torch.frombuffer(self._memory, dtype=dtype, count=prod(shape), offset=offset)
        return flat.view(shape)
