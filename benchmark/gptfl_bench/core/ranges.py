"""Refusing numbers outside their range, with a sentence that names field, value and bound."""

from collections.abc import Mapping


def at_least(instance: object, bounds: Mapping[str, float]) -> None:
    """Check that fields are their bound or more.

    Args:
        instance: What has the fields.
        bounds: Least value of each field, by name.

    Raises:
        ValueError: Naming the first field below its bound; not-a-number is below every bound.
    """
    for field, low in bounds.items():
        value = getattr(instance, field)
        if not value >= low:
            raise ValueError(f"{field}={value!r} must be {low} or more")


def above_zero(instance: object, *fields: str) -> None:
    """Check that fields are more than 0.

    Args:
        instance: What has the fields.
        *fields: Names of the fields.

    Raises:
        ValueError: Naming the first field that is not.
    """
    for field in fields:
        value = getattr(instance, field)
        if not value > 0:
            raise ValueError(f"{field}={value!r} must be more than 0")
