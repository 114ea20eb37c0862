"""Whether a method ran with settings of its own that a person gave.

A record holds all settings, whoever chose them. Only its command says which were given: they tell
two variants of a method apart, of which one is as its preset has it.
"""

from gptfl_reports.records.schema import ABLATED, RunRecord


def by_hand(record: RunRecord) -> bool:
    """Return whether a cell's command gave settings of its method, as ``methods.fedavg.plan.lr=1``.

    Settings of the whole run, such as ``plan.lr``, hold for every method alike and don't count.
    ``methods.fedavg`` counts for GPT-FL around FedAvg, too, though ``warm.fedavg`` may win over it.
    Runs from Python have no command, so nothing is known of them.
    """
    outer, *inner = record["method"].removesuffix(ABLATED).split("+")
    if outer == "gptfl":
        inner = inner or ["fedavg"]
    starts = tuple(f"methods.{name}." for name in (outer, *inner))
    starts += tuple(f"warm.{name}." for name in inner)
    words = (word.lstrip("+") for word in record["command"].split())
    return any("=" in word and word.startswith(starts) for word in words)
