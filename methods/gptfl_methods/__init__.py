"""One federated learning method a file; see the README of the folder above.

``from gptfl_methods import FedAvg`` gives the class to build one's own method on; any other is
found by its name in ``gptfl_bench.methods``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptfl_methods.fedavg import FedAvg

__all__ = ["FedAvg"]


def __getattr__(name: str) -> object:
    if name == "FedAvg":
        from gptfl_methods.fedavg import FedAvg

        return FedAvg
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
