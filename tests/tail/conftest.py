"""Everything here needs the extra torch; without it the files are not even imported."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") and find_spec("onnx") else ["test_*.py"]


def pytest_report_header():
    """Say what is left out, and why."""
    return ["tail/ is left out: it needs the extra torch"] if collect_ignore_glob else []
