"""The bridge between a real Mosquitto and a real service."""

import base64
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import uuid

import numpy as np
import pytest

from edge_cl.client import Client, Retries
from edge_cl.errors import EdgeCLError, InvalidOption
from edge_cl.local_service import LocalService
from edge_cl.mqtt.bridge import Bridge
from edge_cl.mqtt.connection import Broker, Connected
from edge_cl.mqtt.discovery import discovery
from edge_cl.mqtt.topics import Topics

paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
MOSQUITTO = shutil.which("mosquitto", path=PATH)
needs_broker = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto"
)
PNG_START = b"\x89PNG"


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Port of a real broker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path_factory.mktemp("broker") / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    running = subprocess.Popen(
        [MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        threading.Event().wait(0.02)
    yield port
    running.terminate()
    running.wait()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with LocalService(tmp_path_factory.mktemp("mqtt"), {"memory_budget": "256KiB"}) as running:
        yield running


@pytest.fixture
def learner(service):
    """A fresh learner of 4 numbers; its topics."""
    name = f"l{uuid.uuid4().hex[:8]}"
    with Client(service.url, learner=name) as client:
        client.create_learner(name, dim=4, strategy="ncm", memory_budget="64KiB")
        yield client
        client.delete_learner(name)


class Device:
    """An MQTT client that keeps what it hears."""

    def __init__(self, port, *topics):
        self.heard = queue.Queue()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _, __, one: self.heard.put(one)
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if topics:
            self._client.subscribe([(topic, 1) for topic in topics])
            assert subscribed.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic, payload, retain=False):
        text = json.dumps(payload) if isinstance(payload, dict) else payload
        self._client.publish(topic, text, qos=1, retain=retain).wait_for_publish(10)

    def hear(self, topic, wanted=lambda payload: True):
        """The next payload on `topic` that is wanted."""
        while True:
            message = self.heard.get(timeout=20)
            payload = bytes(message.payload)
            if message.topic == topic and wanted(payload):
                return json.loads(payload) if payload[:1] == b"{" else payload


class RunningBridge:
    def __init__(self, port, url, learner, session=None):
        self.topics = Topics("edge_cl", learner)
        self._client = Client(url, learner=learner, retries=Retries(patience_s=0))
        where = Broker.of(f"mqtt://127.0.0.1:{port}", None, None, session or learner)
        self._connected = Connected(
            where, Bridge(self._client, self.topics), self.topics, "homeassistant"
        )
        self._thread = threading.Thread(target=self._connected.run)

    def __enter__(self):
        self._thread.start()
        assert self._connected.ready.wait(10)
        return self

    def __exit__(self, *_):
        self._connected.stop()
        self._thread.join()
        self._client.close()


def sample(kind, label=None, **notes):
    latent = np.eye(4)[kind].tolist()
    return {"latent": latent, **({"label": label} if label else {}), **notes}


@needs_broker
def test_teach_predict_and_correct_by_messages(broker, service, learner):
    topics = Topics("edge_cl", learner.learner)
    with (
        Device(broker, f"{topics.root}/#") as device,
        RunningBridge(broker, service.url, learner.learner),
    ):
        device.say(f"{topics.root}/teach", sample(0, "zero", id="a", metadata={"shelf": 3}))
        receipt = device.hear(topics.taught)
        assert (receipt["id"], receipt["ids"], receipt["known_before"]) == ("a", [1], False)
        assert next(learner.samples())["metadata"] == {"shelf": 3}
        device.say(f"{topics.root}/teach/one", sample(1))
        device.hear(topics.taught)
        known = device.hear(topics.state, lambda payload: b'"samples_seen": 2' in payload)
        assert known["labels"] == {"zero": 1, "one": 1}
        device.say(f"{topics.root}/predict/door", sample(1, id="q"))
        answer = device.hear(f"{topics.prediction}/door")
        assert (answer["label"], answer["id"], answer["source"]) == ("one", "q", "door")
        said = {"prediction_id": answer["prediction_id"], "label": "zero"}
        device.say(f"{topics.root}/feedback", said)
        device.hear(topics.state, lambda payload: b'"samples_seen": 3' in payload)
    with Device(broker, topics.prediction, topics.state, topics.availability) as later:
        assert later.hear(topics.prediction)["label"] == "one"
        assert later.hear(topics.state)["samples_seen"] == 3
        assert later.hear(topics.availability) == b"offline"


@needs_broker
def test_a_message_that_comes_again_teaches_once(broker, service, learner):
    """Also one that was sent while the bridge was away, and one that had no answer."""
    topics, session = Topics("edge_cl", learner.learner), uuid.uuid4().hex
    with Device(broker, topics.taught) as device:
        with RunningBridge(broker, service.url, learner.learner, session):
            for _ in range(2):
                device.say(f"{topics.root}/teach", sample(0, "zero"))
            answers = [device.hear(topics.taught) for _ in range(2)]
        assert [one["known_before"] for one in answers] == [False, True]
        assert answers[0]["ids"] == answers[1]["ids"]
        device.say(f"{topics.root}/teach", sample(1, "one"))
        with RunningBridge(broker, "http://127.0.0.1:9", learner.learner, session):
            pass
        with RunningBridge(broker, service.url, learner.learner, session):
            assert device.hear(topics.taught)["known_before"] is False
    assert learner.classes() == {"zero": 1, "one": 1}


@needs_broker
def test_what_is_refused_is_told_and_retained_requests_are_passed_over(broker, service, learner):
    topics = Topics("edge_cl", learner.learner)
    with Device(broker, topics.error, topics.taught) as device:
        device.say(f"{topics.root}/teach", sample(3, "old"), retain=True)
        with RunningBridge(broker, service.url, learner.learner):
            for word, payload, expected in (
                ("teach", b"\x00\x01", "no JSON object"),
                ("teach", {"label": "a", "latent": [1, 2]}, "A latent cannot be used"),
                ("teach/cup", b"no image", "no JPEG, PNG or WebP"),
                ("predict", b"[1]", "no JPEG"),
                ("feedback", {"label": "a"}, "feedback has a prediction_id"),
                ("feedback", {"prediction_id": "x", "label": "a"}, "no"),
            ):
                device.say(f"{topics.root}/{word}", payload)
                told = device.hear(topics.error)
                assert told["topic"] == f"{topics.root}/{word}"
                assert expected in told["detail"]
        device.say(f"{topics.root}/teach", b"", retain=True)
    assert learner.classes() == {}


@needs_broker
def test_images_by_the_command_and_the_last_will(broker, service, digit_images):
    name = f"l{uuid.uuid4().hex[:8]}"
    topics = Topics("home/edge", name)
    image = digit_images.train["digit 0"][0]
    with Client(service.url) as client:
        client.create_learner(name, extractor="default", memory_budget="256KiB")
    words = ["--broker", f"mqtt://127.0.0.1:{broker}", "--topic", "home/edge", "--learner", name]
    bridge = subprocess.Popen(
        [sys.executable, "-m", "edge_cl", "mqtt", *words, "--url", service.url],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with Device(broker, f"{topics.root}/#", "homeassistant/#") as device:
        device.hear(topics.availability, lambda payload: payload == b"online")
        device.say(f"{topics.root}/teach/zero", image)
        device.hear(topics.taught)
        device.say(f"{topics.root}/predict", image)
        assert device.hear(topics.prediction)["label"] == "zero"
        assert device.hear(topics.image) == image
        bridge.send_signal(signal.SIGKILL)
        device.hear(topics.availability, lambda payload: payload == b"offline")
        bridge.wait()
        bridge.stderr.close()
        with Device(broker, f"homeassistant/sensor/{topics.object_id}/label/config") as home:
            config = home.hear(f"homeassistant/sensor/{topics.object_id}/label/config")
    assert config["state_topic"] == topics.prediction
    assert config["availability_topic"] == topics.availability


@needs_broker
def test_home_assistant_is_told_again_when_it_starts(broker, service, learner):
    topics = Topics("edge_cl", learner.learner)
    with RunningBridge(broker, service.url, learner.learner):
        config = f"homeassistant/image/{topics.object_id}/image/config"
        with Device(broker, config) as device:
            device.hear(config)
            device.say("homeassistant/status", b"online")
            assert device.hear(config)["image_topic"] == topics.image


def test_discovery_describes_every_entity_once():
    topics = Topics("edge_cl", "my.shop")
    messages = discovery(topics, "homeassistant")
    told = [json.loads(one.payload) for one in messages]
    assert len({one["unique_id"] for one in told}) == len(told) == 5
    assert all(one.retain for one in messages)
    assert all(set(one.topic.split("/")[2]) <= set("edge_cl_my_shop") for one in messages)
    assert {one["device"]["identifiers"][0] for one in told} == {"edge_cl_my_shop"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host", "mqtt://host:1883"),
        ("mqtt://", "mqtt://host:1883"),
        ("mqtt://host:99999", "no address"),
        ("mqtt://host/topic", "mqtt://host:1883"),
    ],
)
def test_addresses_that_are_none(url, said):
    with pytest.raises(InvalidOption, match=said):
        Broker.of(url, None, None, "x")


def test_addresses_of_brokers():
    broker = Broker.of("mqtts://me:a%2Fb@host", None, None, "x")
    assert (broker.host, broker.port, broker.tls) == ("host", 8883, True)
    assert (broker.username, broker.password) == ("me", "a/b")
    assert Broker.of("mqtt://me@host:1", "secret", None, "x").password == "secret"


def test_no_broker_says_so():
    with Client("http://127.0.0.1:9") as client:
        topics = Topics("edge_cl", "default")
        where = Broker.of("mqtt://127.0.0.1:9", None, None, "x")
        with pytest.raises(EdgeCLError, match="apt install mosquitto"):
            Connected(where, Bridge(client, topics), topics, None)


def test_a_topic_of_another_learner_is_told_and_not_answered():
    [message] = Bridge(None, Topics("edge_cl", "mine")).answer("edge_cl/other/teach", b"{}")
    assert b"not below edge_cl/mine" in message.payload


def test_base64_in_json_is_an_image_too():
    """A JSON message goes to the service as it is, less its id."""
    sent = []

    class Service:
        learner = "default"

        def teach_samples(self, samples, idempotency_key):
            sent.append((samples, idempotency_key))
            raise ValueError("enough")

    topics = Topics("edge_cl", "default")
    body = {"id": 7, "label": "a", "image_b64": base64.b64encode(PNG_START).decode()}
    [message] = Bridge(Service(), topics).answer(f"{topics.root}/teach", json.dumps(body).encode())
    assert message.topic == topics.error
    assert sent[0][0] == [{"label": "a", "image_b64": body["image_b64"]}]
    assert sent[0][1].startswith("mqtt-")
