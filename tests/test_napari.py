"""The napari plug-in: what the widget adds to a viewer, and where it lies. Windows need a display."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

pytest.importorskip("napari", reason="the napari extra is not installed")
pytest.importorskip("pytestqt", reason="pytest-qt is not installed")

with contextlib.suppress(ImportError):
    import triton  # noqa: F401  # before the first window: behind Mesa's LLVM its own crashes

from napari.layers import Image
from npe2 import PluginManifest

import srbench
from srbench import models, weights
from srbench.inference.predict import infer, load_model
from srbench.napari import Cancelled, EnlargedLayers, LayerImages, NetworkChoice, enlarge, network_choices
from srbench.utils.errors import SrbenchError
from srbench.utils.paths import runs_folder
from srbench.weights.find import shipped
from srbench.weights.io import header_of

torch.set_num_threads(1)
pytestmark = pytest.mark.slow
needs_display = pytest.mark.skipif(
    sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"},
    reason="no display: xvfb-run pytest",
)
PATIENCE_MS = 120_000


def choice(name: str, scale: int) -> NetworkChoice:
    """The first offer of a model, as the widget lists it."""
    return next(one for one in network_choices()[0] if (one.model, one.scale) == (name, scale))


def enlarged(layer: Image, name: str, scale: int, with_map: bool = False) -> list[Image]:
    result = enlarge(LayerImages.of(layer), choice(name, scale), with_map=with_map)
    return [Image(array, **arguments) for array, arguments in result.layers]


def noise(top: float, dtype: Any, shape: tuple[int, ...] = (24, 30)) -> Any:
    image = np.random.default_rng(1).random(shape) * top
    image.flat[:2] = 0, top
    return image.astype(dtype)


def micrograph(height: int = 160, width: int = 200) -> Any:
    """Grey noise with a white databar and black text on it in the last rows."""
    image = np.random.default_rng(2).normal(110, 25, (height, width)).clip(0, 255).astype(np.uint8)
    image[-30:] = 255
    image[-20:-10, 20 : width // 2 : 3] = 0
    return image


@pytest.mark.parametrize(
    "pixels",
    [
        noise(255, np.uint8),
        noise(4095, np.uint16),
        noise(65535, np.uint16),
        noise(1.0, np.float32),
        noise(200.5, np.float64),
        noise(255, np.uint8, (24, 30, 3)),
        noise(4095, np.uint16, (3, 24, 30)),
        micrograph(),
        np.stack([micrograph()] * 2),
    ],
    ids=lambda pixels: f"{pixels.dtype}-{pixels.shape}-{pixels.max():g}",
)
@pytest.mark.parametrize(("name", "scale"), [("edsr", 2), ("vdsr", 1), ("bicubic", 3)])
def test_a_layer_becomes_what_infer_writes_for_the_same_pixels(
    pixels: Any, name: str, scale: int, tmp_path: Path
) -> None:
    colour = pixels.shape[-1] == 3
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb" if colour else "minisblack")
    outcome = infer(name, tmp_path / "a.tif", out=tmp_path, scale=scale, tell=lambda _: None)
    (path,) = outcome.written
    expected = tifffile.imread(path)
    (layer,) = enlarged(Image(pixels, rgb=colour), name, scale)
    assert layer.data.dtype == expected.dtype
    assert layer.data.dtype == (np.float32 if pixels.dtype.kind == "f" else pixels.dtype)
    np.testing.assert_array_equal(layer.data, expected)


def centre_of_gravity(pixels: Any) -> Any:
    mass = pixels.astype(np.float64) - pixels.min()
    return np.array([(mass * where).sum() for where in np.indices(pixels.shape)]) / mass.sum()


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_point_stays_where_it_is_in_the_world(scale: int, framed: bool) -> None:
    """However the layer is turned, sheared and moved; what is cut off beside the image moves nothing."""
    rows, columns = np.indices((48, 56))
    spot = 20 + 200 * np.exp(-((rows - 21.3) ** 2 + (columns - 30.6) ** 2) / (2 * 2.5**2))
    pixels = np.repeat(spot.round().astype(np.uint8)[..., None], 3, axis=2)
    if framed:
        pixels = np.pad(pixels, ((2, 1), (2, 1), (0, 0)))
        pixels[[0, -1]] = pixels[:, [0, -1]] = 0, 255, 0
    affine = np.array([[0.9, 0.1, -3.0], [-0.2, 1.1, 7.0], [0.0, 0.0, 1.0]])
    lying = {"scale": (2.0, 3.5), "translate": (11, -5), "rotate": 30, "shear": [0.3], "affine": affine}
    source = Image(pixels, rgb=True, units=("nm", "um"), **lying)
    result, shown = enlarged(source, "bicubic", scale, with_map=True)
    at_source = np.array([21.3, 30.6]) + (2 if framed else 0)
    at_result = centre_of_gravity(result.data)
    pixel = np.linalg.norm(np.subtract(source.data_to_world((1, 1)), source.data_to_world((0, 0))))
    for layer in (result, shown):
        assert layer.units == source.units
        off = np.subtract(layer.data_to_world(at_result), source.data_to_world(at_source))
        assert np.linalg.norm(off) < 0.01 * pixel
    assert result.scale == pytest.approx(source.scale / scale)


def test_the_number_of_an_image_in_a_stack_keeps_its_place() -> None:
    source = Image(noise(255, np.uint8, (3, 24, 30)), scale=(7.0, 2.0, 2.0), translate=(100.0, 0.0, 0.0))
    (result,) = enlarged(source, "bicubic", 2)
    assert result.data.shape == (3, 48, 60)
    world = source.data_to_world((2, 0, 0))
    assert result.data_to_world((2, 0.5, 0.5)) == pytest.approx(world)


def test_the_layer_looks_as_its_source_and_names_model_weights_and_version() -> None:
    source = Image(
        noise(4095, np.uint16), name="grain", contrast_limits=(100, 2000), gamma=0.7, colormap="red"
    )
    (result,) = enlarged(source, "edsr", 2)
    shipped = choice("edsr", 2).weights
    assert shipped is not None
    record = result.metadata["srbench"]
    assert (record["model"], record["variant"], record["scale"]) == ("edsr", "tiny", 2)
    assert (record["weights_sha256"], record["version"]) == (
        shipped.sha256,
        srbench.__version__,
    )
    assert (result.name, result.gamma, result.colormap.name) == ("grain_edsr_x2", 0.7, "red")
    assert list(result.contrast_limits) == [100, 2000]


@pytest.mark.parametrize(("top", "dtype"), [(255, np.uint8), (4095, np.uint16), (1.0, np.float32)])
def test_the_map_is_the_detail_that_pixel_repetition_adds_to_a_wave(top: float, dtype: Any) -> None:
    """Repeated pixels are the wave, damped by Dirichlet's kernel, and its copies above the LR Nyquist."""
    scale, cycles, amplitude = 4, 1 / 8, 0.4 * top
    wave = np.sin(2 * np.pi * cycles * np.arange(96)) * np.ones((96, 1))
    pixels = 0.5 * top + amplitude * wave
    pixels[0, 0], pixels[-1, -1] = 0, top  # the bits that the numbers take
    pixels = pixels.astype(dtype) if np.dtype(dtype).kind == "f" else pixels.round().astype(dtype)
    _, shown = enlarged(Image(pixels), "nearest", scale, with_map=True)
    kept = math.sin(math.pi * cycles) / (scale * math.sin(math.pi * cycles / scale))
    expected = amplitude * math.sqrt((1 - kept**2) / 2)
    middle = shown.data[160:-160, 160:-160]
    assert shown.data.shape == (384, 384)
    assert math.sqrt(np.square(middle, dtype=np.float64).mean()) == pytest.approx(expected, rel=0.02)
    assert np.abs(middle - expected).max() < 0.1 * expected


def test_the_map_of_an_even_image_is_empty() -> None:
    _, shown = enlarged(Image(np.full((40, 40), 77, np.uint8)), "edsr", 2, with_map=True)
    assert (
        float(shown.data[20:-20, 20:-20].max()) < 0.5
    )  # of the grey levels, at the border a network may err


@pytest.mark.parametrize(
    "layer",
    [
        Image(np.zeros((2, 3, 20, 20), np.uint8)),
        Image(np.zeros((20, 20), bool)),
        Image(np.zeros((0, 20, 20), np.uint8)),
        Image([np.zeros((40, 40), np.uint8), np.zeros((20, 20), np.uint8)], multiscale=True),
    ],
    ids=["4-D", "bool", "empty", "pyramid"],
)
def test_what_is_no_image_is_refused_before_anything_is_loaded(layer: Image) -> None:
    with pytest.raises(SrbenchError, match=r"Expected .*found .*\. (Add|Convert) "):
        LayerImages.of(layer)


@pytest.mark.parametrize("pixels", [np.full((20, 20), np.nan), np.linspace(-3, 3, 400).reshape(20, 20)])
def test_numbers_that_are_no_grey_levels_are_refused(pixels: Any) -> None:
    with pytest.raises(SrbenchError):
        enlarge(LayerImages.of(Image(pixels, contrast_limits=(0, 1))), choice("bicubic", 2), with_map=False)


def test_the_recommended_network_comes_first_as_infer_takes_it() -> None:
    choices, problems = network_choices()
    assert not problems
    for scale in (None, 1, 2, 4):
        first = next(one for one in choices if scale in (None, one.scale))
        taken = load_model(None, weights=None, scale=scale, variant=None, tell=lambda _: None)
        assert first.weights is not None and first.weights.sha256 == taken.weights_sha256
        assert first.weights.shipped is not None and first.weights.shipped.summary in first.facts
        assert first.weights.header.dataset in first.facts
    assert {one.scale for one in choices if one.model == "bicubic"} == {2, 3, 4, 8}
    assert not {one.model for one in choices} & {"gaussian", "total_variation"}


def test_weights_trained_here_are_offered_and_called_smoke_where_they_are() -> None:
    model = models.create("edsr", scale=3, variant="tiny")
    header = weights.WeightsHeader(
        *("edsr", "tiny", 3, 1), dataset="mine", budget="smoke", version=header_of(model).version
    )
    path = runs_folder() / "mine" / "weights.safetensors"
    path.parent.mkdir(parents=True)
    weights.save(path, model.network.state_dict(), header)
    try:
        offer = choice("edsr", 3)
    finally:
        path.unlink()
    assert offer.weights is not None and offer.weights.path == path
    assert "mine" in offer.title and "smoke" in offer.title and "seconds" in offer.facts


def test_what_the_report_of_progress_raises_ends_the_work() -> None:
    steps: list[tuple[str, int, int]] = []

    def report(what: str, done: int, total: int) -> None:
        steps.append((what, done, total))
        if done:
            raise Cancelled

    layer = Image(noise(255, np.uint8, (4, 20, 30)))
    with pytest.raises(Cancelled):
        enlarge(LayerImages.of(layer), choice("edsr", 2), with_map=True, report=report)
    assert [done for _, done, _ in steps] == [0, 600]
    assert {total for *_, total in steps} == {2400}


def test_the_manifest_is_valid_and_its_widget_is_there() -> None:
    manifest = PluginManifest.from_distribution("srbench")
    manifest.validate_imports()
    assert manifest.contributions.widgets is not None
    (widget,) = manifest.contributions.widgets
    assert widget.display_name == "srbench: enlarge"


def part(widget: Any, name: str) -> Any:
    """A part of the dock widget, by its name."""
    for inner in widget:
        if inner.name == name:
            return inner
        if hasattr(inner, "__iter__") and (deeper := part(inner, name)) is not None:
            return deeper
    return None


@needs_display
def test_the_selected_image_is_chosen_beforehand(make_napari_viewer_proxy: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer_proxy()
    for name in ("first", "second", "third"):
        viewer.add_image(noise(255, np.uint8), name=name)
    viewer.layers.selection.active = viewer.layers["second"]
    _, widget = viewer.window.add_plugin_dock_widget("srbench", "srbench: enlarge")
    qtbot.waitUntil(lambda: part(widget, "start").enabled, timeout=PATIENCE_MS)
    assert part(widget, "image").value.name == "second"


@pytest.fixture
def opened(make_napari_viewer_proxy: Any, qtbot: Any) -> Any:
    """A viewer and the dock widget in it, as the menu of plug-ins opens it."""
    viewer = make_napari_viewer_proxy()
    _, widget = viewer.window.add_plugin_dock_widget("srbench", "srbench: enlarge")
    qtbot.waitUntil(lambda: part(widget, "start").enabled, timeout=PATIENCE_MS)
    return viewer, widget


@needs_display
def test_a_click_adds_the_image_and_the_map_and_builds_the_network_elsewhere(
    opened: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, widget = opened
    threads: list[threading.Thread] = []
    create = models.create

    def create_noticed(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return create(*arguments, **options)

    monkeypatch.setattr(models, "create", create_noticed)
    assert part(widget, "scale").value == 4 and "recommended" in part(widget, "network").current_choice
    part(widget, "scale").value = 2
    offer = part(widget, "network").value
    assert offer.scale == 2 and part(widget, "facts").value == offer.facts
    viewer.add_image(noise(65535, np.uint16, (40, 50)), name="grain", scale=(5, 5), units=("nm", "nm"))
    viewer.add_labels(np.zeros((40, 50), np.uint8), name="masks")
    assert [layer.name for layer in part(widget, "image").choices] == ["grain"]
    part(widget, "start").native.click()
    assert not part(widget, "start").enabled and part(widget, "cancel").enabled
    qtbot.waitUntil(lambda: part(widget, "start").enabled, timeout=PATIENCE_MS)
    assert threads and threading.main_thread() not in threads
    added = [layer for layer in viewer.layers if layer.name not in ("grain", "masks")]
    expected = enlarge(LayerImages.of(viewer.layers["grain"]), offer, with_map=True)
    assert [layer.name for layer in added] == [arguments["name"] for _, arguments in expected.layers]
    for layer, (array, _) in zip(added, expected.layers, strict=True):
        np.testing.assert_array_equal(layer.data, array)
    assert (part(widget, "network").value, part(widget, "scale").value) == (offer, 2)
    assert part(widget, "image").value.name == "grain"


@needs_display
def test_cancelled_work_ends_early_and_adds_nothing(opened: Any, qtbot: Any) -> None:
    viewer, widget = opened
    viewer.add_image(noise(255, np.uint8, (400, 64, 64)))
    reached: list[int] = []
    bar = part(widget, "progress").native
    bar.valueChanged.connect(reached.append)
    part(widget, "start").native.click()
    qtbot.waitUntil(lambda: any(value > 0 for value in reached), timeout=PATIENCE_MS)
    part(widget, "cancel").native.click()
    qtbot.waitUntil(lambda: part(widget, "start").enabled, timeout=PATIENCE_MS)
    assert len(viewer.layers) == 1
    assert max(reached) < bar.maximum()
    assert part(widget, "message").value == "Cancelled."


@needs_display
def test_what_cannot_be_enlarged_is_a_message_and_nothing_else(
    opened: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, widget = opened
    message, start = part(widget, "message"), part(widget, "start")
    start.native.click()
    assert "image layer" in message.value
    viewer.add_image(np.zeros((2, 3, 20, 20), np.uint8), name="four axes")
    start.native.click()
    assert "found 2 x 3 x 20 x 20 uint8 in four axes" in message.value
    viewer.layers.clear()
    viewer.add_image(np.full((20, 20), np.nan), name="nothing", contrast_limits=(0, 1))
    start.native.click()
    qtbot.waitUntil(lambda: start.enabled, timeout=PATIENCE_MS)
    assert "NaN" in message.value
    viewer.layers.clear()
    viewer.add_image(np.zeros((20, 20), np.uint8), name="grain")

    def without_memory(*_: Any, **__: Any) -> EnlargedLayers:
        raise MemoryError

    monkeypatch.setattr("srbench.napari.enlarge", without_memory)
    start.native.click()
    qtbot.waitUntil(lambda: start.enabled, timeout=PATIENCE_MS)
    assert "memory" in message.value
    assert len(viewer.layers) == 1


@needs_display
def test_magnification_one_has_no_map(opened: Any, qtbot: Any) -> None:
    viewer, widget = opened
    viewer.add_image(noise(255, np.uint8), name="grain")
    part(widget, "scale").value = 1
    assert not part(widget, "map").enabled
    part(widget, "start").native.click()
    qtbot.waitUntil(lambda: part(widget, "start").enabled, timeout=PATIENCE_MS)
    (recommended,) = [entry.model for entry in shipped() if entry.scale == 1 and entry.recommended]
    assert [layer.name for layer in viewer.layers] == ["grain", f"grain_{recommended}_x1"]


FRESH = """
import time
import napari, numpy as np
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
viewer.add_image(np.zeros((20, 20), np.uint8))
_, widget = viewer.window.add_plugin_dock_widget("srbench")
(start,) = [button for part in widget if part.name == "buttons" for button in part if button.name == "start"]
clicked = False
while len(viewer.layers) < 3:
    QApplication.processEvents()
    time.sleep(0.01)
    if start.enabled and not clicked:
        clicked = start.native.click() is None
viewer.close()
print("closed")
"""


@needs_display
def test_a_viewer_that_has_never_seen_torch_survives() -> None:
    """Its OpenGL and torch's compiler may each bring an LLVM, and two in one process crash."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH], capture_output=True, text=True, timeout=PATIENCE_MS / 1000
    )
    assert (done.returncode, done.stdout.strip()) == (0, "closed"), done.stderr


def test_nothing_of_srbench_imports_napari() -> None:
    code = (
        "import sys, srbench, srbench.cli.app, srbench.inference.predict; "
        "print({'napari', 'magicgui', 'qtpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
