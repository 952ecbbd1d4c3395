"""Archives: every good image comes out, in order, whatever lies beside it; damage is told with its place."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import nffa_archives
from srbench.datasets.images.archives import ArchiveError, Limits, members

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
ENDINGS = [".tar", ".tar.gz", ".tar.bz2", ".tar.xz"]
GOOD = {f"Fibres/L9_{number:032x}.jpg": bytes([number]) * (number * 700 + 1) for number in range(12)}


def taken(path, refused=None, **options):
    return {member.name: member.data for member in members(path, refused, **options)}


def until_error(path):
    """What came, and the error that ended it."""
    came = {}
    with pytest.raises(ArchiveError) as caught:
        for member in members(path):
            came[member.name] = member.data
    return came, caught.value


@pytest.mark.slow
@pytest.mark.parametrize("ending", [*ENDINGS, ".zip"])
def test_members_come_in_order_with_their_bytes(tmp_path, ending):
    write = nffa_archives.write_zip if ending == ".zip" else nffa_archives.write_tar
    path = write(tmp_path / f"a{ending}", GOOD)
    found = list(members(path))
    assert [(member.name, member.data) for member in found] == list(GOOD.items())
    positions = [member.position for member in found]
    assert positions == sorted(set(positions))


@pytest.mark.parametrize("format", FORMATS)
def test_long_and_foreign_names(tmp_path, format):
    names = ["a" * 95 + ".jpg", "/".join(["folder"] * 15) + "/" + "b" * 60 + ".jpg", "Größe/µm.JPG"]
    if format != tarfile.USTAR_FORMAT:
        names.append("c" * 300 + ".png")
    path = nffa_archives.write_tar(tmp_path / "a.tar", {name: name.encode() for name in names}, format=format)
    assert taken(path) == {name: name.encode() for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("format", FORMATS)
def test_evil_members_are_refused_and_nothing_else_is_lost(tmp_path, ending, format):
    path = nffa_archives.write_tar(tmp_path / f"a{ending}", GOOD, evil=True, format=format)
    refused = {}
    assert taken(path, refused) == GOOD
    assert refused["/etc/evil.jpg"] == "an absolute path"
    assert "leads out" in refused["../evil.jpg"] and "leads out" in refused["Fibres/../../evil.jpg"]
    assert "macOS" in refused["Fibres/._L9_0.jpg"]
    assert all("link" in refused[f"Fibres/{kind}.jpg"] for kind in ("soft", "hard"))
    assert all("device or pipe" in refused[f"Fibres/{kind}.jpg"] for kind in ("device", "pipe"))
    again = [name for name in refused if "again" in name]
    assert len(again) == 1 and refused[again[0]] == "a member of this name came before"
    assert len(refused) == 9
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_but_images_by_name_unless_asked(tmp_path):
    files = {"A/x.jpg": b"1", "A/README": b"2", "A/y.TIF": b"3", "A/z.csv": b"4"}
    path = nffa_archives.write_tar(tmp_path / "a.tar", files)
    refused = {}
    assert taken(path, refused) == {"A/x.jpg": b"1", "A/y.TIF": b"3"}
    assert refused == dict.fromkeys(["A/README", "A/z.csv"], "not an image file by its name")
    assert taken(path, suffixes={".csv"}) == {"A/z.csv": b"4"}
    assert taken(path, suffixes=()) == files


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
def test_unwanted_members_are_passed_over_without_being_refused(tmp_path, ending):
    write = nffa_archives.write_zip if ending == ".zip" else nffa_archives.write_tar
    path = write(tmp_path / f"a{ending}", GOOD)
    wanted = set(list(GOOD)[::3])
    refused = {}
    assert set(taken(path, refused, select=wanted.__contains__)) == wanted
    assert refused == {}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("C:\\pictures\\x.jpg", "absolute"),
        ("\\\\server\\x.jpg", "absolute"),
        ("a\\..\\..\\x.jpg", "leads out"),
        ("a/\x1b[2Jx.jpg", "control"),
        ("a/x\n.jpg", "control"),
        ("./", "without a name"),
    ],
)
def test_names_that_are_no_names(tmp_path, name, why):
    refused = {}
    info = tarfile.TarInfo(name)
    info.size = 1
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(info, io.BytesIO(b"x"))
    # The writer strips a trailing slash: what remains is the folder itself.
    assert taken(tmp_path / "a.tar", refused) == {}
    ((shown, reason),) = refused.items()
    assert why in reason and shown.isprintable()


def test_backslashes_and_dots_are_tidied(tmp_path):
    path = nffa_archives.write_zip(tmp_path / "a.zip", {"./A\\x.jpg": b"1", "A//y.jpg": b"2"})
    assert set(taken(path)) == {"A/x.jpg", "A/y.jpg"}


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
def test_a_member_beyond_the_limit_is_refused_alone(tmp_path, ending):
    write = nffa_archives.write_zip if ending == ".zip" else nffa_archives.write_tar
    random_bytes = random.Random(0).randbytes(40_000)
    path = write(tmp_path / f"a{ending}", {"A/1.jpg": b"1", "A/big.jpg": random_bytes, "A/2.jpg": b"2"})
    refused = {}
    assert taken(path, refused, limits=Limits(member_bytes=10_000)) == {"A/1.jpg": b"1", "A/2.jpg": b"2"}
    assert refused == {"A/big.jpg": "40,000 bytes; at most 10,000 are taken"}


@pytest.mark.slow
@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_a_compressed_bomb_is_stopped_before_it_fills_the_memory(tmp_path, module):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for number in range(64):
            info = tarfile.TarInfo(f"A/{number}.jpg")
            info.size = 1 << 20
            archive.addfile(info, io.BytesIO(bytes(1 << 20)))
    path = tmp_path / "bomb.tar.any"
    path.write_bytes(module.compress(plain.getvalue()))
    del plain
    limits = Limits(ratio=20, free_bytes=1 << 22)
    tracemalloc.start()
    came = 0
    with pytest.raises(ArchiveError, match="unpacks to more than 4,194,304 bytes"):
        for _ in members(path, limits=limits):
            came += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert came == 3 and peak < 12 << 20


@pytest.mark.slow
def test_zip_bombs_of_one_and_of_many_members(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A/good.jpg", random.Random(0).randbytes(5000))
        archive.writestr("A/bomb.jpg", bytes(30 << 20))
    refused = {}
    assert set(taken(path, refused)) == {"A/good.jpg"}
    assert "no image compresses like that" in refused["A/bomb.jpg"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"A/{number}.jpg", bytes(1 << 20))
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        taken(path)


def test_odd_members_of_a_zip(tmp_path):
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("A/link.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("A/", b"")
        archive.writestr("A/x.jpg", b"first")
        archive.writestr(link, b"/etc/passwd")
        archive.writestr("A/y.jpg", b"damaged later")
        archive.writestr("A/z.jpg", b"last")
    data = bytearray(path.read_bytes())
    at = data.index(b"damaged later")
    data[at] ^= 1
    path.write_bytes(bytes(data))
    refused = {}
    assert taken(path, refused) == {"A/x.jpg": b"first", "A/z.jpg": b"last"}
    assert "link" in refused["A/link.jpg"] and "damaged at byte" in refused["A/y.jpg"]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.55, 0.8, 0.97])
def test_a_tar_cut_short_gives_what_came_before_and_says_where_it_ends(tmp_path, ending, share):
    noise = {name: random.Random(name).randbytes(2000) for name in GOOD}
    whole = nffa_archives.write_tar(tmp_path / f"whole{ending}", noise).read_bytes()
    # A plain tar ends in blocks of zeros: what counts is its last member.
    end = int(len(whole) * share) if ending != ".tar" else int(12 * 2560 * share)
    path = tmp_path / f"cut{ending}"
    path.write_bytes(whole[:end])
    came, error = until_error(path)
    assert list(came.items()) == list(noise.items())[: len(came)]
    assert "byte" in str(error) and str(path) in str(error) and "Obtain it again" in str(error)
    if ending == ".tar":
        assert len(came) == max((end - 512) // 2560, 0)


def test_a_tar_that_ends_between_two_members_is_noticed(tmp_path):
    whole = nffa_archives.write_tar(tmp_path / "whole.tar", GOOD).read_bytes()
    starts = [member.position for member in members(tmp_path / "whole.tar")]
    (tmp_path / "cut.tar").write_bytes(whole[: starts[5]])
    came, error = until_error(tmp_path / "cut.tar")
    assert list(came) == list(GOOD)[:5] and error.position == starts[5]
    assert f"byte {starts[5]:,}" in str(error)


@pytest.mark.parametrize("wipe", [b"\0" * 512, b"x" * 512])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, wipe):
    path = nffa_archives.write_tar(tmp_path / "a.tar", GOOD)
    start = [member.position for member in members(path)][4]
    data = bytearray(path.read_bytes())
    data[start : start + 512] = wipe
    path.write_bytes(bytes(data))
    came, error = until_error(path)
    assert list(came) == list(GOOD)[:4] and f"byte {start:,}" in str(error)


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_a_flipped_bit_in_a_compressed_tar_is_an_error(tmp_path, module):
    noise = {name: random.Random(name).randbytes(3000) for name in GOOD}
    data = bytearray(module.compress(nffa_archives.write_tar(tmp_path / "plain.tar", noise).read_bytes()))
    data[len(data) // 2] ^= 0x10
    (tmp_path / "a").write_bytes(bytes(data))
    # gzip has its check sum at its end: members with wrong bytes may come before the error does.
    came, _ = until_error(tmp_path / "a")
    assert all(name in noise and len(content) == 3000 for name, content in came.items())


def test_an_extended_header_may_not_claim_the_memory(tmp_path):
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 33
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ArchiveError, match="extended header of 8,589,934,592 bytes"):
        taken(tmp_path / "a.tar")


@pytest.mark.parametrize("size", ["-5", "abc", "99999999999999999999"])
def test_absurd_sizes_in_extended_headers(tmp_path, size):
    info = tarfile.TarInfo("A/x.jpg")
    info.pax_headers = {"size": size}
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    with pytest.raises(ArchiveError):
        taken(tmp_path / "a.tar", limits=Limits(member_bytes=1 << 90))


@pytest.mark.slow
def test_xz_may_not_ask_for_gigabytes(tmp_path):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}]
    compressor = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{**filters[0], "dict_size": 1 << 28}])
    data = compressor.compress(b"x" * 1000) + compressor.flush()
    (tmp_path / "a.tar.xz").write_bytes(data)
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        taken(tmp_path / "a.tar.xz")


def test_xz_of_several_streams(tmp_path):
    whole = nffa_archives.write_tar(tmp_path / "a.tar", GOOD).read_bytes()
    parts = [whole[:3000], whole[3000:9000], whole[9000:]]
    (tmp_path / "a.tar.xz").write_bytes(b"".join(lzma.compress(part) + bytes(4) for part in parts))
    assert taken(tmp_path / "a.tar.xz") == GOOD


@pytest.mark.parametrize("content", [b"", b"no archive", b"<html>" * 500, b"PK\x03\x04 and no more"])
def test_files_that_are_no_archives(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"a\.tar"):
        taken(tmp_path / "a.tar")


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_damaged_only_whole_members_come_and_only_one_kind_of_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    ending = data.draw(st.sampled_from([*ENDINGS, ".zip"]))
    write = nffa_archives.write_zip if ending == ".zip" else nffa_archives.write_tar
    path = write(folder / f"a{ending}", GOOD)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    try:
        for member in members(path, {}):
            assert member.name and isinstance(member.data, bytes)
    except ArchiveError as error:
        assert path.name in str(error)


@pytest.mark.slow
def test_memory_is_bounded_by_one_member(tmp_path):
    big = random.Random(0).randbytes(1 << 20)
    few = nffa_archives.write_tar(tmp_path / "few.tar", {f"A/{n}.jpg": big for n in range(3)})
    many = nffa_archives.write_tar(tmp_path / "many.tar", {f"A/{n}.jpg": big for n in range(60)})

    def peak(path):
        tracemalloc.start()
        for _ in members(path):
            pass
        value = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return value

    assert peak(many) < peak(few) + (1 << 20)
