"""Weights of a colour network converted for the same network with one channel, and how far the two differ.

A grey image is a colour image whose channels are equal: a first layer may see it once with the sum of its
weights, and an output that will be averaged over the channels may be computed once with their average. What
lies between is untouched. Where a network does something else with colour, the comparison shows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from srbench.utils.errors import SrbenchError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from srbench.models import SRModel
    from srbench.models.base import GreyShift

COLOURS = 3
TOLERANCE = 0.5
"""Grey levels of 255 by which the interior may differ: less than rounding to 8 bits moves it."""

_MULTIPLY_ADDS = 1e11
"""What running a probe may cost, about."""
_LEAST_SIDE, _MOST_SIDE, _INTERIOR = 48, 128, 16


@dataclass(frozen=True)
class GreyConversion:
    """How far the converted grey network is from the colour network on the same grey probe image.

    Attributes:
        interior: largest difference away from the border, in grey levels of 255.
        border: largest difference near the border, where the padding of a network sees the colour means.
        margin: LR pixels that count as border.
    """

    interior: float
    border: float
    margin: int

    @property
    def described(self) -> str:
        """For manifests and messages."""
        return (
            f"converted from colour to grey; differs from the colour network by up to {self.interior:.2g} "
            f"grey levels on a probe image, by {self.border:.2g} within {self.margin} LR pixels of its border"
        )


def to_grey(grey: SRModel, colour: SRModel, state: Mapping[str, Tensor]) -> GreyConversion:
    """Load colour weights into a grey network, in place, and compare the two.

    Args:
        grey: the network for one channel; receives the converted weights.
        colour: the same network for three channels; receives ``state``.
        state: weights that fit ``colour``.

    Raises:
        SrbenchError: colour is handled in a way one channel cannot repeat; ``grey`` is then as before.
    """
    before = {name: tensor.clone() for name, tensor in grey.network.state_dict().items()}
    was_training = grey.network.training
    colour.network.load_state_dict({**counters(colour.network), **state})
    try:
        grey.network.load_state_dict(converted(grey.network, colour.network))
        proof = compare_networks(grey, colour)
        if not proof.interior <= TOLERANCE:
            raise SrbenchError(
                f"{grey.card.name} {grey.variant} treats the three colours in a way that one channel cannot "
                f"repeat: on a grey probe image the converted network is off by {proof.interior:.3g} grey "
                f"levels (allowed: {TOLERANCE:g}). Run the colour network on grey images instead, which is "
                "exact: channels=3 (train: --channels 3), or leave --rgb-to-grey out."
            )
    except SrbenchError:
        grey.network.load_state_dict(before)
        raise
    finally:
        grey.network.train(was_training)
    return proof


def converted(grey: nn.Module, colour: nn.Module) -> dict[str, Tensor]:
    """The weights of ``colour`` in the shapes of ``grey``; constants are those of ``grey``.

    Raises:
        SrbenchError: a tensor is neither of the same shape nor three times as large.
    """
    from torch import nn

    learned = {name for name, _ in grey.named_parameters()}
    source = colour.state_dict()
    result = {}
    for name, target in grey.state_dict().items():
        tensor = source.get(name)
        if tensor is not None and tensor.shape == target.shape:
            result[name] = tensor
        elif name not in learned:
            result[name] = target
        elif tensor is None:
            raise _not_convertible(name, "is missing")
        else:
            # The inputs of a transposed convolution come first.
            layer = grey.get_submodule(name.rpartition(".")[0])
            transposed = isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)) and name.endswith(
                "weight"
            )
            result[name] = _merged(name, tensor, tuple(target.shape), transposed)
    shift = getattr(colour, "grey_shift", None)
    return result if shift is None else _shifted(result, source, shift)


def counters(network: nn.Module) -> dict[str, Tensor]:
    """The batch counters of a network, which files may lack."""
    from srbench.weights.detect import is_counter

    return {name: tensor for name, tensor in network.state_dict().items() if is_counter(name)}


def compare_networks(grey: SRModel, colour: SRModel) -> GreyConversion:
    """Compare the two networks on a grey image made here, large enough for an interior."""
    import torch

    side, margin = _probe_size(colour)
    lr = _probe_image(side).to(next(grey.network.parameters()).device)
    with torch.inference_mode():
        ours = grey.network.eval()(lr)
        theirs = colour.network.eval()(lr.expand(-1, COLOURS, -1, -1)).mean(dim=1, keepdim=True)
    # Unclamped: black and white would hide a difference.
    levels = 255.0 * (ours - theirs).abs()
    inside = slice(margin * grey.scale, (side - margin) * grey.scale)
    interior = float(levels[..., inside, inside].max())
    levels[..., inside, inside] = 0.0
    return GreyConversion(interior, float(levels.max()), margin)


def _probe_size(model: SRModel) -> tuple[int, int]:
    """Side of the probe image and the margin of its border, in LR pixels.

    The margin is the receptive radius where the network is cheap enough for so large an image.
    """
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    affordable = math.isqrt(int(_MULTIPLY_ADDS / max(parameters, 1)))
    radius = model.receptive_radius
    reach = math.ceil(radius) if radius is not None and math.isfinite(radius) else _MOST_SIDE
    side = max(_LEAST_SIDE, min(affordable, 2 * reach + _INTERIOR, _MOST_SIDE))
    side = math.ceil(side / model.size_multiple) * model.size_multiple
    return side, min((side - _INTERIOR) // 2, reach)


def _probe_image(side: int) -> Tensor:
    """``(1, 1, side, side)`` in [0, 1]: waves under noise, so that every frequency is there."""
    import torch

    at = torch.arange(side, dtype=torch.float32)
    waves = 0.5 + 0.2 * torch.sin(0.15 * at)[:, None] * torch.cos(0.4 * at)[None, :]
    noise = torch.rand(side, side, generator=torch.Generator().manual_seed(0)) - 0.5
    return (waves + 0.4 * noise).clamp(0.0, 1.0)[None, None]


def _merged(name: str, tensor: Tensor, shape: tuple[int, ...], transposed: bool) -> Tensor:
    """Averaged over colours in the output dimension, summed over them in the input dimension.

    In a dimension of ``3k`` the colours are the slowest index, as pixel shuffling has them.
    """
    if transposed:
        swapped = (shape[1], shape[0], *shape[2:])
        return _merged(name, tensor.transpose(0, 1), swapped, False).transpose(0, 1).contiguous()
    for axis, (size, expected) in enumerate(zip(tensor.shape, shape, strict=True)):
        if size == COLOURS * expected and axis < 2:
            parts = tensor.reshape(*tensor.shape[:axis], COLOURS, expected, *tensor.shape[axis + 1 :])
            tensor = parts.mean(dim=axis) if axis == 0 else parts.sum(dim=axis)
        elif size != expected:
            raise _not_convertible(name, f"has shape {tuple(tensor.shape)}, where grey needs {shape}")
    return tensor


def _shifted(state: dict[str, Tensor], colour: Mapping[str, Tensor], means: GreyShift) -> dict[str, Tensor]:
    """The biases of the first and the last layer, corrected for another mean (see ``GreyShift``)."""
    import torch

    kernel = colour[f"{means.first}.weight"].double().sum(dim=(2, 3))
    shift = torch.tensor(means.shift, dtype=torch.float64)
    first, last = f"{means.first}.bias", f"{means.last}.bias"
    per_input = shift.repeat_interleave(kernel.shape[1] // COLOURS)
    corrected = {first: (state[first].double() + kernel @ per_input).to(state[first].dtype)}
    if means.last:
        corrected[last] = (state[last].double() - shift.mean()).to(state[last].dtype)
    return {**state, **corrected}


def _not_convertible(name: str, problem: str) -> SrbenchError:
    return SrbenchError(
        f"These colour weights cannot be made grey: {name} {problem}. Run the colour network on grey images "
        "instead, which is exact: channels=3 (train: --channels 3), or leave --rgb-to-grey out."
    )


def colour_version(model: SRModel) -> SRModel:
    """The same network for three channels, freshly initialised."""
    import torch

    from srbench import models

    with torch.random.fork_rng(devices=[]):  # the caller's draws do not depend on what is built here
        built = models.create(model.card.name, scale=model.scale, channels=COLOURS, variant=model.variant)
    device = next((tensor.device for tensor in model.network.state_dict().values()), None)
    return built if device is None else replace(built, network=built.network.to(device))
