"""``edge-cl teach --queue`` and ``edge-cl queue`` without a service, then with one."""

import json

import pytest

from edge_cl import cli
from edge_cl.client import Client
from edge_cl.commands import exits

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def folder(digit_images, write_folder):
    return write_folder({label: digit_images.train[label][:3] for label in ("digit 0", "digit 1")})


@pytest.fixture
def learner(real_service):
    with Client(real_service.url, learner="queued") as client:
        client.create_learner("queued", memory_budget="256KiB", extractor="default")
        yield client
        client.delete_learner("queued")


def run(capsys, *words):
    code = cli.run([*map(str, words), "--patience", "0", "--learner", "queued"])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_lessons_wait_and_are_sent_when_the_service_is_there(
    capsys, real_service, learner, folder, tmp_path
):
    queue = tmp_path / "queue"
    (folder / "digit 0" / "letter.png").write_text("Dear Sir")
    code, out, err = run(capsys, "teach", folder, "--queue", queue, "--url", AWAY)
    assert code == exits.PARTLY_FAILED
    assert "0 sent; 6 wait, 0 set aside" in out
    assert "not queued" in out
    assert "no answer from the service" in err
    (folder / "digit 0" / "letter.png").unlink()
    code, out, _ = run(capsys, "queue", queue, "--list", "--json")
    assert (code, json.loads(out)["waiting"]) == (exits.OK, 6)
    assert run(capsys, "queue", queue, "--url", AWAY)[0] == exits.UNREACHABLE
    code, out, _ = run(capsys, "queue", queue, "--url", real_service.url)
    assert (code, out) == (exits.OK, "6 sent; 0 wait, 0 set aside\n")
    words = ["teach", folder, "--queue", queue, "--url", real_service.url, "--json"]
    code, out, _ = run(capsys, *words)
    assert (code, json.loads(out)["known_before"]) == (exits.OK, 6)
    assert learner.classes() == {"digit 0": 3, "digit 1": 3}


def test_what_the_service_refuses_is_shown_retried_and_discarded(
    capsys, real_service, learner, folder, tmp_path
):
    queue = tmp_path / "queue"
    broken = folder / "digit 0" / "0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    words = ["teach", folder, "--queue", queue, "--url", real_service.url]
    code, out, _ = run(capsys, *words)
    assert code == exits.PARTLY_FAILED
    assert "5 sent; 0 wait, 1 set aside" in out
    code, out, _ = run(capsys, "queue", queue, "--list", "--json")
    [aside] = json.loads(out)["set_aside"]
    assert "An image cannot be decoded" in aside["reason"]
    number = aside["number"]
    code, out, _ = run(capsys, "queue", queue, "--retry", number, "--url", real_service.url)
    assert (code, "1 set aside" in out) == (exits.PARTLY_FAILED, True)
    code, out, _ = run(capsys, "queue", queue, "--discard", number, "--url", real_service.url)
    assert (code, out) == (exits.OK, "0 sent; 0 wait, 0 set aside\n")


def test_a_queue_that_is_too_small_says_so(capsys, folder, tmp_path):
    words = ["teach", folder, "--queue", tmp_path / "q", "--queue-limit", "2kB", "--url", AWAY]
    code, _, err = run(capsys, *words)
    assert code == exits.FAILED
    assert "do not fit" in err
