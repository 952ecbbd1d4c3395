"""Downloads against a real local server that truncates, fails, lies and refuses ranges."""

import email.utils
import errno
import hashlib
import random
import subprocess
import sys
import threading
import time

import pytest
import requests

from srbench.datasets import download
from srbench.datasets.download import PartialFile, Remote, RetryPolicy, download_all
from srbench.utils.errors import DatasetError, StorageError
from srbench.utils.files import FileHash

QUICK = RetryPolicy(attempts=4, backoff=0.0, timeout=2.0)
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


@pytest.mark.slow
def test_everything_arrives_with_progress(server, tmp_path):
    events = []
    download_all(remotes(server, tmp_path), events.append, retry=QUICK)
    check(tmp_path)
    files = [event for event in events if event.unit == "files"]
    assert [event.done for event in files] == [1, 2, 3, 4, 5, 6] and {event.total for event in files} == {6}
    received = [event.done for event in events if event.unit == "B"]
    assert received == sorted(received) and received[-1] == sum(map(len, CONTENT.values()))


@pytest.mark.slow
def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    download_all(remotes(server, tmp_path), retry=QUICK)
    server.requests.clear()
    (tmp_path / "file2").write_bytes(b"spoiled")
    download_all(remotes(server, tmp_path), retry=QUICK)
    assert server.requests == {"/file2": 1}
    check(tmp_path)


def test_a_partial_file_is_continued_not_repeated(server, tmp_path):
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"][:50_000])
    download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)
    assert server.ranges == [("/file1", 50_000)]
    check(tmp_path, ["/file1"])


@pytest.mark.slow
def test_truncation_5xx_and_stalls_are_outlived(server, tmp_path):
    server.script = {
        "/file0": ["truncate", "truncate"],
        "/file1": [503, 500],
        "/file2": ["stall"],
        "/file3": [429, "truncate"],
    }
    download_all(remotes(server, tmp_path), retry=RetryPolicy(attempts=4, backoff=0.0, timeout=0.3))
    check(tmp_path)
    starts = [start for path, start in server.ranges if path == "/file0"]
    assert starts == sorted(starts) and starts[0] > 0  # each attempt went on where the last one ended
    assert server.requests["/file1"] == 3


@pytest.mark.slow
def test_a_server_without_ranges_starts_over(server, tmp_path):
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"][:50_000])
    server.script = {"/file1": ["no ranges"]}
    download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)
    check(tmp_path, ["/file1"])


@pytest.mark.slow
@pytest.mark.parametrize("left", [b"another file's bytes", CONTENT["/file1"] + b"too long"])
def test_a_partial_file_of_something_else_is_discarded(server, tmp_path, left):
    (tmp_path / "file1.part").write_bytes(left)
    download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)
    check(tmp_path, ["/file1"])


def test_a_complete_partial_file_needs_no_bytes(server, tmp_path):
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"])
    download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)
    check(tmp_path, ["/file1"])


@pytest.mark.slow
def test_failures_are_named_and_lose_nothing_else(server, tmp_path):
    server.script = {"/file0": ["wrong"] * 9, "/file1": [404], "/file2": [503] * 9}
    with pytest.raises(DatasetError) as caught:
        download_all(remotes(server, tmp_path), retry=QUICK)
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
    download_all(remotes(server, tmp_path), retry=QUICK)
    check(tmp_path)


@pytest.mark.slow
def test_several_at_a_time_but_not_more_than_asked(server, tmp_path):
    server.script = {path: ["stall"] for path in CONTENT}
    with pytest.raises(DatasetError):
        download_all(
            remotes(server, tmp_path), workers=3, retry=RetryPolicy(attempts=1, backoff=0.0, timeout=0.4)
        )
    assert 2 <= server.most_active <= 6  # a stalled handler outlives its client


@pytest.mark.parametrize("host", ["127.0.0.1:9", "nowhere.invalid"])
def test_without_a_connection_all_files_end_at_once_in_one_line(tmp_path, host):
    """With the retries of every day, which wait for 15 seconds a file."""
    files = [Remote(f"http://{host}/{number}", tmp_path / str(number)) for number in range(200)]
    start = time.monotonic()
    with pytest.raises(DatasetError, match=f"{host}: no connection") as caught:
        download_all(files, retry=RetryPolicy())
    assert time.monotonic() - start < 5.0
    assert "200 of 200" in str(caught.value) and "\n" not in str(caught.value)


def test_a_host_that_cannot_be_reached_costs_no_file_of_another(server, tmp_path):
    gone = [Remote(f"http://127.0.0.1:9/{number}", tmp_path / f"gone{number}") for number in range(9)]
    with pytest.raises(DatasetError, match=r"9 of 15 files .*: 127\.0\.0\.1:9: no connection"):
        download_all([*gone, *remotes(server, tmp_path)], retry=QUICK)
    check(tmp_path)


@pytest.mark.slow
def test_a_connection_that_is_lost_later_is_tried_again(server, tmp_path, monkeypatch):
    """The address is refused three times after the server has answered."""
    from urllib3.connection import HTTPConnection
    from urllib3.exceptions import NewConnectionError

    connect, accepted = HTTPConnection.connect, [True, False, False, False, True]

    def sometimes(connection):
        if not accepted.pop(0):
            raise NewConnectionError(connection, "refused")
        return connect(connection)

    monkeypatch.setattr(HTTPConnection, "connect", sometimes)
    server.script = {"/file1": ["truncate"]}
    download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)
    check(tmp_path, ["/file1"])
    assert not accepted


def test_only_http(tmp_path):
    secret = tmp_path / "local"
    secret.write_bytes(b"x")
    with pytest.raises(DatasetError, match="no http address"):
        download_all([Remote(secret.as_uri(), tmp_path / "copy", "0" * 64)], retry=QUICK)


@pytest.mark.slow
def test_a_full_disk_keeps_what_arrived(server, tmp_path, monkeypatch):
    append = PartialFile.append

    def full(part, file, data):
        append(part, file, data[:10_000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartialFile, "append", full)
    with pytest.raises(StorageError, match=r"No space left.*SRBENCH_HOME"):
        download_all(remotes(server, tmp_path), retry=QUICK)
    monkeypatch.undo()
    left = sum(file.stat().st_size for file in tmp_path.glob("*.part"))
    assert left > 0
    server.ranges.clear()
    download_all(remotes(server, tmp_path), retry=QUICK)
    assert sum(start for _, start in server.ranges) == left  # not a byte of it was asked for again
    check(tmp_path)


@pytest.mark.slow
def test_md5_and_size_decide_where_they_are_what_is_known(server, tmp_path):
    seen = {}

    def wanted(path, **known):
        return Remote(server.url(path), tmp_path / path[1:], **known)

    body = CONTENT["/file1"]
    right = hashlib.md5(body).hexdigest()
    download_all(
        [wanted("/file1", md5=right, size=len(body)), wanted("/file2")],
        retry=QUICK,
        on_file=lambda remote, content: seen.update({remote.path.name: content}),
    )
    check(tmp_path, ["/file1", "/file2"])
    assert seen["file1"] == FileHash(len(body), right, hashlib.sha256(body).hexdigest())
    assert seen["file2"].sha256 == hashlib.sha256(CONTENT["/file2"]).hexdigest()
    with pytest.raises(DatasetError, match=r"file3: wrong content: md5 [0-9a-f]{32}, expected 0{32}; d"):
        download_all([wanted("/file3", md5="0" * 32)], retry=QUICK)
    with pytest.raises(DatasetError, match=r"file4: wrong content: the server has 70,004 bytes, expected 9"):
        download_all([wanted("/file4", size=9)], retry=QUICK)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file1", "file2"]


def test_a_file_too_short_on_the_server_is_kept_for_a_better_day(server, tmp_path):
    body = CONTENT["/file1"]
    remote = Remote(
        server.url("/file1"), tmp_path / "file1", hashlib.sha256(body).hexdigest(), size=len(body)
    )
    server.content["/file1"] = body[:40_000]
    with pytest.raises(DatasetError, match=r"the server has only 40,000 of 70,001 bytes"):
        download_all([remote], retry=QUICK)
    assert (tmp_path / "file1.part").read_bytes() == body[:40_000]
    server.content["/file1"] = body
    server.ranges.clear()
    download_all([remote], retry=QUICK)
    assert server.ranges == [("/file1", 40_000)]
    check(tmp_path, ["/file1"])


def test_short_answers_are_put_together(server, tmp_path):
    """Content-Length is of what the server believes, half of the rest each time: no failure it would see."""
    server.script = {"/file1": ["short", "short", "short"]}
    body = CONTENT["/file1"]
    download_all([Remote(server.url("/file1"), tmp_path / "file1", size=len(body))], retry=QUICK)
    check(tmp_path, ["/file1"])
    assert server.sent["/file1"] == len(body)


@pytest.mark.slow
@pytest.mark.parametrize("mark", [{"ETag": '"v1"'}, {"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}])
@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changed_meanwhile_is_started_over(server, tmp_path, mark, honest):
    """No hash is known, so bytes of the old and the new file must not be joined."""
    remote = Remote(server.url("/file1"), tmp_path / "file1")
    server.headers["/file1"] = mark
    server.script = {"/file1": ["truncate"]}
    with pytest.raises(DatasetError):
        download_all([remote], retry=RetryPolicy(attempts=1, backoff=0.0))
    assert (tmp_path / "file1.part").stat().st_size == 35_000
    changed = b"other" * 20_000
    server.content["/file1"] = changed
    server.headers["/file1"] = {name: value.replace("1", "2") for name, value in mark.items()}
    server.script = {"/file1": [] if honest else ["ignore If-Range"]}
    download_all([remote], retry=QUICK)
    assert (tmp_path / "file1").read_bytes() == changed
    asked = [headers.get("If-Range") for path, headers in server.log[1:] if "Range" in headers]
    assert asked == list(mark.values())
    server.content["/file1"] = CONTENT["/file1"]


def test_a_weak_etag_is_no_promise(server, tmp_path):
    server.headers["/file1"] = {"ETag": 'W/"v1"'}
    server.script = {"/file1": ["truncate"]}
    download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)
    assert not any("If-Range" in headers for _, headers in server.log)
    check(tmp_path, ["/file1"])


def test_a_part_of_another_address_is_not_continued_on_trust(server, tmp_path):
    server.script = {"/file1": ["truncate"]}
    with pytest.raises(DatasetError):
        download_all([Remote(server.url("/file1"), tmp_path / "it")], retry=RetryPolicy(attempts=1))
    download_all([Remote(server.url("/file2"), tmp_path / "it")], retry=QUICK)
    assert (tmp_path / "it").read_bytes() == CONTENT["/file2"] and not server.ranges


def test_a_mirror_goes_on_where_the_hash_is_known(server, tmp_path):
    server.content["/mirror"] = CONTENT["/file1"]
    server.script = {"/file1": ["truncate", 404]}
    known = hashlib.md5(CONTENT["/file1"]).hexdigest()
    with pytest.raises(DatasetError):
        download_all([Remote(server.url("/file1"), tmp_path / "file1", md5=known)], retry=QUICK)
    download_all([Remote(server.url("/mirror"), tmp_path / "file1", md5=known)], retry=QUICK)
    assert server.ranges[-1][0] == "/mirror" and server.ranges[-1][1] > 30_000
    check(tmp_path, ["/file1"])


def test_a_shifted_range_is_not_joined(server, tmp_path):
    server.script = {"/file1": ["truncate", "shifted"]}
    download_all([Remote(server.url("/file1"), tmp_path / "file1")], retry=QUICK)
    check(tmp_path, ["/file1"])


@pytest.mark.slow
@pytest.mark.parametrize("page", ["page", "unlabelled page"])
def test_a_web_page_is_not_the_file(server, tmp_path, page):
    server.script = {"/file1": [page]}
    download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)  # under repair, for a moment
    check(tmp_path, ["/file1"])
    server.script = {"/file2": [page]}
    with pytest.raises(DatasetError, match="file2: the server sent a web page instead of the file"):
        download_all([Remote(server.url("/file2"), tmp_path / "file2")], retry=QUICK)
    assert [file.name for file in tmp_path.iterdir()] == ["file1"]


@pytest.mark.parametrize("page", ["page", "unlabelled page"])
def test_what_arrived_is_not_given_up_for_a_web_page(server, tmp_path, page):
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"][:50_000])
    server.script = {"/file1": [page, page]}
    download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)
    assert server.ranges == [("/file1", 50_000)]
    check(tmp_path, ["/file1"])


def test_redirects_are_followed_with_their_range(server, tmp_path):
    server.script = {"/old": [(302, {"Location": server.url("/file1")})] * 3}
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"][:50_000])
    remote = Remote(server.url("/old"), tmp_path / "file1", hashlib.sha256(CONTENT["/file1"]).hexdigest())
    download_all([remote], retry=QUICK)
    assert server.ranges == [("/file1", 50_000)]
    check(tmp_path, ["/file1"])


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/file1", "file:///etc/hostname"])
def test_redirects_off_the_web_are_not_followed(server, tmp_path, target):
    server.script = {"/old": [(302, {"Location": target})]}
    with pytest.raises(DatasetError, match=r"old: .*(not safe to follow|not allowed)"):
        download_all([Remote(server.url("/old"), tmp_path / "old")], retry=QUICK)
    assert server.requests == {"/old": 1}


@pytest.mark.parametrize(
    ("target", "safe"),
    [("http://b/y", False), ("ftp://a/y", False), ("//b/y", True), ("/y", True), ("https://b/y", True)],
)
def test_a_redirect_from_https_stays_there(target, safe):
    response = requests.Response()
    response.url, response.status_code, response.headers["Location"] = "https://a/x", 302, target
    (check_redirect,) = download.http_session(QUICK).hooks["response"]
    if safe:
        check_redirect(response)
    else:
        with pytest.raises(download.Refused, match="not safe to follow"):
            check_redirect(response)


def test_a_server_that_does_not_know_when_is_asked_again(server, tmp_path):
    server.script = {"/file1": [(503, {"Retry-After": "soon"}), (503, {"Retry-After": "-7"})]}
    download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)
    check(tmp_path, ["/file1"])


def test_the_server_says_when_to_come_back(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(threading.Event, "wait", lambda event, timeout=None: waits.append(timeout))
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    server.script = {
        "/file1": [(429, {"Retry-After": "7"}), (503, {"Retry-After": in_a_minute}), (503, {}), 503]
    }
    retry = RetryPolicy(attempts=9, backoff=0.5)
    download_all(remotes(server, tmp_path, ["/file1"]), retry=retry)
    monkeypatch.undo()
    waits = [wait for wait in waits if wait]
    assert waits[0] == 7.0 and 55 < waits[1] <= 60 and waits[2:4] == [2.0, 4.0]
    check(tmp_path, ["/file1"])


def test_a_server_that_is_closed_for_long_is_not_waited_for(server, tmp_path):
    server.script = {"/file1": [(503, {"Retry-After": "7200"})]}
    with pytest.raises(DatasetError, match=r"503 .* and asks to come back in 120 minutes"):
        download_all(remotes(server, tmp_path, ["/file1"]), retry=QUICK)


@pytest.mark.slow
def test_a_server_that_always_truncates_is_outlived_while_it_brings_something(server, tmp_path):
    """Four broken connections in a row with two attempts allowed: each brought more than a megabyte."""
    body = bytes(range(256)) * 4096 * 26
    server.content["/large"] = body
    server.script = {"/large": ["truncate"] * 4}
    remote = Remote(server.url("/large"), tmp_path / "large", md5=hashlib.md5(body).hexdigest())
    download_all([remote], retry=RetryPolicy(attempts=2, backoff=0.0))
    assert server.requests["/large"] == 5 and (tmp_path / "large").read_bytes() == body


@pytest.mark.slow
def test_what_is_there_counts_from_the_start(server, tmp_path):
    """Rate and time left are right only where the first event already knows what earlier calls left."""
    sizes = {path: len(body) for path, body in CONTENT.items()}
    (tmp_path / "file0").write_bytes(CONTENT["/file0"])
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"][:50_000])
    events = []
    download_all(
        [
            Remote(server.url(path), tmp_path / path[1:], hashlib.sha256(body).hexdigest(), size=sizes[path])
            for path, body in CONTENT.items()
        ],
        events.append,
        retry=QUICK,
    )
    download = [event for event in events if event.label == "download"]
    total = sum(sizes.values())
    assert (download[0].done, download[0].total) == (sizes["/file0"] + 50_000, total)
    assert (download[-1].done, download[-1].total) == (total, total)
    assert all(event.done <= total for event in download)
    checked = [event for event in events if event.label == "check"]
    assert checked[-1].done == checked[-1].total == sizes["/file0"] + 50_000
    assert server.sent["/file0"] == 0 and server.sent["/file1"] == sizes["/file1"] - 50_000


@pytest.mark.slow
def test_nothing_is_hashed_twice(server, tmp_path, monkeypatch):
    """Whatever the number of attempts, a file left by an earlier call is read once, a new one never."""
    read = []
    original = download.hash_file
    monkeypatch.setattr(
        download, "hash_file", lambda path, told: read.append(path.name) or original(path, told)
    )
    server.script = {"/file1": ["truncate"] * 3, "/file2": ["truncate"] * 3}
    (tmp_path / "file1.part").write_bytes(CONTENT["/file1"][:100])
    download_all(remotes(server, tmp_path, ["/file1", "/file2"]), retry=QUICK)
    assert read == ["file1.part"]
    check(tmp_path, ["/file1", "/file2"])


@pytest.mark.slow
def test_an_interrupted_call_ends_at_once_and_keeps_what_arrived(server, tmp_path):
    """Ctrl-C while a thread waits for a server that says nothing for much longer."""
    server.rate = 200_000

    def interrupt(event):
        if not isinstance(event, str) and event.label == "download" and event.done > 40_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_all(remotes(server, tmp_path), interrupt, workers=3, retry=RetryPolicy())
    left = {file.name: file.stat().st_size for file in tmp_path.glob("*.part")}
    assert sum(left.values()) > 30_000
    server.rate = None
    server.ranges.clear()
    download_all(remotes(server, tmp_path), retry=QUICK)
    assert dict(server.ranges) == {
        f"/{name.removesuffix('.part')}": size for name, size in left.items() if size
    }
    check(tmp_path)


@pytest.mark.slow
def test_the_bytes_are_right_whatever_the_server_does(server, tmp_path):
    """Forty files against seeded sequences of every misbehaviour that may pass."""
    dice = random.Random(5)
    deeds = ["truncate", "short", 500, 503, "no ranges", "page", "unlabelled page", "wrong", "shifted"]
    bodies = {f"/r{index}": dice.randbytes(dice.randrange(1, 30_000)) for index in range(40)}
    server.content.update(bodies)
    server.headers.update({path: {"ETag": f'"{index}"'} for index, path in enumerate(bodies) if index % 2})
    server.script = {path: dice.choices(deeds, k=dice.randrange(6)) for path in bodies}
    wanted = [
        Remote(server.url(path), tmp_path / path[1:], md5=hashlib.md5(body).hexdigest(), size=len(body))
        for path, body in bodies.items()
    ]
    retry = RetryPolicy(attempts=3, backoff=0.0)
    for _ in range(9):
        try:
            download_all(wanted, retry=retry)
            break
        except DatasetError as error:
            assert "run the same command again" in str(error)
    assert {path: (tmp_path / path[1:]).read_bytes() for path in bodies} == bodies
    assert len(list(tmp_path.iterdir())) == len(bodies)


@pytest.mark.slow
def test_what_downloads_nothing_does_not_load_the_http_client():
    code = (
        "import sys; from srbench.datasets import list_datasets; list_datasets(); "
        "print([name for name in ('requests', 'urllib3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
