"""Probes and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from service.errors import Problem, ProblemResponse
from service.middleware import request_id_of
from service.routes.documents import json_answer, problems
from service.serving import Serving, serving_of
from service.store import describe

__all__ = ["readiness", "router"]

router = APIRouter(tags=["service"])


@router.get("/livez")
async def livez() -> Response:
    """Tell that the process answers."""
    return json_answer({"status": "alive"})


@router.get("/readyz", responses={503: problems(503)[503]})
@router.get("/healthz", name="healthz", responses={503: problems(503)[503]})
async def readyz(request: Request, verbose: str | None = None) -> Response:
    """Tell whether samples can be taught and predicted; `?verbose` lists every check."""
    serving = serving_of(request)
    faults = readiness(serving)
    checks = _checks(serving, faults)
    if faults:
        detail = "; ".join(f"{part}: {reason}" for part, reason in faults.items())
        problem = Problem("not-ready", detail)
        content = problem.content(request.url.path, request_id_of(request.scope))
        return ProblemResponse({**content, "checks": checks}, 503, problem.headers)
    damaged = any(one.store.damages for one in serving.registry.all().values())
    content = {"status": "degraded" if damaged else "ready"}
    if verbose is not None:
        content |= {"checks": checks}
    return json_answer(content)


@router.get("/metrics", responses=problems(), response_class=Response)
async def metrics(request: Request) -> Response:
    """Show every metric in the text format of Prometheus."""
    registry = serving_of(request).meters.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def readiness(serving: Serving) -> dict[str, str]:
    """What keeps the service from being ready, by part; empty when it is."""
    faults = serving.registry.faults()
    if serving.stopping:
        faults["service"] = "it is stopping"
    if not serving.registry.ballast.hold():
        faults["disk"] = "it is full: nothing can be stored"
    return faults


def _checks(serving: Serving, faults: dict[str, str]) -> dict[str, Any]:
    extractor = serving.extractor
    checks: dict[str, Any] = {
        "extractor": "none"
        if extractor is None
        else f"{extractor.manifest.id}, {extractor.provider}",
        "disk": "ok",
    }
    for name, served in serving.registry.all().items():
        damages = [describe(damage) for damage in served.store.damages]
        checks[f"learner {name}"] = f"ok, version {served.worker.view.version}"
        checks[f"journal {name}"] = damages or "ok"
        checks[f"snapshot {name}"] = served.worker.snapshot_failure or "ok"
    return checks | faults
