"""The README's examples, run as they stand against a real service."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_cl import cli
from edge_cl.local_service import LocalService

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
    pictures["pen2"] = pictures["pen"] // 2
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
def test_the_two_minutes(tmp_path, photos):
    """Every line of the first section, in its order, on a service that is new as it is there."""
    assert len(CURLS) == 7
    with LocalService(tmp_path, {"memory_budget": "1MiB"}) as service:
        answers = [json.loads(curl(line, service.url)) for line in CURLS]
        assert answers[3]["ids"] == [3]
        assert [answer["undone"] for answer in answers[-2:]] == [
            answers[4]["version"], answers[3]["version"],
        ]  # fmt: skip
        service.kill()
        service.start()
        again = json.loads(curl(CURLS[2], service.url))["predictions"][0]
    first = answers[2]["predictions"][0]
    assert again["label"] == first["label"] == "cup"
    assert again["score"] == first["score"]


def curl(line, url):
    command = shlex.split(line.replace(WRITTEN_URL, url))
    ran = subprocess.run([*command, "-sS", "--fail-with-body"], capture_output=True, text=True)
    assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def test_command_examples(real_service, photos, monkeypatch, capsys):
    monkeypatch.setenv("EDGE_CL_URL", real_service.url)
    assert {words.split()[0] for words in COMMANDS} == {"teach", "eval", "predict"}
    for words in COMMANDS:
        assert cli.run(words.split()) == 0, words


@pytest.mark.parametrize("block", blocks("python"))
def test_python_examples(real_service, photos, block, capsys):
    exec(compile(block.replace(WRITTEN_URL, real_service.url), "README.md", "exec"), {})
    assert "cup" in capsys.readouterr().out
