"""What learners can be made of."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from edge_cl import strategies
from edge_cl.errors import UnknownStrategy
from service.errors import Problem
from service.routes.documents import json_answer, problems
from service.schemas import StrategyList, StrategyNote

__all__ = ["router"]

router = APIRouter(tags=["strategies"])


@router.get("/v1/strategies", response_model=StrategyList, responses=problems())
async def list_strategies(request: Request) -> Response:
    """List every strategy that can be used here."""
    found = [strategies.describe(name) for name in strategies.names() if strategies.installed(name)]
    return json_answer({"strategies": found})


@router.get("/v1/strategies/{strategy}", response_model=StrategyNote, responses=problems(404, 422))
async def show_strategy(request: Request, strategy: str) -> Response:
    """Show a strategy with the schema of its options."""
    try:
        return json_answer(strategies.describe(strategy))
    except UnknownStrategy as error:
        raise Problem("not-found", str(error)) from error
