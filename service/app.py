"""The wiring: settings and extractor in, a web application out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware import Middleware

import edge_cl
from service import answers
from service.config import Settings
from service.gauges import Gauges
from service.middleware import AccessLog, ApiKey, UnreadBody
from service.openapi import DocumentedApp
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
        lifespan=lifespan,
        middleware=[
            Middleware(AccessLog, meters=serving.meters),
            Middleware(UnreadBody),
            Middleware(ApiKey, key=settings.key()),
        ],
    )
    app.state.serving = serving
    answers.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.state.routes = [route for router in ROUTERS for route in router.routes]
    return app
