"""Test-then-learn: what the published learner says of samples that come with a label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from edge_cl.errors import EdgeCLError
from edge_cl.monitoring import Alarm, Monitor, Tally
from edge_cl.published import Published
from edge_cl.types import Array, Int64
from service.corrections import MergeClasses, RenameClass
from service.operations import Operation, Sample

__all__ = ["by_context", "recorded", "tallied", "tested"]


def tested(
    published: Published, latents: Array, samples: Sequence[Sample], false_reject_rate: float
) -> tuple[Sample, ...]:
    """The samples, each with its prediction.

    A sample stays without one while nothing is known, or while its context is new
    or missing and the strategy cannot predict without.
    """
    found = list(samples)
    for context, rows in by_context([sample.context for sample in samples]):
        try:
            predictions = published.predict_latents(
                latents[rows], context, false_reject_rate=false_reject_rate
            )
        except EdgeCLError:
            continue
        for row, one in zip(rows, predictions, strict=True):
            if one.label:
                found[row] = replace(
                    found[row],
                    predicted=one.label,
                    confidence=round(one.score, 4),
                    unknown=one.unknown,
                )
    return tuple(found)


def by_context(contexts: Sequence[str | None]) -> Iterator[tuple[str | None, Int64]]:
    """Each context once, with the rows that it is of: one prediction has one context."""
    for context in dict.fromkeys(contexts):
        yield context, np.flatnonzero([one == context for one in contexts])


def recorded(monitor: Monitor, operation: Operation) -> list[Alarm]:
    """Note an operation that was applied in the learner's record."""
    if isinstance(operation, RenameClass):
        monitor.rename(operation.label, operation.name)
    elif isinstance(operation, MergeClasses):
        monitor.rename(operation.label, operation.into)
    return monitor.observe([sample.outcome for sample in operation.samples])


def tallied(samples: Sequence[Sample]) -> Tally:
    """The counts of samples that were tested."""
    tally = Tally()
    for sample in samples:
        if sample.predicted is not None:
            tally.add(sample.label, sample.predicted, sample.confidence or 0.0)
    return tally
