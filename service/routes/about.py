"""What this service is and what it allows."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

from fastapi import APIRouter, Request, Response

import edge_cl
from service.machine import allowed_memory_bytes, resident_bytes, total_memory_bytes
from service.routes.documents import json_answer, problems
from service.schemas import LayerList
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["service"])


@router.get("/v1/extractor/layers", response_model=LayerList, responses=problems(422))
async def extractor_layers(request: Request) -> Response:
    """List the layers at which a learner's latents can be taken, with bytes a latent."""
    serving = serving_of(request)
    extractors = serving.registry.extractors
    own = None if extractors.whole is None else extractors.whole.manifest.id
    layers = await serving.read(extractors.layers)
    return json_answer({"extractor": own, "layers": layers})


@router.get("/v1/info", responses=problems())
async def info(request: Request) -> Response:
    """Show the version, the device, the extractor and every limit."""
    serving = serving_of(request)
    settings = serving.settings
    limits: dict[str, Any] = {
        name: int(getattr(settings, name))
        for name in (
            "max_body_bytes", "max_inflight_bytes", "max_batch_samples", "max_image_pixels",
            "queue_requests", "queue_bytes", "max_learners", "learners_budget", "journal_bytes",
            "idempotency_keys", "predictions_kept", "predictions_bytes",
        )
    }  # fmt: skip
    limits |= {
        "body_timeout_s": settings.body_timeout_s,
        "idempotency_hours": settings.idempotency_hours,
        "predictions_hours": settings.predictions_hours,
    }
    content = {
        "name": "edge_cl",
        "version": edge_cl.__version__,
        "uptime_s": round(time.time() - serving.started_at, 3),
        "device": {
            "machine": platform.machine(),
            "system": platform.system(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "memory_bytes": total_memory_bytes(),
        },
        "resident_bytes": resident_bytes(),
        "memory": {
            "allowed_bytes": allowed_memory_bytes(),
            "process_bytes": resident_bytes(),
            "extractor_bytes": serving.registry.extractor_bytes,
            "learners_bytes": serving.registry.learners_bytes,
            "learners_reserved_bytes": serving.registry.reserved_bytes,
        },
        "extractor": serving.registry.extractors.summary(),
        "memory_budget": int(settings.memory_budget),
        "limits": limits,
        "learners": len(serving.registry.all()),
    }
    return json_answer(content)
