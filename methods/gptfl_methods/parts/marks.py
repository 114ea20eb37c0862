"""Networks of several architectures with heads of one shape, side by side in one tree of tensors.

Encoders bear their architecture's mark, heads none: a cohort's means are over who sent a name.
"""

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups

HEAD = "head."
"""Begins the names of a head's tensors."""


def marked(name: str, groups: Groups) -> Groups:
    """Return groups whose encoder's names begin with the architecture's ``name``."""
    return g.rename(groups, lambda n: n if n.startswith(HEAD) else f"{name}/{n}")


def unmarked(name: str, groups: Groups) -> Groups:
    """Return groups that were marked with ``name`` as the network names them."""
    return g.rename(groups, lambda n: n.removeprefix(f"{name}/"))
