"""What the dataset tests share: a home of their own, pictures like micrographs, an unreliable file server."""

import hashlib
import http.server
import json
import threading
import time
from collections import Counter

import numpy as np
import pytest


@pytest.fixture
def srbench_home(tmp_path, monkeypatch):
    """An empty srbench home."""
    home = tmp_path / "home"
    monkeypatch.setenv("SRBENCH_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def picture():
    """``picture(seed, height, width, dtype)``: grains with noise; every seed another picture."""

    def make(seed=0, height=96, width=128, dtype=np.uint8):
        generator = np.random.default_rng(seed)
        rows, columns = np.mgrid[:height, :width]
        phase = generator.random(4) * 6
        waves = np.sin(rows / 7 + phase[0]) + np.sin(columns / 9 + phase[1]) + np.sin((rows + columns) / 13)
        noisy = 0.5 + 0.12 * waves + generator.normal(0, 0.03, (height, width))
        top = np.iinfo(dtype).max
        return np.clip(np.round(noisy * top), 0, top).astype(dtype)

    return make


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content``; ``script`` holds a list of misbehaviours per path, used up one a request.

    A misbehaviour is a status code, ``(status code, headers)`` or a word, see ``Handler.answer``. ``headers``
    are sent with every answer for a path; ``rate`` bytes a second are served where it is set.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = {}
        self.script = {}
        self.headers = {}
        self.rate = None
        self.gate = threading.Event()
        self.requests = Counter()
        self.log = []
        self.ranges = []
        self.sent = Counter()
        self.active = self.most_active = 0
        self.lock = threading.Lock()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    page = b"<!DOCTYPE html><html><title>Maintenance</title></html>"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        with server.lock:
            server.requests[self.path] += 1
            server.log.append((self.path, dict(self.headers)))
            server.active += 1
            server.most_active = max(server.most_active, server.active)
            steps = server.script.get(self.path, [])
            step = steps.pop(0) if steps else "serve"
        try:
            self.answer(step, server.content.get(self.path))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was killed or had enough
        finally:
            with server.lock:
                server.active -= 1

    def answer(self, step, body):
        if isinstance(step, int):
            return self.send_error(step)
        if isinstance(step, tuple):
            return self.fail(*step)
        if step == "gate":  # answers when the test opens it
            self.server.gate.wait(30)
        if step in ("page", "unlabelled page"):
            return self.serve(self.page, {"Content-Type": "text/html"} if step == "page" else {})
        if body is None:
            return self.send_error(404)
        if self.headers.get("Range") == "bytes=0-0" and step != "no ranges":
            return self.probe(body)
        start = self.start_of(body, step)
        if start is None:
            return self.send_error(416)
        if step == "wrong":
            body = b"\xff" * len(body)
        if step == "short":  # a server that believes its file ends here
            body = body[: start + (len(body) - start) // 2]
        return self.serve(body, {}, start, step)

    def fail(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def probe(self, body):
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 0-0/{len(body)}")
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(body[:1])

    def start_of(self, body, step):
        """The first byte to send, None for a range behind the end."""
        wanted = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, *self.server.headers.get(self.path, {}).values())
        if not wanted or step == "no ranges" or not (fresh or step == "ignore If-Range"):
            return 0
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        with self.server.lock:
            self.server.ranges.append((self.path, start))
        return start if start < len(body) else None

    def serve(self, body, headers, start=0, step="serve"):
        self.send_response(206 if start else 200)
        for name, value in {**headers, **self.server.headers.get(self.path, {})}.items():
            self.send_header(name, value)
        if start:
            first = start + 1 if step == "shifted" else start
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if step == "stall":
            self.wfile.write(body[start : start + 1000])
            self.wfile.flush()
            threading.Event().wait(1.0)
            return
        self.write(body[start : (start + len(body)) // 2 if step == "truncate" else len(body)])

    def write(self, data):
        piece = len(data) if self.server.rate is None else max(self.server.rate // 50, 1)
        for position in range(0, len(data), piece or 1):
            self.wfile.write(data[position : position + piece])
            with self.server.lock:
                self.server.sent[self.path] += len(data[position : position + piece])
            if self.server.rate is not None:
                time.sleep(0.02)


@pytest.fixture
def file_server():
    """A running ``Server``."""
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


class Repository:
    """Records of B2SHARE on a file server, in its old interface and in the one of InvenioRDM."""

    def __init__(self, server):
        self.server = server
        self.url = server.url("")

    def old(self, record, bucket, files, *, listed=True, checksums=True):
        """The record of 32 hexadecimal digits: JSON with a bucket, files in it."""
        for name, data in files.items():
            self.server.content[f"/api/files/{bucket}/{name}"] = data
        if listed:
            entries = [
                {
                    "key": name,
                    "size": len(data),
                    "bucket": bucket,
                    "version_id": "1",
                    **self._sum(data, checksums),
                }
                for name, data in files.items()
            ]
            links = {
                "files": f"https://b2share.eudat.eu/api/files/{bucket}",
                "self": "https://b2share.eudat.eu",
            }
            self.json(f"/api/records/{record}", {"id": record, "files": entries, "links": links})

    def new(self, record, files, *, listed=True, checksums=True, download=False):
        """The short record: a list of entries, each file's content, or only the link of its page."""
        for name, data in files.items():
            path = f"/records/{record}/files/{name}?download=1"
            if not download:
                path = f"/api/records/{record}/files/{name}/content"
            self.server.content[path] = data
        if listed:
            entries = [
                {
                    "key": name,
                    "size": len(data),
                    "links": {
                        "content": f"https://b2share.eudat.eu/api/records/{record}/files/{name}/content"
                    },
                    **self._sum(data, checksums),
                }
                for name, data in files.items()
            ]
            self.json(f"/api/records/{record}/files", {"enabled": True, "links": {}, "entries": entries})

    def json(self, path, value):
        self.server.content[path] = json.dumps(value).encode()
        self.server.headers[path] = {"Content-Type": "application/json"}

    def asked(self):
        """Paths in the order they were asked for."""
        return [path for path, _ in self.server.log]

    @staticmethod
    def _sum(data, checksums):
        return {"checksum": f"md5:{hashlib.md5(data).hexdigest()}"} if checksums else {}


@pytest.fixture
def repository(file_server):
    """An empty repository on the file server."""
    return Repository(file_server)
