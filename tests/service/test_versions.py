"""Going back: undo, rollback and checkpoints, to the bit, and after any restart."""

from __future__ import annotations

import signal
import sqlite3

import pytest
from serving_kit import add_learner, lesson
from test_correcting import LEARNER, SAMPLES, correct_everything, counts, folder, labels  # noqa: F401
from test_recovery import damage, restart_after, scores, uninterrupted

from service.operations import Lesson


def state(running):
    store = running.serving.registry.get("l").store
    arrays = store.learner._strategy.arrays()
    return (
        {name: array.tobytes() for name, array in arrays.items()},
        scores(running),
        labels(running),
        counts(running),
    )


def undo(running, **headers):
    return running.client.post(f"{LEARNER}/undo", headers=headers)


def roll_back(running, to):
    return running.client.post(f"{LEARNER}/rollback", json={"to": to})


@pytest.fixture(params=["ar1", "slda", "ncm"])
def running(start, request):
    running = start()
    add_learner(running.client, strategy=request.param)
    return running


def stepped(running):
    """Every state on the way, by version."""
    client, states = running.client, {0: state(running)}
    for call in [
        lambda: client.post(SAMPLES, json=lesson(0, 1, 2, 3)),
        lambda: client.patch(f"{SAMPLES}/2", json={"label": "class 3"}),
        lambda: client.delete(f"{SAMPLES}/1"),
        lambda: client.post(f"{LEARNER}/classes/class 2/merge", json={"into": "class 3"}),
        lambda: client.post(SAMPLES, json=lesson(4, 0, seed=3)),
        lambda: client.patch(f"{LEARNER}/classes/class 3", json={"name": "three"}),
        lambda: client.delete(f"{LEARNER}/classes/three"),
        lambda: client.post(f"{LEARNER}/experience/end"),
    ]:
        answer = call()
        assert answer.is_success, answer.text
        states[answer.json()["version"]] = state(running)
    return states


def test_undo_goes_back_step_by_step_to_the_bit(running):
    states = stepped(running)
    for undone in range(8, 0, -1):
        answer = undo(running).json()
        assert (answer["undone"], answer["to"], answer["exact"]) == (undone, undone - 1, True)
        assert state(running) == states[undone - 1]
    refused = undo(running)
    assert refused.status_code == 409
    assert "nothing" in refused.json()["detail"]
    assert running.client.get(LEARNER).json()["version"] == 16


def test_rollback_goes_anywhere_and_forward_again(running):
    states = stepped(running)
    for to in (3, 7, 0, 5, 8, 1):
        answer = roll_back(running, to)
        assert answer.json()["undone"] is None
        assert state(running) == states[to], to
    assert undo(running).json()["to"] == 13
    assert state(running) == states[8]
    assert scores(running) == uninterrupted(running)


def test_what_is_taught_after_going_back_gets_new_ids_and_new_versions(running):
    running.client.post(SAMPLES, json=lesson(0, 1))
    running.client.post(SAMPLES, json=lesson(2))
    assert undo(running).json()["version"] == 3
    answer = running.client.post(SAMPLES, json=lesson(3)).json()
    assert (answer["ids"], answer["version"]) == ([4], 4)
    assert labels(running) == {1: "class 0", 2: "class 1", 4: "class 3"}
    assert running.client.delete(f"{SAMPLES}/3").status_code == 404
    assert undo(running).json()["to"] == 3
    assert undo(running).json()["to"] == 0
    assert labels(running) == {}


@pytest.mark.parametrize("strategy", ["ar1", "slda_replay", "cwr"])
def test_a_replay_with_undone_operations_changes_no_bit(start, folder, strategy):  # noqa: F811
    running = start()
    add_learner(running.client, strategy=strategy)
    correct_everything(running.client)
    undo(running)
    undo(running)
    running.client.post(SAMPLES, json=lesson(3, 4, seed=9))
    roll_back(running, 4)
    running.client.post(SAMPLES, json=lesson(5, seed=11))
    before = state(running)
    running = restart_after(running, start, lambda: None, forget_snapshots=folder)
    assert state(running) == before
    assert before[1] == uninterrupted(running)


def test_going_back_survives_a_kill(servers):
    server = servers()
    add_learner(server.client, strategy="slda")
    correct_everything(server.client)
    server.client.post(f"{LEARNER}/checkpoints", json={"name": "all"})
    for _ in range(3):
        assert server.client.post(f"{LEARNER}/undo").status_code == 200
    paths = ("/samples", "/classes", "/versions")
    before = [server.client.get(LEARNER + path).json() for path in paths]
    server.end(signal.SIGKILL)
    server = servers()
    assert [server.client.get(LEARNER + path).json() for path in paths] == before
    assert server.client.post(f"{LEARNER}/rollback", json={"to": "all"}).json()["to"] == 8


def test_undo_works_right_after_a_restart(start, folder):  # noqa: F811
    running = start()
    add_learner(running.client, strategy="ar1")
    states = {}
    for kind in range(4):
        running.client.post(SAMPLES, json=lesson(kind))
        states[kind + 1] = state(running)
        running = start()
    assert len(list((folder / "snapshots").iterdir())) == 2
    for to in (3, 2, 1):
        assert undo(running).json()["to"] == to
        assert state(running) == states[to]
        running = start()


def test_undo_is_done_once_for_a_repeated_request_and_keeps_to_if_match(running):
    running.client.post(SAMPLES, json=lesson(0, 1))
    running.client.post(SAMPLES, json=lesson(2))
    key = {"Idempotency-Key": "k"}
    first, again = undo(running, **key), undo(running, **key)
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert undo(running, **{"If-Match": '"v2"'}).status_code == 412
    assert undo(running, **{"If-Match": '"v3"'}).json()["undone"] == 1


def test_a_budget_comes_back_too_if_there_is_room_for_it(start):
    running = start(learners_budget="512KiB")
    add_learner(running.client, strategy="ncm")
    running.client.post(SAMPLES, json=lesson(0))
    running.client.patch(LEARNER, json={"memory_budget": "64KiB"})
    assert undo(running).status_code == 200
    assert running.client.get(LEARNER).json()["memory_budget"] == 256 * 1024
    running.client.patch(LEARNER, json={"memory_budget": "64KiB"})
    add_learner(running.client, "m", memory_budget="400KiB")
    assert undo(running).status_code == 507
    assert running.client.get(LEARNER).json()["memory_budget"] == 64 * 1024


def test_checkpoints_are_kept_found_and_deleted(running):
    client = running.client
    client.post(SAMPLES, json=lesson(0, 1))
    at_one = state(running)
    made = client.post(f"{LEARNER}/checkpoints", json={"name": "before-demo"})
    assert made.status_code == 201
    assert (made.json()["of_version"], made.json()["version"]) == (1, 2)
    client.post(SAMPLES, json=lesson(2, 3))
    (one,) = client.get(f"{LEARNER}/versions").json()["checkpoints"]
    assert (one["name"], one["version"]) == ("before-demo", 1)
    taken = client.post(f"{LEARNER}/checkpoints", json={"name": "before-demo"})
    assert taken.status_code == 409
    assert roll_back(running, "before-demo").json()["to"] == 1
    assert state(running) == at_one
    assert undo(running).json()["to"] == 3
    path = f"{LEARNER}/checkpoints/before-demo"
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404
    assert roll_back(running, "before-demo").status_code == 404


def test_a_checkpoint_is_no_operation_that_undo_would_undo(running):
    running.client.post(SAMPLES, json=lesson(0))
    running.client.post(f"{LEARNER}/checkpoints", json={"name": "a"})
    assert undo(running).json()["undone"] == 1


def test_checkpoints_are_bounded(start):
    running = start(checkpoint_bytes="6KiB")
    add_learner(running.client)
    codes = []
    for number in range(8):
        running.client.post(SAMPLES, json=lesson(number))
        answer = running.client.post(f"{LEARNER}/checkpoints", json={"name": f"c{number}"})
        codes.append(answer.status_code)
    assert set(codes) == {201, 409}
    files = (running.serving.settings.folder / "learners/l/checkpoints").iterdir()
    assert sum(file.stat().st_size for file in files) < 8 * 1024
    assert "delete one" in answer.json()["detail"]


def test_a_checkpoint_leads_back_behind_the_end_of_the_journal(start, folder):  # noqa: F811
    running = start()
    add_learner(running.client)
    running.client.post(SAMPLES, json=lesson(0, 1))
    known = scores(running)
    running.client.post(f"{LEARNER}/checkpoints", json={"name": "old"})
    running.client.post(SAMPLES, json=lesson(2, 3))

    def retire():
        with sqlite3.connect(folder / "journal.db") as connection:
            connection.execute("DELETE FROM operation")
            connection.execute("UPDATE fact SET value=3 WHERE name LIKE '%_sequence'")
        connection.close()

    running = restart_after(running, start, retire)
    assert running.client.get(f"{LEARNER}/versions").json()["items"] == []
    assert roll_back(running, 2).status_code == 409
    refused = undo(running)
    assert refused.status_code == 409
    assert "no longer in the journal" in refused.json()["detail"]
    assert roll_back(running, "old").status_code == 200
    assert scores(running) == known


def test_a_version_behind_a_loss_cannot_be_made_again(start, folder):  # noqa: F811
    running = start()
    add_learner(running.client)
    for kind in range(5):
        running.client.post(SAMPLES, json=lesson(kind))
    running = restart_after(running, start, lambda: damage(folder, 3))
    items = running.client.get(f"{LEARNER}/versions").json()["items"]
    restorable = {item["version"]: item["restorable"] for item in items}
    assert restorable == {1: True, 2: True, 4: False, 5: True}
    assert roll_back(running, 4).status_code == 409
    assert roll_back(running, 2).status_code == 200


def test_too_many_operations_are_not_learned_again(start):
    running = start(undo_operations=3)
    add_learner(running.client)
    for kind in range(6):
        running.client.post(SAMPLES, json=lesson(kind))
    items = running.client.get(f"{LEARNER}/versions").json()["items"]
    assert [item["restorable"] for item in items] == [False, False, False, True, True, True]
    refused = roll_back(running, 5)
    assert refused.status_code == 409
    assert "GET .../versions" in refused.json()["detail"]


def test_versions_say_what_changed(running):
    stepped(running)
    roll_back(running, 2)
    page = running.client.get(f"{LEARNER}/versions", params={"limit": 4}).json()
    assert page["version"] == 9
    assert [item["operation"] for item in page["items"]] == [
        "restore", "end_experience", "forget", "rename_class",
    ]  # fmt: skip
    assert page["items"][0]["detail"]["to"] == 2
    assert page["items"][3]["detail"] == {"label": "class 3", "name": "three"}
    follow = running.client.get(f"{LEARNER}/versions", params={"before": page["next_before"]})
    assert [item["samples"] for item in follow.json()["items"]] == [2, 0, 0, 0, 4]
    assert follow.json()["next_before"] is None


@pytest.mark.parametrize(
    ("to", "status"),
    [(99, 404), ("none", 404), (-1, 422), (1.5, 422), (True, 422), (None, 422)],
)
def test_what_cannot_be_gone_back_to_is_refused(latents, to, status):
    latents.client.post(SAMPLES, json=lesson(0))
    assert roll_back(latents, to).status_code == status
    assert latents.client.get(LEARNER).json()["version"] == 1


def test_a_checkpoint_needs_a_name(latents):
    for name in ("", "a/b", "..", "-x", "x" * 65):
        answer = latents.client.post(f"{LEARNER}/checkpoints", json={"name": name})
        assert answer.status_code == 422, name


def test_the_next_steps_back_are_short(start, monkeypatch):
    running = start()
    add_learner(running.client, strategy="slda")
    states = {}
    for number in range(1, 41):
        running.client.post(SAMPLES, json=lesson(number % 5, seed=number))
        if number > 35:
            states[number] = state(running)
    learned = []
    apply = Lesson.apply
    monkeypatch.setattr(Lesson, "apply", lambda *call: learned.append(call[2]) or apply(*call))
    costs = []
    for to in (39, 38, 37, 36):
        learned.clear()
        assert undo(running).json()["to"] == to
        assert state(running) == states[to]
        costs.append(len(learned))
    assert costs[0] == 39
    assert max(costs[1:]) <= 16
