"""The client against answers that are written here."""

import json
import threading
import time
from email.utils import formatdate

import httpx
import numpy as np
import pytest

from edge_cl.client import Client, Retries, ServiceProblem, ServiceUnreachable
from edge_cl.client.retries import retry_after_s
from edge_cl.errors import InvalidImage

JPEG = b"\xff\xd8\xff\xe0 not a whole image"
PNG = b"\x89PNG\r\n\x1a\n nor this"
TAUGHT = {"accepted": 1, "ids": [7], "version": 3}
PREDICTED = {
    "predictions": [
        {
            "label": "cup",
            "score": 0.9,
            "unknown": False,
            "top": [{"label": "cup", "score": 0.9}, {"label": "pen", "score": 0.1}],
            "prediction_id": "p1",
        }
    ],
    "model_version": 3,
}
QUICK = Retries(patience_s=5.0, first_delay_s=0.001, longest_delay_s=0.002)


class Answers:
    """A transport that gives the listed answers in turn and keeps the requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **options):
        options = {"retries": QUICK, **options}
        return Client("http://edge", transport=httpx.MockTransport(self), **options)


def problem(status, headers=None, **fields):
    return httpx.Response(status, json={"title": "no", "status": status, **fields}, headers=headers)


def test_teach_sends_the_image_and_a_key():
    answers = Answers(httpx.Response(201, json=TAUGHT))
    taught = answers.client().teach(JPEG, "a cup & more", context="kitchen")
    request = answers.requests[0]
    assert (taught.accepted, taught.ids, taught.version) == (1, (7,), 3)
    assert request.url.path == "/v1/learners/default/samples"
    expected = {"label": "a cup & more", "context": "kitchen", "mode": "sync"}
    assert dict(request.url.params) == expected
    assert request.headers["content-type"] == "image/jpeg"
    assert request.headers["idempotency-key"]
    assert request.content == JPEG


def test_a_repeated_call_keeps_its_key():
    answers = Answers(
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        problem(503, {"Retry-After": "0"}),
        problem(429, {"Retry-After": "0.01"}),
        httpx.Response(201, json=TAUGHT),
    )
    answers.client().teach(JPEG, "cup")
    assert len(answers.requests) == 5
    assert len({request.headers["idempotency-key"] for request in answers.requests}) == 1


def test_no_repetition_without_patience():
    answers = Answers(httpx.ConnectError("refused"), httpx.Response(201, json=TAUGHT))
    with pytest.raises(ServiceUnreachable, match="edge-cl serve"):
        answers.client(retries=Retries(patience_s=0)).teach(JPEG, "cup")


def test_a_wait_longer_than_the_patience_is_not_begun():
    answers = Answers(problem(503, {"Retry-After": "3600"}))
    with pytest.raises(ServiceProblem) as refused:
        answers.client().teach(JPEG, "cup")
    assert refused.value.retry_after_s == 3600


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415, 422, 500, 507])
def test_a_final_refusal_is_not_repeated(status):
    answers = Answers(problem(status, detail="this is why"))
    with pytest.raises(ServiceProblem, match="this is why") as refused:
        answers.client().teach(JPEG, "cup")
    assert refused.value.status == status
    assert len(answers.requests) == 1


def test_a_refusal_names_the_fields():
    errors = [{"pointer": "/label", "detail": "is empty"}]
    answers = Answers(problem(422, detail="bad sample", errors=errors))
    with pytest.raises(ServiceProblem, match="bad sample: /label is empty"):
        answers.client().teach(JPEG, "")


def test_a_refusal_that_is_no_json():
    answers = Answers(httpx.Response(502, text="<html>proxy</html>"))
    with pytest.raises(ServiceProblem, match="502"):
        answers.client(retries=Retries(patience_s=0)).teach(JPEG, "cup")


def test_what_may_not_be_done_twice_is_not_repeated():
    answers = Answers(httpx.ReadTimeout("slow"))
    with pytest.raises(ServiceUnreachable):
        answers.client().create_learner("other")
    assert len(answers.requests) == 1


def test_predict_reads_the_answer():
    answers = Answers(httpx.Response(200, json=PREDICTED))
    predicted = answers.client(learner="shop").predict(JPEG, top_k=2)
    assert (predicted.label, predicted.score, predicted.unknown) == ("cup", 0.9, False)
    assert predicted.top == (("cup", 0.9), ("pen", 0.1))
    assert predicted.version == 3
    assert predicted.answer["prediction_id"] == "p1"
    assert answers.requests[0].url.path == "/v1/learners/shop/predict"


@pytest.mark.parametrize("letter", [b"", b"Dear Sir", b"RIFF1234AVI LIST"])
def test_what_is_no_image_is_not_sent(letter):
    answers = Answers()
    with pytest.raises(InvalidImage, match="JPEG, PNG or WebP"):
        answers.client().teach(letter, "cup")
    assert answers.requests == []


def test_many_images_are_one_form():
    answers = Answers(httpx.Response(200, json=PREDICTED))
    answers.client().predict_many([JPEG, PNG])
    body = answers.requests[0].content
    assert answers.requests[0].headers["content-type"].startswith("multipart/form-data")
    assert body.count(b'name="file"') == 2
    assert b"image/png" in body


def test_latents_travel_as_base64():
    answers = Answers(httpx.Response(201, json={**TAUGHT, "accepted": 2, "ids": [1, 2]}))
    latents = np.arange(6, dtype=np.float32).reshape(2, 3)
    answers.client().teach_latents(latents, ["a", "b"], contexts=["x", "y"])
    samples = json.loads(answers.requests[0].content)["samples"]
    assert [sample["label"] for sample in samples] == ["a", "b"]
    assert [sample["context"] for sample in samples] == ["x", "y"]


def test_as_many_labels_as_latents():
    with pytest.raises(ValueError, match="longer"):
        Answers().client().teach_latents(np.zeros((2, 3), np.float32), ["a"])


def test_the_key_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("EDGE_CL_API_KEY", "a-secret-key")
    answers = Answers(httpx.Response(200, json={"learners": []}))
    client = answers.client()
    assert client.learners() == []
    assert answers.requests[0].headers["authorization"] == "Bearer a-secret-key"
    assert "a-secret-key" not in repr(vars(client))


def test_one_client_serves_many_threads():
    answers = Answers(*[httpx.Response(201, json=TAUGHT) for _ in range(40)])
    client = answers.client()
    threads = [
        threading.Thread(target=lambda: [client.teach(JPEG, "cup") for _ in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({request.headers["idempotency-key"] for request in answers.requests}) == 40


@pytest.mark.parametrize(
    ("header", "expected_s"), [("3", 3.0), ("0.5", 0.5), ("-2", 0.0), ("soon", None)]
)
def test_retry_after_in_seconds(header, expected_s):
    assert retry_after_s({"retry-after": header}) == expected_s


def test_retry_after_as_a_date():
    asked_s = retry_after_s({"retry-after": formatdate(time.time() + 10, usegmt=True)})
    assert asked_s == pytest.approx(10, abs=2)


def test_waits_grow_and_stay_below_the_longest():
    retries = Retries(first_delay_s=0.2, longest_delay_s=5.0)
    waits = [retries.delay_s(attempt, None) for attempt in range(40)]
    assert all(0.1 <= wait <= 5.0 for wait in waits)
    assert waits[0] <= 0.2
    assert waits[-1] >= 2.5
