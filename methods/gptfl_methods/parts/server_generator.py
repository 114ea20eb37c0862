"""What methods with a generator at the server share: its state, its teachers, its diversity."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.server import Server

Made = TypeVar("Made", bound=nn.Module)


def diversity_loss(noise: Tensor, made: Tensor) -> Tensor:
    """Return exp(-mean over pairs a, b of ||noise_a - noise_b||^2 / Z * |made_a - made_b| / D).

    Args:
        noise: What the samples were made from, (b, Z).
        made: The samples, (b, ...) of D scalars each; their distance is the sum of differences.
    """
    flat = made.flatten(1)
    between_noise = (noise[:, None] - noise).square().mean(2)
    between_made = torch.cdist(flat, flat, p=1) / flat.shape[1]
    return torch.exp(-(between_noise * between_made).mean())


def fresh(make: Callable[[], Made], seed: int) -> Made:
    """Return a generator with start weights that are the same whatever came before."""
    with isolated_torch_rng(seed, "generator"):
        return make()


def kept(generator: nn.Module) -> Tree:
    """Return copies of a generator's weights and statistics on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True)
        for name, tensor in generator.state_dict().items()
    }


def restored(make: Callable[[], Made], tree: Tree, device: torch.device) -> Made:
    """Return a generator with copies of ``tree``; no random number is drawn.

    Args:
        make: Makes the network.
        tree: What :func:`kept` returned; the counter of batches may be missing, for evaluation.
        device: Where the generator shall be.
    """
    with torch.device("meta"):
        generator = make()
    copies = {name: tensor.to(device, copy=True) for name, tensor in tree.items()}
    generator.load_state_dict(copies, strict=False, assign=True)
    return generator


def teachers(state: Groups, cohort: Cohort, server: Server) -> list[nn.Module]:
    """Return the networks that the cohort trained from ``state``: frozen, in evaluation mode."""
    return [
        server.new_model(
            {"model": g.add(state["model"], reply["delta"]), "buffers": reply.get("buffers", {})}
        )
        .eval()
        .requires_grad_(False)
        for reply in cohort.replies
    ]
