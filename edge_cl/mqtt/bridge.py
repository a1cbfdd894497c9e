"""From one message to calls of the service, and to the messages that answer it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_cl.client import Client, ServiceProblem
from edge_cl.client.answers import Json, Predicted
from edge_cl.client.calls import image_type
from edge_cl.errors import InvalidInput
from edge_cl.mqtt.topics import Topics

LARGEST_BYTES = 16 * 1024 * 1024
TOP_K = 3


@dataclass(frozen=True)
class Message:
    """A message of the broker."""

    topic: str
    payload: bytes
    retain: bool = False


class Bridge:
    """Teaches, asks and corrects one learner by messages.

    Parameters
    ----------
    client
        Of the service.
    topics
        Of the learner.
    """

    def __init__(self, client: Client, topics: Topics) -> None:
        self._client = client
        self._topics = topics
        self._commands: dict[str, Callable[[str, bytes], list[Message]]] = {
            "teach": self._teach,
            "predict": self._predict,
            "feedback": self._feed_back,
        }

    def answer(self, topic: str, payload: bytes) -> list[Message]:
        """Do what a message asks for; what is refused is a message too.

        Raises
        ------
        ServiceUnreachable, ServiceProblem
            If the same message may be answered later.
        """
        name, rest = self._topics.words(topic)
        command = self._commands.get(name)
        if command is None:
            # A session of this name subscribed it once, for another learner.
            return [self._error(topic, f"the topic is not below {self._topics.root}", None)]
        try:
            if len(payload) > LARGEST_BYTES:
                raise InvalidInput(f"{len(payload):,} bytes; at most {LARGEST_BYTES:,} are taken")
            return command(rest, payload)
        except ServiceProblem as problem:
            if problem.passing:
                raise
            return [self._error(topic, str(problem), problem.status)]
        except (InvalidInput, ValueError) as error:
            return [self._error(topic, str(error), None)]

    def state(self) -> Message:
        """What the learner is, to be kept by the broker."""
        known = self._client.state()
        names = ("strategy", "version", "samples_seen", "classes", "memory_used", "memory_budget")
        told = {name: known[name] for name in names}
        return _message(self._topics.state, told | {"labels": self._client.classes()}, retain=True)

    def _teach(self, label: str, payload: bytes) -> list[Message]:
        """``teach/<label>`` with an image or a sound, or ``teach`` with a JSON sample."""
        if label and not _is_json(payload):
            key = _key("teach", label, payload)
            taught = self._client.teach(payload, label, idempotency_key=key)
            name = None
        else:
            sample = _sample(payload)
            name = sample.pop("id", None)
            if label:
                sample.setdefault("label", label)
            content = payload if name is None else str(name).encode()
            key = _key("id" if name is not None else "teach", label, content)
            taught = self._client.teach_samples([sample], idempotency_key=key)
        receipt = {"id": name, "ids": list(taught.ids), "version": taught.version,
                   "known_before": taught.replayed}  # fmt: skip
        return [_message(self._topics.taught, receipt), self.state()]

    def _predict(self, source: str, payload: bytes) -> list[Message]:
        """``predict`` or ``predict/<source>``; the answer is below the same source."""
        name = None
        if _is_json(payload):
            sample = _sample(payload)
            name = sample.pop("id", None)
            [predicted] = self._client.predict_samples([sample], top_k=TOP_K)
        else:
            predicted = self._client.predict(payload, top_k=TOP_K)
        content = {"id": name, "source": source or None, **_told(predicted)}
        messages = [_message(self._topics.prediction, content, retain=True)]
        if source:
            topic = f"{self._topics.prediction}/{source}"
            messages.append(_message(topic, content, retain=True))
        if not _is_json(payload) and image_type(payload).startswith("image/"):
            messages.append(Message(self._topics.image, payload, retain=True))
        return messages

    def _feed_back(self, _: str, payload: bytes) -> list[Message]:
        """``feedback`` with the id of a prediction and one of label, correct, not."""
        said = _sample(payload)
        unknown = set(said) - {"prediction_id", "label", "correct", "not"}
        if unknown or not isinstance(said.get("prediction_id"), str):
            raise InvalidInput(
                "feedback has a prediction_id and one of label, correct, not; got "
                f"{', '.join(sorted(said)) or 'nothing'}"
            )
        told = self._client.feed_back(
            said["prediction_id"],
            label=said.get("label"),
            correct=said.get("correct"),
            not_label=said.get("not"),
        )
        return [_message(self._topics.taught, told), self.state()]

    def _error(self, topic: str, detail: str, status: int | None) -> Message:
        return _message(self._topics.error, {"topic": topic, "detail": detail, "status": status})


def _told(predicted: Predicted) -> Json:
    return {**predicted.answer, "model_version": predicted.version}


def _key(*parts: str | bytes) -> str:
    """One key for one content: a message that the broker brings again counts once."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(encoded) + encoded)
    return f"mqtt-{digest.hexdigest()[:40]}"


def _is_json(payload: bytes) -> bool:
    return payload[:1] == b"{"


def _sample(payload: bytes) -> dict[str, Any]:
    try:
        sample = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"the payload is no JSON object, and no image or sound below a label: {error}"
        ) from error
    if not isinstance(sample, dict):
        raise InvalidInput("the payload is JSON, but no object")
    return sample


def _message(topic: str, content: Json, retain: bool = False) -> Message:
    return Message(topic, json.dumps(content, ensure_ascii=False).encode(), retain)
