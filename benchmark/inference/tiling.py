"""Inference on images of any size: whole where they fit into memory, else in tiles that equal the whole.

A tile is run with a halo as wide as the receptive radius, starting on a multiple of the network's size
multiple, and only its core is kept: the numbers are those of the whole image, not a blend. Where the halo
cannot be that wide (a network of global reach, or too little memory) the result says so. When memory runs out
the tile that failed is cut into smaller ones and run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from srbench.inference.device import WORKSPACE_FACTOR, activation_bytes, available_bytes, is_out_of_memory
from srbench.inference.profiling import measured_radius
from srbench.models import SRModel
from srbench.utils.errors import SrbenchError
from srbench.utils.memory import kept_memory
from srbench.utils.progress import human_bytes

MEMORY_SHARE = 0.5
"""Share of the free memory that is used when no limit was given."""

ENOUGH_ON_CPU = 2e9
"""Bytes of activations within which tiles are sought on a CPU: larger ones take memory from others."""

FRUGAL_TILE = 4
"""A tile of this many halos runs at most 2.25 pixels for each one that is kept."""

MORE_PIXELS = 1.1
"""How many more pixels may be run for smaller tiles: time follows the pixels, memory the tiles."""

GLOBAL_HALO = 64
"""Halo in LR pixels, where memory allows, for a network of global reach."""

SMALLEST_TILE = 16

Output = Literal["float32", "uint8"]


class NotFinite(SrbenchError):
    """A network gave NaN or infinity."""


@dataclass(frozen=True)
class Region:
    """A rectangle of LR pixels, ends exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def grown(self, halo: int, height: int, width: int) -> Region:
        """With ``halo`` pixels on every side, within the image."""
        return Region(
            max(self.top - halo, 0),
            max(self.left - halo, 0),
            min(self.bottom + halo, height),
            min(self.right + halo, width),
        )

    def times(self, scale: int) -> Region:
        """The same part of an image ``scale`` times as large."""
        return Region(self.top * scale, self.left * scale, self.bottom * scale, self.right * scale)

    def cut(self, image: Tensor) -> Tensor:
        """This part of ``(..., H, W)``."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def split(self, tile: int) -> Iterator[Region]:
        """Parts of at most ``tile`` pixels a side, row by row."""
        for top in range(self.top, self.bottom, tile):
            for left in range(self.left, self.right, tile):
                yield Region(top, left, min(top + tile, self.bottom), min(left + tile, self.right))


@dataclass(frozen=True)
class Tiling:
    """How an image is run.

    Attributes:
        tile: side of a tile's core in LR pixels; at least the image's sides when it is run whole.
        halo: surroundings run with a tile, to each side, in LR pixels.
        exact: whether the halo covers the receptive radius (or the image is run whole).
    """

    tile: int
    halo: int
    exact: bool


@dataclass(frozen=True)
class Inference:
    """A super-resolved image and how it was made.

    Attributes:
        sr: ``(N, C, scale*H, scale*W)`` on the CPU, float32 in [0, 1] or uint8.
        tiles: network runs that were kept.
        tile: side of the smallest tile's core in LR pixels.
        halo: smallest halo in LR pixels.
        exact: whether the result equals that of the whole image (up to float rounding).
        retries: how often memory ran out on the way.
    """

    sr: Tensor
    tiles: int
    tile: int
    halo: int
    exact: bool
    retries: int

    def summary(self) -> dict[str, Any]:
        """Everything but the image, for a manifest."""
        return {name: value for name, value in vars(self).items() if name != "sr"}


@dataclass
class _Needs:
    """What has been found out of a network, which takes up to a second: shared by all tilers of it.

    Attributes:
        weights: how often they have been written, and their bytes: with others all is found out anew.
        radius: receptive radius, where it was measured.
        bytes: of the activations of images of a height and width.
    """

    weights: tuple[int, int]
    radius: float | None = None
    bytes: dict[tuple[int, int], int] = field(default_factory=dict)


_needs: WeakKeyDictionary[nn.Module, _Needs] = WeakKeyDictionary()


def _needs_of(network: nn.Module) -> _Needs:
    tensors = [tensor for tensor in network.parameters() if not tensor.is_inference()]
    weights = sum(tensor._version for tensor in tensors), sum(tensor.nbytes for tensor in tensors)
    needs = _needs.get(network)
    if needs is None or needs.weights != weights:
        needs = _needs[network] = _Needs(weights)
    return needs


def tell_needs(network: nn.Module, needs: Iterable[tuple[int, int, int]]) -> None:
    """Height, width and :func:`activation_bytes` of images, found by another process.

    To count them imports a second of torch.
    """
    _needs_of(network).bytes.update({(height, width): needed for height, width, needed in needs})


class Tiler:
    """Runs one model on images of any size.

    Args:
        model: its network is moved to ``device``.
        device: where to run.
        tile: side of a tile's core in LR pixels; None chooses by memory.
        max_bytes: memory for the activations. When None half of what is free; on a CPU no more than
            ``ENOUGH_ON_CPU`` where that costs little, as larger tiles are no faster there.
        output: ``float32``, or ``uint8`` (rounded half up) which needs a quarter of the memory.
        on_pixels: called after each tile with the LR pixels of its core.
    """

    def __init__(
        self,
        model: SRModel,
        *,
        device: torch.device | str = "cpu",
        tile: int | None = None,
        max_bytes: int | None = None,
        output: Output = "float32",
        on_pixels: Callable[[int], None] | None = None,
    ) -> None:
        self.model = model
        self.device = torch.device(device)
        self.tile = tile
        self.max_bytes = max_bytes
        self.output: Output = output
        self.on_pixels = on_pixels
        model.network.to(self.device)

    def __call__(
        self, lr: Tensor, *, oracle_hr: Tensor | None = None, tiling: Tiling | None = None
    ) -> Inference:
        """Super-resolve ``(N, C, H, W)`` in [0, 1].

        Args:
            lr: the image.
            oracle_hr: the HR image, for a leaking variant and no other.
            tiling: how to run it, to repeat another run bit for bit; by memory when None.

        Raises:
            NotFinite: the network gave NaN.
            WrongSize: it gave an image of another size.
            SrbenchError: not even the smallest tile fits into memory.
        """
        images, _, height, width = lr.shape
        run = _TiledRun(self, lr, tiling or self.tiling(height, width, images), oracle_hr)
        with kept_memory() if self.device.type == "cpu" else nullcontext():
            return run.run()

    @property
    def radius(self) -> float:
        """Receptive radius in LR pixels: declared by the network, else measured; inf when global."""
        declared = self.model.receptive_radius
        if declared is not None:
            return declared
        needs = _needs_of(self.model.network)
        if needs.radius is None:
            needs.radius = measured_radius(self.model)
        return needs.radius

    def tiling(self, height: int, width: int, images: int = 1) -> Tiling:
        """How an image of this size is run within the memory.

        Raises:
            SrbenchError: not even the result with the smallest tile fits into what is there.
        """
        chosen = self._chosen(height, width, images)
        free, window = available_bytes(self.device), chosen.tile + 2 * chosen.halo
        if self._least_bytes(window, height, width, images) <= free:
            return chosen
        # Tiles of that size will not fit, and smaller ones are tried when memory runs out.
        smallest = self._multiple(SMALLEST_TILE)
        needed = self._least_bytes(smallest, height, width, images)
        if needed > free:
            raise SrbenchError(
                f"{self.model.card.name} needs {human_bytes(needed)} of memory for {width} x {height} pixels "
                f"at x{self.model.scale}, however small the tiles, and {human_bytes(free)} are free on "
                f"{self.device}. Free memory, raise the limit (ulimit -v, that of the container), cut the "
                "image into parts, or use another --device."
            )
        return chosen

    def _least_bytes(self, window: int, height: int, width: int, images: int) -> float:
        """Bytes on the device for one window, without the workspace; on a CPU the result lies there too."""
        needed = images * self._bytes_needed(min(window, height), min(window, width)) / WORKSPACE_FACTOR
        if self.device.type == "cpu":
            size = 1 if self.output == "uint8" else 4
            needed += images * self.model.channels * height * width * self.model.scale**2 * size
        return needed

    def _chosen(self, height: int, width: int, images: int) -> Tiling:
        side = max(height, width)
        if self.tile is not None:
            tile = self._multiple(self.tile)
            if tile >= side:
                return Tiling(tile, 0, True)
            return Tiling(tile, self._halo(), math.isfinite(self.radius))
        if self.max_bytes is not None:
            return self._tiling_within(height, width, images, self.max_bytes)
        share = available_bytes(self.device) * MEMORY_SHARE
        if self.device.type == "cpu":
            enough = min(share, ENOUGH_ON_CPU)
            frugal = self._tiling_within(height, width, images, enough)
            if frugal.tile < side and frugal.exact and frugal.tile >= FRUGAL_TILE * frugal.halo:
                most = MORE_PIXELS * _pixels_run(frugal, height, width)
                smaller = [self._tiling_within(height, width, images, enough / n) for n in (8, 4, 2)]
                return next((t for t in smaller if t.exact and _pixels_run(t, height, width) <= most), frugal)
            if frugal.exact and frugal.tile >= FRUGAL_TILE * frugal.halo:
                return frugal
        return self._tiling_within(height, width, images, share)

    def smaller(self, tiling: Tiling, sides: tuple[int, int]) -> Tiling | None:
        """What to try after memory ran out on a region of these sides; None when nothing is left."""
        multiple = self.model.size_multiple
        tile = min(tiling.tile, self._multiple(max(sides)))
        if tile > max(multiple, SMALLEST_TILE):
            halo = tiling.halo or self._halo()
            return Tiling(self._multiple(tile / 2), halo, tiling.exact and math.isfinite(self.radius))
        if tiling.halo >= 2 * multiple:
            return Tiling(tiling.tile, self._multiple_below(tiling.halo // 2), False)
        return None

    def _tiling_within(self, height: int, width: int, images: int, budget: float) -> Tiling:
        """The largest tiles whose activations fit into so many bytes."""
        side = max(height, width)
        if images * self._bytes_needed(height, width) <= budget:
            return Tiling(self._multiple(side), 0, True)
        window = self._largest_window(budget // images, side)
        if math.isfinite(self.radius):
            halo = self._halo()
            tile = self._multiple_below(window - 2 * halo)
            # A core much smaller than its halo would run every pixel dozens of times.
            if tile >= max(halo // 2, self.model.size_multiple):
                return Tiling(tile, halo, True)
        halo = min(self._multiple_below(window // 4), self._multiple(min(GLOBAL_HALO, self.radius)))
        tile = max(self._multiple_below(window - 2 * halo), self.model.size_multiple)
        return Tiling(tile, halo, tile >= side)

    def _halo(self) -> int:
        """Surroundings that a tile should be run with: the receptive radius where that is finite."""
        if not math.isfinite(self.radius):
            return self._multiple(GLOBAL_HALO)
        # Padding to the size multiple mirrors up to multiple - 1 rows, which must be in the window.
        return self._multiple(max(math.ceil(self.radius), self.model.size_multiple - 1))

    def _largest_window(self, budget: float, side: int) -> int:
        """Largest window side, a multiple of the size multiple, whose activations fit the budget."""
        low, high = 1, math.ceil(side / self.model.size_multiple)
        while low < high:
            middle = (low + high + 1) // 2
            window = middle * self.model.size_multiple
            if self._bytes_needed(window, window) <= budget:
                low = middle
            else:
                high = middle - 1
        return low * self.model.size_multiple

    def _bytes_needed(self, height: int, width: int) -> float:
        known_sizes = _needs_of(self.model.network).bytes
        if (height, width) not in known_sizes:  # images of a dataset share few sizes
            known_sizes[height, width] = activation_bytes(self.model, height, width)
        return known_sizes[height, width] * WORKSPACE_FACTOR

    def _multiple(self, length: float) -> int:
        """``length`` rounded up to the size multiple."""
        multiple = self.model.size_multiple
        return max(math.ceil(length / multiple), 1) * multiple if length else 0

    def _multiple_below(self, length: int) -> int:
        return length // self.model.size_multiple * self.model.size_multiple


def _laid_out(lr: Tensor) -> Tensor:
    """The same values, on a CPU in the memory layout that convolutions hand on and are fastest in."""
    if lr.device.type != "cpu" or lr.dtype != torch.float32:
        return lr
    if lr.shape[1] > 1:
        return lr.contiguous(memory_format=torch.channels_last)
    # With one channel both layouts are the same bytes; the strides say which is meant.
    height, width = lr.shape[-2:]
    return lr.contiguous().as_strided(lr.shape, (height * width, 1, width, 1))


def _pixels_run(tiling: Tiling, height: int, width: int) -> int:
    """LR pixels that the network sees in all tiles of an image, halos included."""
    tiles = Region(0, 0, height, width).split(tiling.tile)
    return sum(math.prod(tile.grown(tiling.halo, height, width).sides) for tile in tiles)


class _TiledRun:
    """One image on its way through the tiler."""

    def __init__(self, tiler: Tiler, lr: Tensor, tiling: Tiling, hr: Tensor | None) -> None:
        self.tiler = tiler
        self.scale = tiler.model.scale
        self.lr = lr
        self.hr = hr
        self.tiling = tiling
        self.tiles = self.retries = 0
        images, channels, height, width = lr.shape
        dtype = torch.uint8 if tiler.output == "uint8" else torch.float32
        self.sr = torch.empty(images, channels, height * self.scale, width * self.scale, dtype=dtype)

    def run(self) -> Inference:
        pending = [Region(0, 0, int(self.lr.shape[-2]), int(self.lr.shape[-1]))]
        while pending:
            region = pending.pop()
            if max(region.sides) > self.tiling.tile:
                pending.extend(reversed(list(region.split(self.tiling.tile))))
            elif not self._fits(region):
                pending.append(region)
        tiling = self.tiling
        return Inference(self.sr, self.tiles, tiling.tile, tiling.halo, tiling.exact, self.retries)

    def _fits(self, region: Region) -> bool:
        """Run and paste one region; False, with smaller tiles for the next try, when memory ran out."""
        try:
            region.times(self.scale).cut(self.sr).copy_(self._run(region))
            self.tiles += 1
            if self.tiler.on_pixels is not None:
                self.tiler.on_pixels(math.prod(region.sides))
            return True
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, where the exception no longer keeps the failed run's tensors alive.
        if self.tiler.device.type == "cuda":
            torch.cuda.empty_cache()
        smaller = self.tiler.smaller(self.tiling, region.sides)
        if smaller is None:
            raise SrbenchError(
                f"{self.tiler.model.card.name} does not fit into the memory of {self.tiler.device} even in "
                f"tiles of {self.tiling.tile} LR pixels; free memory, or use --device cpu."
            )
        self.tiling = smaller
        self.retries += 1
        return False

    def _run(self, region: Region) -> Tensor:
        """The super-resolved core of a region, on the CPU."""
        window = region.grown(self.tiling.halo, int(self.lr.shape[-2]), int(self.lr.shape[-1]))
        hr = None if self.hr is None else window.times(self.scale).cut(self.hr).to(self.tiler.device)
        sr = self.tiler.model.infer(_laid_out(window.cut(self.lr).to(self.tiler.device)), oracle_hr=hr)
        top, left = region.top - window.top, region.left - window.left
        height, width = region.sides
        core = Region(top, left, top + height, left + width).times(self.scale).cut(sr)
        if not bool(torch.isfinite(core).all()):
            name = self.tiler.model.card.name
            raise NotFinite(f"{name} gave NaN: its weights or its input are broken.")
        if self.tiler.output == "float32":
            return core.float().cpu()
        from srbench.datasets.degrade import quantise

        return (quantise(core) * 255.0).round().to(torch.uint8).cpu()
