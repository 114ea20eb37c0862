"""What may go wrong: errors a user can cause, and outcomes that stay in the tables."""

from gptfl_reports.records.errors import DamageError as DamageError
from gptfl_reports.records.errors import StorageError as StorageError
from gptfl_reports.records.errors import UsageError as UsageError
from gptfl_reports.records.errors import unknown as unknown


class Refusal(Exception):  # noqa: N818 - a refusal is an outcome that stays in the tables, not a fault
    """A method can't run on this task; the sentence is kept in the record."""


class Diverged(Exception):  # noqa: N818 - an outcome that stays in the tables as "not converged"
    """A loss or a weight became infinite or not a number."""


class WorkerKilled(Exception):  # noqa: N818 - the end of a process, not a fault of this one
    """A process that clients work in is gone; the same command goes on with the cell."""


class ProcessLost(KeyboardInterrupt):
    """One of the processes that work together is gone, and with it all others."""


class CellHeld(UsageError):  # noqa: N818 - no fault: the other process brings its result
    """Another process runs the cell."""


class NothingLearnt(Exception):  # noqa: N818 - an outcome that stays in the tables as "failed"
    """Every round of a cell was abandoned, so its values are those of the start."""


class RoundAbandoned(Exception):  # noqa: N818 - an outcome of a round, not a fault
    """Fewer clients than the threshold were left, so nothing was learnt."""
