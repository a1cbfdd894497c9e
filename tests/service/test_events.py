"""Events: what is told, to whom, and what a client can resume."""

from __future__ import annotations

import json
import signal
import threading

import pytest
from serving_kit import add_learner, lesson

from service.events import Events

SAMPLES = "/v1/learners/l/samples"


class Follower:
    """A client of the stream; events are (id, kind, data)."""

    def __init__(self, client, last_id=None, **params):
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        self._stream = client.stream("GET", "/v1/events", params=params, headers=headers)
        self.response = self._stream.__enter__()
        assert self.response.status_code == 200
        self._lines = self.response.iter_lines()
        # The stream is open, and what happens from now on is seen.
        self.opening = self.block()
        assert self.opening[0].startswith("retry:")

    def block(self):
        lines = []
        for line in self._lines:
            if not line:
                return lines
            lines.append(line)
        return None

    def next(self):
        """The next event that is no heartbeat."""
        while (block := self.block()) is not None:
            fields = dict(line.split(": ", 1) for line in block)
            if "event" in fields:
                return fields.get("id"), fields["event"], json.loads(fields["data"])
        return None

    def until(self, kind):
        found = [self.next()]
        while found[-1][1] != kind:
            found.append(self.next())
        return found

    def close(self):
        self._stream.__exit__(None, None, None)


@pytest.fixture
def follow():
    open_ones = []

    def begin(client, *arguments, **params):
        open_ones.append(Follower(client, *arguments, **params))
        return open_ones[-1]

    yield begin
    for one in open_ones:
        one.close()


def kinds(events):
    return [kind for _, kind, _ in events]


def test_a_lesson_is_told_step_by_step(latents, follow):
    stream = follow(latents.client)
    latents.client.post(SAMPLES, json=lesson(0, 1))
    latents.client.post(SAMPLES, json=lesson(0, 1, seed=5))
    first, second = stream.until("published"), stream.until("published")
    assert kinds(first) == ["learned", "classes-added", "published"]
    assert kinds(second) == ["learned", "published"]
    assert first[1][2]["classes"] == ["class 0", "class 1"]
    assert second[0][2].items() >= {
        "learner": "l", "version": 2, "samples": 2, "predicted": 2, "correct": 2,
    }.items()  # fmt: skip


def test_other_operations_and_budgets_are_told(latents, follow):
    stream = follow(latents.client)
    latents.client.post("/v1/learners/l/experience/end")
    assert stream.until("published")[0][2]["operation"] == "end_experience"
    latents.client.patch("/v1/learners/l", json={"memory_budget": "100KiB"})
    told = stream.until("published")
    assert kinds(told) == ["changed", "budget", "published"]
    assert told[1][2]["memory_budget"] == 102_400


def test_learners_come_and_go(latents, follow):
    stream = follow(latents.client)
    add_learner(latents.client, "other")
    latents.client.delete("/v1/learners/other")
    assert [(kind, data["learner"]) for _, kind, data in (stream.next(), stream.next())] == [
        ("learner-created", "other"),
        ("learner-deleted", "other"),
    ]


def test_a_stream_goes_on_where_it_was_left(latents, follow):
    stream = follow(latents.client)
    for kind in range(3):
        latents.client.post(SAMPLES, json=lesson(kind))
    seen = stream.until("published")
    rest = [stream.until("published"), stream.until("published")]
    stream.close()
    again = follow(latents.client, seen[-1][0])
    assert [again.until("published"), again.until("published")] == rest


def test_a_stream_that_breaks_before_its_first_event_can_go_on(latents, follow):
    stream = follow(latents.client)
    stream.close()
    latents.client.post(SAMPLES, json=lesson(0))
    again = follow(latents.client, stream.opening[1].removeprefix("id: "))
    assert again.next()[1] == "learned"


def test_streams_can_be_of_one_learner_and_one_kind(latents, follow):
    add_learner(latents.client, "other")
    stream = follow(latents.client, learner="other", kind=["learned", "classes-added"])
    latents.client.post(SAMPLES, json=lesson(0))
    latents.client.post("/v1/learners/other/samples", json=lesson(3))
    assert [stream.next()[1:2], stream.next()[1:2]] == [("learned",), ("classes-added",)]
    answer = latents.client.get("/v1/events", params={"learner": "none"})
    assert answer.status_code == 404


def test_a_bound_key_follows_its_learners_only(start, follow):
    running = start(api_key="an-admin-key")
    admin = {"headers": {"X-API-Key": "an-admin-key"}}
    for name in ("l", "m"):
        body = {"name": name, "dim": 8}
        assert running.client.post("/v1/learners", json=body, **admin).is_success
    wanted = {"name": "k", "scopes": ["read"], "learners": ["m"]}
    bound = running.client.post("/v1/keys", json=wanted, **admin).json()["key"]
    running.client.headers["X-API-Key"] = bound
    stream = follow(running.client)
    for name in ("l", "m"):
        running.client.post(f"/v1/learners/{name}/samples", json=lesson(0), **admin)
    assert {data["learner"] for _, _, data in stream.until("published")} == {"m"}
    assert running.client.get("/v1/events", params={"learner": "l"}).status_code == 403


def test_what_is_no_longer_kept_is_said(start, follow):
    running = start(events_kept=3)
    add_learner(running.client)
    first = f"{running.serving.events.epoch}-1"
    for _ in range(4):
        running.client.post(SAMPLES, json=lesson(0))
    # The answer does not wait for the news of it.
    while running.serving.events.after(0)[0][-1].kind != "published":
        threading.Event().wait(0.01)
    stream = follow(running.client, first)
    _, kind, data = stream.next()
    assert kind == "missed"
    assert data["events"] > 0
    assert kinds([stream.next(), stream.next()]) == ["published", "learned"]


def test_an_id_of_another_run_of_the_service_is_said(start, follow):
    running = start()
    add_learner(running.client)
    stale = f"{running.serving.events.epoch}-2"
    running = start()
    running.client.post(SAMPLES, json=lesson(0))
    stream = follow(running.client, stale)
    assert stream.next()[1:] == (
        "missed",
        {"events": 0, "reason": "the id is of another run of the service"},
    )
    assert stream.next()[1] == "learned"


def test_a_silent_stream_shows_that_it_lives_and_keeps_its_place(start, follow):
    running = start(event_heartbeat_s=0.02)
    add_learner(running.client)
    stream = follow(running.client)
    assert stream.block() == [": heartbeat", f"id: {running.serving.events.epoch}-1"]


def test_a_stream_ends_after_so_many_events_or_seconds(latents):
    for kind in range(3):
        latents.client.post(SAMPLES, json=lesson(kind))
    first = {"Last-Event-ID": f"{latents.serving.events.epoch}-0"}
    asked = {"kind": "learned", "limit": 2, "duration_s": 20}
    told = latents.client.get("/v1/events", params=asked, headers=first)
    assert told.text.count("event: learned") == 2
    silent = latents.client.get("/v1/events", params={"duration_s": 0.05}, headers=first)
    assert silent.text.count("event: learned") == 3
    last = silent.text.splitlines()[-2]
    assert last.startswith("id: ")
    rest = {"Last-Event-ID": last.removeprefix("id: ")}
    quiet = latents.client.get("/v1/events", params={"duration_s": 0}, headers=rest)
    assert "event:" not in quiet.text
    assert latents.serving.events.followers == 0


@pytest.mark.parametrize(
    "asked", [{"limit": 0}, {"limit": "many"}, {"duration_s": -1}, {"duration_s": "nan"}]
)
def test_a_bound_that_is_none_is_refused(latents, asked):
    answer = latents.client.get("/v1/events", params=asked)
    assert answer.status_code == 422
    assert next(iter(asked)) in answer.json()["errors"][0]["pointer"]


def test_followers_are_bounded_and_leave(start, follow):
    running = start(event_streams=1, event_heartbeat_s=0.02)
    stream = follow(running.client)
    answer = running.client.get("/v1/events")
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("busy")
    stream.close()
    while running.serving.events.followers:
        threading.Event().wait(0.01)
    follow(running.client)


def test_an_open_stream_does_not_keep_the_service_from_ending(servers):
    server = servers(extractor="none")
    add_learner(server.client)
    stream = Follower(server.client)
    server.process.send_signal(signal.SIGTERM)
    while stream.next() is not None:
        pass
    stream.close()
    assert server.exit_code() == 0


def test_a_drift_of_the_errors_is_an_event(latents, follow):
    client = latents.client
    client.post(SAMPLES, json=lesson(0, 1))
    stream = follow(client, kind="drift")
    for seed in range(6):
        client.post(SAMPLES, json=lesson(*[0, 1] * 50, seed=1000 * seed))
    swapped = lesson(*[0, 1] * 50)
    for sample, kind in zip(swapped["samples"], [1, 0] * 50, strict=True):
        sample["label"] = f"class {kind}"
    client.post(SAMPLES, json=swapped)
    _, _, data = stream.next()
    assert data["learner"] == "l"
    assert data["rise"] > 0
    assert client.get("/v1/learners/l/metrics").json()["drift"]["drifting"] is True


def test_a_ring_without_followers_is_bounded():
    events = Events(kept=10)
    for number in range(25):
        events.emit("learned", "l", version=number)
    found, lost = events.after(0)
    assert [event.number for event in found] == list(range(16, 26))
    assert lost == 15
    assert events.after(25) == ([], 0)
    assert events.place(f"{events.epoch}-99") == (0, False)
