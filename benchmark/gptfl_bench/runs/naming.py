"""Names of methods that are handed over as objects: alike ones by the fields that differ."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass

from gptfl_bench.core.code.identity import describe
from gptfl_bench.engine.method import Method, methods

_PLAIN = (int, float, str, bool, type(None))


def named_objects(objects: Sequence[Method], taken: Mapping[str, Method]) -> dict[str, Method]:
    """Return method objects by name, equal ones once; their order has no part in it.

    Args:
        objects: The objects.
        taken: Methods that were asked for by name, and keep theirs.
    """
    families: dict[str, dict[str, Method]] = {}
    for item in objects:
        families.setdefault(_base(item), {}).setdefault(_code(item), item)
    named: dict[int, str] = {}
    for base, members in families.items():
        rival = taken.get(base)
        family = [item for code, item in members.items() if rival is None or code != _code(rival)]
        values = [_leaves(item) for item in family]
        compared = [*values, _leaves(rival)] if rival is not None else values
        keys = sorted({key for leaves in compared for key in leaves})
        apart = [key for key in keys if len({leaves.get(key) for leaves in compared}) > 1]
        labels = [_label(base, apart, leaves) for leaves in values]
        for item, label in zip(family, labels, strict=True):
            alike = labels.count(label) > 1 or label in taken
            # Classes of one name and the same fields, that do something else.
            named[id(item)] = f"{label}({_code(item)[:6]})" if alike else label
    return {named[id(item)]: item for item in objects if id(item) in named}


def _base(method: Method) -> str:
    """Return the registered name of a method's class or the class's own, with what it wraps."""
    name = methods.name_of(type(method)) or type(method).__name__.lower()
    inner = getattr(method, "inner", None)
    return f"{name}+{_base(inner)}" if isinstance(inner, Method) else name


def _code(method: Method) -> str:
    return describe(method).sha256


def _leaves(value: object, prefix: str = "") -> dict[str, str]:
    """Return the fields of a method, and of what is in them, as dotted names to text."""
    if is_dataclass(value):
        found: dict[str, str] = {}
        for item in fields(value):
            found |= _leaves(getattr(value, item.name), f"{prefix}.{item.name}".lstrip("."))
        return found
    # A sign in a number would read as what warm-starts another method.
    text = str(value).replace("e+", "e") if isinstance(value, _PLAIN) else _short(value)
    return {prefix: text}


def _short(value: object) -> str:
    return describe(value).sha256[:6]


def _label(base: str, apart: Sequence[str], leaves: Mapping[str, str]) -> str:
    short = [key.rpartition(".")[2] for key in apart]
    names = [s if short.count(s) == 1 else key for s, key in zip(short, apart, strict=True)]
    told = [f"{n}={leaves[key]}" for n, key in zip(names, apart, strict=True) if key in leaves]
    return f"{base}({','.join(told)})" if told else base
