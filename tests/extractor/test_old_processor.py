"""The built-in extractor on a processor without VNNI, by emulation."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_cl.extractor import load_extractor

SCRIPT = """
import sys
import numpy as np
from edge_cl.extractor import load_extractor
np.save(sys.argv[2], load_extractor().extract(np.load(sys.argv[1])))
"""


def test_codes_are_those_of_a_processor_without_vnni(tmp_path):
    if platform.machine() != "x86_64":
        pytest.skip("this interpreter is not for x86-64")
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("qemu-x86_64 is not installed")
    interpreter = Path(sys.executable).resolve()
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    images[2:] = np.sort(images[2:], axis=1)
    np.save(tmp_path / "images.npy", images)
    subprocess.run(
        [
            *(emulator, "-cpu", "Haswell", str(interpreter), "-c", SCRIPT),
            *(str(tmp_path / "images.npy"), str(tmp_path / "codes.npy")),
        ],
        check=True,
        timeout=240,
        capture_output=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "/usr/bin:/bin"},
    )
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), load_extractor().extract(images))
