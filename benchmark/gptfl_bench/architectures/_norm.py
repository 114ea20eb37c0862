"""One choice of normalisation for all networks."""

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["none", "batch", "group", "instance", "layer"]


def norm_layer(norm: Norm, channels: int, dims: Literal[1, 2] = 2) -> nn.Module:
    """Return a normalisation layer with factors and offsets for maps (b, channels, ...).

    ``group`` has groups of an eighth of the channels, ``instance`` normalises each map and
    ``layer`` all maps of a sample together; only ``batch`` has statistics.

    Args:
        norm: Which one.
        channels: Number of maps.
        dims: 2 for maps (H, W), 1 for maps (T,).

    Raises:
        ValueError: If ``norm`` is none of the names.
    """
    if norm == "none":
        return nn.Identity()
    if norm == "batch":
        return nn.BatchNorm1d(channels) if dims == 1 else _BatchNorm2d(channels)
    groups = {"group": min(8, channels), "instance": channels, "layer": 1}
    if norm not in groups:
        raise ValueError(f"norm={norm!r} must be one of {', '.join(get_args(Norm))}")
    return nn.GroupNorm(groups[norm], channels)


class _BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that uses its running statistics on a batch of one pixel a map.

    One value has no variance, for which PyTorch refuses it; a client whose last batch has a single
    sample would otherwise fail in a network whose maps shrink to one pixel.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            known = (self.running_mean, self.running_var, self.weight, self.bias)
            return F.batch_norm(x, *known, eps=self.eps)
        return super().forward(x)
