"""Learners: create, look at, change, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from edge_cl import strategies
from edge_cl.errors import EdgeCLError
from edge_cl.frontends import Frontend, frontend
from edge_cl.options import parse_options
from edge_cl.planner import AUTO, AutoOptions, choose, parse_auto
from edge_cl.types import LatentSpec
from service import conditions
from service.conditions import (
    NOT_MODIFIED,
    IfMatch,
    check_expected,
    expected_versions,
    unless_known,
)
from service.errors import FieldError, Problem, of_library
from service.gate import grant_of
from service.latents import checked_text
from service.operations import ChangeStrategy
from service.routes.documents import json_answer, model_body, problems, read_model
from service.schemas import LearnerChange, LearnerList, LearnerState, NewLearner
from service.served import ServedLearner
from service.serving import Serving, serving_of
from service.store import Origin
from service.thumbnails import LEAST_BUDGET
from service.view import View

__all__ = ["etag", "learner_content", "router"]

router = APIRouter(tags=["learners"])


@router.get("/v1/learners", response_model=LearnerList, responses=problems())
async def list_learners(request: Request) -> Response:
    """List all learners that the key reaches."""
    learners, grant = serving_of(request).registry.all(), grant_of(request)
    reached = [learner_content(one) for name, one in learners.items() if grant.reaches(name)]
    return json_answer({"learners": reached})


@router.post(
    "/v1/learners",
    status_code=201,
    response_model=LearnerState,
    responses=problems(400, 408, 409, 413, 415, 422, 503, 507),
    openapi_extra=model_body(NewLearner),
)
async def create_learner(request: Request) -> Response:
    """Create a learner; what is left out is as for the learner `default`."""
    serving = serving_of(request)
    wanted = await read_model(request, NewLearner)
    origin = _origin(serving, wanted)
    served = await serving.read(partial(serving.registry.create, wanted.name, origin))
    location = f"/v1/learners/{wanted.name}"
    return json_answer(learner_content(served), 201, {"Location": location, **etag(served)})


@router.get(
    "/v1/learners/{learner}",
    response_model=LearnerState,
    responses={**NOT_MODIFIED, **problems(404, 503)},
)
async def show_learner(request: Request, learner: str) -> Response:
    """Show a learner."""
    served = serving_of(request).registry.get(learner)
    tag = etag(served)["ETag"]
    return unless_known(request, json_answer(learner_content(served)), tag)


@router.patch(
    "/v1/learners/{learner}",
    response_model=LearnerState,
    responses={
        202: {"model": LearnerState},
        **problems(400, 404, 408, 409, 412, 413, 415, 422, 503, 507),
    },
    openapi_extra=model_body(LearnerChange),
)
async def change_learner(request: Request, learner: str, if_match: IfMatch = None) -> Response:
    """Change a learner's budgets (200), or its strategy or options (202: it is built)."""
    serving = serving_of(request)
    served = serving.registry.get(learner)
    wanted = await read_model(request, LearnerChange)
    view, expected = served.worker.view, expected_versions(if_match)
    check_expected(expected, view.version)
    _refuse_another_extractor(served, wanted.extractor)
    budget = int(wanted.memory_budget or view.memory_budget)
    thumbnails = _thumbnail_budget(wanted.thumbnail_budget, served.store.origin.takes_images)
    change = await serving.read(partial(_wanted_change, served, view, wanted))
    if change is not None and budget != view.memory_budget:
        detail = "a change of the budget and one of the strategy are two requests"
        raise Problem("invalid", detail).at("/memory_budget")
    if budget != view.memory_budget:
        await serving.set_budget(served, budget, expected)
    if change is not None:
        await serving.change_strategy(served, change, expected)
    if thumbnails is not None:
        await serving.read(partial(served.set_thumbnail_budget, thumbnails))
    status = 200 if change is None else 202
    return json_answer(learner_content(served), status, etag(served))


def _wanted_change(
    served: ServedLearner, view: View, wanted: LearnerChange
) -> ChangeStrategy | None:
    """What another strategy or other options were asked for; None if they are as they are."""
    if wanted.strategy == AUTO:
        return _chosen_change(served, view, wanted.options or {})
    strategy = wanted.strategy or view.strategy
    present = view.options if strategy == view.strategy else {}
    options = _all_options(strategy, {**present, **(wanted.options or {})})
    if (strategy, options) == (view.strategy, view.options):
        return None
    return ChangeStrategy(strategy, options)


def _chosen_change(
    served: ServedLearner, view: View, options: Mapping[str, Any]
) -> ChangeStrategy | None:
    """What the planner chooses for what the learner has become; None if that is what it has."""
    before = view.plan or {}
    kept = {name: before[name] for name in AutoOptions.model_fields if name in before}
    wanted = parse_auto({**kept, **options})
    classes, update_ms = max(wanted.classes, len(view.class_counts)), wanted.update_ms
    choice = choose(view.memory_budget, spec=served.spec, classes=classes, update_ms=update_ms)
    plan = {"classes": classes, "update_ms": update_ms, "reasons": list(choice.reasons)}
    chosen = choice.strategy, _all_options(choice.strategy, choice.options), plan
    if chosen == (view.strategy, view.options, view.plan):
        return None
    return ChangeStrategy(*chosen)


def _all_options(strategy: str, given: Mapping[str, Any]) -> dict[str, Any]:
    kind = strategies.find(strategy)
    return parse_options(kind.options_type, given, strategy=strategy).model_dump(mode="json")


def _refuse_another_extractor(served: ServedLearner, wanted: str | None) -> None:
    present = served.store.origin.extractor
    if wanted is not None and wanted != present:
        detail = f"it is {present!r} since the learner was created: create another and teach it"
        raise Problem("conflict", detail).at("/extractor")


@router.delete("/v1/learners/{learner}", status_code=204, responses=problems(404, 412, 503))
async def delete_learner(request: Request, learner: str, if_match: IfMatch = None) -> Response:
    """Delete a learner and everything that it was taught."""
    serving = serving_of(request)
    expected = expected_versions(if_match)
    await serving.read(partial(serving.registry.delete, learner, expected))
    return Response(status_code=204)


def learner_content(served: ServedLearner) -> dict[str, Any]:
    """What is told of a learner."""
    origin, worker, view = served.store.origin, served.worker, served.worker.view
    return {
        "name": served.name,
        "strategy": view.strategy,
        "options": view.options,
        "change": view.change,
        "change_failure": view.change_failure,
        "plan": view.plan,
        "seed": origin.seed,
        "extractor": origin.extractor,
        "frontend": origin.frontend,
        "dim": origin.spec.dim,
        "memory_budget": view.memory_budget,
        "memory_used": sum(view.ledger.values()),
        "memory": view.ledger,
        "thumbnail_budget": served.store.thumbnails.budget,
        "thumbnail_used": served.store.thumbnails.used_bytes,
        "version": view.version,
        "samples_seen": sum(view.class_counts.values()),
        "classes": len(view.class_counts),
        "loaded": view.loaded,
        "queued": worker.backlog,
        "created_at": origin.created_at,
        "failure": worker.failure,
        "damages": [asdict(damage) for damage in served.store.damages],
    }


def etag(served: ServedLearner) -> dict[str, str]:
    """The header that names the present version of a learner."""
    return {"ETag": conditions.etag(served.worker.view.version)}


def _origin(serving: Serving, wanted: NewLearner) -> Origin:
    settings = serving.settings
    strategy = wanted.strategy or settings.strategy
    options = wanted.options
    if options is None:
        options = settings.options if strategy == settings.strategy else {}
    front = _frontend_of(wanted)
    if front is None:
        spec, extractor_id, sha256 = _latents_of(serving, wanted)
    else:
        spec, extractor_id, sha256 = front.spec, None, None
    return Origin(
        strategy=strategy,
        memory_budget=int(wanted.memory_budget or settings.memory_budget),
        spec=spec,
        extractor=extractor_id,
        extractor_sha256=sha256,
        options=options,
        seed=settings.seed if wanted.seed is None else wanted.seed,
        frontend=None if front is None else {"name": front.name, **front.options},
        thumbnail_budget=_thumbnail_budget(wanted.thumbnail_budget, sha256 is not None) or 0,
    )


def _thumbnail_budget(wanted: int | None, takes_images: bool) -> int | None:
    """What was asked for, None for no change; Problem when it cannot be."""
    if not wanted:
        return wanted
    if not takes_images:
        detail = "this learner takes no images: there is nothing to make thumbnails of"
    elif wanted < LEAST_BUDGET:
        detail = f"it is {wanted:,} bytes: 0 for none, or at least {LEAST_BUDGET:,}"
    else:
        return int(wanted)
    raise Problem("invalid", detail).at("/thumbnail_budget")


def _frontend_of(wanted: NewLearner) -> Frontend | None:
    """The front end that the learner shall have; Problem when it cannot be made."""
    if wanted.frontend is None:
        if wanted.frontend_options is not None:
            raise Problem("invalid", "`frontend_options` come with a `frontend`").at(
                "/frontend_options"
            )
        return None
    if wanted.dim is not None or wanted.extractor is not None:
        detail = "a `frontend` makes the latents: leave `dim` and `extractor` out"
        raise Problem("invalid", detail).at("/frontend")
    try:
        return frontend(wanted.frontend, wanted.frontend_options)
    except EdgeCLError as error:
        raise of_library(error).at("/frontend") from error


def _latents_of(serving: Serving, wanted: NewLearner) -> tuple[LatentSpec, str | None, str | None]:
    """What the learner's latents are, and which extractor makes them."""
    if wanted.dim is not None:
        if wanted.extractor == "default":
            detail = "give `dim` for latents of your own, or `extractor` for images, not both"
            raise Problem("invalid", detail, [FieldError("/dim", detail)])
        return LatentSpec(wanted.dim), checked_text(wanted.extractor, "extractor", ""), None
    extractor = serving.registry.extractors.named(wanted.extractor)
    return extractor.spec, extractor.manifest.id, extractor.manifest.sha256
