"""Streams: in which order a learner meets samples, and what it is tested with.

Every function is pure: the same dataset and seed give the same stream. Scenarios are
those of van de Ven, Tuytelaars & Tolias 2022 (doi:10.1038/s42256-022-00568-3):

- *task*: the context is known when learning and when predicting;
- *domain*: labels are the same in every context, and the context is unknown;
- *class*: the context is unknown, and each brings new classes;

and the streams of the online literature: single-class *bursts* (NICv2 of Lomonaco et al.
2020, arXiv:1907.03799), *blurry* boundaries, and *iid*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edge_cl.bench.datasets import Dataset, floats
from edge_cl.types import Array, Float32, Int64, LatentSpec

Transform = Callable[[Float32], Float32]


@dataclass(frozen=True)
class Samples:
    """Some rows of a pool, with the classes they have in this stream.

    Parameters
    ----------
    pool
        (M, D) float32, or codes of `spec`.
    rows
        (N,) row numbers, in the order of the stream.
    classes
        (N,) class numbers.
    spec
        What the pool's rows are.
    names
        Labels by class number.
    context
        Its name, or None where the learner is not told.
    transform
        Applied to float32 rows when they are read; the pool is then never copied whole.
    """

    pool: Array
    rows: Int64
    classes: Int64
    spec: LatentSpec
    names: tuple[str, ...]
    context: str | None = None
    transform: Transform | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Samples:
        """The samples of a part, in order."""
        return Samples(
            self.pool, self.rows[part], self.classes[part], self.spec, self.names,
            self.context, self.transform,
        )  # fmt: skip

    @property
    def latents(self) -> Float32:
        """(N, D) float32."""
        rows = floats(self.pool[self.rows], self.spec)
        return rows if self.transform is None else self.transform(rows)

    @property
    def labels(self) -> list[str]:
        """N labels."""
        return [self.names[c] for c in self.classes]


@dataclass(frozen=True)
class Stream:
    """Experiences to learn in order, and the test sets.

    Parameters
    ----------
    name
        For people to read.
    scenario
        ``class``, ``task``, ``domain``, ``bursts``, ``blurry`` or ``iid``.
    spec
        What the latents are.
    experiences
        Each is learned whole; whether the learner hears of its end is up to the caller.
    tests
        Test set j belongs to what is first met in experience ``learned_at[j]``.
    learned_at
        Index of the experience after which test set j counts as learned.
    """

    name: str
    scenario: str
    spec: LatentSpec
    experiences: tuple[Samples, ...]
    tests: tuple[Samples, ...]
    learned_at: tuple[int, ...]

    def __len__(self) -> int:
        return sum(len(experience) for experience in self.experiences)


def class_order(classes: int, seed: int) -> tuple[int, ...]:
    """A random order of the classes."""
    return tuple(int(c) for c in np.random.default_rng(seed).permutation(classes))


def split(
    dataset: Dataset,
    scenario: str = "class",
    *,
    per_experience: int = 2,
    order: Sequence[int] | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Stream:
    """Classes in groups: split MNIST, split CIFAR.

    Parameters
    ----------
    dataset
        What is split.
    scenario
        ``class``; ``task``, with contexts at learning and testing; or ``domain``: the
        label is the class's place in its group ("first", "second", …), context unknown.
    per_experience
        Classes in each group.
    order
        Of the classes; as numbered when None.
    samples
        Of each experience, drawn at random; all when None.
    seed
        Of the draw and of the order of samples.
    """
    rng = np.random.default_rng(seed)
    order = tuple(range(dataset.classes)) if order is None else tuple(order)
    groups = [order[k : k + per_experience] for k in range(0, len(order), per_experience)]
    experiences, tests = [], []
    for index, group in enumerate(groups):
        rows = _rows_of(dataset.train_classes, group, rng)[:samples]
        context = f"context {index}" if scenario == "task" else None
        experiences.append(_grouped(dataset, True, rows, group, scenario, context))
        rows = _rows_of(dataset.test_classes, group, None)
        tests.append(_grouped(dataset, False, rows, group, scenario, context))
    name = f"split {dataset.name} {len(groups)}x{per_experience}"
    return _stream(name, scenario, dataset.spec, experiences, tests)


def class_incremental(dataset: Dataset, per_experience: int = 2, seed: int = 0) -> Stream:
    """`split` in a random class order; nobody says which context it is."""
    order = class_order(dataset.classes, seed)
    return split(dataset, "class", per_experience=per_experience, order=order, seed=seed)


def task_incremental(dataset: Dataset, per_experience: int = 2, seed: int = 0) -> Stream:
    """`split` in a random class order, with contexts at learning and at testing."""
    order = class_order(dataset.classes, seed)
    return split(dataset, "task", per_experience=per_experience, order=order, seed=seed)


def domain_incremental(domains: Sequence[Dataset], seed: int = 0) -> Stream:
    """The same classes under one condition after another, in a random order of these.

    Each domain brings all its training samples once; every test set is whole.
    """
    rng = np.random.default_rng(seed)
    experiences, tests = [], []
    for index in rng.permutation(len(domains)):
        rows = rng.permutation(len(domains[index].train))
        experiences.append(_plain(domains[index], True, rows))
        tests.append(_plain(domains[index], False))
    spec = domains[0].spec
    return _stream(f"{domains[0].name}, conditions", "domain", spec, experiences, tests)


def permuted(
    dataset: Dataset,
    contexts: int = 10,
    scenario: str = "domain",
    *,
    samples: int | None = None,
    seed: int = 0,
) -> Stream:
    """The same task under a fixed permutation of the values in each context.

    The first context is as it is. `scenario` is ``domain``, or ``task`` with contexts
    known. `samples` are drawn anew for each context; all for None.
    """
    rng = np.random.default_rng(seed)
    dim = dataset.spec.dim
    permutations = [np.arange(dim), *(rng.permutation(dim) for _ in range(1, contexts))]
    changes = [_permutation(permutation) for permutation in permutations]
    return _transformed(dataset, f"permuted {dataset.name}", scenario, changes, samples, rng)


def rotated(
    dataset: Dataset,
    contexts: int = 10,
    scenario: str = "domain",
    *,
    most_degrees: float = 180.0,
    samples: int | None = None,
    seed: int = 0,
) -> Stream:
    """Square greyscale images turned by evenly spaced angles, bilinear, from 0 on."""
    rng = np.random.default_rng(seed)
    changes = [_rotation(most_degrees * k / contexts) for k in range(contexts)]
    return _transformed(dataset, f"rotated {dataset.name}", scenario, changes, samples, rng)


def bursts(
    dataset: Dataset,
    *,
    first_classes: int = 2,
    first_samples: int = 500,
    burst_samples: int = 300,
    seed: int = 0,
) -> Stream:
    """NICv2-like: one experience of several classes, then bursts of a single class.

    The first experience has `first_samples` of each of `first_classes`; after it come
    bursts of `burst_samples` of one class, in random order. Each sample comes once. One
    test set a class, learned where the class is first met.
    """
    rng = np.random.default_rng(seed)
    order = class_order(dataset.classes, seed)
    left = {c: _rows_of(dataset.train_classes, (c,), rng) for c in order}
    opening = [left[c][:first_samples] for c in order[:first_classes]]
    for c in order[:first_classes]:
        left[c] = left[c][first_samples:]
    singles = [
        rows[start : start + burst_samples]
        for rows in left.values()
        for start in range(0, len(rows) - burst_samples // 2, burst_samples)
    ]
    parts = [rng.permutation(np.concatenate(opening))]
    parts += [singles[k] for k in rng.permutation(len(singles))]
    name = f"{dataset.name}, bursts of {burst_samples}"
    return _by_class(dataset, name, "bursts", parts)


def blurry(
    dataset: Dataset, per_experience: int = 2, fuzziness: float = 0.5, seed: int = 0
) -> Stream:
    """Class-incremental with fuzzy boundaries.

    Around every boundary the share of the coming classes rises linearly from 0 to 1
    within ``fuzziness`` of an experience's length to either side; 0 is sharp. The
    experiences are equal parts of the stream, and the learner hears of no boundary.
    """
    rng = np.random.default_rng(seed)
    order = class_order(dataset.classes, seed)
    group = np.empty(dataset.classes)
    group[list(order)] = np.arange(dataset.classes) // per_experience
    count = len(dataset.train_classes)
    # A uniform place in the experience plus a uniform shift has linear flanks.
    when = group[dataset.train_classes] + rng.random(count)
    when += rng.uniform(-fuzziness, fuzziness, count)
    parts = np.array_split(np.argsort(when, kind="stable"), -(-dataset.classes // per_experience))
    return _by_class(dataset, f"{dataset.name}, blurry", "blurry", parts)


def iid(dataset: Dataset, experiences: int = 5, seed: int = 0) -> Stream:
    """All samples in random order, in equal parts."""
    rng = np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(len(dataset.train)), experiences)
    return _by_class(dataset, f"{dataset.name}, iid", "iid", parts)


def _rows_of(classes: Int64, group: Sequence[int], rng: np.random.Generator | None) -> Int64:
    rows: Int64 = np.flatnonzero(np.isin(classes, list(group)))
    return rows if rng is None else rng.permutation(rows)


def _plain(
    dataset: Dataset,
    train: bool,
    rows: Int64 | None = None,
    context: str | None = None,
    transform: Transform | None = None,
) -> Samples:
    pool, classes = (
        (dataset.train, dataset.train_classes) if train else (dataset.test, dataset.test_classes)
    )
    rows = np.arange(len(pool)) if rows is None else rows
    return Samples(pool, rows, classes[rows], dataset.spec, dataset.labels, context, transform)


def _grouped(
    dataset: Dataset,
    train: bool,
    rows: Int64,
    group: Sequence[int],
    scenario: str,
    context: str | None,
) -> Samples:
    part = _plain(dataset, train, rows, context)
    if scenario != "domain":
        return part
    place = {c: k for k, c in enumerate(group)}
    classes = np.array([place[int(c)] for c in part.classes], np.int64)
    names = tuple(f"place {k}" for k in range(len(group)))
    return Samples(part.pool, rows, classes, part.spec, names, context)


def _by_class(dataset: Dataset, name: str, scenario: str, parts: Sequence[Int64]) -> Stream:
    experiences = [_plain(dataset, True, rows) for rows in parts]
    tests, learned_at = [], []
    for c in range(dataset.classes):
        met = [k for k, part in enumerate(experiences) if (part.classes == c).any()]
        if met:
            tests.append(_plain(dataset, False, _rows_of(dataset.test_classes, (c,), None)))
            learned_at.append(met[0])
    return Stream(name, scenario, dataset.spec, tuple(experiences), tuple(tests), tuple(learned_at))


def _transformed(
    dataset: Dataset,
    name: str,
    scenario: str,
    changes: Sequence[Transform],
    samples: int | None,
    rng: np.random.Generator,
) -> Stream:
    experiences, tests = [], []
    for index, change in enumerate(changes):
        context = f"context {index}" if scenario == "task" else None
        rows = rng.permutation(len(dataset.train))[:samples]
        experiences.append(_plain(dataset, True, rows, context, change))
        tests.append(_plain(dataset, False, None, context, change))
    return _stream(f"{name} x{len(changes)}", scenario, dataset.spec, experiences, tests)


def _stream(
    name: str,
    scenario: str,
    spec: LatentSpec,
    experiences: Sequence[Samples],
    tests: Sequence[Samples],
) -> Stream:
    learned_at = tuple(range(len(experiences)))
    return Stream(name, scenario, spec, tuple(experiences), tuple(tests), learned_at)


def _permutation(order: Int64) -> Transform:
    def permute(rows: Float32) -> Float32:
        return rows[:, order]

    return permute


def _rotation(degrees: float) -> Transform:
    def rotate(rows: Float32) -> Float32:
        return rotate_rows(rows, degrees)

    return rotate


def rotate_rows(rows: Float32, degrees: float) -> Float32:
    """Flat square images (N, side * side) turned counter-clockwise, bilinear, zeros outside."""
    side = round(rows.shape[1] ** 0.5)
    turn, middle = np.deg2rad(degrees), (side - 1) / 2
    y, x = np.mgrid[:side, :side] - middle
    source_x = np.cos(turn) * x - np.sin(turn) * y + middle
    source_y = np.sin(turn) * x + np.cos(turn) * y + middle
    left, top = np.floor(source_x).astype(int), np.floor(source_y).astype(int)
    padded = np.pad(rows.reshape(-1, side, side), ((0, 0), (1, 1), (1, 1)))
    turned = np.zeros((len(rows), side, side), np.float32)
    for right in (0, 1):
        for below in (0, 1):
            weight = np.abs(1 - right - (source_x - left)) * np.abs(1 - below - (source_y - top))
            rows_at = np.clip(top + below + 1, 0, side + 1)
            columns_at = np.clip(left + right + 1, 0, side + 1)
            turned += weight.astype(np.float32) * padded[:, rows_at, columns_at]
    return turned.reshape(len(rows), -1)


def experience_lengths(stream: Stream) -> list[int]:
    """Samples of each experience."""
    return [len(experience) for experience in stream.experiences]


def boundaries(stream: Stream) -> list[int]:
    """Samples seen after each experience."""
    totals = np.cumsum([0, *experience_lengths(stream)])
    return [int(after) for _, after in pairwise(totals)]
