"""FedFTG's generator of images and the labels it makes them for.

Letters in shapes: b samples of a batch, Z noise scalars, C classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ImageGenerator(nn.Module):
    """FedFTG's generator: noise (b, Z) and labels (b,) to images (b, channels, height, width).

    Args:
        noise: Z, 1 or more.
        width: Feature maps of the last layer but one; 64 as published.
        num_classes: C.
        shape: Channels, height and width of an image; its maps start at a quarter of its sides.
    """

    def __init__(self, noise: int, width: int, num_classes: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *sides = shape
        self.num_classes = num_classes
        self.base = [-(-side // 4) for side in sides]
        size = width * self.base[0] * self.base[1]
        self.from_noise = nn.Linear(noise, size)
        self.from_label = nn.Linear(num_classes, size)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            # Twice the sides where four divides them.
            nn.Upsample(size=(sides[0], sides[1])),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
            nn.BatchNorm2d(channels, affine=False),
        )

    def forward(self, noise: Tensor, y: Tensor) -> Tensor:
        """Return images (b, channels, height, width), standardised by channel."""
        one_hot = F.one_hot(y, self.num_classes).to(noise.dtype)
        flat = torch.cat([self.from_noise(noise), self.from_label(one_hot)], 1)
        made: Tensor = self.layers(flat.reshape(len(y), -1, *self.base))
        return made


def sample_labels(counts: Tensor, number: int, rng: torch.Generator) -> Tensor:
    """Return ``number`` labels in the proportions of ``counts`` (C,), shuffled."""
    counts = counts.cpu()
    ends = counts.cumsum(0) * number // counts.sum()
    labels = torch.arange(len(counts)).repeat_interleave(ends.diff(prepend=ends.new_zeros(1)))
    return labels[torch.randperm(number, generator=rng)]
