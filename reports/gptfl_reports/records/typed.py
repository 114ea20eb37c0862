"""Making typed values out of plain ones, with one sentence for the first that does not fit."""

import json
from dataclasses import is_dataclass
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from gptfl_reports.records.errors import UsageError

T = TypeVar("T")


def build(kind: type[T], values: object, where: str) -> T:
    """Return ``kind(**values)``, or a plain value as it is, with every type checked.

    Raises:
        UsageError: Naming the first value that does not fit.
    """
    adapter = TypeAdapter(kind)
    try:
        # Strict, so that true is no number; from JSON, where lists may fill tuples.
        return adapter.validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join([*([where] if where else []), *(str(part) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        shown = (
            ""
            if is_dataclass(first["input"]) or isinstance(first["input"], dict)
            else (f"={first['input']!r}")
        )
        raise UsageError(f"{f'{key}{shown} does not fit: ' if key else ''}{message}.") from error
