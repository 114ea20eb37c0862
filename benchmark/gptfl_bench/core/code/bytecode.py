"""What compiled code names, and what of it the code changes itself."""

import dis
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.util import resolve_name
from types import CodeType

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_STORES = frozenset({"STORE_GLOBAL", "STORE_DEREF", "DELETE_GLOBAL", "DELETE_DEREF"})
_CHANGES = frozenset(
    {
        *("append", "extend", "insert", "pop", "remove", "clear", "add", "discard", "update"),
        *("setdefault", "popitem", "appendleft"),
    }
)


@lru_cache(maxsize=256)
def _steps(code: CodeType) -> tuple[tuple[dis.Instruction, ...], ...]:
    """Return the instructions of a code and of those inside it."""
    inside = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return (tuple(dis.get_instructions(code)), *(one for part in inside for one in _steps(part)))


def chains(code: CodeType, names: Mapping[str, object]) -> set[tuple[str, ...]]:
    """Return what a code names of its module: ``helpers.loss`` as two names, imports as one."""
    found: set[tuple[str, ...]] = set()
    for steps in _steps(code):
        for number, step in enumerate(steps):
            after = steps[number + 1 :]
            if step.opname == "IMPORT_NAME":
                level, package = steps[number - 2].argval, str(names.get("__package__") or "")
                module = resolve_name("." * level + step.argval, package)
                got = _while(after, {"IMPORT_FROM", "STORE_FAST", "STORE_DEREF"})
                parts = [s.argval for s in got if s.opname == "IMPORT_FROM"]
                found |= {(f"import {module}", part) for part in parts}
                if not parts:
                    found.add((f"import {module}",))
            elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in names:
                found.add((step.argval, *(s.argval for s in _while(after, _ATTRIBUTES))))
    return found


def is_memory(code: CodeType, name: str, value: object) -> bool:
    """Return whether a code changes what it names itself: sets it, or adds to a container."""
    contains = isinstance(value, list | dict | set | deque)
    for steps in _steps(code):
        for number, step in enumerate(steps):
            if step.argval != name:
                continue
            if step.opname in _STORES:
                return True
            if contains and step.opname in _LOADS:
                after = steps[number + 1 : number + 4]
                kinds = [s.opname for s in after]
                if kinds[0] in _ATTRIBUTES and after[0].argval in _CHANGES:
                    return True
                # d[key] = value, and d[key] += value
                if kinds[1:2] == ["STORE_SUBSCR"] or kinds[1:3] == ["COPY", "COPY"]:
                    return True
    return False


def _while(steps: Iterable[dis.Instruction], kinds: Collection[str]) -> Iterator[dis.Instruction]:
    for step in steps:
        if step.opname not in kinds:
            return
        yield step
