"""The service as a process: start, signals, slow and endless clients, what it loads."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from serving_kit import OwnServer, add_learner, jpeg, lesson

SAMPLES = "/v1/learners/l/samples"
IMAGES = b"POST /v1/learners/default/samples HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
TINY = {"max_body_bytes": "1048576", "body_timeout_s": 0.8, "header_timeout_s": 0.8}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with small limits, which no test may bring down."""
    server = OwnServer(tmp_path_factory.mktemp("guarded") / "data", **TINY).start()
    add_learner(server.client)
    yield server
    assert server.client.post(SAMPLES, json=lesson(0)).status_code == 201
    assert server.end() == 0


def connected(server):
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def until_closed(connection):
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received


def test_sigterm_answers_what_waits_saves_and_exits_with_0(servers):
    server = servers(strategy="ar1")
    add_learner(server.client)
    with ThreadPoolExecutor(8) as pool:
        answers = [
            pool.submit(server.client.post, SAMPLES, json=lesson(0, 1, seed=n)) for n in range(40)
        ]
        while sum(answer.done() for answer in answers) < 10:
            time.sleep(0.005)
        server.process.send_signal(signal.SIGTERM)
        answered = [one.result() for one in answers if not one.exception()]
        acknowledged = [number for one in answered for number in one.json()["ids"]]
    assert server.exit_code() == 0
    server = servers(strategy="ar1")
    assert not [line for line in server.log.read_text().splitlines() if "ERROR" in line]
    stored = server.client.get(SAMPLES, params={"limit": 1000}).json()["items"]
    assert {item["id"] for item in stored} >= set(acknowledged)
    metrics = server.client.get("/metrics").text
    assert 'edge_cl_wal_lag_records{learner="l"} 0.0' in metrics


def test_an_idempotency_key_survives_kill_9(servers):
    server = servers()
    add_learner(server.client)
    key = {"Idempotency-Key": "once"}
    first = server.client.post(SAMPLES, json=lesson(0, 1), headers=key)
    server.end(signal.SIGKILL)
    server = servers()
    again = server.client.post(SAMPLES, json=lesson(0, 1), headers=key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    assert server.client.get(SAMPLES).json()["total"] == 2


def test_an_endless_body_is_cut_off(guarded):
    before = psutil.Process(guarded.process.pid).memory_info().rss
    sent, chunk = 0, b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with connected(guarded) as connection:
        connection.sendall(IMAGES + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while sent < 100 * 1024 * 1024:
                connection.sendall(chunk)
                sent += 65_536
    assert sent < 100 * 1024 * 1024
    assert psutil.Process(guarded.process.pid).memory_info().rss - before < 20 * 1024 * 1024


def test_a_client_that_listens_while_it_sends_gets_the_413(guarded):
    with connected(guarded) as connection:
        connection.sendall(IMAGES + b"Transfer-Encoding: chunked\r\n\r\n")
        received = b""
        connection.settimeout(0.002)
        while not received:
            connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65_536)
        connection.settimeout(5)
        while b"}" not in received:
            received += connection.recv(65_536)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"urn:edge-cl:problem:too-large" in received
    assert b"connection: close" in received.lower()


def test_a_declared_length_beyond_the_limit_is_refused_before_it_is_sent(guarded):
    with connected(guarded) as connection:
        connection.sendall(IMAGES + b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_comes_too_slowly_is_408(guarded):
    with connected(guarded) as connection:
        connection.sendall(IMAGES + b"Content-Length: 1000\r\n\r\nsome")
        begun = time.monotonic()
        assert until_closed(connection).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("head", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\n"])
def test_connections_without_a_whole_head_are_closed(guarded, head):
    with connected(guarded) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" if head else b"")
        received = b"" if head else b"}"
        while b"}" not in received:
            received += connection.recv(65_536)
        connection.sendall(head)
        begun = time.monotonic()
        assert until_closed(connection) == b""
        assert time.monotonic() - begun < 4


def test_a_hundred_half_open_clients_shut_nobody_out(guarded):
    idle = [connected(guarded) for _ in range(100)]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda n: guarded.client.post(SAMPLES, json=lesson(n)), range(4))
        assert [answer.status_code for answer in answers] == [201] * 4
    for connection in idle:
        connection.close()


def test_memory_and_modules(servers):
    """Real images through the built-in extractor; ``edge-cl bench memory`` measures at length."""
    server = servers(strategy="ar1", memory_budget="8MiB")
    idle = psutil.Process(server.process.pid).memory_info().rss
    headers = {"Content-Type": "image/jpeg"}
    for number in range(60):
        answer = server.client.post(
            "/v1/learners/default/samples", params={"label": f"class {number % 3}"},
            content=jpeg(number % 3, number, 256), headers=headers,
        )  # fmt: skip
        assert answer.status_code == 201
    busy = psutil.Process(server.process.pid).memory_info().rss
    assert idle <= 130e6
    assert busy <= 160e6
    maps = {one.path for one in psutil.Process(server.process.pid).memory_maps()}
    assert not [path for path in maps if "torch" in path]


SERVE_ONE = """
import io, json, sys, threading, time, urllib.request
from PIL import Image
from service import run
from service.config import load_settings
settings = load_settings(overrides={"data": sys.argv[1], "port": int(sys.argv[2])})
def teach():
    image = io.BytesIO(); Image.new("RGB", (40, 40)).save(image, "JPEG")
    url = f"http://127.0.0.1:{sys.argv[2]}/v1/learners/default/"
    for path in ("samples?label=a", "predict"):
        for attempt in range(100):
            try:
                request = urllib.request.Request(
                    url + path, image.getvalue(), {"Content-Type": "image/jpeg"})
                urllib.request.urlopen(request).read()
                break
            except OSError:
                time.sleep(0.1)
    print(json.dumps(sorted(sys.modules)))
    import os, signal
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=teach).start()
sys.exit(run.serve(settings))
"""


def test_a_process_that_teaches_and_predicts_loads_nothing_heavy(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ran = subprocess.run(
        [sys.executable, "-c", SERVE_ONE, str(tmp_path / "data"), str(port)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    loaded = {name.split(".")[0] for name in json.loads(ran.stdout.splitlines()[-1])}
    assert not loaded & {"torch", "onnx", "httpx", "rich", "sklearn", "scipy", "matplotlib"}


def outcome(tmp_path, **settings):
    environment = {f"EDGE_CL_{name.upper()}": str(value) for name, value in settings.items()}
    ran = subprocess.run(
        [sys.executable, "-m", "service"],
        env={**os.environ, "EDGE_CL_DATA": str(tmp_path / "data"), **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return ran.returncode, ran.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "EDGE_CL_API_KEY"),
        ({"extractor": "/nowhere.onnx"}, "nowhere.onnx"),
        ({"memory_budget": "much"}, "memory_budget"),
        ({"strategy": "nobody"}, "nobody"),
        ({"api_key": "short"}, "8 characters"),
        ({"api_key_file": "/nowhere"}, "api_key_file"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tmp_path, settings, said):
    code, stderr = outcome(tmp_path, **settings)
    assert code == 2
    assert said in stderr
    assert "Traceback" not in stderr


def test_a_port_in_use_is_an_error(servers, tmp_path):
    server = servers()
    other = tmp_path / "other"
    other.mkdir()
    code, stderr = outcome(other, port=server.url.rsplit(":", 1)[1])
    assert code != 0
    assert "Traceback" not in stderr
    assert "in use" in stderr


def test_log_lines_are_json_on_request(servers):
    server = servers(log_format="json")
    server.client.get("/v1/learners/nobody", headers={"X-Request-ID": "r-1"})
    deadline = time.monotonic() + 30
    lines = []
    while not lines and time.monotonic() < deadline:
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        time.sleep(0.02)
    assert lines[0]["request_id"] == "r-1"
    assert lines[0]["status"] == 404
