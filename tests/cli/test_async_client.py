"""Both clients have the same calls, and the asynchronous one sends what the blocking one sends."""

import asyncio
import inspect
import json

import httpx
import pytest

from edge_cl.client import (
    AsyncClient,
    Client,
    Retries,
    ServiceProblem,
    ServiceUnreachable,
    administration,
    api,
    correcting,
    scores,
    uploads,
)

JPEG = b"\xff\xd8\xff\xe0 not a whole image"
TAUGHT = {"accepted": 1, "ids": [7], "version": 3}
QUICK = Retries(patience_s=5.0, first_delay_s=0.001, longest_delay_s=0.002)
IN_FLIGHT = {"type": "urn:edge-cl:problem:key-in-flight", "title": "runs", "status": 409}


DESCRIBING = (administration, api, correcting, scores, uploads)
NOT_DESCRIBED = {
    "check", "close", "events", "export", "import_learner", "samples", "send", "teach_archive",
    "wait_for_job",
}  # fmt: skip
"""Methods of more than one request, or of files."""


def transport(answers, requests):
    """Gives the answers in turn and keeps the requests."""

    def answer(request):
        requests.append(request)
        following = answers.pop(0)
        if isinstance(following, Exception):
            raise following
        return following

    return httpx.MockTransport(answer)


def public(kind):
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_both_clients_have_the_same_calls():
    assert public(Client) == public(AsyncClient)
    for name in public(Client) - NOT_DESCRIBED:
        describing = next(getattr(one, name) for one in DESCRIBING if name in vars(one))
        described = list(inspect.signature(describing).parameters.values())[1:]
        for kind in (Client, AsyncClient):
            method = getattr(kind, name)
            assert list(inspect.signature(method).parameters.values())[1:] == described
            assert method.__doc__ == describing.__doc__


def test_every_described_call_is_a_method_of_the_clients():
    described = {
        name
        for module in DESCRIBING
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == module.__name__
    }
    assert described - {"alive", "samples_page", "read_job"} == public(Client) - NOT_DESCRIBED


def test_the_signature_names_what_comes_back():
    assert inspect.signature(Client("http://edge").teach).return_annotation == "Taught"
    assert inspect.signature(Client("http://edge").classes).return_annotation == "dict[str, int]"


def test_teach_is_repeated_under_one_key_until_it_is_answered():
    requests = []
    answers = [
        httpx.ConnectError("refused"),
        httpx.Response(503, json={"title": "busy"}, headers={"Retry-After": "0"}),
        httpx.Response(409, json=IN_FLIGHT, headers={"Retry-After": "0"}),
        httpx.Response(201, json=TAUGHT),
    ]

    async def teach():
        async with AsyncClient(
            "http://edge", retries=QUICK, transport=transport(answers, requests)
        ) as client:
            return await client.teach(JPEG, "cup", captured_at="noon")

    taught = asyncio.run(teach())
    assert (taught.accepted, taught.ids) == (1, (7,))
    assert len(requests) == 4
    assert len({request.headers["idempotency-key"] for request in requests}) == 1
    sent = [(one.url, one.content) for one in requests]
    blocking, answers = [], [httpx.Response(201, json=TAUGHT)]
    with Client("http://edge", transport=transport(answers, blocking)) as client:
        client.teach(JPEG, "cup", captured_at="noon")
    assert sent == [(blocking[0].url, blocking[0].content)] * 4


def test_many_calls_at_once_and_pages_of_samples():
    async def answer(request):
        if request.method == "POST":
            return httpx.Response(201, json=TAUGHT)
        after = int(request.url.params.get("cursor", 0))
        following = str(after + 1) if after < 2 else None
        return httpx.Response(200, json={"items": [{"id": after}], "next_cursor": following})

    async def use():
        async with AsyncClient("http://edge", transport=httpx.MockTransport(answer)) as client:
            taught = await asyncio.gather(*(client.teach(JPEG, "cup") for _ in range(20)))
            return taught, [sample["id"] async for sample in client.samples(label="cup")]

    taught, samples = asyncio.run(use())
    assert len(taught) == 20
    assert samples == [0, 1, 2]


@pytest.mark.parametrize(
    ("answer", "error", "maybe_taken"),
    [
        (httpx.ConnectError("refused"), ServiceUnreachable, False),
        (httpx.ReadTimeout("slow"), ServiceUnreachable, True),
        (httpx.Response(503, json={}), ServiceProblem, False),
        (httpx.Response(422, json={"title": "no"}), ServiceProblem, False),
        (httpx.Response(502, text="<html>"), ServiceProblem, True),
    ],
)
def test_a_failure_says_whether_the_request_may_have_been_taken(answer, error, maybe_taken):
    async def teach():
        options = {"retries": Retries(patience_s=0), "transport": transport([answer], [])}
        async with AsyncClient("http://edge", **options) as client:
            await client.teach(JPEG, "cup")

    with pytest.raises(error) as failed:
        asyncio.run(teach())
    assert failed.value.maybe_taken is maybe_taken


def test_an_attempt_that_may_have_been_taken_is_not_forgotten_by_a_later_one():
    answers = [httpx.ReadError("reset"), httpx.ConnectError("refused"), *[
        httpx.ConnectError("refused") for _ in range(40)
    ]]  # fmt: skip
    quick = Retries(patience_s=0.01, first_delay_s=0.001, longest_delay_s=0.002)
    client = Client("http://edge", retries=quick, transport=transport(answers, []))
    with pytest.raises(ServiceUnreachable) as failed:
        client.teach(JPEG, "cup")
    assert failed.value.maybe_taken


def stream(*blocks):
    return httpx.Response(200, text="".join(f"{block}\n\n" for block in blocks))


def told(number, kind="learned"):
    return f'id: e-{number}\nevent: {kind}\ndata: {{"learner": "l", "version": {number}}}'


OPENING = "retry: 2000\nid: e-0"


def followed(answers, requests, **asked):
    """The ids that the blocking client and the asynchronous one are told."""

    async def follow():
        options = {"retries": QUICK, "transport": transport(answers(), [])}
        async with AsyncClient("http://edge", learner="l", **options) as client:
            return [event.id async for event in client.events(**asked)]

    options = {"retries": QUICK, "transport": transport(answers(), requests)}
    with Client("http://edge", learner="l", **options) as client:
        ids = [event.id for event in client.events(**asked)]
    assert asyncio.run(follow()) == ids
    return ids


def test_a_stream_that_breaks_goes_on_after_its_last_event():
    requests = []

    def answers():
        return [
            stream(OPENING, told(1), ": heartbeat\nid: e-4"),
            httpx.ConnectError("refused"),
            httpx.Response(503, json={"title": "busy"}, headers={"Retry-After": "0"}),
            stream(OPENING.replace("0", "4"), told(5), told(6)),
        ]

    ids = followed(answers, requests, kinds=["learned", "drift"], limit=3)
    assert ids == ["e-1", "e-5", "e-6"]
    assert [request.headers.get("last-event-id") for request in requests] == [None, *["e-4"] * 3]
    assert requests[-1].url.params.get_list("kind") == ["learned", "drift"]
    assert [request.url.params["limit"] for request in requests] == ["3", "2", "2", "2"]
    assert requests[0].url.params["learner"] == "l"


def test_a_gap_is_an_event_and_does_not_count():
    gap = 'event: missed\ndata: {"events": 3, "reason": "these are no longer kept"}'
    assert followed(lambda: [stream(OPENING, gap, told(7))], [], after="e-2", limit=1) == [
        "e-0",
        "e-7",
    ]


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([httpx.Response(404, json={"title": "no such learner"})], ServiceProblem),
        ([httpx.ConnectError("refused")] * 99, ServiceUnreachable),
    ],
)
def test_a_stream_that_cannot_be_had_is_said(answers, error):
    quick = Retries(patience_s=0.01, first_delay_s=0.001, longest_delay_s=0.002)
    with (
        Client("http://edge", retries=quick, transport=transport(answers, [])) as client,
        pytest.raises(error),
    ):
        next(client.events())


def test_a_job_is_waited_for_until_it_has_ended_or_time_is_up():
    running = {
        "id": "j1", "state": "running", "reason": None, "samples": 9, "taught": 4, "refused": 1,
        "version": 2,
    }  # fmt: skip
    answers = [httpx.Response(200, json={**running, "state": state}) for state in
               ("waiting", "running", "failed")]  # fmt: skip
    with Client("http://edge", transport=transport(answers, [])) as client:
        assert client.wait_for_job("j1", timeout_s=20).state == "failed"
    endless = [httpx.Response(200, json=running) for _ in range(9)]
    with (
        Client("http://edge", transport=transport(endless, [])) as client,
        pytest.raises(TimeoutError, match="5 of 9 samples are done"),
    ):
        client.wait_for_job("j1", timeout_s=0.01)


def test_both_clients_teach_a_running_service(real_service, digit_images, tmp_path):
    image = digit_images.train["digit 0"][0]

    async def use():
        async with AsyncClient(real_service.url, learner="both") as client:
            await client.check()
            await client.create_learner("both", extractor="default", memory_budget="256KiB")
            return await client.teach(image, "zero", idempotency_key="one")

    taught = asyncio.run(use())
    path = tmp_path / "both.edgecl"

    async def move():
        async with AsyncClient(real_service.url, learner="both") as client:
            return await client.export(path), await client.import_learner(path, "both-again")

    with Client(real_service.url, learner="both") as client:
        again = client.teach(image, "zero", idempotency_key="one")
        assert (again.ids, again.replayed) == (taught.ids, True)
        assert json.dumps(client.classes()) == '{"zero": 1}'
        written, moved = asyncio.run(move())
        assert written == path.stat().st_size
        assert moved["samples_seen"] == 1
        client.delete_learner("both")
        client.delete_learner("both-again")
