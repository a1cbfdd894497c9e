"""The documents: links that resolve, commands that exist, nothing about one machine."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from edge_cl.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")


def page_name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_relative_links_resolve(page):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    broken = [
        target
        for target in targets
        if "://" not in target
        and not target.startswith(("#", "mailto:"))
        and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def tracked_texts():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: cannot tell which files belong to the project")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        # Another test may be writing: a file can be listed and gone.
        if path.suffix in {".onnx", ".npz", ".png"} or not path.is_file():
            continue
        yield name, path.read_text(encoding="utf-8", errors="replace")


def test_no_path_of_one_machine():
    own = Path(__file__).relative_to(ROOT).as_posix()
    found = [name for name, text in tracked_texts() if name != own and MACHINE_PATH.search(text)]
    assert found == []


def test_nothing_is_left_to_fill_in():
    unfinished = re.compile(r"\b(?:TBD|TO BE MEASURED|FIXME|TODO)\b")
    found = [page_name(page) for page in PAGES if unfinished.search(page.read_text())]
    assert found == []


def documented():
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name):
    assert f"edge-cl {name}" in documented()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_explains_itself(name):
    command = COMMANDS[name].load()
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help or option.name == "top_k", f"{name} --{option.name}"
