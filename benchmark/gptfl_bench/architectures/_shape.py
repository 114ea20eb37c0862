"""Which samples a network takes."""


def image_channels(
    model: str, input_shape: tuple[int, ...], least: int, channels: int | None = None
) -> int:
    """Return the channels of an image.

    Args:
        model: The network's name, for the message.
        input_shape: Shape of one sample.
        least: Fewest pixels of height and width.
        channels: The only number the network takes; None for any.

    Raises:
        ValueError: If samples are no images, or too small, or have other channels.
    """
    right = len(input_shape) == 3 and min(input_shape[1:]) >= least
    if not right or channels not in (None, input_shape[0]):
        size = [f"{least}x{least} or more"] if least > 1 else []
        kind = " and ".join(([f"{channels} channels"] if channels else []) + size)
        raise ValueError(f"{model} needs images of {kind}, not {input_shape}")
    return input_shape[0]
