"""The planner: what to learn with in so many bytes, from what was measured.

``plan_table.json`` holds measured accuracies of strategies under codecs and budgets, and
what learning a sample costs (`edge-cl bench plan-table` makes it from the results). What
fits, and the bytes of each part, come from the strategies' own arithmetic.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_cl import strategies
from edge_cl.budget import format_bytes, parse_bytes
from edge_cl.errors import BudgetExceeded, InvalidOption
from edge_cl.names import NameTable
from edge_cl.options import parse_options
from edge_cl.types import LatentSpec
from edge_cl.unknown import ClassStatistics

__all__ = ["AUTO", "AutoOptions", "Choice", "Plan", "choose", "make_plan", "parse_auto"]

AUTO = "auto"
"""The name by which a learner lets the planner choose."""

EQUAL_POINTS = 0.5
"""Points of accuracy by which one strategy differs from order to order of a stream: of two
within them the cheaper is taken, and of equally cheap ones that with its own codec."""


class AutoOptions(BaseModel):
    """Options of `auto`: what the planner cannot know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    classes: int = Field(10, ge=1, le=65_536, description="Classes to plan for.")
    update_ms: float | None = Field(
        None, gt=0, description="Processor time that learning a sample may take; null is any."
    )


@dataclass(frozen=True)
class Plan:
    """What a learner of some budget would keep.

    Parameters
    ----------
    strategy
        Its name.
    budget_bytes
        What it may take.
    ledger
        Bytes by part, once all classes are known and the memory is full.
    exemplars
        Latents that the replay memories hold, by memory.
    """

    strategy: str
    budget_bytes: int
    ledger: dict[str, int]
    exemplars: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(self.ledger.values())


@dataclass(frozen=True)
class Choice:
    """What the planner chose.

    Parameters
    ----------
    plan
        What it will keep.
    options
        Of the strategy.
    accuracy
        Per cent, as it was measured in the table's setting.
    update_ms
        Processor time to learn a sample, where it is known.
    reasons
        Two lines that explain it.
    """

    plan: Plan
    options: dict[str, Any]
    accuracy: float
    update_ms: float | None
    reasons: tuple[str, str] = field(default=("", ""))

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        return self.plan.strategy


@dataclass(frozen=True)
class Candidate:
    """A row of the table, seen from a budget, a width and a number of classes."""

    strategy: str
    options: dict[str, Any]
    accuracy: float
    update_ms: float | None
    measured: bool = True
    """Whether so little was measured at all, or the accuracy is that of more bytes."""


def make_plan(
    strategy: str,
    budget: str | int,
    *,
    classes: int,
    spec: LatentSpec,
    options: Mapping[str, Any],
    label_bytes: int = 16,
) -> Plan:
    """Grow an empty learner to so many classes and read its ledger.

    Raises
    ------
    BudgetExceeded
        If they do not fit; the message says how much is needed.
    """
    kind = strategies.find(strategy)
    budget_bytes = parse_bytes(budget)
    labels = NameTable("label", tuple(f"{n:0{label_bytes}d}" for n in range(classes)))
    statistics_bytes = ClassStatistics(spec.dim, streams=True).bytes_for(classes, budget_bytes)
    names_bytes = labels.bytes_with_counts
    parsed = parse_options(kind.options_type, options, strategy=strategy)
    allowed_bytes = budget_bytes - statistics_bytes - names_bytes
    try:
        built = kind(spec, parsed, seed=0, allowed_bytes=allowed_bytes)
        built.grow(classes, 1, allowed_bytes)
    except BudgetExceeded as refusal:
        needed = refusal.asked_bytes + statistics_bytes + names_bytes
        try:
            # An empty strategy asks for itself alone: its classes have to fit, too.
            make_plan(strategy, needed, classes=classes, spec=spec, options=options,
                      label_bytes=label_bytes)  # fmt: skip
        except BudgetExceeded as larger:
            needed = larger.asked_bytes
        raise BudgetExceeded(needed, budget_bytes, refusal.advice) from None
    exemplars = {name: memory.capacity for name, memory in built.memories.items()}
    ledger = {**built.ledger(), "names": names_bytes, "class_statistics": statistics_bytes}
    return Plan(strategy, budget_bytes, ledger, exemplars)


def choose(
    budget: str | int,
    *,
    spec: LatentSpec,
    classes: int = 10,
    update_ms: float | None = None,
    table: Mapping[str, Any] | None = None,
) -> Choice:
    """The most accurate strategy, codec and head that fit.

    Parameters
    ----------
    budget
        Bytes, or a size such as ``"1MiB"``.
    spec
        What the latents are.
    classes
        How many there will be.
    update_ms
        Processor time that learning a sample may take.
    table
        Another than the one that is shipped.

    Raises
    ------
    BudgetExceeded
        If nothing that was measured fits.
    InvalidOption
        If nothing that was measured is fast enough.
    """
    budget_bytes = parse_bytes(budget)
    found = _candidates(table or shipped(), budget_bytes, spec, classes)
    quick = [c for c in found if update_ms is None or (c.update_ms or math.inf) <= update_ms]
    if not quick:
        least = min(found, key=lambda c: c.update_ms or math.inf)
        raise InvalidOption(
            f"nothing that was measured learns a sample in {update_ms:g} ms at {spec.dim} values "
            f"a latent; the fastest is {least.strategy!r} with {least.update_ms or math.nan:.2g} ms"
        )
    refusals: list[BudgetExceeded] = []
    for candidate in _in_order(quick):
        try:
            plan = make_plan(
                candidate.strategy, budget_bytes, classes=classes, spec=spec,
                options=candidate.options,
            )  # fmt: skip
        except BudgetExceeded as refusal:
            refusals.append(refusal)
            continue
        reasons = _reasons(candidate, plan, classes, len(found), update_ms, len(refusals))
        return Choice(plan, candidate.options, candidate.accuracy, candidate.update_ms, reasons)
    least_bytes = min(refusal.asked_bytes for refusal in refusals)
    raise BudgetExceeded(
        least_bytes,
        budget_bytes,
        f"no strategy that was measured holds {classes} classes of {spec.dim} values in it; "
        "raise memory_budget, or plan for fewer classes or a shorter latent",
    )


def parse_auto(options: Mapping[str, Any] | None) -> AutoOptions:
    """The options of `auto`; InvalidOption names what cannot be used."""
    try:
        return AutoOptions.model_validate(dict(options or {}))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        known = ", ".join(AutoOptions.model_fields)
        raise InvalidOption(
            f"strategy 'auto': {'; '.join(faults)}; its options are: {known}"
        ) from None


@cache
def shipped() -> dict[str, Any]:
    """The table that comes with the package."""
    text = resources.files("edge_cl").joinpath("plan_table.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _candidates(
    table: Mapping[str, Any], budget_bytes: int, spec: LatentSpec, classes: int
) -> list[Candidate]:
    """Every row as it would do here.

    Accuracy is read at the same bytes for each value of each class's latents, between
    the measured budgets by the logarithm of the bytes, outside them as at the nearest.
    """
    scale = table["dim"] / spec.dim * table["classes"] / classes
    found = []
    for row in table["rows"]:
        if row["strategy"] not in strategies.names():
            continue
        points = sorted((math.log2(b), accuracy) for b, accuracy in row["accuracy"])
        where = math.log2(budget_bytes * scale)
        accuracy = float(np.interp(where, [x for x, _ in points], [y for _, y in points]))
        cost = row.get("update_ms")
        cost = None if cost is None else cost * max(spec.dim / table["dim"], 0.1)
        measured = where >= points[0][0] - 0.01
        found.append(Candidate(row["strategy"], dict(row["options"]), accuracy, cost, measured))
    return found


def _in_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Best first, measured before others; of the equally good the cheapest, then the usual."""
    left, ordered = sorted(candidates, key=lambda c: (not c.measured, -c.accuracy)), []
    while left:
        first, least = left[0], left[0].accuracy - EQUAL_POINTS
        equal = [c for c in left if c.measured == first.measured and c.accuracy >= least]
        best = min(equal, key=lambda c: (c.update_ms or math.inf, not _is_usual(c), -c.accuracy))
        ordered.append(best)
        left.remove(best)
    return ordered


def _is_usual(candidate: Candidate) -> bool:
    """Whether the codec is the one that the strategy has if none is named."""
    fields = strategies.find(candidate.strategy).options_type.model_fields
    return "codec" in fields and candidate.options.get("codec") == fields["codec"].default


def _reasons(
    chosen: Candidate, plan: Plan, classes: int, rows: int, update_ms: float | None, refused: int
) -> tuple[str, str]:
    kept = sum(plan.exemplars.values())
    codec = f" under {chosen.options['codec']}" if "codec" in chosen.options else ""
    cost = "" if chosen.update_ms is None else f", {chosen.update_ms:.2g} ms a sample"
    bound = "" if update_ms is None else f" within {update_ms:g} ms"
    passed = f", after {refused} that do not fit" if refused else ""
    return (
        f"{chosen.strategy}{codec}: {chosen.accuracy:.1f} % where it was measured{cost}; within "
        f"{EQUAL_POINTS:g} points of the best of {rows} measured{bound}{passed}.",
        f"{kept:,} exemplars ({kept // classes:,} for each of {classes:,} classes) and "
        f"{format_bytes(plan.total_bytes - _memory_bytes(plan))} of everything else "
        f"in {format_bytes(plan.budget_bytes)}.",
    )


def _memory_bytes(plan: Plan) -> int:
    return sum(size for part, size in plan.ledger.items() if "/" in part)
