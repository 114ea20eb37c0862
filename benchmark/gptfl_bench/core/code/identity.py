"""What an object of a user's own is: a hash over its code and contents, to notice a changed one.

Code counts as it runs, with the values of closures, defaults and globals that it names: neither
comments, docstrings and lay-out matter, nor where a file lies. What belongs to this program, to
Python or to an installed package counts by name. What code changes itself, such as a counter, is
its memory and no setting.
"""

import builtins
import dataclasses
import dis
import hashlib
import importlib
import inspect
import linecache
import secrets
import sys
import sysconfig
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gptfl_bench.core.code.bytecode import chains, is_memory

PROGRAM = frozenset({"gptfl_bench", "gptfl_methods", "gptfl_datasets", "gptfl_reports"})
"""The packages of this program."""

_RECORDED = frozenset(
    {"torch", "torchvision", "torchaudio", "numpy", "sklearn", "diffusers", "transformers"}
)
"""Packages that are never a user's own, whoever hands their objects over."""

_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented))
_SILENT = frozenset(
    {
        *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__"),
        *("__firstlineno__", "__static_attributes__", "__annotate__", "__annotate_func__"),
        *("__annotations_cache__", "__abstractmethods__", "_abc_impl", "__parameters__"),
        *("__orig_bases__", "__match_args__", "__dataclass_params__", "__classcell__"),
    }
)
"""What a class holds beside what it does."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What could be found out about objects.

    Attributes:
        sha256: Hash over all of it, as hex.
        own: Whether code took part that is neither this program's nor a package's.
        unread: Name of what has no source or can't be looked into; empty if all could be read.
    """

    sha256: str
    own: bool
    unread: str

    def key(self, token: str = "") -> str:
        """Return what stands for the objects among what determines a result.

        Args:
            token: Stands for what can't be read; another one each time if empty, so that nothing
                made with it is found again.
        """
        return f"unread {token or secrets.token_hex(16)}" if self.unread else self.sha256


def describe(*values: object) -> Description:
    """Return what determines how objects behave: functions, classes or what was made of them."""
    reader = _Reader(frozenset(_package(value) for value in values) - _RECORDED)
    try:
        text = reader.read(values)
    except RecursionError:
        text, reader.unread = "", reader.unread or _name(values[0])
    return Description(hashlib.sha256(text.encode()).hexdigest(), reader.own, reader.unread)


def of_program(value: object) -> bool:
    """Return whether a function or class, or the class of an object, comes with this program."""
    return _package(value) in PROGRAM


def _package(value: object) -> str:
    part = value if isinstance(value, type | FunctionType) else type(value)
    return str(part.__module__).partition(".")[0]


def _name(value: object) -> str:
    return str(getattr(value, "__qualname__", None) or type(value).__qualname__)


class _Reader:
    """Turns objects into text, each once.

    Args:
        packages: Top-level packages that count as a user's own, wherever they are installed.
    """

    def __init__(self, packages: frozenset[str]) -> None:
        self.own, self.unread = False, ""
        self._packages = packages
        # Held, for an object that is gone leaves its id to the next one.
        self._seen: dict[int, tuple[int, object]] = {}

    def read(self, value: object) -> str:
        """Return what determines how a value behaves, as text."""
        if type(value) in _PLAIN:
            return f"{type(value).__name__} {value!r}"
        if id(value) in self._seen:
            return f"#{self._seen[id(value)][0]}"
        self._seen[id(value)] = (len(self._seen), value)
        try:
            return f"({self._read(value)})"
        except RecursionError:
            raise
        except Exception:
            # Locks, open files and the like: anything may be raised by what is not ours.
            return self._lacks(value)

    def _read(self, value: object) -> str:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, CodeType):
            return self._code(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, MethodType):
            return self._all("method", value.__func__, value.__self__)
        if isinstance(value, ModuleType):
            return self._module(value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            return f"array {value.dtype} {value.shape} {_sha256(value.tobytes())}"
        if type(value) in (list, tuple):
            return self._all(type(value).__name__, *value)  # type: ignore[misc]
        if isinstance(value, set | frozenset):
            return f"set {sorted(map(self.read, value))}"
        if type(value) in (dict, OrderedDict, MappingProxyType):
            return self._mapping(value)  # type: ignore[arg-type]
        if isinstance(value, property):
            return self._all("property", value.fget, value.fset, value.fdel)
        if isinstance(value, classmethod | staticmethod):
            return self._all(type(value).__name__, value.__func__)
        if isinstance(value, CellType):
            return self._all("cell", value.cell_contents)
        if isinstance(value, dataclasses.Field):
            return self._all("field", value.name, value.default, value.default_factory, value.init)
        if isinstance(value, GetSetDescriptorType | MemberDescriptorType):
            return f"slot {value.__name__}"
        if isinstance(value, BuiltinFunctionType) and isinstance(
            value.__self__, ModuleType | type(None)
        ):
            return self._compiled(value)
        if isinstance(value, cached_property):
            return self._all("cached", value.func)
        if hasattr(value, "__wrapped__"):
            return self._all(_name(type(value)), value.__wrapped__)
        return self._object(value)

    def _all(self, kind: str, *parts: object) -> str:
        return " ".join([kind, *map(self.read, parts)])

    def _mapping(self, values: Mapping[Any, object]) -> str:
        return "mapping " + ", ".join(
            f"{self.read(key)}: {self.read(value)}" for key, value in values.items()
        )

    def _lacks(self, value: object) -> str:
        self.unread = self.unread or _name(value)
        return "unread"

    def _module(self, module: ModuleType) -> str:
        if not self._is_own(module.__name__):
            return f"named {module.__name__}"
        self.own = True
        return f"module {inspect.getsource(module)}"

    def _tensor(self, tensor: Tensor) -> str:
        trains = tensor.requires_grad
        if is_lazy(tensor):
            return f"lazy {tensor.dtype} {trains}"
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        data = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"tensor {tensor.dtype} {tuple(tensor.shape)} {trains} {_sha256(data)}"

    def _compiled(self, function: BuiltinFunctionType) -> str:
        module = str(function.__module__)
        if self._is_own(module):
            return self._lacks(function)
        return f"named {module}.{function.__qualname__}"

    def _object(self, value: object) -> str:
        try:
            made = value.__reduce_ex__(4)
        except Exception:
            if not isinstance(value, nn.Module):
                raise
            # Parametrised ones can't be copied so.
            made = (type(value), (), vars(value))
        if isinstance(made, str):
            return f"named {type(value).__module__}.{made}"
        function, arguments, state, items, pairs, *_ = (*made, None, None, None, None)
        if isinstance(value, nn.Module) and isinstance(state, dict):
            # Every copy is put into the mode it is needed in.
            state = {key: part for key, part in state.items() if key != "training"}
        return self._all("object", function, arguments, state, *(items or ()), *(pairs or ()))

    def _class(self, kind: type) -> str:
        # A class of a bare namespace passes for one of Python's.
        foreign = kind.__module__ == "builtins" and kind is not vars(builtins).get(kind.__name__)
        if not foreign and not self._is_own(kind.__module__):
            return f"named {kind.__module__}.{kind.__qualname__}"
        self.own = True
        members = {
            name: member
            for name, member in sorted(vars(kind).items())
            if name not in _SILENT and not _is_generated(kind, name, member)
        }
        if not any(_code_of(member) for member in members.values()):
            try:
                inspect.getsource(kind)
            except (OSError, TypeError):
                self._lacks(kind)
        return f"class {self._all('', *kind.__bases__)} {self._mapping(members)}"

    def _function(self, function: FunctionType) -> str:
        closed = self._closure(function)
        module = str(function.__globals__.get("__name__", ""))
        if not self._is_own(module):
            return f"named {module}.{function.__qualname__} {self._mapping(closed)}"
        self.own = True
        if not _has_source(function):
            self._lacks(function)
        named = dict(self._named(function))
        parts = (function.__code__, function.__defaults__, function.__kwdefaults__)
        return f"function {self._all('', *parts)} {self._mapping(closed)} {self._mapping(named)}"

    def _closure(self, function: FunctionType) -> dict[str, object]:
        """Return what a function holds of the function it was made in, without its memory."""
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        return {
            name: cell
            for name, cell in cells
            if not is_memory(function.__code__, name, getattr(cell, "cell_contents", None))
        }

    def _named(self, function: FunctionType) -> Iterator[tuple[str, object]]:
        """Yield the globals that a function names, without its memory."""
        missing = object()
        for base, *chain in sorted(chains(function.__code__, function.__globals__)):
            value = function.__globals__.get(base, missing)
            if base.startswith("import "):
                value = self._imported(base.removeprefix("import "))
            for attribute in chain:
                if isinstance(value, ModuleType):
                    value = getattr(value, attribute, missing)
            if value is not missing and not is_memory(function.__code__, base, value):
                yield ".".join([base, *chain]), value

    def _imported(self, module: str) -> object:
        """Return a module that a function imports when it is called, if it is a user's own."""
        importlib.import_module(module.partition(".")[0])
        return importlib.import_module(module) if self._is_own(module) else module

    def _code(self, code: CodeType) -> str:
        count = code.co_argcount + code.co_kwonlyargcount
        lines = [f"{code.co_varnames[:count]} {code.co_posonlyargcount} {code.co_flags}"]
        for step in dis.get_instructions(code):
            lines.append(f"{step.opname} {self.read(step.argval)}")
        return "\n".join(lines)

    def _is_own(self, module: str) -> bool:
        package = module.partition(".")[0]
        place = _place(package)
        return place == "own" or (place == "installed" and package in self._packages)


@cache
def _place(package: str) -> Literal["own", "installed", "ours"]:
    """Return whose a top-level package is: a user's, an installed one, or ours and Python's."""
    if package in PROGRAM or package in sys.builtin_module_names:
        return "ours"
    module = sys.modules.get(package)
    if module is None or package == "__main__":
        return "own"
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "")
    if not file:
        origin = getattr(module.__spec__, "origin", None)
        return "ours" if origin in ("built-in", "frozen") else "own"
    place = Path(file)
    if {"site-packages", "dist-packages"} & set(place.parts):
        return "installed"
    return "ours" if place.is_relative_to(sysconfig.get_paths()["stdlib"]) else "own"


def _has_source(function: FunctionType) -> bool:
    place = function.__code__.co_filename
    return Path(place).is_file() or bool(linecache.getlines(place, function.__globals__))


def _code_of(member: object) -> CodeType | None:
    function = getattr(member, "fget", None) or getattr(member, "__func__", member)
    return function.__code__ if isinstance(function, FunctionType) else None


def _is_generated(kind: type, name: str, member: object) -> bool:
    """Return whether a dataclass or named tuple wrote a member itself, from what counts anyway."""
    made = dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    code = _code_of(getattr(member, "__wrapped__", member))
    dunder = name.startswith("_")
    return made and dunder and (member is None or bool(code and code.co_filename[:1] == "<"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
