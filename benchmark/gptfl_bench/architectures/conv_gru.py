"""FedAudio's network for speech and sounds: convolutions over time, then a recurrent layer."""

from torch import Tensor, nn

from gptfl_bench.architectures._norm import Norm, norm_layer
from gptfl_bench.architectures.network import Network, models

SOURCE = "Zhang et al., FedAudio, ICASSP 2023, arXiv 2210.15707"
_STEPS = 4
"""Time steps that the two poolings make one of."""


class ConvGru(nn.Module):
    """Two convolutions, a bidirectional GRU, the mean over time and a hidden layer.

    Args:
        mels: Channels of a spectrogram.
        width: Maps of the first convolution; the second and the GRU have twice as many.
        features: Outputs of the hidden layer F.
        dropout: Share of values dropped after the convolutions.
        norm: Normalisation after each convolution.
    """

    def __init__(self, mels: int, width: int, features: int, dropout: float, norm: Norm) -> None:
        super().__init__()

        def block(inside: int, outside: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv1d(inside, outside, 3, padding=1),
                norm_layer(norm, outside, dims=1),
                nn.ReLU(),
                nn.MaxPool1d(2),
            )

        self.convolutions = nn.Sequential(
            block(mels, width), block(width, 2 * width), nn.Dropout(dropout)
        )
        self.gru = nn.GRU(2 * width, 2 * width, batch_first=True, bidirectional=True)
        self.hidden = nn.Sequential(nn.Linear(4 * width, features), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return features (b, F) of spectrograms (b, T, mels)."""
        maps = self.convolutions(x.transpose(1, 2))
        states, _ = self.gru(maps.transpose(1, 2))
        features: Tensor = self.hidden(states.mean(1))
        return features


@models.register("conv_gru", title="Two 1-d convolutions and a GRU", source=SOURCE, year=2023)
def conv_gru(
    input_shape: tuple[int, ...],
    num_classes: int,
    width: int = 64,
    features: int = 128,
    dropout: float = 0.1,
    norm: Norm = "none",
) -> Network:
    """Return FedAudio's network; 285,028 scalars for 128 mel channels and 36 classes.

    As in its code, the mean is over all time steps, padded ones too.

    Args:
        input_shape: Time steps T and mel channels of a spectrogram.
        num_classes: Number of classes C.
        width: Maps of the first convolution; the second and the GRU have twice as many.
        features: Outputs of the hidden layer before the head.
        dropout: Share of values dropped after the convolutions.
        norm: Normalisation after each convolution.

    Raises:
        ValueError: If the sample is no spectrogram of at least 4 time steps.
    """
    if len(input_shape) != 2 or input_shape[0] < _STEPS:
        raise ValueError(
            f"conv_gru needs spectrograms (time, mel) of {_STEPS} steps or more, not {input_shape}"
        )
    encoder = ConvGru(input_shape[1], width, features, dropout, norm)
    return Network(encoder, input_shape, num_classes)


@models.register("conv_gru_small", title="As conv_gru, half as wide")
def conv_gru_small(
    input_shape: tuple[int, ...], num_classes: int, norm: Norm = "none"
) -> nn.Module:
    """Return ``conv_gru`` with 32 and 64 maps; its head has the same shape."""
    return conv_gru(input_shape, num_classes, width=32, norm=norm)


@models.register("conv_gru_tiny", title="As conv_gru, a quarter as wide")
def conv_gru_tiny(input_shape: tuple[int, ...], num_classes: int, norm: Norm = "none") -> nn.Module:
    """Return ``conv_gru`` with 16 and 32 maps; its head has the same shape."""
    return conv_gru(input_shape, num_classes, width=16, norm=norm)
