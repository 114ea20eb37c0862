"""Whether a method ran with settings of its own that its preset does not have.

A record holds all settings, whoever chose them. Only its command says which a person gave.
"""

import shlex

from gptfl_reports.records.schema import RunRecord

_WARM = "gptfl"


def by_hand(record: RunRecord) -> bool:
    """Return whether a cell's command gave settings of its method, as ``methods.fedavg.plan.lr=1``.

    Settings of the whole run, such as ``plan.lr``, hold for every method alike and don't count. Of
    a run that Python started the record has no command, so nothing is known of it.
    """
    names = record["method"].split("+")
    if names == [_WARM]:
        names.append("fedavg")
    starts = tuple(f"{section}.{name}." for section in ("methods", "warm") for name in names)
    return any("=" in word and word.startswith(starts) for word in _words(record["command"]))


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()
