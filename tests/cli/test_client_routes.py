"""Every route of the service is reached by a method of the client, or it says here why not."""

import inspect
from contextlib import suppress

import httpx
import numpy as np
import pytest
from starlette.routing import Match

from edge_cl.client import Client, Retries, ServiceUnreachable
from service.routes import ROUTERS

JPEG = b"\xff\xd8\xff\xe0 not a whole image"
LATENTS = np.zeros((1, 3), np.float32)
SERIES = [[1.0, 2.0]]
FILE = object()
SAMPLES = [{"label": "cup", "latent": [1.0]}]
ARGUMENTS = {
    "add_key": ("door", ["learn"]),
    "cancel_job": ("0123456789abcdef",),
    "change": (),
    "check": (),
    "checkpoint": ("before",),
    "classes": (),
    "create_learner": ("other",),
    "delete_checkpoint": ("before",),
    "delete_learner": ("other",),
    "end_experience": (),
    "evaluate": ([JPEG], ["cup"]),
    "evaluate_latents": (LATENTS, ["cup"]),
    "evaluate_samples": (SAMPLES,),
    "events": (),
    "extractor_layers": (),
    "export": (FILE,),
    "feed_back": ("p1",),
    "forget": (1,),
    "forget_class": ("a/b",),
    "import_learner": (FILE,),
    "inbox": (),
    "job": ("0123456789abcdef",),
    "jobs": (),
    "keys": (),
    "learners": (),
    "merge_classes": ("mug", "cup"),
    "metrics": (),
    "predict": (JPEG,),
    "predict_latents": (LATENTS,),
    "predict_many": ([JPEG, JPEG],),
    "predict_samples": (SAMPLES,),
    "predict_series": (SERIES,),
    "prediction_thumbnail": ("p1",),
    "ready": (),
    "relabel": (1, "cup"),
    "rename_class": ("mug", "cup"),
    "revoke_key": ("k1",),
    "rollback": (1,),
    "sample": (1,),
    "samples": (),
    "service": (),
    "state": (),
    "strategies": (),
    "strategy": ("ncm",),
    "teach": (JPEG, "cup"),
    "teach_archive": (FILE,),
    "teach_job": (SAMPLES,),
    "teach_latents": (LATENTS, ["cup"]),
    "teach_many": ([JPEG], ["cup"]),
    "teach_samples": (SAMPLES,),
    "teach_series": (SERIES, "cup"),
    "thumbnail": (1,),
    "undo": (),
    "versions": (),
    "wait_for_job": ("0123456789abcdef",),
}
NOT_REQUESTS = {"close", "send"}
WITHOUT_A_METHOD = {
    "GET /healthz": "another name of /readyz, for probes",
    "GET /metrics": "for Prometheus, which has clients of its own",
}
OTHER_CLIENTS = "/v2"
"""The Open Inference Protocol: its own clients speak it, and are tested with it."""


def routes():
    for router in ROUTERS:
        for route in router.routes:
            if route.include_in_schema:
                yield from ((method, route) for method in route.methods)


def route_of(request):
    scope = {"type": "http", "path": request.url.path, "method": request.method, "headers": []}
    found = [
        f"{method} {route.path_format}"
        for method, route in routes()
        if method == request.method and route.matches(scope)[0] is Match.FULL
    ]
    assert found, f"no route takes {request.method} {request.url.path}"
    return found[0]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The requests of every method, none of which is answered."""
    path = tmp_path_factory.mktemp("client") / "file"
    path.write_bytes(b"an archive")
    made = {}
    for name, arguments in ARGUMENTS.items():
        requests = made[name] = []

        def gone(request, requests=requests):
            requests.append(request)
            raise httpx.ConnectError("nobody")

        with (
            Client(
                "http://edge", transport=httpx.MockTransport(gone), retries=Retries(patience_s=0)
            ) as client,
            suppress(ServiceUnreachable),
        ):
            given = [path if one is FILE else one for one in arguments]
            answer = getattr(client, name)(*given)
            if inspect.isgenerator(answer):
                list(answer)
    return made


def test_every_method_is_listed():
    public = {name for name, _ in inspect.getmembers(Client, callable) if not name.startswith("_")}
    assert public - NOT_REQUESTS == set(ARGUMENTS)


def test_every_method_asks_a_route_that_there_is(asked):
    for name, requests in asked.items():
        assert len(requests) == 1, name
        route_of(requests[0])


def test_every_route_has_a_method(asked):
    reached = {route_of(request) for requests in asked.values() for request in requests}
    offered = {f"{method} {route.path_format}" for method, route in routes()}
    others = {one for one in offered if one.split()[1].startswith(OTHER_CLIENTS)}
    assert offered - reached - others == set(WITHOUT_A_METHOD)
