"""Downloads against a real local server that truncates, fails, lies and refuses ranges."""

import errno
import hashlib

import pytest

from srbench.datasets import download
from srbench.datasets.download import Patience, Remote, download_all
from srbench.datasets.interface import DatasetError

QUICK = Patience(attempts=4, backoff=0.0, timeout=2.0)
CONTENT = {f"/file{index}": bytes([index]) * (70_000 + index) for index in range(6)}


@pytest.fixture
def server(file_server):
    file_server.content.update(CONTENT)
    return file_server


def remotes(server, folder, paths=tuple(CONTENT)):
    return [
        Remote(server.url(path), folder / path[1:], hashlib.sha256(CONTENT[path]).hexdigest())
        for path in paths
    ]


def check(folder, paths=tuple(CONTENT)):
    assert {path: (folder / path[1:]).read_bytes() for path in paths} == {
        path: CONTENT[path] for path in paths
    }
    assert not list(folder.glob("*.part"))


def test_everything_arrives_with_progress(server, tmp_path):
    events = []
    download_all(remotes(server, tmp_path), events.append, patience=QUICK)
    check(tmp_path)
    files = [event for event in events if event.unit == "images"]
    assert [event.done for event in files] == [1, 2, 3, 4, 5, 6] and {event.total for event in files} == {6}
    received = [event.done for event in events if event.unit == "B"]
    assert received == sorted(received) and received[-1] == sum(map(len, CONTENT.values()))


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    download_all(remotes(server, tmp_path), patience=QUICK)
    server.requests.clear()
    (tmp_path / "file2").write_bytes(b"spoiled")
    download_all(remotes(server, tmp_path), patience=QUICK)
    assert server.requests == {"/file2": 1}
    check(tmp_path)


def test_a_partial_file_is_continued_not_repeated(server, tmp_path):
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"][:50_000])
    download_all(remotes(server, tmp_path, ["/file1"]), patience=QUICK)
    assert server.ranges == [("/file1", 50_000)]
    check(tmp_path, ["/file1"])


def test_truncation_5xx_and_stalls_are_outlived(server, tmp_path):
    server.script = {
        "/file0": ["truncate", "truncate"],
        "/file1": [503, 500],
        "/file2": ["stall"],
        "/file3": [429, "truncate"],
    }
    download_all(remotes(server, tmp_path), patience=Patience(attempts=4, backoff=0.0, timeout=0.3))
    check(tmp_path)
    starts = [start for path, start in server.ranges if path == "/file0"]
    assert starts == sorted(starts) and starts[0] > 0  # each attempt went on where the last one ended
    assert server.requests["/file1"] == 3


def test_a_server_without_ranges_starts_over(server, tmp_path):
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"][:50_000])
    server.script = {"/file1": ["no ranges"]}
    download_all(remotes(server, tmp_path, ["/file1"]), patience=QUICK)
    check(tmp_path, ["/file1"])


@pytest.mark.parametrize("left", [b"another file's bytes", CONTENT["/file1"] + b"too long"])
def test_a_partial_file_of_something_else_is_discarded(server, tmp_path, left):
    (tmp_path / "file1.part").write_bytes(left)
    download_all(remotes(server, tmp_path, ["/file1"]), patience=QUICK)
    check(tmp_path, ["/file1"])


def test_a_complete_partial_file_needs_no_bytes(server, tmp_path):
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"])
    download_all(remotes(server, tmp_path, ["/file1"]), patience=QUICK)
    check(tmp_path, ["/file1"])


def test_failures_are_named_and_lose_nothing_else(server, tmp_path):
    server.script = {"/file0": ["wrong"] * 9, "/file1": [404], "/file2": [503] * 9}
    with pytest.raises(DatasetError) as caught:
        download_all(remotes(server, tmp_path), patience=QUICK)
    message = str(caught.value)
    assert "3 of 6 files" in message and "run the same command again" in message
    assert "file0: wrong content: sha256" in message and "file1: the server answered 404" in message
    assert "file2: the server answered 503" in message and server.url("/file2") in message
    check(tmp_path, ["/file3", "/file4", "/file5"])
    assert not (tmp_path / "file0").exists()
    assert (
        server.requests["/file0"] == 1 and server.requests["/file1"] == 1 and server.requests["/file2"] == 4
    )
    server.script = {}
    download_all(remotes(server, tmp_path), patience=QUICK)
    check(tmp_path)


def test_several_at_a_time_but_not_more_than_asked(server, tmp_path):
    server.script = {path: ["stall"] for path in CONTENT}
    with pytest.raises(DatasetError):
        download_all(
            remotes(server, tmp_path), workers=3, patience=Patience(attempts=1, backoff=0.0, timeout=0.4)
        )
    assert 2 <= server.most_active <= 6  # a stalled handler outlives its client


def test_no_server(tmp_path):
    remote = Remote("http://127.0.0.1:9/none", tmp_path / "none", "0" * 64)
    with pytest.raises(DatasetError, match="none: no connection"):
        download_all([remote], patience=QUICK)


def test_only_http(tmp_path):
    secret = tmp_path / "local"
    secret.write_bytes(b"x")
    with pytest.raises(DatasetError, match="no http address"):
        download_all([Remote(secret.as_uri(), tmp_path / "copy", "0" * 64)], patience=QUICK)


def test_a_full_disk_keeps_what_arrived(server, tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "flush", full)
    with pytest.raises(DatasetError, match=r"No space left.*SRBENCH_HOME"):
        download_all(remotes(server, tmp_path), patience=QUICK)
    monkeypatch.undo()
    download_all(remotes(server, tmp_path), patience=QUICK)
    check(tmp_path)
