"""The routes, one file per resource."""

from __future__ import annotations

from fastapi import APIRouter

from service.routes import (
    about,
    classes,
    events,
    experience,
    health,
    inference,
    jobs,
    keys,
    learners,
    metrics,
    pages,
    predict,
    predictions,
    samples,
    strategies,
    thumbnails,
    transfer,
    versions,
)

__all__ = ["ROUTERS"]

ROUTERS: tuple[APIRouter, ...] = (
    samples.router,
    thumbnails.router,
    predict.router,
    predictions.router,
    learners.router,
    classes.router,
    versions.router,
    events.router,
    jobs.router,
    metrics.router,
    experience.router,
    transfer.router,
    strategies.router,
    keys.router,
    about.router,
    inference.router,
    health.router,
    pages.router,
)
