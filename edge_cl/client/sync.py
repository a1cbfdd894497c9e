"""The blocking client."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from edge_cl.client.answers import (
    Json,
    Predicted,
    ServiceProblem,
    ServiceUnreachable,
    Taught,
    predicted,
    problem_of,
    taught,
    unreachable,
)
from edge_cl.client.calls import Call, Image, Latents, encoded_latents, form_call, image_call
from edge_cl.client.retries import Retries

DEFAULT_URL = "http://127.0.0.1:8080"


class Client:
    """A connection to one learner of a running service.

    Parameters
    ----------
    url
        Where the service listens; ``EDGE_CL_URL`` if None.
    learner
        Name of the learner that the calls are about.
    key
        API key, if the service wants one; ``EDGE_CL_API_KEY`` if None.
    timeout_s
        Longest wait for one answer.
    retries
        How long and how often a call without a final answer is repeated.
    transport
        Another httpx transport, for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        learner: str = "default",
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = (url or os.environ.get("EDGE_CL_URL") or DEFAULT_URL).rstrip("/")
        self.learner = learner
        self._retries = retries or Retries()
        key = key or os.environ.get("EDGE_CL_API_KEY")
        self._http = httpx.Client(
            base_url=self.url,
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            transport=transport,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def check(self) -> None:
        """Raise `ServiceUnreachable` at once if nothing answers, without any patience."""
        self._once(Call("GET", "/livez"))

    def teach(
        self,
        image: Image,
        label: str,
        *,
        context: str | None = None,
        device: str | None = None,
        idempotency_key: str | None = None,
        mode: str = "sync",
    ) -> Taught:
        """Teach one labelled image; on return it is durable.

        Parameters
        ----------
        image
            JPEG, PNG or WebP: its bytes or a path.
        label
            The class that it shows.
        context
            The situation it comes from, for strategies that use one.
        device
            Who saw it.
        idempotency_key
            Two calls with one key count once; a fresh one if None.
        mode
            ``sync`` returns when it is learned, ``async`` when it is durable.
        """
        notes = {"context": context, "device": device}
        params = {"label": label, "mode": mode}
        params |= {name: text for name, text in notes.items() if text is not None}
        call = image_call(f"{self._path}/samples", [image], params)
        return taught(self._send_with_key(call, idempotency_key))

    def teach_many(
        self,
        images: Sequence[Image],
        labels: Sequence[str],
        *,
        idempotency_key: str | None = None,
        mode: str = "sync",
    ) -> Taught:
        """Teach several labelled images in one request; all are accepted, or none.

        Parameters
        ----------
        images
            JPEG, PNG or WebP: bytes or paths.
        labels
            One label an image.
        idempotency_key
            Two calls with one key count once; a fresh one if None.
        mode
            ``sync`` returns when they are learned, ``async`` when they are durable.
        """
        call = form_call(f"{self._path}/samples", images, {"mode": mode}, labels)
        return taught(self._send_with_key(call, idempotency_key))

    def teach_latents(
        self,
        latents: Latents,
        labels: Sequence[str],
        *,
        contexts: Sequence[str] | None = None,
        idempotency_key: str | None = None,
        mode: str = "sync",
    ) -> Taught:
        """Teach rows of latents, for a device with an extractor of its own.

        Parameters
        ----------
        latents
            (N, D) float32, or uint8 codes of the service's own extractor.
        labels
            One label a row.
        contexts
            One context a row, or None.
        idempotency_key
            Two calls with one key count once; a fresh one if None.
        mode
            ``sync`` returns when they are learned, ``async`` when they are durable.
        """
        samples: list[Json] = [
            {"label": label, **encoded}
            for label, encoded in zip(labels, encoded_latents(latents), strict=True)
        ]
        for sample, context in zip(samples, contexts or (), strict=False):
            sample["context"] = context
        call = Call("POST", f"{self._path}/samples", {"mode": mode}, json={"samples": samples})
        return taught(self._send_with_key(call, idempotency_key))

    def predict(self, image: Image, *, top_k: int = 1, context: str | None = None) -> Predicted:
        """What one image shows."""
        return self.predict_many([image], top_k=top_k, context=context)[0]

    def predict_many(
        self, images: Sequence[Image], *, top_k: int = 1, context: str | None = None
    ) -> list[Predicted]:
        """What each of some images shows, in one request."""
        params = {"top_k": str(top_k)} | ({"context": context} if context else {})
        return predicted(self._send(image_call(f"{self._path}/predict", images, params)))

    def predict_latents(
        self,
        latents: Latents,
        *,
        top_k: int = 1,
        context: str | None = None,
    ) -> list[Predicted]:
        """What each row of latents shows."""
        params = {"top_k": str(top_k)} | ({"context": context} if context else {})
        samples = encoded_latents(latents)
        call = Call("POST", f"{self._path}/predict", params, json={"samples": samples})
        return predicted(self._send(call))

    def end_experience(self, *, idempotency_key: str | None = None) -> Json:
        """Close the stretch of stream that the learner is in."""
        call = Call("POST", f"{self._path}/experience/end")
        return dict(self._send_with_key(call, idempotency_key).json())

    def samples(self, **wanted: str) -> Iterator[Json]:
        """Every sample that the service holds, by id.

        Parameters
        ----------
        **wanted
            Only samples with this ``label``, ``context`` or ``device``.
        """
        cursor: dict[str, str] = {}
        while True:
            params = {"limit": "1000", **wanted, **cursor}
            page = self._json(Call("GET", f"{self._path}/samples", params))
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def classes(self) -> dict[str, int]:
        """Samples learned of each class, in the order in which the classes came."""
        listed = self._json(Call("GET", f"{self._path}/classes"))["classes"]
        return {one["label"]: one["samples"] for one in listed}

    def state(self) -> Json:
        """What the learner is: strategy, version, classes, bytes by part."""
        return self._json(Call("GET", self._path))

    def learners(self) -> list[Json]:
        """All learners of the service."""
        answer = self._json(Call("GET", "/v1/learners"))
        return list(answer["learners"])

    def create_learner(self, name: str, **settings: Any) -> Json:
        """Make a learner; `settings` as in ``POST /v1/learners``."""
        body = {"name": name, **settings}
        return self._json(Call("POST", "/v1/learners", json=body, repeatable=False))

    def delete_learner(self, name: str) -> None:
        """Delete a learner and all that it learned."""
        self._send(Call("DELETE", f"/v1/learners/{name}"))

    def service(self) -> Json:
        """What the service is: version, extractor, limits, budget."""
        return self._json(Call("GET", "/v1/info"))

    def strategies(self) -> list[Json]:
        """The strategies that a learner can have."""
        return list(self._json(Call("GET", "/v1/strategies"))["strategies"])

    @property
    def _path(self) -> str:
        return f"/v1/learners/{self.learner}"

    def _json(self, call: Call) -> Json:
        answer = self._send(call).json()
        return dict(answer)

    def _send_with_key(self, call: Call, key: str | None) -> httpx.Response:
        call.headers["Idempotency-Key"] = key or str(uuid.uuid4())
        return self._send(call)

    def _send(self, call: Call) -> httpx.Response:
        """The final answer to `call`, which is repeated while that makes sense."""
        give_up_at = time.monotonic() + self._retries.patience_s
        attempt = 0
        while True:
            try:
                return self._once(call)
            except (ServiceUnreachable, ServiceProblem) as failure:
                delay_s = self._retries.delay_s(attempt, failure.retry_after_s)
                if not _may_pass(call, failure) or time.monotonic() + delay_s > give_up_at:
                    raise
            time.sleep(delay_s)
            attempt += 1

    def _once(self, call: Call) -> httpx.Response:
        try:
            response = self._http.request(
                call.method,
                call.path,
                params=call.params or None,
                headers=call.headers,
                content=call.content,
                files=call.files,
                data=call.fields,
                json=call.json,
            )
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        if not response.is_success:
            raise problem_of(response)
        return response


def _may_pass(call: Call, failure: ServiceUnreachable | ServiceProblem) -> bool:
    """Whether the same call may succeed later, and does no harm if it had."""
    if isinstance(failure, ServiceProblem):
        return failure.status in Retries.STATUSES
    return call.repeatable
