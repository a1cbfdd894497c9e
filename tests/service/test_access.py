"""API keys: scopes, binding, rotation, what is stored, and who may manage them."""

from __future__ import annotations

import hashlib
import json
import stat

import pytest
from serving_kit import Running, add_learner, latent, lesson, settings_for

from service import access
from service.access import Keyring
from service.config import ConfigError, load_settings
from service.errors import Problem
from service.routes import ROUTERS
from service.scopes import OPEN, OPEN_PATHS, SCOPE_OF, SHARED

ADMIN = "a long secret"
ROUTES = [
    (method, route.path_format)
    for router in ROUTERS
    for route in router.routes
    for method in sorted(route.methods)
]
QUESTION = {"samples": [{"latent": latent(0)}]}


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A service with the admin key of its settings, and the learners `l` and `m`."""
    folder = tmp_path_factory.mktemp("locked")
    running = Running(settings_for(folder, api_key=ADMIN), None)
    running.client.headers["X-API-Key"] = ADMIN
    for name in "lm":
        add_learner(running.client, name)
    yield running
    running.close()


def made(running, *scopes, **members):
    answer = running.client.post("/v1/keys", json={"name": "k", "scopes": scopes, **members})
    assert answer.status_code == 201, answer.text
    return answer.json()


def bearing(key):
    return {"headers": {"X-API-Key": key["key"]}}


def test_every_route_has_a_scope_and_every_scope_a_route():
    assert {f"{method} {path}" for method, path in ROUTES} == set(SCOPE_OF)
    assert set(SCOPE_OF.values()) == {OPEN, *access.SCOPES}
    assert set(SCOPE_OF) >= SHARED


def test_every_route_refuses_who_has_no_key_or_not_its_scope(locked):
    keys = {scope: made(locked, scope) for scope in access.SCOPES}
    for method, path in ROUTES:
        target = path.replace("{learner}", "gone").replace("{", "").replace("}", "")
        scope = SCOPE_OF[f"{method} {path}"]
        if path == "/v1/events":
            # Or the stream would never end.
            target += "?learner=gone"
        answers = {
            name: locked.client.request(method, target, **bearing(key)).status_code
            for name, key in {"nothing": {"key": ""}, **keys}.items()
        }
        if scope == OPEN:
            assert path in OPEN_PATHS
            assert set(answers.values()) == {200}
            continue
        assert answers.pop("nothing") == 401
        refused = {name for name, status in answers.items() if status == 403}
        assert refused == {*access.SCOPES} - {scope, "admin"}, path
        assert 401 not in answers.values()


def test_a_scope_opens_its_routes_only(locked):
    client = locked.client
    learner, reader, asker = (made(locked, scope) for scope in ("learn", "read", "predict"))
    assert client.post("/v1/learners/l/samples", json=lesson(0), **bearing(learner)).is_success
    assert client.post("/v1/learners/l/predict", json=QUESTION, **bearing(asker)).is_success
    assert client.get("/v1/learners/l/samples", **bearing(reader)).json()["total"] == 1
    for key, call in (
        (reader, ("POST", "/v1/learners/l/samples")),
        (asker, ("GET", "/v1/learners/l/samples")),
        (learner, ("DELETE", "/v1/learners/l")),
        (learner, ("GET", "/v1/keys")),
    ):
        assert client.request(*call, **bearing(key)).status_code == 403
    both = made(locked, "learn", "predict")
    assert client.post("/v1/learners/l/samples", json=lesson(1), **bearing(both)).is_success
    assert client.post("/v1/learners/l/predict", json=QUESTION, **bearing(both)).is_success


def test_a_bound_key_reaches_its_learners_only(locked):
    client = locked.client
    key = made(locked, "admin", learners=["m", "later"])
    assert key["learners"] == ["later", "m"]
    assert client.post("/v1/learners/m/samples", json=lesson(0), **bearing(key)).is_success
    for path in ("/v1/learners/l", "/v1/learners/nobody", "/metrics", "/v1/keys"):
        refused = client.get(path, **bearing(key))
        assert refused.status_code == 403
    assert client.post("/v1/learners", json={"name": "x", "dim": 8}, **bearing(key)).is_error
    listed = client.get("/v1/learners", **bearing(key)).json()["learners"]
    assert [one["name"] for one in listed] == ["m"]
    assert client.get("/v1/info", **bearing(key)).is_success


def test_keys_rotate_without_a_break_and_survive_a_restart(locked):
    client = locked.client
    old, new = made(locked, "read"), made(locked, "read")
    for key in (old, new):
        assert client.get("/v1/info", **bearing(key)).is_success
    assert client.delete(f"/v1/keys/{old['id']}").status_code == 204
    assert client.get("/v1/info", **bearing(old)).status_code == 401
    assert client.delete(f"/v1/keys/{old['id']}").status_code == 404
    again = Keyring(locked.serving.settings.keys_file)
    assert again.grant_of(new["key"]).scopes == {"read"}
    assert again.grant_of(old["key"]) is None


def test_an_expired_key_is_no_key(locked, monkeypatch):
    key = made(locked, "read", expires_in_s=3600)
    assert locked.client.get("/v1/info", **bearing(key)).is_success
    now = access.time.time()
    monkeypatch.setattr(access.time, "time", lambda: now + 3599)
    assert locked.client.get("/v1/info", **bearing(key)).is_success
    monkeypatch.setattr(access.time, "time", lambda: now + 3601)
    assert locked.client.get("/v1/info", **bearing(key)).status_code == 401
    listed = locked.client.get("/v1/keys").json()["keys"][-1]
    assert listed["expired"]
    assert listed["used_at"] == now + 3599


def test_the_file_has_a_digest_and_no_secret(locked):
    key = made(locked, "learn")
    path = locked.serving.settings.keys_file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    stored = json.loads(text)["keys"][-1]
    assert stored["sha256"] == hashlib.sha256(key["key"].encode()).hexdigest()
    assert key["key"].rpartition("_")[2] not in text
    assert ADMIN not in text
    assert "key" not in locked.client.get("/v1/keys").json()["keys"][0]
    assert len(key["key"]) >= 50


def test_almost_the_key_is_not_the_key(locked):
    key = made(locked, "read")["key"]
    for wrong in (key[:-1], key + "x", key.swapcase(), f"edgecl_{key.split('_')[1]}_", "edgecl_"):
        answer = locked.client.get("/v1/info", headers={"X-API-Key": wrong})
        assert answer.status_code == 401, wrong


def test_the_first_key_closes_the_service_and_must_be_able_to_open_it(latents):
    client = latents.client
    for members in ({"scopes": ["learn"]}, {"scopes": ["admin"], "learners": ["l"]}):
        refused = client.post("/v1/keys", json={"name": "k", **members})
        assert refused.status_code == 409
    assert client.get("/v1/learners").is_success
    first = made(latents, "admin")
    assert client.get("/v1/learners").status_code == 401
    client.headers["X-API-Key"] = first["key"]
    second = made(latents, "read")
    assert client.delete(f"/v1/keys/{first['id']}").status_code == 409
    assert client.delete(f"/v1/keys/{second['id']}").status_code == 204


@pytest.mark.parametrize(
    "members",
    [
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": ["read"], "name": ""},
        {"scopes": ["read"], "name": "a\nb"},
        {"scopes": ["read"], "learners": []},
        {"scopes": ["read"], "expires_in_s": 0},
        {"scopes": ["read"], "expires_in_s": 1e12},
        {"scopes": ["read"], "more": 1},
    ],
)
def test_keys_that_cannot_be_made(locked, members):
    refused = locked.client.post("/v1/keys", json={"name": "k", **members})
    assert refused.status_code == 422
    assert refused.json()["errors"]


def test_a_damaged_file_does_not_open_the_service(tmp_path):
    path = tmp_path / "keys.json"
    for content in ("", "{}", '{"format": 2, "keys": []}', '{"format": 1, "keys": [{}]}'):
        path.write_text(content)
        with pytest.raises(ConfigError, match="restore it"):
            Keyring(path)
    path.write_text('{"format": 1, "keys": []}')
    assert Keyring(path).needed


def test_a_full_disk_makes_no_key(tmp_path, monkeypatch):
    keyring = Keyring(tmp_path / "missing" / "keys.json")
    with pytest.raises(Problem, match="not stored"):
        keyring.add("k", ["admin"])
    assert not keyring.needed


def test_a_stored_key_is_enough_beyond_loopback(tmp_path):
    Keyring(tmp_path / "keys.json").add("k", ["admin"])
    assert load_settings(overrides={"host": "::", "data": tmp_path}).key() is None
    with pytest.raises(ConfigError, match="keys add"):
        load_settings(overrides={"host": "::", "data": tmp_path / "other"})


def test_the_document_tells_every_scope(locked):
    paths = locked.client.get("/openapi.json").json()["paths"]
    told = {
        f"{method.upper()} {path}": operation.get("x-scope", OPEN)
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert told == {route: scope for route, scope in SCOPE_OF.items() if route in told}


def test_a_foreign_page_cannot_teach_a_service_without_keys(start):
    running = start(cors_origins=["https://known.example"])
    add_learner(running.client)
    path = "/v1/learners/l/samples"
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        refused = running.client.post(path, json=lesson(0), headers={"Origin": origin})
        assert refused.status_code == 403
    for origin in (running.url, "https://known.example"):
        assert running.client.post(path, json=lesson(0), headers={"Origin": origin}).is_success
    assert running.client.get("/v1/learners/l").json()["samples_seen"] == 2


def test_other_sites_read_nothing_unless_they_are_named(start):
    preflight = {
        "Origin": "https://known.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key,content-type",
    }
    running = start(api_key=ADMIN)
    answer = running.client.get("/livez", headers={"Origin": "https://known.example"})
    assert "access-control-allow-origin" not in answer.headers
    running = start(api_key=ADMIN, cors_origins=["https://known.example"])
    allowed = running.client.options("/v1/learners", headers=preflight)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://known.example"
    refused = running.client.get("/v1/info", headers={"Origin": "https://known.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://known.example"
    other = running.client.get("/livez", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origin", ["example.org", "https://a.example/", "*.example.org", ""])
def test_origins_that_cannot_be_meant(origin):
    with pytest.raises(ConfigError, match="cors_origins"):
        load_settings(overrides={"cors_origins": [origin]})
