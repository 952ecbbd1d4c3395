"""Published weights from a real local server: checked, resumed, refused, remembered; files looked at."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from srbench import models, weights
from srbench.cli.app import cli
from srbench.datasets import download
from srbench.utils.errors import SrbenchError
from srbench.weights import WeightsHeader, published
from srbench.weights import imagenet as pretrained
from srbench.weights.published import Published


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; the first answer to a path in ``broken`` ends half-way."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.ranges: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        start = 0
        if wanted:
            self.server.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        half = self.path in self.server.broken
        self.server.broken.discard(self.path)
        self.wfile.write(body[start : len(body) // 2 if half else None])


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights of the small EDSR for x2, one channel."""
    path = tmp_path_factory.mktemp("made") / "w.pth"
    torch.manual_seed(0)
    torch.save(models.create("edsr", scale=2, variant="tiny").network.state_dict(), path)
    return path.read_bytes()


NETWORK = WeightsHeader("edsr", "tiny", 2, 1)


def entry(
    server: Server, sha256: str = "", *, direct: bool = True, network: WeightsHeader | None = NETWORK
) -> Published:
    return Published("edsr_tiny.pth", "edsr", server.url("/w.pth"), "MIT", sha256, direct, "on toys", network)


def offer(monkeypatch: pytest.MonkeyPatch, *entries: Published) -> None:
    monkeypatch.setattr(published, "all_published", lambda: list(entries))


def command(*arguments: str) -> Result:
    """One ``srbench weights`` command; errors for users as the real command shows them."""
    return CliRunner().invoke(cli, ["weights", *arguments])


@pytest.mark.slow
def test_a_published_hash_is_checked(server: Server, content: bytes, home: Path) -> None:
    server.files["/w.pth"] = content
    said: list[str] = []
    path = published.fetch(entry(server, hashlib.sha256(content).hexdigest()[:8]), said.append)
    assert path == home / "weights" / "edsr_tiny.pth" and path.read_bytes() == content
    assert said[0] == "edsr_tiny.pth: licence MIT; on toys" and "as published" in said[1]
    assert not published.lock_file(path).exists()
    server.files.clear()  # nothing is asked for again
    published.fetch(entry(server, hashlib.sha256(content).hexdigest()[:8]), said.append)
    assert "is there already" in said[3]


def test_a_wrong_hash_is_refused_and_leaves_nothing(server: Server, content: bytes, home: Path) -> None:
    server.files["/w.pth"] = content
    with pytest.raises(SrbenchError, match=r"wrong content: sha256 .*, expected 00000000"):
        published.fetch(entry(server, "0" * 8), lambda _: None)
    assert list((home / "weights").iterdir()) == []


def test_a_broken_download_goes_on_where_it_stopped(
    server: Server, content: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/w.pth"] = content
    server.broken = {"/w.pth"}
    monkeypatch.setattr(download, "RetryPolicy", functools.partial(download.RetryPolicy, attempts=1))
    whole = entry(server, hashlib.sha256(content).hexdigest())
    with pytest.raises(SrbenchError, match=r"ended after .* of .* bytes"):
        published.fetch(whole, lambda _: None)
    part = home / "weights" / "edsr_tiny.pth.part"
    assert part.read_bytes() == content[: len(content) // 2]
    path = published.fetch(whole, lambda _: None)
    assert server.ranges == [f"bytes={len(content) // 2}-"] and path.read_bytes() == content


def test_nothing_at_the_address(server: Server) -> None:
    with pytest.raises(
        SrbenchError, match=r"answered 404(.|\n)*Or open http.* in a browser and put the file at"
    ):
        published.fetch(entry(server), lambda _: None)


@pytest.mark.slow
def test_an_unknown_hash_is_remembered_and_a_change_noticed(
    server: Server, content: bytes, home: Path
) -> None:
    server.files["/w.pth"] = content
    said: list[str] = []
    path = published.fetch(entry(server), said.append)
    first = published.read_lock_entry(path)
    assert first is not None and first.sha256 == hashlib.sha256(content).hexdigest()
    assert first.url == server.url("/w.pth") and first.size == len(content)
    assert "cannot be verified" in said[-1] and "remembered in edsr_tiny.pth.pin.json" in said[-1]
    published.fetch(entry(server), said.append)
    assert "the one seen before" in said[-1]
    path.write_bytes(content + b"\0")  # changed on disk
    with pytest.raises(SrbenchError, match="has changed: sha256 starts"):
        published.fetch(entry(server), said.append)
    path.unlink()
    server.files["/w.pth"] = content[:-1] + b"\1"  # changed at the source
    with pytest.raises(SrbenchError, match=r"wrong content(.|\n)*to accept another file delete .*pin\.json"):
        published.fetch(entry(server), said.append)
    assert not path.exists()


@pytest.mark.slow
def test_a_lock_file_of_an_earlier_version_still_counts(server: Server, content: bytes, home: Path) -> None:
    server.files["/w.pth"] = content
    path = published.fetch(entry(server), lambda _: None)
    alone = {"sha256": "0" * 64, "url": server.url("/w.pth"), "seen": "2026-01-01T00:00:00+00:00"}
    published.lock_file(path).write_text(json.dumps(alone))
    with pytest.raises(SrbenchError, match="was 000000000000 when first seen"):
        published.trust(entry(server), path)
    published.lock_file(path).write_text(json.dumps({**alone, "sha256": "damaged"})[:-3])
    with pytest.raises(SrbenchError, match="Delete it to take"):
        published.trust(entry(server), path)


def test_a_page_instead_of_a_file_is_not_kept(server: Server, home: Path) -> None:
    server.files["/w.pth"] = b"<!DOCTYPE html><html>Too many requests</html>"
    with pytest.raises(SrbenchError, match="sent a web page instead of the file"):
        published.fetch(entry(server), lambda _: None)
    assert list((home / "weights").iterdir()) == []


def test_what_only_a_person_can_get_is_said_and_pinned_once_there(
    server: Server, content: bytes, home: Path
) -> None:
    by_hand = entry(server, direct=False)
    target = home / "weights" / "edsr_tiny.pth"
    with pytest.raises(SrbenchError, match=f"Open {server.url('/w.pth')} in a browser.*put it at {target}"):
        published.fetch(by_hand, lambda _: None)
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    published.fetch(by_hand, lambda _: None)
    assert published.lock_file(target).is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_shipped")
def test_commands_list_fetch_check(
    server: Server, content: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/w.pth"] = content
    broken = Published(
        "gone.pth",
        "edsr",
        server.url("/gone.pth"),
        "not stated",
        "",
        True,
        "",
        WeightsHeader("edsr", "full", 2, 3),
    )
    offer(monkeypatch, broken, entry(server))
    assert "not on disk" in command("list").output
    fetched = command("fetch", "edsr")
    assert fetched.exit_code == 1  # one of the two is gone, the other is had all the same
    assert "answered 404" in fetched.output and "licence MIT; on toys" in fetched.output
    assert "srbench eval edsr --weights edsr_tiny.pth" in fetched.output
    states = {one["file"]: one["state"] for one in json.loads(command("list", "--json").output)}
    assert states == {"gone.pth": "not on disk", "edsr_tiny.pth": "on disk, pinned"}
    checked = command("check")
    assert checked.exit_code == 0 and "edsr variant tiny, x2, 1 channel" in checked.output
    assert "first seen" in checked.output and "1 checked, 0 bad" in checked.output
    (home / "weights" / "edsr_tiny.pth").write_bytes(content[:-9])
    checked = command("check")
    assert checked.exit_code == 1 and "has changed" in checked.output


@pytest.mark.slow
@pytest.mark.usefixtures("few_models")
def test_check_looks_at_every_file_whatever_the_others_are(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "good.pth").write_bytes(content)
    (folder / "half.pth").write_bytes(content[: len(content) // 2])
    (folder / "page.pt").write_bytes(b"<html>not found</html>")
    (folder / "readme.txt").write_text("no weights")
    torch.save(torch.nn.Linear(2, 2), folder / "code.pt")
    state = models.create("edsr", scale=2, variant="tiny").network.state_dict()
    weights.save(folder / "lies.safetensors", state, WeightsHeader("edsr", "tiny", 4, 1))
    weights.save(folder / "nobody.safetensors", state, WeightsHeader("edsrr", "tiny", 4, 1))
    spoiled = {name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()}
    torch.save(spoiled, folder / "nan.pth")
    torch.save({"a": torch.zeros(2)}, folder / "strange.pth")
    results = map(published.check_file, folder.iterdir())
    problems = {result.path.name: " ".join(result.problems) for result in results}
    del problems["readme.txt"]
    assert problems.pop("good.pth") == "" and problems.pop("strange.pth") == ""
    expected = {
        "half.pth": "is not a readable torch file",
        "page.pt": "it starts with b'<html>not found<'",
        "code.pt": "could run code",
        "lies.safetensors": "not those its header promises",
        "nobody.safetensors": "its header names a network that is not there",
        "nan.pth": "NaN or infinity",
    }
    assert problems.keys() == expected.keys()
    for name, words in expected.items():
        assert words in problems[name]
    done = command("check", str(folder), str(tmp_path / "none.pth"))
    assert done.exit_code == 1 and "9 checked, 7 bad" in done.output, done.output
    assert "there is no file" in done.output


def test_a_published_name_on_another_network_is_noticed(
    server: Server, content: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, entry(server, network=WeightsHeader("edsr", "full", 2, 3)))
    path = home / "weights" / "edsr_tiny.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (problem,) = published.check_file(path).problems
    assert problem == "the tensors do not fit edsr variant full, x2, 3 channels, which it is published as"


@pytest.mark.slow
def test_imagenet_networks_are_fetched_the_same_way(
    server: Server, content: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(content).hexdigest()
    file = f"vgg19-{digest[:8]}.pth"
    monkeypatch.setattr(
        pretrained, "FILES", {"vgg19": pretrained.PretrainedFile(file, server.url("/w.pth"), "tests")}
    )
    assert f"srbench weights fetch vgg19, or download {server.url('/w.pth')}" in pretrained.describe("vgg19")
    server.files["/w.pth"] = content
    fetched = command("fetch", "vgg19")
    assert fetched.exit_code == 0, fetched.output
    assert pretrained.locate("vgg19") == home / "weights" / file
    assert "ImageNet network vgg19" in command("check").output


def test_licences_and_sources_of_the_files_that_results_used() -> None:
    """Found by content, whatever the file is called; as the manifest beside those files has them."""
    expected = {
        "bead9b714adc5862ee81f0677a5c313f496f21825b1b3d05ee3087ae6bb5d41a": ("vdsr", "pytorch-vdsr", "MIT"),
        "03467880d4112014f1d6cd8d32df53174a6db6f65e1eac84a48ab881d127598a": ("lapsrn", "LapSRN", "MIT"),
        "d491d707679890396390ed566267c262520b8ee944c8e0e2cb0d9b404c47caaa": (
            "swift_srgan",
            "Swift",
            "CC0-1.0",
        ),
        "05d7e879bf35f442309239e12b48c55a03bdfeef1000a1f31600631758b02cc3": (
            "swift_srgan",
            "Swift",
            "CC0-1.0",
        ),
        "eed0f8f893db3755fba8b286c27f3c9f2140767c5f1b500fbb868dc66ecb1a41": ("srgan", "b0323c6", "MIT"),
    }
    for digest, (model, source, licence) in expected.items():
        known = published.known_file("renamed.pth", digest)
        assert known is not None and known.owner == model and source in known.url and known.licence == licence
    assert published.known_file("renamed.pth", "0" * 64) is None


def test_names_nobody_knows() -> None:
    with pytest.raises(SrbenchError, match=r"Unknown weights 'esdr' \(did you mean 'edsr'\?\)"):
        published.select("esdr")
    with pytest.raises(SrbenchError, match="bicubic needs no weights"):
        published.select("bicubic")


def test_what_the_cards_say_of_published_weights_is_sound() -> None:
    """Unique names, addresses, networks that exist; a hash where the file's own name carries one."""
    entries = published.all_published()
    assert len({one.file for one in entries}) == len(entries) > 10
    for one in entries:
        assert one.url.startswith("https://") and one.licence
        assert all(digit in "0123456789abcdef" for digit in one.sha256)
        if one.network is not None:
            card = models.card(one.owner)
            assert one.network.variant in card.variants
            assert one.network.scale in card.scales and one.network.channels in card.channels


@pytest.mark.slow
def test_the_lines_for_a_pickled_network_work(tmp_path: Path) -> None:
    """What the refusal says is run as printed, where the file is trusted."""
    torch.manual_seed(0)
    made = models.create("edsr", scale=2, variant="tiny")
    torch.save({"epoch": 3, "model": made.network}, tmp_path / "old.pt")
    with pytest.raises(SrbenchError, match="could run code") as caught:
        weights.read_state(tmp_path / "old.pt")
    _, _, lines = str(caught.value).partition("give ")
    target, _, code = lines.partition(" here:\n")
    code = "\n".join(line[2:] for line in code.splitlines())
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    loaded = models.create("edsr", scale=2, variant="tiny")
    weights.load(loaded, Path(target))
    for name, tensor in made.network.state_dict().items():
        assert torch.equal(tensor, loaded.network.state_dict()[name])
