"""Names of methods handed over as objects, and of cells: alike ones by what differs."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass

from gptfl_bench.cells.spec import CellSpec
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


def titles(cells: Sequence[CellSpec]) -> dict[str, str]:
    """Return by id how cells are called where a person reads of them, with what sets tasks apart.

    That is the data set's name, and settings that differ among cells of the same method and seed.
    """
    leaves = {cell.run_id: _told(cell) for cell in cells}
    datasets = len({cell.dataset_name for cell in cells}) > 1
    alike: dict[tuple[str, str, int], list[CellSpec]] = {}
    for cell in cells:
        alike.setdefault((cell.dataset_name, cell.name, cell.seed), []).append(cell)
    named: dict[str, str] = {}
    for members in alike.values():
        keys = {key for cell in members for key in leaves[cell.run_id]}
        apart = sorted(k for k in keys if len({leaves[c.run_id].get(k) for c in members}) > 1)
        for cell in members:
            name = f"{cell.name} seed {cell.seed}"
            told = [f"{key}={leaves[cell.run_id].get(key, 'unset')}" for key in apart]
            where = [cell.dataset_name] if datasets else []
            named[cell.run_id] = ", ".join([name, *where, *told])
    return named


def _told(cell: CellSpec) -> dict[str, str]:
    """Return a cell's settings and its method's fields, as dotted names to text."""
    settings = _leaves(cell.settings)
    # The plan is in the method; dictionaries are told by their entries.
    own = {key: text for key, text in settings.items() if not key.startswith("plan.")}
    return own | {key.removeprefix("inner."): text for key, text in _leaves(cell.method).items()}


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
    if isinstance(value, dict) and prefix:
        return {k: v for key in value for k, v in _leaves(value[key], f"{prefix}.{key}").items()}
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
