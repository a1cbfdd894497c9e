"""How good a learner is: on the stream that it was taught, and on samples of the client."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.bodies import read_items
from service.routes.documents import json_answer, problems, samples_body
from service.score_schemas import Evaluation, LearnerMetrics
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["metrics"])


@router.get(
    "/v1/learners/{learner}/metrics", response_model=LearnerMetrics, responses=problems(404, 503)
)
async def learner_metrics(request: Request, learner: str) -> Response:
    """Show how well taught samples were predicted before they were learned, and how fast."""
    serving = serving_of(request)
    served = serving.registry.get(learner)
    report = await serving.read(served.store.monitor.report)
    version = served.worker.view.version
    latency = served.latencies.report()
    return json_answer({"learner": learner, "version": version, **report, "latency": latency})


@router.post(
    "/v1/learners/{learner}/evaluate",
    response_model=Evaluation,
    responses=problems(400, 404, 408, 413, 415, 422, 503),
    openapi_extra=samples_body(labelled=True),
)
async def evaluate(
    request: Request,
    learner: str,
    label: Annotated[str | None, Query(description="Of samples that do not say theirs.")] = None,
    context: Annotated[str | None, Query(description="Of samples that do not say theirs.")] = None,
) -> Response:
    """Predict labelled samples and count what is right; nothing is learned."""
    serving = serving_of(request)
    served = serving.registry.get(learner)
    with serving.intake.body(request) as body:
        items = await read_items(request, body, serving.settings.max_batch_samples)
        view, samples, tally = await serving.evaluate(served, items)
    content = {
        **tally.report(),
        "unpredicted": len(samples) - tally.samples,
        "predicted": [sample.predicted for sample in samples],
        "model_version": view.version,
    }
    return json_answer(content)
