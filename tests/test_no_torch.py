"""What runs on a device stays light: no torch, no terminal library, no client."""

import json
import os
import subprocess
import sys

import pytest

LIST_MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def modules_after(statements):
    ran = subprocess.run(
        [sys.executable, "-c", f"{statements}\n{LIST_MODULES}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {name.split(".")[0] for name in json.loads(ran.stdout.splitlines()[-1])}


NEVER = {"torch", "onnx", "sklearn", "scipy", "matplotlib", "pandas"}
SERVING = """
import edge_cl, service
from edge_cl import Learner
learner = Learner.create(strategy="ar1", dim=4, memory_budget="64KiB")
learner.learn_latents([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]], ["a", "b"])
import service.app, service.run
import edge_cl.commands.serve
"""


def test_learning_and_serving_load_no_torch():
    assert modules_after(SERVING) & NEVER == set()


def test_serving_loads_no_terminal_and_no_http_client():
    assert modules_after(SERVING) & {"rich", "httpx", "pygments"} == set()


@pytest.mark.parametrize("module", ["edge_cl.toolchain", "edge_cl.bench", "edge_cl.demo"])
def test_serving_loads_no_tools(module):
    ran = subprocess.run(
        [sys.executable, "-c", f"{SERVING}\nimport sys; print({module!r} in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.splitlines()[-1] == "False"


def test_the_number_of_threads_is_decided_before_numpy_loads():
    assert "numpy" not in modules_after("import edge_cl.cli, edge_cl.commands.serve")


def test_health_loads_next_to_nothing():
    loaded = modules_after("import edge_cl.commands.health")
    assert loaded & {"numpy", "pydantic", "onnxruntime", "PIL", "httpx", "rich"} == set()


def test_serving_writes_nothing_below_the_home_folder(tmp_path):
    """ONNX Runtime keeps a device id and a queue of events there, unless it is told not to."""
    pytest.importorskip("onnxruntime")
    script = "from edge_cl.extractor import load_extractor; load_extractor('default')"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
