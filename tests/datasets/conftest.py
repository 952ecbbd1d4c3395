"""What the dataset tests share: a home of their own, pictures like micrographs, an unreliable file server."""

import http.server
import threading
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
    """Serves ``content``; ``script`` holds a list of misbehaviours per path, used up one a request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = {}
        self.script = {}
        self.requests = Counter()
        self.ranges = []
        self.active = self.most_active = 0
        self.lock = threading.Lock()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        with server.lock:
            server.requests[self.path] += 1
            server.active += 1
            server.most_active = max(server.most_active, server.active)
            steps = server.script.get(self.path, [])
            step = steps.pop(0) if steps else "serve"
        try:
            self.answer(step, server.content.get(self.path))
        finally:
            with server.lock:
                server.active -= 1

    def answer(self, step, body):
        if isinstance(step, int):
            return self.send_error(step)
        if body is None:
            return self.send_error(404)
        wanted = self.headers.get("Range")
        start = 0
        if wanted and step != "no ranges":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.server.ranges.append((self.path, start))
            if start >= len(body):
                return self.send_error(416)
        if step == "wrong":
            body = b"\xff" * len(body)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if step == "stall":
            self.wfile.write(body[start : start + 1000])
            self.wfile.flush()
            threading.Event().wait(1.0)
            return None
        end = (start + len(body)) // 2 if step == "truncate" else len(body)
        self.wfile.write(body[start:end])
        return None


@pytest.fixture
def file_server():
    """A running ``Server``."""
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
