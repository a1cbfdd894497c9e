"""Everything here needs the extra torch; without it the files are not even imported."""

from importlib.util import find_spec

NEEDS = {
    "test_build.py": ("torch", "onnx"),
    "test_pretrain.py": ("torch", "onnx"),
    "test_reference.py": ("onnx",),
}

collect_ignore = [
    name for name, packages in NEEDS.items() if not all(find_spec(p) for p in packages)
]


def pytest_report_header():
    """Say what is left out, and why."""
    return [f"toolchain/{name} is left out: it needs the extra torch" for name in collect_ignore]
