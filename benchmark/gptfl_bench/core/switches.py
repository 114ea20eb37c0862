"""Environment variables that turn something on or off."""

import os

from gptfl_bench.core.errors import UsageError


def switched_on(name: str, default: bool, meaning: str) -> bool:
    """Return whether an environment variable turns something on.

    Args:
        name: The variable; 1 is on, 0 off, unset or empty the default.
        default: What holds where it is not set.
        meaning: What 1 and 0 do, for the sentence.

    Raises:
        UsageError: If it has another value.
    """
    asked = os.environ.get(name, "") or str(int(default))
    if asked not in ("0", "1"):
        raise UsageError(f"{name}={asked!r} must be {meaning}; set one of them or leave it unset.")
    return asked == "1"
