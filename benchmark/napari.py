"""The napari plug-in: a dock widget that enlarges an image layer and maps the detail that LR did not measure.

napari finds it by ``napari.yaml``; nothing of srbench imports this file. What takes long is done in threads:
looking for weights, importing torch, building the network, running it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import CheckBox, ComboBox, Container, Label, ProgressBar, PushButton, create_widget
from napari.layers import Image
from napari.qt.threading import thread_worker
from napari.utils import Colormap
from napari.utils.transforms import Affine
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QComboBox, QSizePolicy

from srbench import plugins
from srbench.datasets.images.databar import ImageRegion, without_databar
from srbench.datasets.images.decode import AnyArray, RawImage
from srbench.datasets.images.depth import common_depth
from srbench.inference.micrographs import enlarge_page, image_regions
from srbench.inference.predict import is_runnable, load_model, smoke_warning
from srbench.inference.results import UNMEASURED
from srbench.metrics.detail_maps import unmeasured_detail
from srbench.utils.errors import SrbenchError
from srbench.utils.image import to_grey
from srbench.version import __version__
from srbench.weights import TrainedWeights, candidates, left_out
from srbench.weights.find import recommended

if TYPE_CHECKING:
    from napari.viewer import Viewer

Report = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is: 0 where that is not known."""

MAP_RANGE = 0.1
"""Share of black to white from which on the map hides the image, the same for all images: maps compare."""
TINT = (0.9, 0.2, 0.9)
"""Of the map; not the report's colour of invented detail, as what was not measured may be right."""
_POLLED_MS = 100


class Cancelled(Exception):
    """The user does not wait for the result."""


@dataclass(frozen=True)
class NetworkChoice:
    """What an image can be enlarged with.

    Attributes:
        title: in the list.
        scale: magnification.
        model: registered name.
        weights: of the network; None for what learns nothing.
        facts: on what it was trained and how it did.
    """

    title: str
    scale: int
    model: str
    weights: TrainedWeights | None
    facts: str


def network_choices() -> tuple[list[NetworkChoice], list[str]]:
    """What ``srbench infer`` offers, and what is wrong with weights that cannot be used.

    First what is recommended, at first for enlarging; then the other weights at hand, the best first; then
    the interpolations.
    """
    there = candidates()
    best = recommended(there)
    listed, problems = plugins.list_cards()
    cards = {card.name: card for card in listed}
    choices = []
    for weights in (*best, *(file for file in there if file not in best)):
        network = weights.header
        card = cards.get(network.model)
        if card is None or not is_runnable(network, card):
            continue
        origin = "shipped" if weights.shipped else f"run {weights.path.parent.name}"
        warning = smoke_warning(network)
        mark = "smoke-trained, " if warning else ""
        title = f"{card.title} {network.variant} ({mark}{'recommended' if weights in best else origin})"
        training = f"{weights.training[:1].upper()}{weights.training[1:]}."
        sentences = (warning, training, weights.shipped.summary if weights.shipped else "")
        facts = " ".join(filter(None, sentences))
        choices.append(NetworkChoice(title, network.scale, network.model, weights, facts))
    choices += [
        NetworkChoice(card.title, scale, card.name, None, f"{card.summary} Nothing is learned.")
        for card in listed
        if card.family == "interpolation"
        for scale in card.scales
        if scale > 1
    ]
    return choices, [*problems, *left_out()]


@dataclass(frozen=True)
class LayerImages:
    """The images of a layer, where they lie, and how they are shown.

    Attributes:
        name: of the layer.
        array: ``(H, W)`` or ``(N, H, W)``, of colour with three or four channels behind; perhaps computed
            only when it is used.
        rgb: whether there are channels.
        stacked: whether there are several images.
        transform: from pixels to where they lie before ``affine``.
        lying: arguments of a layer that lies alike: ``rotate``, ``shear``, ``affine`` and units.
        shown: arguments of a grey layer that is shown alike.
    """

    name: str
    array: Any
    rgb: bool
    stacked: bool
    transform: Affine
    lying: dict[str, Any]
    shown: dict[str, Any]

    @classmethod
    def of(cls, layer: Image) -> LayerImages:
        """What a layer holds; none of its pixels is read yet.

        Raises:
            SrbenchError: it holds neither an image nor a stack of images.
        """
        part = "Add the part that you mean as a layer of its own: viewer.add_image(viewer.layers[0].data[0])."
        if layer.multiscale:
            raise SrbenchError(
                f"Expected one image, found a pyramid of {len(layer.data)} sizes in {layer.name}. {part}"
            )
        array = layer.data
        content = f"{' x '.join(map(str, array.shape))} {array.dtype} in {layer.name}"
        if layer.ndim not in (2, 3):
            raise SrbenchError(f"Expected rows and columns, or a stack of images, found {content}. {part}")
        if np.dtype(array.dtype).kind not in "uif" or 0 in array.shape:
            raise SrbenchError(
                f"Expected grey levels in 8 or 16 bits or floating point, found {content}. Convert it."
            )
        geometry = {name: getattr(layer, name) for name in ("scale", "rotate", "shear", "translate")}
        lying = {name: getattr(layer, name) for name in ("rotate", "shear", "units", "axis_labels")}
        lying["affine"] = layer.affine.affine_matrix
        looks = () if layer.rgb else ("contrast_limits", "gamma", "colormap")
        return cls(
            *(layer.name, array, layer.rgb, layer.ndim == 3, Affine(**geometry), lying),
            {name: getattr(layer, name) for name in looks},
        )

    def pages(self) -> list[RawImage]:
        """The images, transparency left out."""
        arrays = self.array if self.stacked else [self.array]
        channels = (..., slice(3)) if self.rgb else ...
        return [RawImage(np.asarray(array)[channels]) for array in arrays]

    def joined(self, pages: list[AnyArray]) -> AnyArray:
        """Results of the pages as the array of one layer."""
        return np.stack(pages) if self.stacked else pages[0]

    def enlarged(self, region: ImageRegion, scale: int) -> dict[str, Any]:
        """Arguments of a layer that lies over a region of this one, with pixels ``1/scale`` as large."""
        axes = len(self.transform.scale)
        sizes, first = np.ones(axes), np.zeros(axes)
        sizes[-2:] = 1.0 / scale
        # Centres of pixels lie at whole numbers, the first small one's beside that of the first large one.
        first[-2:] = np.array([region.rows.start, region.columns.start]) + (1.0 / scale - 1.0) / 2.0
        return {**self.lying, "scale": self.transform.scale * sizes, "translate": self.transform(first)}


@dataclass(frozen=True)
class EnlargedLayers:
    """Arrays with the arguments of their layers, the bottom one first, and what to know of them."""

    layers: tuple[tuple[AnyArray, dict[str, Any]], ...]
    remarks: tuple[str, ...]


def enlarge(
    images: LayerImages, choice: NetworkChoice, *, with_map: bool, report: Report = lambda *_: None
) -> EnlargedLayers:
    """The images of a layer as ``srbench infer`` writes them into a file, and where detail is not measured.

    Args:
        images: of the layer.
        choice: what to enlarge them with.
        with_map: add :func:`~srbench.metrics.detail_maps.unmeasured_detail`, in the grey levels of the layer.
        report: called after each tile; what it raises ends the work.

    Raises:
        SrbenchError: pixels that are no grey levels, weights that do not fit, too little memory, or a map at
            magnification 1.
    """
    _keep_triton_out()
    from srbench.inference.device import pick_device
    from srbench.inference.tiling import Tiler

    scale, remarks = choice.scale, dict[str, None]()
    path = choice.weights.path if choice.weights else None
    loaded = load_model(
        choice.model, weights=path, scale=scale, variant=None, tell=lambda text: remarks.update({text: None})
    )
    raws = images.pages()
    depth, regions = common_depth(map(without_databar, raws)), image_regions(raws)
    sizes = [raw.array[region.rows, region.columns].shape for raw, region in zip(raws, regions, strict=True)]
    pixels = sum(height * width for height, width, *_ in sizes)
    tiler = Tiler(loaded.model, device=pick_device("auto"), on_pixels=_counted("Enlarging", pixels, report))
    pages = [enlarge_page(tiler, raw, region, depth) for raw, region in zip(raws, regions, strict=True)]
    notes = [note for notes in (*(r.notes for r in regions), *(p.notes for p in pages)) for note in notes]
    remarks.update(dict.fromkeys(notes))

    record = asdict(loaded.record("", ""))
    fields = ("model", "variant", "weights_sha256", "trained_on", "scale")
    origin = {"version": __version__, **{field: record[field] for field in fields}, "layer": images.name}
    origin["warning"] = UNMEASURED
    name, lying = f"{images.name}_{choice.model}_x{scale}", images.enlarged(regions[0], scale)
    arguments = {**lying, **images.shown, "name": name, "metadata": {"srbench": origin}}
    layers = [(images.joined([page.array for page in pages]), arguments)]
    if with_map:
        on_pixels = _counted("Map of unmeasured detail", pixels * scale**2, report)
        black, white = map(float, depth.stored(np.array([0.0, 1.0]), raws[0]))
        maps: list[AnyArray] = []
        for raw, page in zip(raws, pages, strict=True):
            grey = to_grey(depth.grey(replace(raw, array=page.array))[0])
            detail = (white - black) * unmeasured_detail(grey, scale, on_pixels)
            maps.append(detail.astype(np.float32))
        shown = {
            "contrast_limits": (0.0, MAP_RANGE * (white - black)),
            "colormap": Colormap([(*TINT, 0.0), (*TINT, 1.0)], name="unmeasured detail"),
            "visible": False,  # the image first
            "metadata": {"srbench": {**origin, "map": "detail finer than LR, root mean square grey levels"}},
        }
        layers.append((images.joined(maps), {**lying, **shown, "name": f"unmeasured detail of {name}"}))
    return EnlargedLayers(tuple(layers), tuple(remarks))


def _keep_triton_out() -> None:
    """Without this the viewer crashes: Mesa's OpenGL and torch's compiler each bring an LLVM of their own.

    Torch imports the compiler whenever it computes shapes, and does without it where it is not installed.
    """
    libraries = Path("/proc/self/maps")
    if "triton" not in sys.modules and libraries.exists() and "libLLVM" in libraries.read_text():
        sys.modules["triton"] = None  # type: ignore[assignment]


def _counted(what: str, total: int, report: Report) -> Callable[[int], None]:
    """A callback that takes numbers of pixels and reports their sum."""
    done = 0

    def count(pixels: int) -> None:
        nonlocal done
        done += pixels
        report(what, min(done, total), total)

    count(0)
    return count


class EnlargeWidget(Container):  # type: ignore[misc]
    """The dock widget "srbench: enlarge".

    Args:
        napari_viewer: whose image layers are offered, and which is given the results; napari passes it.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = napari_viewer
        self._choices: list[NetworkChoice] = []
        self._worker: Any = None
        self._closed = False
        self._progress = ("", 0, 0)
        self._image = create_widget(name="image", label="image", annotation=Image)
        # Functions: napari sets all lists anew when a layer comes or goes.
        self._scale = ComboBox(name="scale", label="magnification", choices=self._scales)
        self._network = ComboBox(name="network", label="network", choices=self._networks)
        self._facts = Label(name="facts")
        self._map = CheckBox(name="map", text="map of detail that the image did not measure", value=True)
        self._start = PushButton(name="start", text="Enlarge", enabled=False)
        self._cancel = PushButton(name="cancel", text="Cancel", enabled=False)
        self._bar = ProgressBar(name="progress", visible=False)
        self._message = Label(name="message", value="Looking for weights ...")
        choosing = Container(widgets=[self._image, self._scale, self._network])
        pair = [self._start, self._cancel]
        buttons = Container(name="buttons", widgets=pair, layout="horizontal", labels=False)
        parts = [choosing, self._facts, self._map, buttons, self._bar, self._message]
        super().__init__(widgets=parts, labels=False)
        for text in (self._facts, self._message):
            text.native.setWordWrap(True)
            text.native.setTextFormat(Qt.TextFormat.PlainText)
            text.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        for choice in (self._image, self._scale, self._network):  # a long name does not make the dock wide
            choice.native.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            choice.native.setMinimumContentsLength(24)
        self._scale.changed.connect(self._show_networks)
        self._network.changed.connect(self._show_facts)
        self._start.changed.connect(self._run)
        self._cancel.changed.connect(self._stop)
        self._timer = QTimer(self.native)
        self._timer.timeout.connect(self._show_progress)
        self.native.destroyed.connect(self._leave)
        self._in_thread(lambda _: network_choices(), self._offer)
        self._cancel.enabled = False

    def _scales(self, _: ComboBox) -> list[tuple[str, int]]:
        scales = sorted({choice.scale for choice in self._choices})
        return [(f"x{scale}" if scale > 1 else "x1: denoise", scale) for scale in scales]

    def _networks(self, _: ComboBox) -> list[tuple[str, NetworkChoice]]:
        return [(choice.title, choice) for choice in self._choices if choice.scale == self._scale.value]

    def _offer(self, choices: tuple[list[NetworkChoice], list[str]]) -> None:
        self._choices, problems = choices
        active = self._viewer.layers.selection.active
        if chosen := [layer for layer in self._image.choices if layer == active]:
            self._image.value = chosen[0]
        self._scale.reset_choices()
        self._scale.value = self._choices[0].scale
        self._show_networks()
        self._message.value = "\n".join(problems)

    def _show_networks(self) -> None:
        self._network.reset_choices()
        self._map.enabled = self._scale.value != 1  # there no detail is finer than LR
        self._show_facts()

    def _show_facts(self) -> None:
        choice = self._network.value
        self._facts.value = choice.facts if choice else ""

    def _run(self) -> None:
        layer, choice = self._image.value, self._network.value
        with_map = self._map.value and choice.scale > 1
        if layer is None:
            self._message.value = "There is no image layer. Drag an image onto the window."
            return
        try:
            images = LayerImages.of(layer)
        except SrbenchError as error:
            self._message.value = str(error)
            return
        self._message.value = "Loading the network ..."
        self._in_thread(lambda report: enlarge(images, choice, with_map=with_map, report=report), self._add)

    def _add(self, result: EnlargedLayers) -> None:
        added = [self._viewer.add_image(array, **arguments) for array, arguments in result.layers]
        self._viewer.layers.selection.active = added[0]
        lines = [f"Added: {added[0].name}."]
        if len(added) > 1:
            lines.append("The map lies over it and is hidden: its eye in the list of layers shows it.")
        self._message.value = "\n".join([*lines, *result.remarks])

    def _in_thread(self, work: Callable[[Report], Any], then: Callable[[Any], None]) -> None:
        """Call a function in a thread, then another with its result here; one at a time.

        What a user can act on becomes a message, anything else a notification of napari.
        """

        def report(what: str, done: int, total: int) -> None:
            self._progress = what, done, total
            if worker.abort_requested:
                raise Cancelled

        def run() -> Any:
            try:
                return work(report)
            except Cancelled:
                return None
            except (SrbenchError, OSError, MemoryError) as error:
                return str(error) or "Not enough memory. Cut the image into parts."

        def returned(result: Any) -> None:
            if self._closed:
                return
            if isinstance(result, str):
                self._message.value = result
            else:
                then(result)

        def failed(error: Exception) -> None:
            if not self._closed:
                self._message.value = f"This should not have happened: {error!r}"

        worker = thread_worker(run)()
        worker.returned.connect(returned)
        worker.errored.connect(failed)
        worker.finished.connect(self._rest)
        self._worker, self._progress = worker, ("", 0, 0)
        self._start.enabled, self._cancel.enabled = False, True
        self._bar.visible = True
        self._timer.start(_POLLED_MS)
        worker.start()

    def _stop(self) -> None:
        self._worker.quit()
        self._cancel.enabled = False
        self._message.value = "Ending after this part of the image ..."

    def _leave(self) -> None:
        """What Qt had of the widget is gone; the thread ends by itself."""
        self._closed = True
        self._worker.quit()

    def _rest(self) -> None:
        if self._closed:
            return
        if self._worker.abort_requested:
            self._message.value = "Cancelled."
        self._timer.stop()
        self._bar.visible, self._cancel.enabled = False, False
        self._start.enabled = bool(self._choices)

    def _show_progress(self) -> None:
        what, done, total = self._progress
        self._bar.native.setRange(0, 1000 if total else 0)  # without an end it moves to and fro
        self._bar.native.setValue(1000 * done // total if total else 0)
        if what and self._cancel.enabled:
            self._message.value = f"{what} ..."
