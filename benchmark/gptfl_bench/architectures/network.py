"""A network is an encoder and a linear head, so that methods find its features by one split."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gptfl_bench.core.registry import Registry


class Network(nn.Module):
    """Encoder to features (b, F), linear head to logits (b, C).

    Args:
        encoder: Maps inputs (b, *input_shape) to features (b, F); lazy layers are settled here.
        input_shape: Shape of one input.
        num_classes: Number of classes C.
    """

    def __init__(self, encoder: nn.Module, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        with torch.no_grad():
            # Two samples: batch normalisation can't be run on one. Evaluation mode: no statistics.
            features = encoder.eval()(torch.zeros(2, *input_shape)).shape[1]
        self.encoder = encoder.train()
        self.head = nn.Linear(features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (b, C)."""
        logits: Tensor = self.head(self.encoder(x))
        return logits


def has_features(network: nn.Module) -> bool:
    """Return whether a network splits into an encoder to features (b, F) and a linear head."""
    encoder, head = (getattr(network, name, None) for name in ("encoder", "head"))
    return isinstance(encoder, nn.Module) and isinstance(head, nn.Linear)


ModelFactory = Callable[..., nn.Module]
"""``factory(input_shape, num_classes, **settings) -> nn.Module``."""

models: Registry[ModelFactory] = Registry(
    "model", "gptfl_bench.architectures", "gptfl_bench.models"
)
"""Network factories by name."""
