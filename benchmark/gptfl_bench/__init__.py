"""The engine of gptfl-bench: cells, rounds, the metered channel, records and the command line.

``gptfl_bench.run(...)`` runs cells from Python, ``gptfl_bench.read(folder)`` reads their results.
Importing this package loads no PyTorch, so that reports can read records without it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptfl_bench.api import read, run

__all__ = ["__version__", "read", "run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in ("read", "run"):
        from gptfl_bench import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
