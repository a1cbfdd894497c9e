"""``edge-cl watch``: a folder that fills while it is watched, and a camera that is a script."""

import json
import os
import signal
import subprocess
import sys

import pytest

from edge_cl import cli
from edge_cl.client import Client
from edge_cl.commands import exits
from edge_cl.commands.sources import RECORD, FolderSource

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def learner(real_service):
    with Client(real_service.url, learner="watched") as client:
        client.create_learner("watched", memory_budget="256KiB", extractor="default")
        yield client
        client.delete_learner("watched")


@pytest.fixture
def run(real_service, capsys):
    def run_words(*words, url=real_service.url):
        asked = ["--url", url, "--learner", "watched", "--every", "0.05", "--patience", "0"]
        code = cli.run(["watch", *map(str, words), *asked])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run_words


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(source):
    found = list(source.look())
    for one in found:
        source.done(one)
    return [one.name for one in found]


def test_a_file_that_still_grows_is_not_read(tmp_path):
    source = FolderSource(tmp_path)
    path = put(tmp_path, "a.png", b"half")
    put(tmp_path, "empty.png", b"")
    put(tmp_path, ".hidden.png", b"whole")
    put(tmp_path, "notes.txt", b"whole")
    assert names(source) == []
    path.write_bytes(b"half and more")
    assert names(source) == []
    assert source.unsettled
    assert names(source) == ["a.png"]
    assert names(source) == []
    os.rename(tmp_path / ".hidden.png", tmp_path / "renamed.png")
    assert (names(source), names(source)) == ([], ["renamed.png"])


def test_what_was_taken_is_not_taken_after_a_restart(tmp_path):
    put(tmp_path, "cup/a.png", b"one")
    source = FolderSource(tmp_path)
    assert (names(source), names(source)) == ([], ["cup/a.png"])
    with (tmp_path / RECORD).open("a") as record:
        record.write('["half a li')
    put(tmp_path, "cup/b.png", b"two")
    again = FolderSource(tmp_path)
    assert (names(again), names(again)) == ([], ["cup/b.png"])
    third = FolderSource(tmp_path)
    assert (names(third), names(third)) == ([], [])


def test_class_folders_are_taught_once(run, learner, digit_images, tmp_path):
    for label in ("digit 0", "digit 1"):
        put(tmp_path, f"{label}/0.png", digit_images.train[label][0])
    put(tmp_path, "loose.png", digit_images.train["digit 0"][1])
    put(tmp_path, "digit 0/letter.png", b"Dear Sir")
    code, out, err = run(tmp_path, "--once", "--device", "door")
    assert code == exits.OK
    assert set(out.splitlines()) == {"digit 0/0.png: digit 0", "digit 1/0.png: digit 1"}
    assert "loose.png has no label" in err
    assert "digit 0/letter.png was not taught" in err
    assert run(tmp_path, "--once")[1] == ""
    put(tmp_path, "later.png", digit_images.train["digit 1"][2])
    run(tmp_path, "--once", "--label", "digit 1")
    assert learner.classes() == {"digit 0": 1, "digit 1": 2}
    assert {one["device"] for one in learner.samples()} == {"door", None}


def test_what_is_seen_while_the_service_is_away_is_taught_later(
    run, learner, digit_images, tmp_path
):
    put(tmp_path, "digit 0/0.png", digit_images.train["digit 0"][0])
    code, _, err = run(tmp_path, "--once", url=AWAY)
    assert code == exits.OK
    assert "0 sent, 1 wait" in err
    assert learner.classes() == {}
    assert "1 sent, 0 wait" in run(tmp_path, "--once")[2]
    assert learner.classes() == {"digit 0": 1}


def test_what_the_service_refuses_is_set_aside_and_what_has_no_room_stays(
    run, learner, digit_images, tmp_path
):
    whole = digit_images.train["digit 0"][0]
    put(tmp_path, "digit 0/broken.png", whole[:100])
    code, _, err = run(tmp_path, "--once")
    assert code == exits.PARTLY_FAILED
    assert "0 sent, 0 wait, 1 set aside" in err
    assert f"edge-cl queue {tmp_path}/.edge-cl-queue --list" in err
    put(tmp_path, "digit 0/whole.png", whole)
    code, out, err = run(tmp_path, "--once", "--queue", tmp_path / ".small", "--queue-limit", "1kB")
    assert (code, out) == (exits.PARTLY_FAILED, "")
    assert "must wait: the queue" in err
    assert run(tmp_path, "--once")[1] == "digit 0/whole.png: digit 0\n"


def test_predictions_of_what_appears(run, learner, digit_images, tmp_path):
    learner.teach(digit_images.train["digit 0"][0], "zero")
    put(tmp_path, "what.png", digit_images.train["digit 0"][1])
    code, out, _ = run(tmp_path, "--once", "--predict", "--json")
    assert code == exits.OK
    answer = json.loads(out)
    assert (answer["name"], answer["label"]) == ("what.png", "zero")
    assert learner.classes() == {"zero": 1}


def test_ctrl_c_ends_it_and_leaves_nothing_locked(tmp_path, digit_images):
    put(tmp_path, "digit 0/0.png", digit_images.train["digit 0"][0])
    words = ["watch", str(tmp_path), "--url", AWAY, "--every", "0.05"]
    watching = subprocess.Popen(
        [sys.executable, "-u", "-m", "edge_cl", *words, "--patience", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A suite in the background of a shell is born deaf to Ctrl-C, and so are its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert watching.stdout.readline() == "digit 0/0.png: digit 0\n"
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=30)
    finally:
        watching.kill()
    assert watching.returncode == exits.INTERRUPTED
    assert "0 sent, 1 wait" in err
    assert "Traceback" not in err


def test_a_camera(run, learner, digit_images, tmp_path, monkeypatch):
    picture = put(tmp_path, "picture", digit_images.train["digit 0"][0])
    program = put(tmp_path, "bin/ffmpeg", f"#!/bin/sh\ncat '{picture}'\n".encode())
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("/dev/null", "--once", "--label", "zero")
    assert (code, out) == (exits.OK, "picture 1: zero\n")
    assert learner.classes() == {"zero": 1}
    code, _, err = run("/dev/null", "--once")
    assert (code, "needs --label" in err) == (exits.USAGE, True)
    code, _, err = run("/dev/video99", "--label", "a")
    assert (code, "no camera at /dev/video99" in err) == (exits.FAILED, True)
    program.write_text("#!/bin/sh\necho busy >&2; exit 1\n")
    code, _, err = run("/dev/null", "--label", "a")
    assert (code, "gave no picture: busy" in err) == (exits.FAILED, True)
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run("camera", "--label", "a")
    assert (code, "apt install ffmpeg" in err) == (exits.FAILED, True)
    assert run(tmp_path / "nothing")[0] == exits.USAGE
