"""The bridge's connection to the broker: subscriptions, acknowledgements, last will."""

from __future__ import annotations

import logging
import queue
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from edge_cl.client import ServiceProblem, ServiceUnreachable
from edge_cl.errors import EdgeCLError, InvalidOption, MissingExtra
from edge_cl.mqtt.bridge import Bridge, Message
from edge_cl.mqtt.discovery import discovery
from edge_cl.mqtt.topics import Topics

if TYPE_CHECKING:
    import paho.mqtt.client as paho

log = logging.getLogger("edge_cl.mqtt")

MOST_WAITING = 100
AGAIN_S = 2.0
PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True)
class Broker:
    """Where a broker is, and how to log in.

    Parameters
    ----------
    host, port, tls
        Its address.
    username, password
        None for a broker that wants none.
    ca_file
        Certificate to trust instead of the system's.
    client_id
        Name of the bridge's session, which the broker keeps while the bridge is away.
    """

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None
    ca_file: Path | None
    client_id: str

    @staticmethod
    def of(url: str, password: str | None, ca_file: Path | None, client_id: str) -> Broker:
        """The broker at ``mqtt[s]://[user[:password]@]host[:port]``."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidOption(f"{url!r} is no address of a broker: {error}") from error
        if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/"):
            raise InvalidOption("a broker is given as mqtt://host:1883 or mqtts://host:8883")
        found = unquote(parts.password) if parts.password else None
        return Broker(
            parts.hostname,
            port or PORTS[parts.scheme],
            parts.scheme == "mqtts",
            unquote(parts.username) if parts.username else None,
            password or found,
            ca_file,
            client_id,
        )


class Connected:
    """A bridge that runs.

    Messages are worked on one after the other in one thread. One of QoS 1 is acknowledged to
    the broker only after the service has answered: until then the broker keeps it, also
    while the bridge is away, since its session is not clean.

    Parameters
    ----------
    broker
        Where to connect.
    bridge
        Does the work.
    topics
        Of the learner.
    discovery_prefix
        Where Home Assistant looks, or None for no discovery.
    """

    def __init__(
        self, broker: Broker, bridge: Bridge, topics: Topics, discovery_prefix: str | None
    ) -> None:
        self._bridge = bridge
        self._topics = topics
        self._prefix = discovery_prefix
        self._waiting: queue.Queue[Any] = queue.Queue()
        self._stop = threading.Event()
        self.ready = threading.Event()
        self.refusal: str | None = None
        self._paho = _paho_client(broker)
        self._paho.will_set(topics.availability, "offline", qos=1, retain=True)
        self._paho.on_connect = self._on_connect
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_message = self._on_message
        try:
            self._paho.connect(broker.host, broker.port, keepalive=30)
        except OSError as error:
            raise EdgeCLError(
                f"no broker answers at {broker.host}:{broker.port} ({error}): start one "
                "(apt install mosquitto), or name another with --broker"
            ) from error
        self._worker = threading.Thread(target=self._work, name="mqtt-bridge", daemon=True)

    def run(self) -> None:
        """Work until `stop`.

        Raises
        ------
        EdgeCLError
            If the broker refuses the login.
        """
        self._worker.start()
        self._paho.loop_start()
        try:
            while not self._stop.wait(0.2):
                pass
        finally:
            self._end()
        if self.refusal:
            raise EdgeCLError(f"the broker refused: {self.refusal}")

    def stop(self) -> None:
        """End in order; what is not acknowledged comes again."""
        self._stop.set()

    def _end(self) -> None:
        self._stop.set()
        if self._paho.is_connected():
            # A connection that is closed in order has no last will.
            said = self._paho.publish(self._topics.availability, "offline", qos=1, retain=True)
            said.wait_for_publish(5)
        self._paho.disconnect()
        self._paho.loop_stop()
        self._worker.join(10)

    def _on_connect(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self.refusal = str(reason)
            self._stop.set()
            return
        wanted = [(topic, 1) for topic in self._topics.wanted()]
        if self._prefix is not None:
            wanted.append((f"{self._prefix}/status", 0))
        client.subscribe(wanted)

    def _on_subscribe(self, client: Any, *_: Any) -> None:
        """Only now is a message that somebody sends sure to arrive."""
        client.publish(self._topics.availability, "online", qos=1, retain=True)
        self._announce()
        self._put(None)
        self.ready.set()

    def _announce(self) -> None:
        if self._prefix is not None:
            self._publish(discovery(self._topics, self._prefix))

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        if message.topic == f"{self._prefix}/status":
            # Home Assistant has started anew.
            if message.payload == b"online":
                self._announce()
        else:
            self._put(message)

    def _put(self, message: Any) -> None:
        if message is not None and message.retain:
            # The broker brings it at every start: it is no request of now.
            log.warning("a retained message on %s was passed over", message.topic)
            self._acknowledge(message)
        elif message is not None and not message.qos and self._waiting.qsize() >= MOST_WAITING:
            # Of QoS 1 the broker itself sends only a few ahead; of QoS 0 nobody promised anything.
            log.warning("%d messages wait: one of QoS 0 was not taken", MOST_WAITING)
        else:
            self._waiting.put(message)

    def _acknowledge(self, message: paho.MQTTMessage) -> None:
        if message.qos:
            self._paho.ack(message.mid, message.qos)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                message = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            self._work_on(message)

    def _work_on(self, message: paho.MQTTMessage | None) -> None:
        """Answer one message, again and again while the service is away."""
        while not self._stop.is_set():
            try:
                if message is None:
                    answers: Iterable[Message] = [self._bridge.state()]
                else:
                    answers = self._bridge.answer(message.topic, bytes(message.payload))
            except (ServiceUnreachable, ServiceProblem) as failure:
                log.warning("the service cannot answer now: %s", failure)
                if message is None:
                    return
                self._stop.wait(AGAIN_S)
                continue
            self._publish(answers)
            if message is not None:
                self._acknowledge(message)
            return

    def _publish(self, messages: Iterable[Message]) -> None:
        for one in messages:
            self._paho.publish(one.topic, one.payload, qos=1, retain=one.retain)


def _paho_client(broker: Broker) -> paho.Client:
    try:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise MissingExtra("the MQTT bridge", "mqtt") from error
    client = paho.Client(
        CallbackAPIVersion.VERSION2, broker.client_id, clean_session=False, manual_ack=True
    )
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls:
        client.tls_set_context(ssl.create_default_context(cafile=broker.ca_file))
    client.reconnect_delay_set(1, 30)
    return client
