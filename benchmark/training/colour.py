"""Channels of images and of networks brought together: grey repeated, colour reduced to luma."""

from __future__ import annotations

from torch import Tensor

from srbench.evaluation import protocol


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Images for a network of ``channels`` channels.

    Args:
        images: ``(N, 1, H, W)`` or ``(N, 3, H, W)`` RGB, floating point.
        channels: 1 or 3.

    Returns:
        The images; grey ones repeated (a view), colour ones reduced by :func:`luma` for a grey network.
    """
    if images.shape[1] == 1:
        return images.expand(-1, channels, -1, -1)
    return images if channels == images.shape[1] else luma(images)


def luma(images: Tensor) -> Tensor:
    """``(N, 3, H, W)`` RGB to ``(N, 1, H, W)``: ITU-R BT.601, full range, not rounded; grey as it is.

    The luma that evaluation gives a grey network; three equal channels give exactly that channel.
    """
    if images.shape[1] == 1:
        return images
    y: Tensor = protocol.luma(*(images[:, channel, None] for channel in range(3)))
    return y
