"""The offline queue: nothing lost, nothing twice, in order."""

import asyncio
import signal
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest

from edge_cl.client import (
    AsyncClient,
    Client,
    OfflineQueue,
    QueueError,
    QueueFull,
    Retries,
    ServiceProblem,
    ServiceUnreachable,
    api,
)
from edge_cl.client.queue_file import ENTRY_BYTES
from edge_cl.errors import InvalidImage, NotFound
from edge_cl.local_service import LocalService

JPEG = b"\xff\xd8\xff\xe0 not a whole image"
NO_PATIENCE = Retries(patience_s=0)


class Service:
    """Learns every key once; fails as it is told."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.learned = {}
        self.requests = []

    def __call__(self, request):
        if request.url.path == "/v1/info":
            return httpx.Response(200, json={"limits": {"idempotency_hours": 24}})
        self.requests.append(request)
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, httpx.ConnectError | httpx.Response):
            if isinstance(failure, Exception):
                raise failure
            return failure
        key = request.headers["idempotency-key"]
        replayed = key in self.learned
        self.learned.setdefault(key, request.url.params["label"])
        if failure is not None:
            raise failure
        answer = {"accepted": 1, "ids": [len(self.learned)], "version": 1}
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        return httpx.Response(201, json=answer, headers=headers)

    def client(self, kind=Client):
        return kind("http://edge", retries=NO_PATIENCE, transport=httpx.MockTransport(self))


def problem(status, detail="no", **headers):
    return httpx.Response(status, json={"title": "refused", "detail": detail}, headers=headers)


@pytest.fixture
def queue(tmp_path):
    with OfflineQueue(tmp_path / "queue") as queue:
        yield queue


def fill(queue, *labels):
    return [queue.teach(JPEG, label, context="kitchen", device="door") for label in labels]


def test_what_waits_is_sent_in_order_byte_for_byte(queue):
    service, direct = Service(), Service()
    fill(queue, "a", "b", "c")
    drained = queue.drain(service.client())
    assert (drained.sent, drained.samples, drained.waiting) == (3, 3, 0)
    assert list(service.learned.values()) == ["a", "b", "c"]
    direct.client().teach(JPEG, "a", context="kitchen", device="door")
    first, same = service.requests[0], direct.requests[0]
    assert (first.url, first.content) == (same.url, same.content)
    assert first.headers["content-type"] == same.headers["content-type"] == "image/jpeg"
    assert len(queue) == queue.held_bytes == 0


def test_forms_latents_and_boundaries_wait_too(queue):
    queue.teach_many([JPEG, JPEG], ["a", "b"])
    queue.teach_latents(np.zeros((1, 3), np.float32), ["a"])
    queue.end_experience()
    requests = []

    def answer(request):
        requests.append(request)
        return httpx.Response(200, json={"ids": [1, 2]})

    client = Client("http://edge", transport=httpx.MockTransport(answer))
    assert queue.drain(client).sent == 3
    assert requests[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert requests[0].content.count(JPEG) == 2
    assert b"latent_b64" in requests[1].content
    assert requests[2].url.path == "/v1/learners/default/experience/end"


def test_an_outage_keeps_the_rest_and_the_next_drain_goes_on(queue):
    service = Service(None, httpx.ConnectError("refused"))
    fill(queue, "a", "b", "c")
    drained = queue.drain(service.client())
    assert (drained.sent, drained.waiting) == (1, 2)
    assert isinstance(drained.failure, ServiceUnreachable)
    assert queue.drain(service.client()).sent == 2
    assert list(service.learned.values()) == ["a", "b", "c"]
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 3


def test_a_lost_answer_teaches_once(queue):
    service = Service(httpx.ReadError("reset"), None)
    fill(queue, "a", "b")
    assert queue.drain(service.client()).waiting == 2
    drained = queue.drain(service.client())
    assert (drained.sent, drained.known_before) == (2, 1)
    assert list(service.learned.values()) == ["a", "b"]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503, 507])
def test_a_refusal_that_is_not_about_the_lesson_keeps_it(queue, status):
    service = Service(problem(status))
    fill(queue, "a")
    drained = queue.drain(service.client())
    assert isinstance(drained.failure, ServiceProblem)
    assert (drained.waiting, queue.set_aside()) == (1, [])
    assert queue.drain(service.client()).sent == 1


def test_a_refused_lesson_is_set_aside_with_the_reason_and_the_others_go_on(queue):
    service = Service(problem(422, "it is no whole image"))
    numbers = fill(queue, "a", "b")
    drained = queue.drain(service.client())
    assert (drained.sent, drained.set_aside, drained.waiting) == (1, 1, 0)
    [aside] = queue.set_aside()
    assert aside.number == numbers[0]
    assert "it is no whole image" in aside.reason
    queue.retry(aside.number)
    assert queue.drain(service.client()).sent == 1
    with pytest.raises(NotFound, match="no lesson 1 was set aside"):
        queue.discard(1)


def test_a_key_that_the_service_has_forgotten_is_not_sent_again(queue, monkeypatch):
    service = Service(httpx.ReadError("reset"))
    fill(queue, "a", "b")
    queue.drain(service.client())
    later = time.time() + 24 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    drained = queue.drain(service.client())
    assert (drained.sent, drained.set_aside) == (1, 1)
    assert "may be known already" in queue.set_aside()[0].reason
    assert list(service.learned.values()) == ["a", "b"]
    queue.discard(queue.set_aside()[0].number)
    assert queue.held_bytes == 0


def test_what_never_reached_the_service_may_wait_for_ever(queue, monkeypatch):
    service = Service(httpx.ConnectError("refused"))
    fill(queue, "a")
    queue.drain(service.client())
    later = time.time() + 1000 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert queue.drain(service.client()).sent == 1


def test_a_key_that_waits_is_not_kept_twice(queue):
    first = queue.teach(JPEG, "a", idempotency_key="k")
    assert queue.teach(JPEG, "a", idempotency_key="k") == first
    assert len(queue) == 1


def test_a_full_queue_says_so_and_keeps_what_it_has(tmp_path):
    with OfflineQueue(tmp_path, max_bytes=2 * (len(JPEG) + ENTRY_BYTES + 120)) as queue:
        fill(queue, "a", "b")
        with pytest.raises(QueueFull, match=r"holds .* bytes, .* more do not fit: drain it"):
            fill(queue, "c")
        service = Service()
        assert queue.drain(service.client()).sent == 2
        fill(queue, "c")


def test_a_file_stays_near_its_limit(tmp_path):
    limit = 1 << 20
    with OfflineQueue(tmp_path, max_bytes=limit) as queue:
        for _ in range(3):
            for _ in range(limit // 41_000):
                queue.teach(JPEG + bytes(40_000), "a")
            with pytest.raises(QueueFull):
                queue.teach(JPEG + bytes(40_000), "a")
            queue.drain(Service().client())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.2 * limit


def test_what_is_no_image_never_waits(queue):
    with pytest.raises(InvalidImage):
        queue.teach(b"Dear Sir", "a")
    with pytest.raises(ValueError, match="idempotency key"):
        queue.add(api.state("l"))
    assert len(queue) == 0


def test_one_process_at_a_time(queue, tmp_path):
    with pytest.raises(QueueError, match="in use by another process"):
        OfflineQueue(tmp_path / "queue")
    queue.close()
    OfflineQueue(tmp_path / "queue").close()
    with pytest.raises(QueueError, match="is closed"):
        len(queue)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "queue.db").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    with pytest.raises(QueueError, match="move the folder away"):
        OfflineQueue(tmp_path)


def test_threads_share_a_queue(queue):
    def add(name):
        for number in range(10):
            queue.teach(JPEG, f"{name} {number}")

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    service = Service()
    assert queue.drain(service.client()).sent == 40
    for name in "abcd":
        own = [label for label in service.learned.values() if label[0] == name]
        assert own == [f"{name} {number}" for number in range(10)]


def test_the_asynchronous_client_drains_as_well(queue):
    service = Service(httpx.ReadError("reset"))
    fill(queue, "a", "b")

    async def drain():
        async with service.client(AsyncClient) as client:
            return await queue.drain_async(client), await queue.drain_async(client)

    first, second = asyncio.run(drain())
    assert (first.waiting, second.sent, second.known_before) == (2, 2, 1)
    assert list(service.learned.values()) == ["a", "b"]


FILLER = """
import sys
from edge_cl.client import OfflineQueue
queue = OfflineQueue(sys.argv[1])
number = 0
while True:
    queue.teach(b"\\xff\\xd8\\xff" + bytes(1000), f"label {number}")
    print(number, flush=True)
    number += 1
"""


def test_a_device_that_is_switched_off_keeps_what_it_was_told_is_kept(tmp_path):
    device = subprocess.Popen(
        [sys.executable, "-c", FILLER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    told = [int(device.stdout.readline()) for _ in range(40)]
    device.send_signal(signal.SIGKILL)
    told += [int(line) for line in device.stdout]
    device.wait()
    device.stdout.close()
    service = Service()
    with OfflineQueue(tmp_path) as queue:
        assert len(queue) in (len(told), len(told) + 1)
        queue.drain(service.client())
    labels = list(service.learned.values())
    assert labels[: len(told)] == [f"label {number}" for number in told]


class KilledBeforeTheAnswer(httpx.BaseTransport):
    """Passes requests on; kills the service after some it has answered, and loses the answer."""

    def __init__(self, service, every):
        self._service = service
        self._every = every
        self._count = 0
        self._http = httpx.HTTPTransport()

    def handle_request(self, request):
        response = self._http.handle_request(request)
        response.read()
        if request.method == "POST":
            self._count += 1
            if self._count % self._every == 0:
                self._service.kill()
                raise httpx.ReadError("the service died before the answer arrived")
        return response

    def close(self):
        self._http.close()


def test_a_service_that_dies_between_commit_and_answer(tmp_path):
    """Nothing is lost and nothing is learned twice, and the order is kept."""
    settings = {"memory_budget": "256KiB", "strategy": "ncm"}
    rng = np.random.default_rng(0)
    with LocalService(tmp_path, settings) as service, OfflineQueue(tmp_path / "queue") as queue:
        with Client(service.url) as client:
            client.create_learner("l", dim=4)
        queue.learner = "l"
        for number in range(12):
            queue.teach_latents(rng.normal(size=(1, 4)).astype(np.float32), [f"class {number}"])
        transport = KilledBeforeTheAnswer(service, every=5)
        outcomes = []
        while len(queue):
            with Client(service.url, learner="l", retries=NO_PATIENCE, transport=transport) as one:
                outcomes.append(queue.drain(one))
            if len(queue):
                service.start()
        with Client(service.url, learner="l") as client:
            labels = [sample["label"] for sample in client.samples()]
    assert labels == [f"class {number}" for number in range(12)]
    assert sum(one.sent for one in outcomes) == 12
    assert sum(one.known_before for one in outcomes) == len(outcomes) - 1 == 2
