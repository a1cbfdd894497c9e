"""The wiring: settings and extractor in, a web application out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

import edge_cl
from service import answers
from service.config import Settings
from service.gate import Gate, authorise
from service.gauges import Gauges
from service.middleware import AccessLog, UnreadBody
from service.openapi import DocumentedApp, operation_id
from service.rates import Rates
from service.routes import ROUTERS
from service.serving import Serving

if TYPE_CHECKING:
    from edge_cl.extractor import Extractor

__all__ = ["create_app"]

DESCRIPTION = """Teach images to a learner and ask it what they show.

What is acknowledged is durable. Errors are `application/problem+json`."""


def create_app(settings: Settings, extractor: Extractor | None) -> FastAPI:
    """The service as an ASGI application.

    Parameters
    ----------
    settings
        All settings; checked.
    extractor
        Turns images into latents; None for a service that takes latents only.
    """
    serving = Serving(settings, extractor)
    serving.meters.registry.register(Gauges(serving.registry))
    serving.meters.build.labels(
        edge_cl.__version__, extractor.manifest.id if extractor else "none"
    ).set(1)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await serving.read(serving.open)
        try:
            yield
        finally:
            await serving.read(serving.close)

    app = DocumentedApp(
        title="edge_cl",
        version=edge_cl.__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
        lifespan=lifespan,
        middleware=[
            Middleware(AccessLog, meters=serving.meters),
            Middleware(UnreadBody),
            *cross_origin(settings),
            Middleware(
                Gate,
                keyring=serving.keyring,
                rates=Rates(settings.rate_per_s, settings.rate_burst),
                origins=settings.cors_origins,
                meters=serving.meters,
            ),
        ],
    )
    app.state.serving = serving
    answers.install(app)
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(authorise)])
    app.state.routes = [route for router in ROUTERS for route in router.routes]
    return app


def cross_origin(settings: Settings) -> list[Middleware]:
    """What lets pages of other sites read answers; nothing, unless the settings name the sites."""
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match",
                "Last-Event-ID", "X-API-Key", "X-Device-ID", "X-Request-ID",
            ],
            expose_headers=[
                "Content-Disposition", "ETag", "Idempotent-Replayed", "Link", "Location",
                "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID",
            ],
        )
    ]  # fmt: skip
