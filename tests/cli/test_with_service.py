"""The command line and the client against a real service."""

import json
import uuid
import wave
import zipfile

import numpy as np
import pytest

from edge_cl import cli
from edge_cl.client import Client, Retries, ServiceProblem
from edge_cl.commands import exits

LABELS = ["digit 0", "digit 1", "digit 4"]


@pytest.fixture
def learner(real_service):
    """Name of a fresh learner."""
    name = f"l{uuid.uuid4().hex[:12]}"
    with Client(real_service.url) as client:
        client.create_learner(name, memory_budget="256KiB", extractor="default")
        yield name
        client.delete_learner(name)


@pytest.fixture
def client(real_service, learner):
    with Client(real_service.url, learner=learner, retries=Retries(patience_s=5)) as client:
        yield client


@pytest.fixture
def run(real_service, learner, capsys):
    """Run a command on the fresh learner: exit code, output, errors."""

    def run_words(*words):
        asked = ["--url", real_service.url, "--learner", learner]
        code = cli.run([*map(str, words), *asked])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run_words


@pytest.fixture
def folders(digit_images, write_folder):
    train = {label: digit_images.train[label] for label in LABELS}
    test = {label: digit_images.test[label] for label in LABELS}
    return write_folder(train, "train"), write_folder(test, "test")


def test_teach_then_eval_then_predict(run, folders):
    train, test = folders
    code, out, _ = run("teach", train)
    assert code == exits.OK
    assert "36 of 36 images accepted" in out
    code, out, _ = run("eval", test, "--json")
    result = json.loads(out)
    assert code == exits.OK
    assert result["images"] == 15
    assert result["accuracy"] > 0.6
    code, out, _ = run("eval", test)
    assert "digit 4" in out
    images = sorted((test / "digit 0").iterdir())
    code, out, _ = run("predict", *images, "--json")
    answers = json.loads(out)
    assert code == exits.OK
    assert [answer["file"] for answer in answers] == [str(image) for image in images]
    assert all(len(answer["top"]) == 3 for answer in answers)
    code, out, _ = run("predict", images[0])
    assert images[0].name in out.replace("\n", "")


def test_teaching_again_adds_nothing(run, client, folders):
    train, _ = folders
    run("teach", train)
    code, out, _ = run("teach", train, "--json")
    summary = json.loads(out)
    assert code == exits.OK
    assert summary["accepted"] == summary["known_before"] == 36
    assert client.state()["samples_seen"] == 36
    run("teach", train, "--again")
    assert client.state()["samples_seen"] == 72


def test_a_broken_lesson_goes_on_where_it_stopped(run, client, folders):
    train, _ = folders
    run("teach", train, "--per-class", "5")
    assert client.state()["samples_seen"] == 15
    _, out, _ = run("teach", train, "--json")
    assert json.loads(out)["known_before"] == 15
    assert client.state()["samples_seen"] == 36


def test_what_fails_is_counted_with_the_reason(run, client, folders):
    train, _ = folders
    (train / "digit 0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (train / "digit 1" / "letter.jpg").write_text("Dear Sir or Madam")
    code, out, _ = run("teach", train, "--json")
    summary = json.loads(out)
    assert code == exits.PARTLY_FAILED
    assert summary["accepted"] == 36
    failed = [name for names in summary["failed"].values() for name in names]
    assert sorted(failed) == ["digit 0/broken.png", "digit 1/letter.jpg"]
    code, out, _ = run("teach", train)
    assert code == exits.PARTLY_FAILED
    assert "2 failed" in out
    assert client.state()["samples_seen"] == 36


def test_an_accuracy_that_must_be_reached(run, folders):
    train, test = folders
    run("teach", train)
    assert run("eval", test, "--min-accuracy", "1.0", "--json")[0] in (0, exits.PARTLY_FAILED)
    assert run("eval", test, "--min-accuracy", "0.0")[0] == exits.OK


def test_an_unknown_learner_stops_at_once(real_service, folders, capsys):
    train, _ = folders
    words = ["teach", str(train), "--url", real_service.url, "--learner", "nobody"]
    code = cli.run(words)
    err = capsys.readouterr().err
    assert code == exits.REFUSED
    assert "nobody" in err
    assert "stopped after 0 of 36" in err


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"Dear Sir or Madam", exits.USAGE), (b"\xff\xd8\xff\xe0 and no more", exits.REFUSED)],
)
def test_a_refused_image_is_one_line(run, tmp_path, content, expected):
    letter = tmp_path / "letter.jpg"
    letter.write_bytes(content)
    code, out, err = run("predict", letter)
    assert code == expected
    assert out == ""
    assert len(err.splitlines()) == 1
    assert run("predict", letter, letter)[0] == exits.PARTLY_FAILED


def test_health_of_a_running_service(real_service, capsys):
    assert cli.run(["health", "--url", real_service.url]) == exits.OK
    assert cli.run(["health", "--url", real_service.url, "--live"]) == exits.OK
    assert capsys.readouterr().out == "ready\nready\n"


def test_a_key_counts_once(client, digit_images):
    image = digit_images.train["digit 0"][0]
    first = client.teach(image, "zero", idempotency_key="k-1")
    second = client.teach(image, "zero", idempotency_key="k-1")
    assert first.ids == second.ids
    assert (first.replayed, second.replayed) == (False, True)
    with pytest.raises(ServiceProblem) as refused:
        client.teach(digit_images.train["digit 1"][0], "one", idempotency_key="k-1")
    assert refused.value.status in (409, 422)


def test_many_images_in_one_request(client, digit_images):
    images = [image for label in LABELS for image in digit_images.train[label]]
    labels = [label for label in LABELS for _ in digit_images.train[label]]
    taught = client.teach_many(images, labels)
    assert taught.accepted == len(set(taught.ids)) == 36
    client.end_experience()
    assert client.classes() == dict.fromkeys(LABELS, 12)
    answers = client.predict_many([digit_images.train[label][0] for label in LABELS], top_k=2)
    assert all(answer.label == answer.top[0][0] in LABELS for answer in answers)
    assert all(len(answer.top) == 2 for answer in answers)
    assert all(answer.version >= taught.version for answer in answers)
    assert [sample["id"] for sample in client.samples()] == sorted(taught.ids)
    assert len(list(client.samples(label="digit 4"))) == 12


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_latents_of_a_device(client, dtype):
    dim = client.state()["dim"]
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 200, (2, dim))
    latents = np.clip(np.repeat(centres, 10, 0) + rng.integers(-5, 5, (20, dim)), 0, 255)
    taught = client.teach_latents(latents.astype(dtype), ["a"] * 10 + ["b"] * 10)
    assert taught.accepted == 20
    answers = client.predict_latents(centres.clip(0, 255).astype(dtype))
    assert [answer.label for answer in answers] == ["a", "b"]


def test_the_service_describes_itself(client, learner):
    assert learner in [one["name"] for one in client.learners()]
    assert {"ar1", "naive"} <= {one["name"] for one in client.strategies()}
    assert client.service()
    state = client.state()
    assert sum(state["memory"].values()) == state["memory_used"] <= state["memory_budget"]


def test_a_prediction_is_explained_answered_and_leaves_the_inbox(
    client, run, digit_images, tmp_path
):
    for label in LABELS[:2]:
        client.teach_many(digit_images.train[label][:3], [label] * 3)
    (tmp_path / "new.png").write_bytes(digit_images.train[LABELS[1]][5])
    code, printed, _ = run("predict", tmp_path / "new.png", "--explain", 2)
    assert code == exits.OK
    assert "because of" in printed
    asked = client.predict(digit_images.train[LABELS[2]][0], explain=3)
    assert len(asked.answer["neighbours"]) == 3
    waiting = client.inbox()
    assert len(waiting) == 2
    told = client.feed_back(asked, label=LABELS[2])
    assert told["prediction_id"] == asked.prediction_id
    assert client.feed_back(asked.prediction_id, label=LABELS[2]) == told
    assert client.classes() == {LABELS[0]: 3, LABELS[1]: 3, LABELS[2]: 1}
    assert len(client.inbox()) == 1
    with pytest.raises(ServiceProblem, match="other feedback"):
        client.feed_back(asked, label=LABELS[0])


def test_folders_of_sounds(real_service, capsys, tmp_path):
    samples = np.sin(np.arange(4000) / 5)
    for label, level in (("quiet", samples), ("rough", np.sign(samples))):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(2):
            pcm = (level * (9000 + number)).astype("<i2").tobytes()
            with wave.open(str(tmp_path / "sounds" / label / f"{number}.wav"), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes(pcm)
    with Client(real_service.url) as client:
        client.create_learner("sounds", frontend="sound", memory_budget="256KiB")
        asked = ["--url", real_service.url, "--learner", "sounds"]
        assert cli.run(["teach", str(tmp_path / "sounds"), *asked]) == exits.OK
        assert "4 of 4" in capsys.readouterr().out
        assert (
            cli.run(["eval", str(tmp_path / "sounds"), "--min-accuracy", "1", *asked]) == exits.OK
        )
        client.delete_learner("sounds")


def test_what_was_taught_is_corrected_and_taken_back(real_service):
    latents = np.eye(4, dtype=np.float32)
    with Client(real_service.url, learner="corrected") as client:
        client.create_learner("corrected", dim=4, strategy="slda", memory_budget="64KiB")
        client.teach_latents(latents, ["cup", "mug", "phone", "a/b"])
        client.checkpoint("taught")
        assert client.relabel(1, "phone")["exact"]
        assert client.forget(4)["exact"]
        client.merge_classes("mug", "phone")
        client.rename_class("phone", "all of it")
        assert client.classes() == {"all of it": 3}
        assert client.undo()["undone"] == 6
        assert client.classes() == {"phone": 3}
        assert client.rollback("taught")["to"] == 1
        assert client.forget_class("a/b")["samples"] == 1
        assert list(client.classes()) == ["cup", "mug", "phone"]
        history = client.versions(limit=2)
        assert [one["operation"] for one in history["items"]] == ["forget", "restore"]
        client.delete_checkpoint("taught")
        assert client.versions(before=2)["checkpoints"] == []
        client.delete_learner("corrected")


def test_what_the_clients_are_told_of_a_learner(real_service, digit_images, tmp_path):
    latents = np.eye(4, dtype=np.float32)
    labels = ["cup", "mug", "phone", "pen"]
    with Client(real_service.url, learner="known") as client:
        client.create_learner("known", dim=4, strategy="slda", memory_budget="64KiB")
        assert client.teach_latents(latents, labels).accepted == 4
        again = client.teach_latents(latents, labels)
        known = client.metrics()
        assert (known.samples, known.accuracy, known.version) == (4, 1.0, again.version)
        seen = client.evaluate_latents(latents[:3], ["cup", "mug", "pen"])
        assert (seen.correct, seen.predicted) == (2, ("cup", "mug", "phone"))
        assert client.sample(2)["label"] == "mug"
        assert client.strategy("slda")["name"] == "slda"
        assert client.ready()["checks"]["learner known"].startswith("ok")
        assert client.change(memory_budget="48KiB")["memory_budget"] == 48 * 1024

        rows = [{"label": "lamp", "latent": [0.0, 0.0, 1.0, 1.0]}] * 70
        begun = client.teach_job(rows, idempotency_key="lamps")
        assert client.teach_job(rows, idempotency_key="lamps").id == begun.id
        done = client.wait_for_job(begun, timeout_s=60)
        assert (done.state, done.taught, done.refused) == ("done", 70, 0)
        assert begun.id in [one.id for one in client.jobs()]
        first = next(client.events(kinds=["learned"], after="0-0", limit=1))
        told = list(client.events(kinds=["learned"], after=first.id, duration_s=0.2))
        assert told[-1].content["version"] == done.version
        client.cancel_job(begun.id)
        client.delete_learner("known")


def test_an_archive_is_taught_and_evaluated(client, digit_images, tmp_path):
    path = tmp_path / "digits.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for label in LABELS:
            for number, image in enumerate(digit_images.train[label]):
                archive.writestr(f"{label}/{number}.png", image)
    job = client.wait_for_job(client.teach_archive(path, device="camera"), timeout_s=60)
    assert (job.state, job.taught) == ("done", 36)
    assert {sample["device"] for sample in client.samples()} == {"camera"}
    images = [digit_images.test[label][0] for label in LABELS]
    assert client.evaluate(images, LABELS).correct >= 2
