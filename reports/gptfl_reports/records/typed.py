"""Making typed values out of plain ones, with one sentence for the first that does not fit."""

import json
import re
from dataclasses import is_dataclass
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from gptfl_reports.records.errors import UsageError

T = TypeVar("T")
_PLAIN = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid string": "text",
    "a valid tuple": "a list such as [a,b]",
    "a valid list": "a list such as [a,b]",
    "a valid array": "a list such as [a,b]",
    "an object": "a mapping such as {key: value}",
}
"""What pydantic calls what a value should be, and how a person does."""
_UNION = ("int", "float", "str", "bool", "constrained-str", "literal")
"""Starts of what pydantic calls the branches of a type that allows several."""


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Return what checks a type, which takes longer to make than all checks together."""
    return TypeAdapter(kind)


def build(kind: type[T], values: object, where: str) -> T:
    """Return ``kind(**values)``, or a plain value as it is, with every type checked.

    Raises:
        UsageError: Naming the first value that does not fit.
    """
    try:
        # Strict, so that true is no number; from JSON, where lists may fill tuples.
        value: T = _adapter(kind).validate_json(json.dumps(values), strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        steps = [str(part) for part in first["loc"]]
        if steps and steps[-1].split("[")[0] in _UNION:
            # A value that may be of several types fits none; the others' errors come after.
            steps.pop()
        key = ".".join([*([where] if where else []), *steps])
        if first["type"] == "missing":
            raise UsageError(f"{key} is missing; give it a value.") from error
        message = first["msg"].removeprefix("Value error, ")
        if found := re.fullmatch(r"Input should be (.+)", message):
            message = f"must be {_PLAIN.get(found[1], found[1])}"
        whole = first["type"] == "value_error" or is_dataclass(first["input"])
        shown = "" if whole else f"={first['input']!r}"
        raise UsageError(f"{f'{key}{shown} does not fit: ' if key else ''}{message}.") from error
    return value
