"""A service in a process of its own."""

import os
import subprocess
import sys

import pytest

from edge_cl.client import Client
from edge_cl.commands import exits
from edge_cl.commands.health import is_ready
from edge_cl.local_service import LocalService, ServiceDied


def test_kill_and_start_keep_what_was_acknowledged(tmp_path, digit_images):
    with LocalService(tmp_path, {"memory_budget": "256KiB"}) as service:
        with Client(service.url) as client:
            taught = client.teach(digit_images.train["digit 3"][0], "three")
        service.kill()
        service.start()
        with Client(service.url) as client:
            assert [sample["id"] for sample in client.samples()] == list(taught.ids)
            assert client.predict(digit_images.train["digit 3"][0]).label == "three"
        assert service.stop() == 0


def test_a_demo_that_is_told_to_end_takes_its_service_along(tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: it has the digits")
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", "edge_cl", "demo", "--per-class", "40"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "EDGE_CL_SHARED": str(tmp_path)},
    )
    with demo:
        assert demo.stdout
        url = demo.stdout.readline().split()[-1]
        assert is_ready(url)
        demo.terminate()
        assert demo.wait(timeout=60) == exits.TERMINATED
        assert not is_ready(url)


def test_a_service_that_cannot_start_shows_its_log(tmp_path):
    with pytest.raises(ServiceDied, match="no-such-file"):
        LocalService(tmp_path, {"extractor": "no-such-file.onnx"}).start()
