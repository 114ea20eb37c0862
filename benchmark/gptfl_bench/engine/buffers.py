"""What becomes of normalisation statistics, which are no trainable tensors: one stated policy.

``mean`` sends and averages them by samples; ``local`` leaves each client its own (as FedGen's and
DynaFed's code do; the server then tests with its own untouched ones); ``recompute`` renews them at
the server from its synthetic data after each round; ``none`` keeps the start values everywhere.
"""

from collections.abc import Mapping
from typing import Literal

import torch

from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.networks import Networks

BufferPolicy = Literal["mean", "local", "recompute", "none"]

REFRESH_PASSES = 3
"""Forward passes that renew the statistics, as in DynaFed's code."""


def outgoing(payload: Mapping[str, Tree], policy: BufferPolicy) -> Groups:
    """Return what of ``payload`` travels: statistics do under ``mean`` alone."""
    return {
        group: tree for group, tree in payload.items() if group != "buffers" or policy == "mean"
    }


def at_client(received: Groups, kept: Groups, policy: BufferPolicy) -> Groups:
    """Return what a client works with: under ``local`` its own statistics are put back."""
    if policy == "local" and kept.get("buffers"):
        return {**received, "buffers": kept["buffers"]}
    return received


@torch.no_grad()
def recompute(state: Groups, networks: Networks, data: Samples, batch_size: int = 256) -> Groups:
    """Return ``state`` with statistics renewed by passes over ``data`` in training mode."""
    if not state.get("buffers"):
        return state
    model = networks.new(state).train()
    rows = data.rows(torch.arange(len(data)))
    for _ in range(REFRESH_PASSES):
        for batch in torch.split(rows, batch_size):
            model(data.stored(batch)[0])
    fresh = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    return {**state, "buffers": fresh}
