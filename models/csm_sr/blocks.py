"""Dense blocks of CSM-SR's branches.

The text names "RRDBs" and "SRDBs" (super-resolution dense blocks) without defining the latter. Chosen: an
SRDB is a dense block whose layers each see their surroundings twice, with a plain and with a dilated
convolution (the pair found in the released code's dense layers, less its depthwise one, which added depth
but little else); an RRDB is a chain of SRDBs inside a residual, in ESRGAN's order (arXiv 1809.00219,
section 3.1: the shortcut is untouched and the chain is scaled by 0.2; the released code scales the
shortcut, which throttles the gradient).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

RESIDUAL_SCALE = 0.2
SLOPE = 0.2


class DenseLayer(nn.Sequential):
    """Plain 3x3, then dilated 3x3 convolution, each with a leaky ReLU: ``features`` in, ``growth`` out."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__(
            nn.Conv2d(features, growth, 3, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(growth, growth, 3, padding=2, dilation=2),
            nn.LeakyReLU(SLOPE, inplace=True),
        )


class SRDB(nn.Module):
    """Super-resolution dense block: every layer sees all earlier ones; a 1x1 convolution joins them.

    Args:
        features: channels in and out.
        growth: channels each layer adds.
        layers: number of dense layers.
    """

    def __init__(self, features: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(features + n * growth, growth) for n in range(layers))
        self.fuse = nn.Conv2d(features + layers * growth, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        pieces = [x]
        for layer in self.layers:
            pieces.append(layer(torch.cat(pieces, dim=1)))
        fused: Tensor = self.fuse(torch.cat(pieces, dim=1))
        return x + RESIDUAL_SCALE * fused


class CSMRRDB(nn.Module):
    """Residual in residual: ``x + 0.2 * chain of SRDBs``.

    Args:
        features: channels in and out.
        growth: channels each dense layer adds.
        blocks: SRDBs in the chain.
        layers: dense layers in each of them.
    """

    def __init__(self, features: int, growth: int, blocks: int, layers: int) -> None:
        super().__init__()
        self.chain = nn.Sequential(*(SRDB(features, growth, layers) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        refined: Tensor = self.chain(x)
        return x + RESIDUAL_SCALE * refined


@torch.no_grad()
def keep_variance(*parts: nn.Module) -> None:
    """Draw the weights of all convolutions so that each passes its input's variance on; biases become zero.

    torch's default shrinks the signal by sqrt(3) at each convolution, which a chain outside residual blocks
    (where it is wanted) adds up to features too faint to learn from in a short training.
    """
    for part in parts:
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=1.0)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


@torch.no_grad()
def start_without_lattice(upsampling: nn.Sequential) -> None:
    """Give the channels that a pixel shuffle puts side by side the same weights, before any training.

    Different ones print a pattern of the LR grid onto the image, which training takes long to remove (Aitken
    et al. 2017, "Checkerboard artifact free sub-pixel convolution", arXiv 1707.02937).

    Args:
        upsampling: convolutions followed at once by their ``PixelShuffle``; other layers are left alone.
    """
    for layer, following in itertools.pairwise(upsampling):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.PixelShuffle):
            cells = following.upscale_factor**2
            layer.weight.copy_(layer.weight[::cells].repeat_interleave(cells, dim=0))


def kernel_radius(chain: nn.Module) -> int:
    """Pixels to each side that the convolutions of ``chain`` reach, one after the other, none strided."""
    convolutions = (layer for layer in chain.modules() if isinstance(layer, nn.Conv2d))
    return sum((layer.kernel_size[0] - 1) // 2 * layer.dilation[0] for layer in convolutions)


class AdaptiveFusion(nn.Module):
    """``alpha * F_MS + beta * F_ENC``: the multi-scale and the conditioning features (project page).

    The text calls alpha and beta "learnable parameters" and does not say of which shape. Chosen: one of
    each per channel, so that a channel can be all structure, all condition or any mixture (a single pair
    would only set the loudness of the condition as a whole). Both start at 0.5: the mean of the two,
    neither preferred.

    Args:
        features: channels of both inputs.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1, features, 1, 1), 0.5))
        self.beta = nn.Parameter(torch.full((1, features, 1, 1), 0.5))

    def forward(self, multi_scale: Tensor, condition: Tensor) -> Tensor:
        """Two ``(N, features, H, W)`` to one."""
        return self.alpha * multi_scale + self.beta * condition
