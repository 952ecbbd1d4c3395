"""pairs: which files belong together, what is left of them, and why pairs are refused."""

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from scipy import ndimage

from srbench.cli.app import cli
from srbench.datasets import ReadingOptions
from srbench.datasets import open as open_dataset
from srbench.datasets.images.pairs import match_by_name
from srbench.datasets.sources.pairs import Pairs
from srbench.utils.errors import DatasetError, DatasetMissing

pytestmark = pytest.mark.usefixtures("srbench_home")


@pytest.mark.parametrize(
    ("files", "lr", "second"),
    [
        (("lr/a.png", "hr/a.png"), {"hr/a.png": "lr/a.png"}, {}),
        (("train/LR/a.tif", "train/HR/a.png"), {"train/HR/a.png": "train/LR/a.tif"}, {}),
        (("fast/s/a.png", "slow/s/a.png"), {"slow/s/a.png": "fast/s/a.png"}, {}),
        (("s/fast/a.png", "s/slow/a.png", "t/slow/a.png"), {"s/slow/a.png": "s/fast/a.png"}, {}),
        (
            ("D_HR/0001.png", "D_LR_bicubic/X2/0001x2.png", "D_HR/0002.png", "D_LR_bicubic/X2/0002x2.png"),
            {"D_HR/0001.png": "D_LR_bicubic/X2/0001x2.png", "D_HR/0002.png": "D_LR_bicubic/X2/0002x2.png"},
            {},
        ),
        (("low/100ns_001.tif", "high/30us_001.tif"), {"high/30us_001.tif": "low/100ns_001.tif"}, {}),
        (("a_lr.png", "a_hr.png", "b_lr.png"), {"a_hr.png": "a_lr.png"}, {}),
        (("fast_2.png", "slow_2.png", "fast_1.png", "slow_1.png"),
         {"slow_2.png": "fast_2.png", "slow_1.png": "fast_1.png"}, {}),
        (("lr/low_1.png", "hr/low_1.png", "lr/high_1.png", "hr/high_1.png"),
         {"hr/low_1.png": "lr/low_1.png", "hr/high_1.png": "lr/high_1.png"}, {}),
        *(
            (("fast/a.tif", "slow/a.tif", f"{again}/a.tif"),
             {"slow/a.tif": "fast/a.tif"}, {"slow/a.tif": f"{again}/a.tif"})
            for again in ("slow2", "slow_2", "hr2", "repeat", "HR-2")
        ),
    ],
)  # fmt: skip
def test_files_are_paired_by_folders_and_names(files, lr, second):
    matched = match_by_name(files)
    assert matched.lr == lr and matched.second == second
    assert matched.alone.keys() == set(files) - {*lr, *lr.values(), *second.values()}


def test_what_has_no_partner_or_several_is_said():
    matched = match_by_name(["lr/a.png", "hr/b.png", "c.png", "lr/d_x2.png", "lr/d_x4.png", "hr/d.png"])
    assert not matched.lr
    assert "no partner" in matched.alone["c.png"] and "HR or slow scan" in matched.alone["lr/a.png"]
    assert matched.alone.keys() == {"lr/a.png", "hr/b.png", "c.png", "lr/d_x2.png", "lr/d_x4.png", "hr/d.png"}


def scene(seed, height=190, width=200):
    """A rough field, 8-bit levels as floating point."""
    random = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(random.normal(0, 1, (height, width)), 2.5)
    return np.clip(120 + 40 * rough / rough.std(), 0, 255)


def counted(image, dose=30, seed=0):
    counts = np.random.default_rng(seed).poisson(np.clip(image, 0, 255) / 255 * dose)
    return np.clip((counts / dose * 255).round(), 0, 255).astype(np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image.round().astype(image.dtype if image.dtype.kind == "u" else np.uint8))


def shifted(image, by, size=(150, 160)):
    """The part of a field that lies ``by`` (rows, columns) beyond a margin of 12."""
    moved = ndimage.shift(image, [-part for part in by], order=5, mode="nearest")
    return np.clip(moved[12 : 12 + size[0], 12 : 12 + size[1]], 0, 255)


@pytest.fixture
def mine(tmp_path):
    """Three fields, the slow scan 3.4 px lower and 1.7 px further left."""
    folder = tmp_path / "mine"
    for seed, name in enumerate("abc"):
        field = scene(seed)
        write(folder / "fast" / f"{name}.png", counted(shifted(field, (3.4, -1.7))))
        write(folder / "slow" / f"{name}.png", shifted(field, (0, 0)))
    return folder


@pytest.mark.slow
def test_the_reference_is_brought_onto_the_grid_of_the_fast_scan(mine):
    opened = open_dataset(f"pairs:{mine}")
    assert opened.recorded_scale == 1 and opened.name == f"pairs:{mine}" and opened.card.kind == "user"
    assert [image.id for image in opened.images] == ["slow/a.png", "slow/b.png", "slow/c.png"]
    assert {image.category for image in opened.images} == {"mine"} and not opened.has_splits
    for seed, image in enumerate(opened.images):
        assert opened.registration(image.id).shift_px == pytest.approx((3.4, -1.7), abs=0.1)
        fast = cv2.imread(str(mine / image.id.replace("slow", "fast")), cv2.IMREAD_UNCHANGED)
        lr, hr = opened.lr(image.id), opened.pixels(image.id)
        rows, columns = lr.shape
        # The slow scan has 3 rows less below, and a margin of 3 px beside what they share.
        corners = [(top, left) for top in range(8) for left in range(8)]
        top, left = next(
            at for at in corners if np.array_equal(fast[at[0] : at[0] + rows, at[1] : at[1] + columns], lr)
        )
        expected = shifted(scene(seed), (3.4, -1.7))[top : top + rows, left : left + columns]
        assert np.abs(hr - expected).mean() < 2.0
    assert {image.split for image in opened.images} == {"train", "val", "test"}
    assert open_dataset(f"pairs:{mine}/").fingerprint == opened.fingerprint
    assert str(mine) in map(str, opened.hr_paths())


@pytest.mark.slow
def test_larger_scales_second_scans_and_splits(tmp_path):
    for number, (split, name) in enumerate((("train", "a"), ("train", "b"), ("val", "c"), ("test", "d"))):
        field = scene(number, 330, 340)
        fine = shifted(field, (5.2, 2.6), (300, 308))
        low = ndimage.gaussian_filter(shifted(field, (0, 0), (300, 308)), 0.8)
        low = low.reshape(150, 2, 154, 2).mean(axis=(1, 3))
        write(tmp_path / "lr" / split / f"{name}.png", counted(low, 60, number))
        write(tmp_path / "hr" / split / f"{name}.png", counted(fine, 3000, number))
        if name != "b":
            write(
                tmp_path / "hr_2" / split / f"{name}.png",
                counted(shifted(field, (1, -2), (300, 308)), 3000, 9),
            )
    opened = open_dataset(f"pairs:{tmp_path}")
    assert opened.recorded_scale == 2 and opened.has_splits and not opened.skipped
    assert [image.split for image in opened.split("all")] == ["test", "train", "train", "val"]
    for image in opened.images:
        hr, lr, second = (part(image.id) for part in (opened.pixels, opened.lr, opened.second))
        assert hr.shape == (2 * lr.shape[0], 2 * lr.shape[1])
        assert (second is None) == (image.id == "hr/train/b.png")
        if second is not None:
            difference = (second.astype(float) - hr)[4:-4, 4:-4]
            # Independent noise, of 3000 electrons at 255, and no structure beside it.
            assert abs(difference.mean()) < 0.5 and difference.std() < 6.0


@pytest.mark.slow
def test_files_of_8_and_16_bits_become_16(mine):
    path = mine / "slow" / "a.png"
    write(path, cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint16) * 250 + 7)
    opened = open_dataset(f"pairs:{mine}")
    image = next(image for image in opened.images if image.id == "slow/a.png")
    assert image.bits == 16 and opened.lr(image.id).dtype == opened.pixels(image.id).dtype == np.uint16
    assert opened.lr("slow/a.png").max() > 60000


@pytest.mark.slow
def test_pairs_that_do_not_fit_are_named_and_the_others_stay(mine):
    write(mine / "fast" / "other.png", counted(shifted(scene(7), (0, 0))))
    write(mine / "slow" / "other.png", shifted(scene(8), (0, 0)))
    write(mine / "fast" / "large.png", counted(shifted(scene(9), (0, 0))))
    write(mine / "slow" / "large.png", scene(9, 300, 320))
    wide = scene(10, 190, 360)
    write(mine / "fast" / "beside.png", counted(wide[12:162, 12:172]))
    write(mine / "slow" / "beside.png", wide[12:162, 100:260])
    write(mine / "fast" / "copy.png", shifted(scene(11), (0, 0)))
    write(mine / "slow" / "copy.png", shifted(scene(11), (0, 0)))
    write(mine / "fast" / "alone.png", shifted(scene(12), (0, 0)))
    (mine / "slow" / "alone2.png").write_bytes(b"torn")
    opened = open_dataset(f"pairs:{mine}")
    assert [image.id for image in opened.images] == ["slow/a.png", "slow/b.png", "slow/c.png"]
    reasons = {name: opened.skipped[f"slow/{name}.png"] for name in ("other", "large", "copy", "beside")}
    assert "same field" in reasons["other"] and "same picture" in reasons["copy"]
    assert "scale 2, most have 1" in reasons["large"]
    assert "60% are needed" in reasons["beside"] or "same field" in reasons["beside"]
    assert "no partner" in opened.skipped["fast/alone.png"]
    remarks = "\n".join(opened.remarks())
    assert all(f"slow/{name}.png: pair left out" in remarks for name in reasons)


@pytest.mark.slow
def test_a_bound_on_what_is_left_is_kept(mine):
    field = scene(5)
    rows, columns = np.mgrid[:190, :200].astype(float)
    bent = ndimage.map_coordinates(field, [rows, columns + 3.5 * np.sin(rows / 20)], order=5, mode="nearest")
    write(mine / "fast" / "bent.png", counted(shifted(bent, (0, 0)), 300))
    write(mine / "slow" / "bent.png", shifted(field, (0, 0)))
    name = "slow/bent.png"
    opened = open_dataset(f"pairs:{mine}")
    assert "registration leaves" in opened.skipped[name] and "--residual" in opened.skipped[name]
    looser = open_dataset(f"pairs:{mine}", ReadingOptions(residual_px=9.0))
    assert 1.0 < looser.registration(name).residual_px < 3.0
    in_nm = open_dataset(f"pairs:{mine}", ReadingOptions(residual_nm=90.0, pixel_size_nm=10.0))
    assert in_nm.images[0].pixel_size_nm == 10.0 and name not in in_nm.skipped
    without = open_dataset(f"pairs:{mine}", ReadingOptions(residual_px=9.0, rows=True))
    assert without.registration(name).residual_px < looser.registration(name).residual_px / 2
    with pytest.raises(DatasetError, match="pixel-size-nm"):
        open_dataset(f"pairs:{mine}", ReadingOptions(residual_nm=90.0))


def test_folders_that_have_changed_places_are_refused(mine, tmp_path):
    (mine / "fast").rename(mine / "other")
    (mine / "slow").rename(mine / "fast")
    (mine / "other").rename(mine / "slow")
    with pytest.raises(DatasetError, match="less noisy"):
        open_dataset(f"pairs:{mine}")
    for name in "ab":
        write(tmp_path / "large" / "lr" / f"{name}.png", scene(1))
        write(tmp_path / "large" / "hr" / f"{name}.png", scene(1)[::2, ::2])
    with pytest.raises(DatasetError, match="LR is larger than HR"):
        open_dataset(f"pairs:{tmp_path}/large")


def test_folders_without_pairs_are_explained(tmp_path):
    with pytest.raises(DatasetMissing, match="pairs:/path"):
        open_dataset("pairs")
    with pytest.raises(DatasetError, match="not a folder"):
        open_dataset(f"pairs:{tmp_path}/none")
    write(tmp_path / "lr" / "a.png", scene(1))
    write(tmp_path / "hr" / "b.png", scene(1))
    with pytest.raises(DatasetError, match=r"(?s)no pair.*lr/a\.png"):
        open_dataset(f"pairs:{tmp_path}")
    with pytest.raises(DatasetError, match="first page"):
        open_dataset(f"pairs:{tmp_path}", ReadingOptions(pages="all"))


def test_a_folder_of_images_sends_its_pairs_here(mine):
    with pytest.raises(DatasetError, match=f"pairs:{mine}"):
        open_dataset(str(mine))


@pytest.mark.slow
def test_overlapping_fields_are_one_group(mine):
    """By their pictures, by the stage positions in their files, and by groups.csv, which goes first."""
    field = scene(0)
    write(mine / "fast" / "again.png", counted(shifted(field, (1.0, 2.0)), seed=4))
    write(mine / "slow" / "again.png", shifted(field, (0, 5)))
    for name, x in (("d", 0.0), ("e", 0.9e-6), ("f", 9e-6)):
        for folder, image in (("fast", counted(scene(ord(name)))), ("slow", scene(ord(name)).round())):
            described = (
                "[User]\nDate=1\n[Scan]\nPixelWidth=5e-9\nPixelHeight=5e-9\n"
                f"[Stage]\nStageX={x}\nStageY=0.0\n"
            )
            path = mine / folder / f"{name}.tif"
            tifffile.imwrite(path, image.astype(np.uint8), extratags=[(34682, "s", 0, described, True)])
    (mine / "groups.csv").write_text("file,group,category\nslow/b.png,chosen,rough\n")
    images = {image.id: image for image in open_dataset(f"pairs:{mine}").images}
    assert images["slow/again.png"].group == images["slow/a.png"].group
    assert images["slow/d.tif"].group == images["slow/e.tif"].group != images["slow/f.tif"].group
    assert images["slow/b.png"].group == "chosen" and images["slow/b.png"].category == "rough"
    assert len({image.group for image in images.values()}) == 5


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--residual", "1.5px", "--rows"], ReadingOptions(residual_px=1.5, rows=True)),
        (["--residual", "8nm"], ReadingOptions(residual_nm=8.0)),
    ],
)
def test_options_on_the_command_line_and_back(words, options, monkeypatch):
    given = []
    monkeypatch.setattr(Pairs, "read_with", lambda self, options: given.append(options) or self)
    CliRunner().invoke(cli, ["datasets", "show", "pairs:nowhere", *words])
    assert given[0] == options and options.arguments == words
    with pytest.raises(DatasetError, match="one positive number"):
        ReadingOptions(residual_px=1.0, residual_nm=1.0)
    assert CliRunner().invoke(cli, ["datasets", "show", "pairs:nowhere", "--residual", "8um"]).exit_code == 2
    for name, message in (("sem_synthetic", "folders of your own"), ("folder:/", "pairs:/path")):
        with pytest.raises(DatasetError, match=message):
            open_dataset(name, options)
