"""What every network of the benchmark looks like from outside: its card, and inference on an LR image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srbench.utils.errors import ModelError, WrongSize

if TYPE_CHECKING:
    from torch import Tensor, nn

    from srbench.models.recipe import Budget, PretrainedSource, Recipe, RecipeRequest

NetworkFactory = Callable[[int, int, str], "nn.Module"]
RecipeFactory = Callable[["RecipeRequest"], "Recipe"]

StateConverter = Callable[[Mapping[str, "Tensor"]], dict[str, "Tensor"]]
"""Renames the tensors of other people's checkpoints of a network to the names used here.

It drops what a checkpoint stores but nobody learns (masks, index tables) and gives a state dict that it does
not know back as it is; it never fails on one.
"""


NOTHING_LEARNED = ("interpolation", "filter")
"""Families of methods that learn nothing."""


@dataclass(frozen=True)
class ReleasedWeights:
    """Weights that somebody published for one configuration of a model.

    Attributes:
        file: file name, unique among all models.
        variant: the variant they fit.
        scale: magnification.
        url: where the file is, or the page that hands it out.
        channels: image channels.
        licence: as the publisher states it; ``"not stated"`` where he does not.
        sha256: hex digest or its first digits, empty where nobody published one.
        direct: whether ``url`` gives the file itself; else a person has to fetch it there.
        note: what a user must know (training data, another degradation).
        tensors_sha256: hex digest of the file with its tensors alone that srbench's own results used.
        trained_on: kind of images.
    """

    file: str
    variant: str
    scale: int
    url: str
    channels: int = 3
    licence: str = "not stated"
    sha256: str = ""
    direct: bool = True
    note: str = ""
    tensors_sha256: str = ""
    trained_on: str = "photographs"


@dataclass(frozen=True)
class GreyShift:
    """Where the colour means of a network enter its arithmetic, so that its weights can serve grey images.

    A network that subtracts the mean of each colour before its first layer and adds it after its last has
    one mean where it is built for grey images; the difference goes into the biases of these two layers.

    Attributes:
        first: name of the first convolution, without ``.weight``.
        last: name of the last convolution, empty where the output is the image plus what is predicted: the
            means cancel there.
        shift: grey mean minus the mean of red, green and blue, in the network's own units.
    """

    first: str
    last: str
    shift: tuple[float, float, float]


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model before it is built.

    Attributes:
        name: the registered name, as typed on the command line.
        title: the name as printed in tables.
        family: ``interpolation``, ``filter``, ``regression``, ``adversarial``, ``variational`` or
            ``attention``.
        paper: URL of the publication.
        year: year of publication.
        scales: integer magnifications the factory can build.
        variants: variant names, the default first.
        channels: image channels the factory can build for (1 = grey SEM, 3 = RGB).
        trainable: whether there is anything to train.
        leaking: variants whose output depends on the HR image; they are never ranked.
        summary: one sentence a microscopist understands.
        licence: licence of this implementation.
        module: import path of the file that registered the model.
        released: weights that somebody published.
        publication: title of the paper, or of the program where there is none.
        authors: of the publication, as BibTeX takes them: ``Lim, Bee and Son, Sanghyun``.
    """

    name: str
    title: str
    family: str
    paper: str
    year: int
    scales: tuple[int, ...]
    variants: tuple[str, ...]
    channels: tuple[int, ...] = (1, 3)
    trainable: bool = True
    leaking: tuple[str, ...] = ()
    summary: str = ""
    licence: str = "Apache-2.0"
    module: str = ""
    released: tuple[ReleasedWeights, ...] = ()
    publication: str = ""
    authors: str = ""


@dataclass(frozen=True)
class SRModel:
    """One network with its card: the only thing the harness holds.

    Attributes:
        network: the raw generator, ``(N, C, H, W)`` in [0, 1] to ``(N, C, sH, sW)``. It may carry five
            attributes: ``size_multiple`` (int; LR sides must be divisible by it, default 1),
            ``receptive_radius`` (LR pixels one output pixel depends on to each side; ``math.inf`` for a
            global operator; None or absent when unknown, then the harness probes it), ``grey_shift``
            (a :class:`GreyShift` where colour means are part of the network), ``studio_luma`` and
            ``not_exported`` (see there). A leaking variant's network takes the HR image as its second
            argument.
        convert: makes a state dict of other people's layout one of this network's.
    """

    network: nn.Module
    card: ModelCard
    scale: int
    channels: int
    variant: str
    recipe_factory: RecipeFactory
    convert: StateConverter = dict

    @property
    def size_multiple(self) -> int:
        """LR height and width must be multiples of this; ``infer`` pads for it."""
        return int(getattr(self.network, "size_multiple", 1))

    @property
    def receptive_radius(self) -> float | None:
        """LR pixels to each side that one output pixel depends on; None when the network does not say."""
        radius = getattr(self.network, "receptive_radius", None)
        return None if radius is None else float(radius)

    @property
    def studio_luma(self) -> bool:
        """Whether a network for one channel learned from MATLAB's luma of colour images, 16 to 235 of 255.

        The weights decide it: those published with papers did, those trained by srbench see luma in full
        range. Grey images are given in full range to either.
        """
        return bool(getattr(self.network, "studio_luma", False))

    @property
    def not_exported(self) -> str:
        """Why no graph for other programs can be made of the network; empty where nothing is known."""
        return str(getattr(self.network, "not_exported", ""))

    @property
    def leaking(self) -> bool:
        """Whether this variant sees the HR image (then it is never ranked)."""
        return self.variant in self.card.leaking

    @property
    def published_state(self) -> dict[str, Tensor]:
        """The state dict as the authors' code saves it, with what it stores but nobody learns.

        The network's own where it has no method ``published_state``.
        """
        state: dict[str, Tensor] = getattr(self.network, "published_state", self.network.state_dict)()
        return state

    def infer(self, lr: Tensor, *, oracle_hr: Tensor | None = None) -> Tensor:
        """Super-resolve a batch in evaluation mode; never sees HR, unless the variant is a leaking one.

        Args:
            lr: ``(N, C, H, W)`` in [0, 1]; C is 1 or the network's own channel count. A grey image given to
                a colour network is replicated over the channels and the output averaged.
            oracle_hr: ``(N, C, scale*H, scale*W)``, the answer itself, for a leaking variant and no other.

        Returns:
            ``(N, C, scale*H, scale*W)`` float32 or float64 as given, clamped to [0, 1].

        Raises:
            ModelError: the input is not four-dimensional or has a channel count the network cannot take;
                a leaking variant is run without the HR image, or another one with it.
            WrongSize: the network gave an image of another size.
        """
        import torch

        self._check(lr, oracle_hr)
        grey_on_colour = lr.shape[1] == 1 and self.channels != 1
        images = [image for image in (lr, oracle_hr) if image is not None]
        if grey_on_colour:
            images = [image.expand(-1, self.channels, -1, -1) for image in images]
        with torch.inference_mode():
            sr = self._run_padded(*images)
            if grey_on_colour:
                sr = sr.mean(dim=1, keepdim=True)
            return sr.clamp(0.0, 1.0)

    def recipe(self, budget: Budget, pretrained: PretrainedSource | None = None) -> Recipe:
        """How to train this network within ``budget`` (``smoke``, ``short`` or ``paper``).

        Raises:
            ModelError: the model has nothing to train.
        """
        from srbench.models.recipe import RecipeRequest, nothing_pretrained

        if not self.card.trainable:
            raise ModelError(f"{self.card.name} has no parameters to train; evaluate it directly.")
        return self.recipe_factory(
            RecipeRequest(budget, self.scale, self.channels, self.variant, pretrained or nothing_pretrained)
        )

    def _check(self, lr: Tensor, hr: Tensor | None) -> None:
        if lr.ndim != 4 or lr.shape[1] not in (1, self.channels):
            raise ModelError(
                f"{self.card.name} expects (N, {self.channels}, H, W), found {tuple(lr.shape)}; "
                "give a 4-D batch with 1 channel or the network's own channel count."
            )
        if self.leaking != (hr is not None):
            raise ModelError(
                f"{self.card.name} {self.variant} looks at the HR image; pass it explicitly as oracle_hr."
                if self.leaking
                else f"{self.card.name} {self.variant} works from the LR image alone; do not give it HR."
            )
        if hr is not None and hr.shape[-2:] != (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale):
            raise ModelError(
                f"oracle_hr must be {self.scale} times as large as lr {tuple(lr.shape[-2:])}, "
                f"found {tuple(hr.shape[-2:])}."
            )

    def _run_padded(self, lr: Tensor, *hr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        padded = [pad_to_multiple(lr, self.size_multiple)]
        padded += [pad_to_multiple(image, self.size_multiple * self.scale) for image in hr]
        was_training = self.network.training
        self.network.eval()
        try:
            sr: Tensor = self.network(*padded)
        finally:
            self.network.train(was_training)
        rows, columns = padded[0].shape[-2:]
        if sr.shape[-2:] != (rows * self.scale, columns * self.scale):
            raise WrongSize(
                f"{self.card.name} gave {tuple(sr.shape[-2:])} pixels for an LR image of {rows, columns}; "
                f"at scale {self.scale} it must give {self.scale} times that."
            )
        return sr[..., : height * self.scale, : width * self.scale]


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pad bottom and right so that both sides are multiples of ``multiple``.

    Reflects where the image is large enough and replicates the edge where it is not.
    """
    import torch.nn.functional as F

    height, width = image.shape[-2:]
    bottom = math.ceil(height / multiple) * multiple - height
    right = math.ceil(width / multiple) * multiple - width
    if not bottom and not right:
        return image
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(image, (0, right, 0, bottom), mode=mode)
