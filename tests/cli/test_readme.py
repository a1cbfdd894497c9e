"""The README's examples, run as they stand against a real service."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_cl import cli

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
WRITTEN_URL = "http://127.0.0.1:8080"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder that has the files of the examples."""
    rng = np.random.default_rng(0)
    smooth = np.tile(np.linspace(0, 255, 96), (96, 1))
    pictures = {"cup": smooth, "cup2": smooth * 0.9, "pen": rng.integers(0, 255, (96, 96))}
    for name, picture in pictures.items():
        Image.fromarray(picture.astype(np.uint8)).convert("RGB").save(tmp_path / f"{name}.jpg")
    for folder in ("photos", "test-photos"):
        for label in ("cup", "pen"):
            (tmp_path / folder / label).mkdir(parents=True)
            shutil.copy(tmp_path / f"{label}.jpg", tmp_path / folder / label)
    monkeypatch.chdir(tmp_path)
    return tmp_path


CURLS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("curl")]
COMMANDS = [
    line.partition("#")[0].strip().removeprefix(".venv/bin/edge-cl ")
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith(".venv/bin/edge-cl")
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_examples(real_service, photos):
    assert len(CURLS) >= 4
    for line in CURLS:
        command = line.replace(WRITTEN_URL, real_service.url).split()
        ran = subprocess.run([*command, "-sS", "--fail-with-body"], capture_output=True, text=True)
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"


def test_command_examples(real_service, photos, monkeypatch, capsys):
    monkeypatch.setenv("EDGE_CL_URL", real_service.url)
    assert {words.split()[0] for words in COMMANDS} == {"teach", "eval", "predict"}
    for words in COMMANDS:
        assert cli.run(words.split()) == 0, words


@pytest.mark.parametrize("block", blocks("python"))
def test_python_examples(real_service, photos, block, capsys):
    exec(compile(block.replace(WRITTEN_URL, real_service.url), "README.md", "exec"), {})
    assert "cup" in capsys.readouterr().out
