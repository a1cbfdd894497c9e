"""The scenarios of the results table, by name, on latents of an image pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edge_cl.bench import streams
from edge_cl.bench.conditions import CONDITIONS
from edge_cl.bench.datasets import DEFAULT_MODEL, Dataset, find_extractor, latents
from edge_cl.bench.streams import Stream
from edge_cl.errors import InvalidOption


@dataclass(frozen=True)
class Source:
    """Which samples a stream is made of.

    Parameters
    ----------
    pack
        An image pack.
    extractor
        As `edge_cl.bench.datasets.find_extractor`.
    train, test
        Samples, balanced over classes; all for None.
    folder
        Of the packs.
    """

    pack: str = "cifar10"
    extractor: str = DEFAULT_MODEL
    train: int | None = 10_000
    test: int | None = 2_000
    folder: Path | None = None

    def dataset(self) -> Dataset:
        """The samples as they are."""
        return _dataset(self)

    def domains(self) -> tuple[Dataset, ...]:
        """One dataset for each condition of the camera, which share the training samples."""
        return _domains(self)


@lru_cache(maxsize=4)
def _dataset(source: Source) -> Dataset:
    return latents(
        source.pack,
        source.extractor,
        train=source.train,
        test=source.test,
        folder=source.folder,
    )


@lru_cache(maxsize=1)
def _domains(source: Source) -> tuple[Dataset, ...]:
    extractor = find_extractor(source.extractor)
    return tuple(
        latents(
            source.pack,
            extractor,
            train=source.train,
            test=source.test,
            condition=condition,
            share=(index, len(CONDITIONS)),
            folder=source.folder,
        )
        for index, condition in enumerate(CONDITIONS)
    )


def _per_experience(dataset: Dataset) -> int:
    return max(1, dataset.classes // (5 if dataset.classes <= 10 else 10))


SCENARIOS: dict[str, Callable[[Source, int], Stream]] = {
    "class": lambda source, order: streams.class_incremental(
        source.dataset(), _per_experience(source.dataset()), order
    ),
    "task": lambda source, order: streams.task_incremental(
        source.dataset(), _per_experience(source.dataset()), order
    ),
    "domain": lambda source, order: streams.domain_incremental(source.domains(), order),
    "bursts": lambda source, order: streams.bursts(source.dataset(), seed=order),
    "blurry": lambda source, order: streams.blurry(
        source.dataset(), _per_experience(source.dataset()), seed=order
    ),
    "iid": lambda source, order: streams.iid(source.dataset(), seed=order),
}
"""From a source and the number of an order to a stream."""

TOLD_OF_ENDS = frozenset({"class", "task", "domain", "bursts"})
"""Scenarios in which the learner hears when an experience ends."""


def make_stream(scenario: str, source: Source, order: int) -> Stream:
    """The stream of a scenario in one order.

    Raises
    ------
    InvalidOption
        If there is no such scenario, with those there are.
    """
    if scenario not in SCENARIOS:
        raise InvalidOption(f"no scenario {scenario!r}; there are: {', '.join(SCENARIOS)}")
    return SCENARIOS[scenario](source, order)
