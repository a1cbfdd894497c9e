"""Learners, keys and the service itself, described as the other requests are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from edge_cl.client.answers import Json, as_json, nothing
from edge_cl.client.calls import Call

__all__ = [
    "add_key",
    "change",
    "create_learner",
    "delete_learner",
    "extractor_layers",
    "keys",
    "learners",
    "ready",
    "revoke_key",
    "service",
    "strategies",
    "strategy",
]


def change(
    learner: str,
    *,
    memory_budget: int | str | None = None,
    strategy: str | None = None,
    options: Json | None = None,
    thumbnail_budget: int | str | None = None,
) -> Call[Json]:
    """Change the learner's budgets, or its strategy or options; its state, while it is built.

    Parameters
    ----------
    memory_budget
        In bytes, or as ``"1MiB"``.
    strategy, options
        What is built in the background; the members `change` and `change_failure` of `state`
        say how far that is.
    thumbnail_budget
        For small pictures of samples, as `memory_budget`; 0 deletes all.
    """
    given = {
        "memory_budget": memory_budget,
        "strategy": strategy,
        "options": options,
        "thumbnail_budget": thumbnail_budget,
    }
    body = {name: value for name, value in given.items() if value is not None}
    return Call("PATCH", f"/v1/learners/{learner}", as_json, json=body, repeatable=False)


def learners(_: str, /) -> Call[list[Json]]:
    """All learners of the service."""
    return Call("GET", "/v1/learners", lambda response: list(response.json()["learners"]))


def create_learner(_: str, /, name: str, **settings: Any) -> Call[Json]:
    """Make a learner; `settings` as in ``POST /v1/learners``."""
    return Call("POST", "/v1/learners", as_json, json={"name": name, **settings}, repeatable=False)


def delete_learner(_: str, /, name: str) -> Call[None]:
    """Delete a learner and all that it learned."""
    return Call("DELETE", f"/v1/learners/{name}", nothing)


def keys(_: str, /) -> Call[list[Json]]:
    """The API keys of the service, without their secrets."""
    return Call("GET", "/v1/keys", lambda response: list(response.json()["keys"]))


def add_key(
    _: str,
    /,
    name: str,
    scopes: Sequence[str],
    *,
    learners: Sequence[str] | None = None,
    expires_in_s: float | None = None,
) -> Call[Json]:
    """Make an API key; the member `key` of the answer is its text, shown only here.

    Parameters
    ----------
    name
        What to call it.
    scopes
        Some of ``read``, ``predict``, ``learn``, ``admin``.
    learners
        The only learners that it reaches, or None for all.
    expires_in_s
        Seconds for which it is valid, or None.
    """
    body = {
        "name": name,
        "scopes": list(scopes),
        "learners": None if learners is None else list(learners),
        "expires_in_s": expires_in_s,
    }
    return Call("POST", "/v1/keys", as_json, json=body, repeatable=False)


def revoke_key(_: str, /, key_id: str) -> Call[None]:
    """Revoke the API key of this id at once."""
    return Call("DELETE", f"/v1/keys/{quote(key_id, safe='')}", nothing)


def ready(_: str, /) -> Call[Json]:
    """What the service checks of itself; asked until all is well, or the patience ends."""
    return Call("GET", "/readyz", as_json, {"verbose": "true"})


def service(_: str, /) -> Call[Json]:
    """What the service is: version, extractor, limits, budget."""
    return Call("GET", "/v1/info", as_json)


def extractor_layers(_: str, /) -> Call[list[Json]]:
    """The layers of the service's extractor at which a learner's latents can be taken."""
    return Call("GET", "/v1/extractor/layers", lambda response: list(response.json()["layers"]))


def strategies(_: str, /) -> Call[list[Json]]:
    """The strategies that a learner can have."""
    return Call("GET", "/v1/strategies", lambda response: list(response.json()["strategies"]))


def strategy(_: str, /, name: str) -> Call[Json]:
    """One strategy, with the JSON schema of its options."""
    return Call("GET", f"/v1/strategies/{quote(name, safe='')}", as_json)
