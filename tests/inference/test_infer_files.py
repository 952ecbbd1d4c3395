"""Files through ``infer``: what comes back is what came, enlarged; independent readers check it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from click.testing import CliRunner
from PIL import Image

from srbench import weights
from srbench.cli.app import cli
from srbench.inference.predict import FilesOutcome, infer
from srbench.models import create
from srbench.utils.errors import SrbenchError
from srbench.utils.files import sha256_file

torch.set_num_threads(1)

FEI = "[Scan]\nPixelWidth=5.828e-09\nPixelHeight=5.828e-09\n[Image]\nResolutionX=64\nResolutionY=80\n"


def noise(top: int, dtype: Any = np.uint16, shape: tuple[int, ...] = (24, 30), low: int = 0) -> Any:
    image = np.random.default_rng(1).integers(low, top + 1, shape)
    image.flat[:2] = low, top
    return image.astype(dtype)


def write(path: Path, image: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(path, image, **options)
    else:
        Image.fromarray(image).save(path, **options)
    return path


def enlarge(source: Path, out: Path, model: str = "nearest", **options: Any) -> FilesOutcome:
    outcome = infer(model, [source], out=out, scale=2, tell=lambda _: None, **options)
    assert not outcome.skipped, outcome.skipped
    return outcome


def repeated(image: Any) -> Any:
    return image.repeat(2, -2).repeat(2, -1)


@pytest.mark.parametrize(
    "image",
    [
        noise(255, np.uint8),
        noise(65535),
        noise(4095),
        noise(1023),
        noise(255) * np.uint16(257),
        noise(4095, np.int16),
        noise(2047, np.int16, low=-2048),
        noise(60000, np.uint32),
        noise(65535, np.float32) / np.float32(65535),
        noise(4095, np.float32),
        noise(127, np.int8, low=-128),
    ],
    ids=lambda image: f"{image.dtype}-{image.max()}",
)
def test_every_number_of_a_tiff_comes_back_in_its_type(tmp_path: Path, image: Any) -> None:
    source = write(tmp_path / "a.tif", image)
    (result,) = enlarge(source, tmp_path / "out").written
    assert result.name == "a_nearest_x2.tif"
    stored = tifffile.imread(result)
    assert stored.dtype == image.dtype
    np.testing.assert_allclose(
        stored, repeated(image), atol=0 if image.dtype.kind != "f" else 1e-6 * image.max()
    )


def test_files_of_a_folder_have_one_depth_and_say_it(tmp_path: Path) -> None:
    write(tmp_path / "in" / "dark.tif", noise(900))
    write(tmp_path / "in" / "bright.tif", noise(4095))
    outcome = enlarge(tmp_path / "in", tmp_path / "out", model="bicubic")
    assert "12 significant bits of 16: 2 images" in outcome.remarks
    for path in outcome.written:
        with tifffile.TiffFile(path) as tiff:
            assert tiff.pages.first.tags.valueof(281) == 4095
    later = tifffile.imread(outcome.written[1])
    # A continued run, and a dark file among the same files, come out alike.
    outcome.written[1].unlink()
    again = enlarge(tmp_path / "in", tmp_path / "out", model="bicubic")
    assert len(again.existing) == len(again.written) == 1
    assert np.array_equal(tifffile.imread(again.written[0]), later)


def test_min_is_white_comes_back_as_the_same_picture(tmp_path: Path) -> None:
    light = noise(65535)
    source = write(tmp_path / "a.tif", 65535 - light, photometric="miniswhite")
    (result,) = enlarge(source, tmp_path / "out").written
    with tifffile.TiffFile(result) as tiff:
        assert tiff.pages.first.photometric == tifffile.PHOTOMETRIC.MINISBLACK
        assert np.array_equal(tiff.asarray(), repeated(light))


def test_the_pixel_size_of_a_tiff_is_halved_for_two_readers(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", noise(255, np.uint8, (80, 64)), extratags=[(34682, 2, 0, FEI, True)])
    outcome = enlarge(source, tmp_path / "out")
    (result,) = outcome.written
    with tifffile.TiffFile(result) as tiff:
        metadata = tiff.imagej_metadata or {}
        per_unit = tiff.pages.first.resolution[0]
    assert metadata["unit"] == "nm" and 1 / per_unit == pytest.approx(2.914, rel=1e-6)
    with Image.open(result) as image:
        assert 1 / float(image.tag_v2[282]) == pytest.approx(2.914, rel=1e-6)
        assert "unit=nm" in image.tag_v2[270].splitlines()
    assert any("2.914 nm (FEI tag" in remark for remark in outcome.remarks)


@pytest.mark.parametrize(("given", "unit", "per_unit"), [(8.0, "nm", 0.25), (8000.0, "um", 0.25)])
def test_a_given_pixel_size_goes_before_the_files(
    tmp_path: Path, given: float, unit: str, per_unit: float
) -> None:
    source = write(tmp_path / "a.tif", noise(255, np.uint8, (80, 64)), extratags=[(34682, 2, 0, FEI, True)])
    (result,) = enlarge(source, tmp_path / "out", pixel_size_nm=given).written
    with tifffile.TiffFile(result) as tiff:
        assert (tiff.imagej_metadata or {})["unit"] == unit
        assert tiff.pages.first.resolution[0] == pytest.approx(per_unit)


def test_a_png_says_its_pixel_size_too(tmp_path: Path) -> None:
    source = write(tmp_path / "a.png", noise(255, np.uint8))
    (result,) = enlarge(source, tmp_path / "out", pixel_size_nm=7.70833).written
    with Image.open(result) as image:
        assert image.info["dpi"][0] / 0.0254 == pytest.approx(259_459_572, abs=1)
        assert image.info["Software"].startswith("srbench")
    # 0.4 nm are more pixels a metre than a PNG can say.
    outcome = enlarge(source, tmp_path / "fine", pixel_size_nm=0.8)
    with Image.open(outcome.written[0]) as image:
        assert "dpi" not in image.info and "pixel_size_nm=0.4" in image.info["Description"].splitlines()
    assert any("too small for a PNG" in remark for remark in outcome.remarks)


def test_an_unknown_pixel_size_is_written_nowhere(tmp_path: Path) -> None:
    outcome = enlarge(write(tmp_path / "a.tif", noise(4095)), tmp_path / "out")
    with tifffile.TiffFile(outcome.written[0]) as tiff:
        assert "unit" not in (tiff.imagej_metadata or {})
    assert "pixel size unknown: 1 image" in outcome.remarks


def test_all_pages_of_a_stack_are_done(tmp_path: Path) -> None:
    stack = noise(4095, shape=(3, 20, 26))
    source = write(tmp_path / "a.tif", stack, imagej=True)
    outcome = enlarge(source, tmp_path / "out")
    with tifffile.TiffFile(outcome.written[0]) as tiff:
        assert len(tiff.pages) == 3 and tiff.series[0].shape == (3, 40, 52)
        assert np.array_equal(tiff.asarray(), repeated(stack))
    with Image.open(outcome.written[0]) as image:
        assert image.n_frames == 3
    as_png = infer("nearest", source, out=tmp_path / "png", scale=2, file_format="png")
    assert "3 pages" in as_png.skipped[source] and not as_png.written


@pytest.mark.parametrize(
    ("name", "chosen", "expected", "dtype"),
    [
        ("a.jpg", None, "a.jpg_nearest_x2.png", np.uint8),
        ("a.bmp", None, "a.bmp_nearest_x2.png", np.uint8),
        ("a.png", "tiff", "a.png_nearest_x2.tif", np.uint16),
        ("a.tif", "png", "a.tif_nearest_x2.png", np.uint16),
        ("float.tif", "png", "float.tif_nearest_x2.png", np.uint16),
    ],
)
def test_formats(tmp_path: Path, name: str, chosen: Any, expected: str, dtype: Any) -> None:
    image = noise(255, np.uint8) if name in ("a.jpg", "a.bmp") else noise(65535)
    if name == "float.tif":
        image = (image / np.float32(65535)).astype(np.float32)
    source = write(tmp_path / name, image)
    (result,) = enlarge(source, tmp_path / "out", file_format=chosen).written
    stored = tifffile.imread(result) if result.suffix == ".tif" else cv2.imread(str(result), -1)
    assert result.name == expected and stored is not None
    assert stored.dtype == dtype and stored.shape == (48, 60)
    if name != "a.jpg":
        scale = 65535 if image.dtype.kind == "f" else 1
        assert np.array_equal(stored, repeated(np.rint(image * scale).astype(dtype)))


def barred(top: int, dtype: Any) -> Any:
    """64 columns, 80 rows of noise and a black bar of 20 rows with text."""
    bar = np.zeros((20, 64), dtype)
    bar[6:14, 4:24:3] = np.iinfo(dtype).max
    return np.concatenate([noise(top, dtype, (80, 64), low=top // 2), bar])


@pytest.mark.parametrize(("top", "dtype"), [(200, np.uint8), (900, np.uint16), (60000, np.uint16)])
def test_a_databar_is_cut_or_laid_below_with_readable_text(tmp_path: Path, top: int, dtype: Any) -> None:
    image = barred(top, dtype)
    source = write(tmp_path / "a.tif", image, extratags=[(34682, 2, 0, FEI, True)])
    cut = enlarge(source, tmp_path / "cut")
    assert np.array_equal(tifffile.imread(cut.written[0]), repeated(image[:80]))
    assert "databar cut: 1 image" in cut.remarks
    both = enlarge(source, tmp_path / "keep", databar="keep", model="bicubic")
    stored = tifffile.imread(both.written[0])
    below = stored[160:].astype(float)
    assert stored.shape == (200, 128) and np.array_equal(below > 0, repeated(image[80:]) > 0)
    assert len(np.unique(below)) == 2
    with tifffile.TiffFile(both.written[0]) as tiff:
        assert (tiff.imagej_metadata or {})["databar_from_row"] == 160


def test_colour_becomes_grey_and_stays_so(tmp_path: Path) -> None:
    grey = noise(255, np.uint8)
    source = write(tmp_path / "equal.tif", np.repeat(grey[..., None], 3, axis=2), photometric="rgb")
    (result,) = enlarge(source, tmp_path / "out").written
    assert np.array_equal(tifffile.imread(result), repeated(grey))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant_images_are_enlarged(tmp_path: Path, value: int) -> None:
    source = write(tmp_path / "a.png", np.full((60, 64), value, np.uint8))
    (result,) = enlarge(source, tmp_path / "out", model="bicubic").written
    stored = cv2.imread(str(result), -1)
    assert stored is not None and stored.shape == (120, 128) and (stored == value).all()


def test_what_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    source, out = write(tmp_path / "a.tif", noise(4095)), tmp_path / "out"
    first = enlarge(source, out)
    before = first.written[0].stat().st_mtime_ns
    second = enlarge(source, out)
    assert (second.written, second.existing) == ((), first.written)
    assert first.written[0].stat().st_mtime_ns == before
    assert enlarge(source, out, force=True).written == first.written
    # Neither another choice nor another picture is passed off as what is there.
    for change in ({"databar": "keep"}, {"bits": 14}, {"pixel_size_nm": 3.0}):
        assert source in infer("nearest", source, out=out, scale=2, **change).skipped  # type: ignore[arg-type]
    write(source, noise(4000))
    assert "source" in infer("nearest", source, out=out, scale=2).skipped[source]
    assert enlarge(source, out, force=True).written == first.written
    (out / "a_bicubic_x2.tif").write_bytes(b"somebody's")
    assert "no result of srbench" in infer("bicubic", source, out=out, scale=2).skipped[source]


def messy(root: Path) -> None:
    """A folder as people have them: three images among a mask, a sidecar of macOS and other files."""
    for name in ("a.png", "a.tif", "sub dir/a.png", "masks/a.png", "sub dir/a_mask.png"):
        write(root / name, noise(255, np.uint8))
    (root / "._a.tif").write_bytes(b"\0\5\x16\7" + bytes(400))
    (root / "notes.txt").write_text("x")


def test_masks_and_hidden_files_of_a_folder_are_no_input(tmp_path: Path) -> None:
    messy(tmp_path / "in")
    outcome = enlarge(tmp_path / "in", tmp_path / "out")
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in outcome.written)
    assert names == ["a_nearest_x2.png", "a_nearest_x2.tif", "sub dir/a_nearest_x2.png"]
    assert {"left out, masks: 2 files", "left out, hidden: 1 file"} <= set(outcome.remarks)


@pytest.mark.parametrize("below", [".", "results"])
def test_results_are_no_input_of_the_next_run(tmp_path: Path, below: str) -> None:
    messy(tmp_path)
    out = tmp_path / below
    first = enlarge(tmp_path, out)
    second = enlarge(tmp_path, out)
    assert second.existing == first.written and not second.written
    assert any(remark.endswith(": 3 files") for remark in second.remarks)
    # Under another name, too: they are known by what stands in them. A file that is named is taken.
    renamed = first.written[0].rename(tmp_path / "renamed.png")
    outcome = enlarge(tmp_path, tmp_path / "other")
    assert not [path for path in outcome.written if "renamed" in path.name]
    assert enlarge(renamed, tmp_path / "other").written[0].name == "renamed_nearest_x2.png"


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    messy(tmp_path / "data")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "circle").symlink_to(tmp_path / "data")
    assert len(enlarge(tmp_path / "in", tmp_path / "out").written) == 3


def test_equal_names_of_two_folders_are_refused_before_anything_starts(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name / "a.png", noise(255, np.uint8)) for name in ("x", "y"))
    with pytest.raises(SrbenchError, match=r"one result"):
        infer("nearest", [first, second], out=tmp_path / "out", scale=2)
    assert not (tmp_path / "out").exists()
    assert len(infer("nearest", [first, first.parent], out=tmp_path / "out", scale=2).written) == 1


def test_one_bad_file_or_name_never_stops_the_rest(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "L" * 230 + ".png", "z.png", "zz.png"):
        write(root / name, noise(255, np.uint8))
    (root / "cut.tif").write_bytes(b"II*\0")
    (root / "broken.png").symlink_to("/nonexistent.png")
    (out / "z_nearest_x2.png" / "a folder").mkdir(parents=True)
    outcome = infer("nearest", root, out=out, scale=2, force=True)
    assert {path.name for path in outcome.skipped} == {"cut.tif", "broken.png", "z.png"}
    assert len(outcome.written) == 3 and all(path.is_file() for path in outcome.written)
    assert not [path for path in out.iterdir() if path.suffix == ".tmp"]


def test_names_of_any_bytes_survive(tmp_path: Path) -> None:
    source = write(tmp_path / "in" / "x.png", noise(255, np.uint8))
    source.rename(source.with_name(os.fsdecode(b"prob\xe9.png")))
    enlarge(tmp_path / "in", tmp_path / "out")
    assert [os.fsencode(path.name) for path in (tmp_path / "out").iterdir()] == [b"prob\xe9_nearest_x2.png"]


@pytest.mark.slow
def test_a_result_says_how_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    path = tmp_path / "w.safetensors"
    header = weights.WeightsHeader(
        "vdsr", "tiny", 2, 1, dataset="folder:/\u00e4\udce9", seed=3, budget="smoke"
    )
    weights.save(path, create("vdsr", scale=2, variant="tiny").network.state_dict(), header)
    source = write(tmp_path / "in" / "a.tif", noise(4095))
    outcome = infer(None, source, out=tmp_path / "out", weights=path, tell=lambda _: None)
    with tifffile.TiffFile(outcome.written[0]) as tiff:
        metadata = tiff.imagej_metadata or {}
        assert "was not measured" in tiff.pages.first.description
        assert tiff.pages.first.software.startswith("srbench")
    assert (metadata["model"], metadata["variant"], metadata["scale"]) == ("vdsr", "tiny", 2)
    assert metadata["weights_sha256"] == sha256_file(path)
    assert "budget smoke, seed 3" in metadata["trained_on"]
    assert infer(None, source, out=tmp_path / "out", weights=path, tell=lambda _: None).existing
    weights.save(path, create("vdsr", scale=2, variant="tiny").network.state_dict(), header)
    assert "weights" in infer(None, source, out=tmp_path / "out", weights=path).skipped[source]


def test_the_command_counts_and_exits_by_what_was_skipped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in" / "a.tif", noise(255, np.uint8, (80, 64)), extratags=[(34682, 2, 0, FEI, True)])
    words = ["infer", "nearest", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--scale", "2"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0 and "1 images in" in done.output, done.output
    assert CliRunner().invoke(cli, words).exit_code == 0
    assert "1 already there" in CliRunner().invoke(cli, words).output
    (tmp_path / "in" / "b.tif").write_bytes(b"II*\0 no TIFF")
    bad = CliRunner().invoke(cli, words)
    assert bad.exit_code == 1 and "b.tif" in bad.output
    assert CliRunner().invoke(cli, [*words, "--bits", "7"]).exit_code == 2
    assert capfd.readouterr() == ("", "")  # no library speaks
