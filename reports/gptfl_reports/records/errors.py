"""Errors a user can cause, each one sentence: the value, what is allowed, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(Exception):
    """Wrong use or input; the command line prints the sentence and exits with code 2."""


class DamageError(UsageError):
    """A file is not what was written."""


class StorageError(UsageError):
    """A place can't be written to: no right to, no room, or no folder."""


def unknown(kind: str, value: str, allowed: Iterable[str], where_listed: str = "") -> UsageError:
    """Return the error for a name that does not exist, nearest names first.

    Args:
        kind: What was named, for example ``"method"``.
        value: The name that was given.
        allowed: All names that exist.
        where_listed: How to see them, if there are too many for a sentence.
    """
    names = sorted(allowed)
    spelled = {name.lower(): name for name in names}
    near = [spelled[name] for name in get_close_matches(value.lower(), spelled, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    rest = where_listed or f"choose from {', '.join(names)}"
    return UsageError(f"unknown {kind} {value!r}: {hint}{rest}.")
