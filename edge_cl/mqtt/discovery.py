"""What Home Assistant is told, so that a learner appears in it by itself."""

from __future__ import annotations

import json
from typing import Any

import edge_cl
from edge_cl.mqtt.bridge import Message
from edge_cl.mqtt.topics import Topics


def discovery(topics: Topics, prefix: str) -> list[Message]:
    """One retained message for each entity of a learner.

    Parameters
    ----------
    topics
        Of the learner.
    prefix
        Where Home Assistant looks, ``homeassistant`` unless it is told otherwise.
    """
    return [
        Message(
            f"{prefix}/{component}/{topics.object_id}/{name}/config",
            json.dumps({**_common(topics, name), **told}).encode(),
            retain=True,
        )
        for component, name, told in _entities(topics)
    ]


def _common(topics: Topics, name: str) -> dict[str, Any]:
    return {
        "unique_id": f"{topics.object_id}_{name}",
        "availability_topic": topics.availability,
        "device": {
            "identifiers": [topics.object_id],
            "name": f"edge_cl {topics.learner}",
            "model": "edge_cl learner",
            "sw_version": edge_cl.__version__,
        },
        "origin": {"name": "edge_cl", "sw_version": edge_cl.__version__},
    }


def _entities(topics: Topics) -> list[tuple[str, str, dict[str, Any]]]:
    predicted, state = {"state_topic": topics.prediction}, {"state_topic": topics.state}
    return [
        ("sensor", "label", {
            "name": "Label", **predicted, "value_template": "{{ value_json.label }}",
            "json_attributes_topic": topics.prediction, "icon": "mdi:tag",
        }),
        ("sensor", "score", {
            "name": "Score", **predicted, "unit_of_measurement": "%",
            "state_class": "measurement", "suggested_display_precision": 0,
            "value_template": "{{ value_json.score * 100 }}",
        }),
        ("binary_sensor", "unknown", {
            "name": "Unknown", **predicted,
            "value_template": "{{ 'ON' if value_json.unknown else 'OFF' }}",
        }),
        ("sensor", "samples", {
            "name": "Samples learned", **state, "state_class": "measurement",
            "value_template": "{{ value_json.samples_seen }}", "entity_category": "diagnostic",
            "json_attributes_topic": topics.state,
        }),
        ("image", "image", {
            "name": "Last image", "image_topic": topics.image, "content_type": "image/jpeg",
        }),
    ]  # fmt: skip
