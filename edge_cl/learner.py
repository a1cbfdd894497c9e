"""The learner: the one file that knows the whole path from image to prediction."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edge_cl import checkpoint, planner, rebuild, strategies
from edge_cl.budget import parse_bytes
from edge_cl.corrections import Correctable
from edge_cl.errors import (
    BudgetExceeded,
    CheckpointError,
    Conflict,
    ExtractorMismatch,
    InvalidInput,
    InvalidLabel,
    InvalidOption,
)
from edge_cl.latents import checked_latents
from edge_cl.names import VACANT, NameTable
from edge_cl.neighbours import Neighbour, most_alike, nearest
from edge_cl.options import Options, parse_options
from edge_cl.published import Published
from edge_cl.strategy import Strategy
from edge_cl.types import NO_CONTEXT, NO_ID, Array, Batch, Float32, Int64, LatentSpec, Prediction
from edge_cl.unknown import FALSE_REJECT_RATE, ClassStatistics, calibrated

if TYPE_CHECKING:
    from edge_cl.extractor import Extractor

Contexts: TypeAlias = "Sequence[str | int | None] | str | int | None"


class Learner(Correctable):
    """Learns labelled samples one by one inside a byte budget, and predicts.

    Make one with `create` or `load`. Methods that change it must be called from one
    thread at a time; `publish` gives an object for all others.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        memory_budget: int,
        labels: NameTable,
        contexts: NameTable,
        extractor: Extractor | None = None,
        extractor_sha256: str | None = None,
    ) -> None:
        self._strategy = strategy
        self._labels = labels
        self._contexts = contexts
        self._counts: list[int] = [0] * len(labels)
        self._statistics = ClassStatistics(strategy.spec.dim, streams=not strategy.memories)
        self._statistics.grow(0, memory_budget)
        self._version = 0
        self._published: Published | None = None
        self._extractor_sha256 = extractor_sha256
        self.extractor = extractor
        self.memory_budget = memory_budget
        self.plan: dict[str, Any] | None = None
        """What `auto` planned for, and why it chose so; None for a strategy that was named."""

    @classmethod
    def create(
        cls,
        *,
        strategy: str = "auto",
        extractor: str | Path | Extractor | None = None,
        dim: int | None = None,
        spec: LatentSpec | None = None,
        memory_budget: str | int = "8MiB",
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Learner:
        """An empty learner.

        Parameters
        ----------
        strategy
            One of `edge_cl.strategies.names()`; or ``"auto"``: the planner chooses, and again
            when there are more classes than it planned for.
        extractor
            ``"default"``, a path to a model, or an `Extractor`, for learning images.
        dim
            Width of float32 latents, for learning latents without an extractor.
        spec
            As `dim`, for latents with a quantisation of their own.
        memory_budget
            Bytes, or a size such as ``"1MiB"``, for everything the learner keeps.
        options
            Of the strategy; see `edge_cl.strategies.describe`. Those of `auto` are
            `classes` and `update_ms`.
        seed
            Of the learner's own random generator.

        Raises
        ------
        UnknownStrategy, InvalidOption, ExtractorError
            For what cannot be used.
        BudgetExceeded
            If the budget cannot hold the strategy's state.
        """
        loaded = _load_extractor(extractor)
        if loaded is not None:
            spec = loaded.spec
        elif spec is None:
            if dim is None:
                raise InvalidOption(
                    "a learner needs an extractor ('default' or a path), or the dim of the "
                    "latents that it will be given"
                )
            spec = LatentSpec(int(dim))
        if not 1 <= spec.dim <= 65536:
            raise InvalidOption(f"dim must be between 1 and 65536, got {spec.dim}")
        budget = parse_bytes(memory_budget)
        if strategy == planner.AUTO:
            return cls._planned(spec, budget, options, seed, loaded)
        kind = strategies.find(strategy)
        statistics = ClassStatistics(spec.dim, streams=True)
        parsed = parse_options(kind.options_type, options, strategy=strategy)
        try:
            allowed_bytes = budget - statistics.bytes_for(0, budget)
            built = kind(spec, parsed, seed=seed, allowed_bytes=allowed_bytes)
        except BudgetExceeded as refusal:
            needed = statistics.budget_with(refusal.asked_bytes)
            raise BudgetExceeded(needed, budget, refusal.advice) from None
        return cls(
            built,
            memory_budget=budget,
            labels=NameTable("label"),
            contexts=NameTable("context"),
            extractor=loaded,
            extractor_sha256=None if loaded is None else loaded.manifest.sha256,
        )

    @classmethod
    def _planned(
        cls, spec: LatentSpec, budget: int, options: Mapping[str, Any] | None, seed: int,
        extractor: Extractor | None,
    ) -> Learner:  # fmt: skip
        wanted = planner.parse_auto(options)
        choice = planner.choose(
            budget, spec=spec, classes=wanted.classes, update_ms=wanted.update_ms
        )
        learner = cls.create(
            strategy=choice.strategy, spec=spec, memory_budget=budget, options=choice.options,
            seed=seed,
        )  # fmt: skip
        learner.extractor = extractor
        learner._extractor_sha256 = None if extractor is None else extractor.manifest.sha256
        learner.plan = {**wanted.model_dump(), "reasons": list(choice.reasons)}
        return learner

    # What is known about it.

    @property
    def version(self) -> int:
        """Number of operations that changed it."""
        return self._version

    @property
    def strategy(self) -> str:
        """Name of its strategy."""
        return self._strategy.name

    @property
    def options(self) -> dict[str, Any]:
        """Options of its strategy, defaults included."""
        return self._strategy.options.model_dump(mode="json")

    @property
    def seed(self) -> int:
        """Seed it was created with."""
        return self._strategy.seed

    @property
    def spec(self) -> LatentSpec:
        """What its latents are."""
        return self._strategy.spec

    @property
    def dim(self) -> int:
        """Width of its latents."""
        return self.spec.dim

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels, in the order in which they were first seen."""
        return self._labels.known

    @property
    def contexts(self) -> tuple[str, ...]:
        """Contexts, in the order in which they were first seen."""
        return self._contexts.names

    @property
    def class_counts(self) -> dict[str, int]:
        """Samples learned of each label."""
        counts = dict.fromkeys(self.labels, 0)
        for label, count in zip(self._labels.names, self._counts, strict=True):
            if label != VACANT:
                counts[label] += count
        return counts

    @property
    def samples_seen(self) -> int:
        """Samples learned in all."""
        return sum(self._counts)

    def ledger(self) -> dict[str, int]:
        """Bytes by name; their sum never exceeds `memory_budget`."""
        return {
            **self._strategy.ledger(),
            "names": self._labels.bytes_with_counts + self._contexts.stored_bytes,
            "class_statistics": self._statistics.bytes_for(len(self._labels), self.memory_budget),
        }

    # Learning.

    def learn(
        self,
        images: Sequence[Any],
        labels: Sequence[str],
        contexts: Contexts = None,
        ids: Sequence[int] | None = None,
    ) -> None:
        """Learn images: encoded bytes, PIL images, or (H, W, 3) uint8 RGB arrays.

        Raises
        ------
        InvalidInput, TooLarge, BudgetExceeded
            Before anything has been learned.
        """
        self.learn_latents(self._extract(images), labels, contexts, ids)

    def check_latents(
        self, latents: Array, labels: Sequence[str], contexts: Contexts = None
    ) -> None:
        """Raise what `learn_latents` would raise; change nothing."""
        self._admit(latents, labels, contexts)

    def learn_latents(
        self,
        latents: Array,
        labels: Sequence[str],
        contexts: Contexts = None,
        ids: Sequence[int] | None = None,
    ) -> None:
        """Learn (N, D) latents, in order.

        Parameters
        ----------
        latents
            float32, or the extractor's uint8 codes.
        labels
            N strings.
        contexts
            One for all samples, or N of them, or None.
        ids
            N numbers by which samples can be found again in the replay memory.

        Raises
        ------
        InvalidInput, BudgetExceeded
            Before anything has been learned.
        """
        rows, tables = self._admit(latents, labels, contexts)
        if not len(rows):
            return
        self._outgrow(len(tables[0]), latents, labels, contexts)
        present = self._labels, self._contexts
        self._labels, self._contexts = tables
        batch = self._batch(rows, labels, contexts, ids)
        self._clear_reused(present[0])
        for start, stop in _growth(batch, len(present[0]), len(present[1])):
            self._labels = tables[0].first(
                max(len(present[0]), int(batch.classes[:stop].max()) + 1)
            )
            self._contexts = tables[1].first(
                max(len(present[1]), int(batch.contexts[:stop].max()) + 1)
            )
            self._strategy.grow(len(self._labels), len(self._contexts), self._allowed_bytes())
            self._statistics.grow(len(self._labels), self.memory_budget)
            part = batch[start:stop]
            self._strategy.observe(part)
            self._statistics.add(self._strategy.normalise(part.latents), part.classes)
        self._counts += [0] * (len(self._labels) - len(self._counts))
        for c in batch.classes:
            self._counts[c] += 1
        self._changed()

    def end_experience(self) -> None:
        """Close the present experience, so that the strategy consolidates it."""
        self._strategy.end_experience()
        self._changed()

    def set_budget(self, memory_budget: str | int) -> None:
        """Change the memory budget.

        A smaller one evicts exemplars by the selection policy; a larger one makes room
        that new samples fill.

        Raises
        ------
        InvalidOption
            If `memory_budget` is no size.
        BudgetExceeded
            If what must stay does not fit; its `asked_bytes` are the least that would do.
            Nothing has changed then.
        """
        budget = parse_bytes(memory_budget)
        self.check_budget(budget)
        self.memory_budget = budget
        self._strategy.grow(len(self._labels), len(self._contexts), self._allowed_bytes())
        self._statistics.grow(len(self._labels), budget)
        self._changed()

    def check_budget(self, memory_budget: str | int) -> None:
        """Raise what `set_budget` would raise; change nothing."""
        budget = parse_bytes(memory_budget)
        if self._refusal(budget) is None:
            return
        # Strategies divide a budget each in their own way, so the least one is searched for.
        refused, fits = budget, self.memory_budget
        while fits - refused > 1:
            middle = (fits + refused) // 2
            refused, fits = (refused, middle) if self._refusal(middle) is None else (middle, fits)
        raise BudgetExceeded(
            fits,
            budget,
            f"strategy {self.strategy!r} with {len(self.labels)} classes cannot give up more; "
            "take a larger memory_budget, or another strategy",
        )

    def change_strategy(self, strategy: str, options: Mapping[str, Any] | None = None) -> None:
        """Take another strategy, or other options of the present one.

        Where only options change that leave the head's meaning as it is, such as the
        codec or the learning rate, head and statistics stay, and exemplars are encoded
        anew. Else the new strategy learns the exemplars of the old one as a stream.

        Parameters
        ----------
        strategy
            One of `edge_cl.strategies.names()`.
        options
            Of the new strategy; of the present one, those that change.

        Raises
        ------
        Conflict
            If a class has no exemplar: it would be forgotten.
        UnknownStrategy, InvalidOption, BudgetExceeded, ContextRequired
            For what cannot be used. Nothing has changed then.
        """
        other = self.with_strategy(strategy, options)
        self._strategy, self._statistics = other._strategy, other._statistics
        self.plan = None
        self._changed()

    def check_strategy(self, strategy: str, options: Mapping[str, Any] | None = None) -> None:
        """Raise what `change_strategy` would raise; change nothing."""
        rebuild.prepare(self._strategy, *self._wanted(strategy, options))

    def with_strategy(self, strategy: str, options: Mapping[str, Any] | None = None) -> Learner:
        """A learner as this one is after `change_strategy`; this one stays as it is."""
        other = copy.copy(self)
        other._strategy = rebuild.succeed(self._strategy, *self._wanted(strategy, options))
        other._statistics = self._statistics_under(other._strategy)
        other._counts = list(self._counts)
        other.plan = None
        other._changed()
        return other

    def _outgrow(
        self, classes: int, latents: Array, labels: Sequence[str], contexts: Contexts
    ) -> None:
        """Plan anew if `auto` planned for fewer classes; keep what it has if nothing is better."""
        plan = self.plan
        if plan is None or classes <= plan["classes"]:
            return
        plan = {**plan, "classes": 2 * classes}
        with contextlib.suppress(BudgetExceeded, Conflict, InvalidInput):
            choice = planner.choose(
                self.memory_budget, spec=self.spec, classes=plan["classes"],
                update_ms=plan["update_ms"],
            )  # fmt: skip
            if choice.strategy != self.strategy or any(
                self.options[name] != value for name, value in choice.options.items()
            ):
                other = self.with_strategy(choice.strategy, choice.options)
                other._admit(latents, labels, contexts)
                self._strategy, self._statistics = other._strategy, other._statistics
            plan["reasons"] = list(choice.reasons)
        self.plan = plan

    def _statistics_under(self, strategy: Strategy) -> ClassStatistics:
        """The sums over all samples; over the exemplars, where `strategy` sees them otherwise."""
        kept = copy.deepcopy(self._statistics)
        same = self._strategy.options.normalise == strategy.options.normalise
        kept.streams = not strategy.memories
        if same and not (kept.streams and self._strategy.memories):
            return kept
        found = ClassStatistics(self.dim, streams=kept.streams)
        found.grow(len(self._labels), self.memory_budget)
        for batch in rebuild.Exemplars(self._strategy.memories, self.seed).batches():
            found.add(strategy.normalise(batch.latents), batch.classes)
        if same:
            kept.moments[:] = found.moments
        return kept if same else found

    def _wanted(
        self, strategy: str, options: Mapping[str, Any] | None
    ) -> tuple[type[Strategy], Options, int, list[str]]:
        kind = strategies.find(strategy)
        given = {**(self.options if strategy == self.strategy else {}), **(options or {})}
        parsed = parse_options(kind.options_type, given, strategy=strategy)
        names = zip(self._labels.names, self._counts, strict=True)
        learned = [name if count else VACANT for name, count in names]
        return kind, parsed, self._allowed_bytes(), learned

    # Predicting.

    def predict(
        self,
        images: Sequence[Any],
        context: str | int | None = None,
        top_k: int = 1,
        false_reject_rate: float = FALSE_REJECT_RATE,
    ) -> list[Prediction]:
        """Predictions for images, in their order; parameters as of `predict_latents`."""
        return self.predict_latents(self._extract(images), context, top_k, false_reject_rate)

    def predict_latents(
        self,
        latents: Array,
        context: str | int | None = None,
        top_k: int = 1,
        false_reject_rate: float = FALSE_REJECT_RATE,
    ) -> list[Prediction]:
        """Predictions for (N, D) latents, float32 or codes, in their order.

        Parameters
        ----------
        latents
            (N, D), float32 or codes.
        context
            Of all of them, for strategies that use it.
        top_k
            Labels in `Prediction.top`.
        false_reject_rate
            Share of samples of known classes that may be called unknown; 0 calls none so.

        Raises
        ------
        InvalidLatent
            For latents of the wrong width or with values that are not finite.
        ContextRequired
            If the strategy needs a context and gets none.
        """
        return self.publish().predict_latents(latents, context, top_k, false_reject_rate)

    def nearest(self, latents: Array, count: int) -> list[list[Neighbour]]:
        """The remembered samples most like each of (N, D) latents, best first.

        Up to `count` of them; none where the strategy has no memory. Raises InvalidLatent as
        `predict_latents`.
        """
        found = nearest(self._strategy, checked_latents(latents, self.spec), count)
        names = self._labels.names
        return [
            [Neighbour(int(i), names[c], float(s)) for i, c, s in zip(*row, strict=True)]
            for row in zip(*found, strict=True)
        ]

    def most_alike(
        self, latents: Array, labels: Sequence[Collection[str]]
    ) -> list[Neighbour | None]:
        """The remembered sample that each of (N, D) latents looks most like, or None.

        Looked at are the newest 512 exemplars of each of its `labels`; all, if there are no
        more than 1,024. The similarity is that of the latents as they came, not as the
        strategy normalises them.
        """
        known = frozenset(self._labels.known)
        wanted = [
            {c for one in known & set(some) for c in self._labels.numbers(one)} for some in labels
        ]
        found = most_alike(self._strategy, checked_latents(latents, self.spec), wanted)
        names = self._labels.names
        return [
            None if c < 0 else Neighbour(int(i), names[c], float(s))
            for i, c, s in zip(*found, strict=True)
        ]

    def publish(self) -> Published:
        """What is known now, for use by any thread."""
        if self._published is None:
            answering = self._strategy.publish()
            self._published = Published(
                version=self._version,
                classes=self._labels,
                contexts=self._contexts,
                spec=self.spec,
                strategy=answering,
                calibration=calibrated(self._statistics, self._strategy, answering),
            )
        return self._published

    # Saving.

    def to_bytes(self) -> bytes:
        """The whole learner; see `from_bytes`."""
        return checkpoint.to_bytes(self._manifest(), self._arrays())

    @classmethod
    def from_bytes(
        cls,
        content: bytes,
        extractor: str | Path | Extractor | None = None,
        tail: bytes | None = None,
    ) -> Learner:
        """The learner whose `to_bytes` this is; it continues bit-identically.

        Parameters
        ----------
        content
            What `to_bytes` gave.
        extractor
            As for `create`.
        tail
            The layers above its latents, for a change to a strategy that trains them; of the
            extractor, if that is given.

        Raises
        ------
        CheckpointError
            If the content is damaged or of another format.
        ExtractorMismatch
            If `extractor` is not the one the learner was taught with.
        UnknownStrategy, MissingExtra
            If its strategy is not there: that is no damage.
        """
        manifest, arrays = checkpoint.from_bytes(content)
        strategies.find(str(manifest.get("strategy")))
        loaded = _load_extractor(extractor)
        expected = manifest["extractor_sha256"]
        if loaded is not None and expected not in (None, loaded.manifest.sha256):
            raise ExtractorMismatch(
                f"the learner was taught with extractor {expected[:12]}…, this one is "
                f"{loaded.manifest.sha256[:12]}…: give the old model file, or teach again"
            )
        try:
            tail = tail if loaded is None else loaded.spec.tail
            return cls._from_manifest(manifest, arrays, loaded, tail)
        except (KeyError, TypeError, ValueError, BudgetExceeded) as error:
            raise CheckpointError(f"the saved learner does not fit together: {error}") from error

    def revert(self, content: bytes) -> None:
        """Become the learner of these `to_bytes`, which was this one before or will be.

        Its version goes on rising.

        Raises
        ------
        CheckpointError
            If the content is damaged, or of a learner that was created otherwise.
        """
        other = Learner.from_bytes(content, tail=self.spec.tail)
        if (other.spec, other.seed) != (self.spec, self.seed):
            raise CheckpointError(
                f"the saved learner has {other.dim} values a latent and seed {other.seed}, this "
                f"one {self.dim} and {self.seed}: load it as another one"
            )
        other.extractor = self.extractor
        other._version = max(self._version, other._version)
        self.__dict__.update(other.__dict__)
        self._changed()

    def save(self, path: str | Path) -> None:
        """Write the whole learner to one file, atomically."""
        checkpoint.write(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path, extractor: str | Path | Extractor | None = None) -> Learner:
        """The learner that `save` wrote to `path`; raises as `from_bytes`."""
        return cls.from_bytes(Path(path).read_bytes(), extractor)

    def _manifest(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "options": self.options,
            "seed": self.seed,
            "spec": [self.spec.dim, self.spec.scale, self.spec.zero_point],
            "memory_budget": self.memory_budget,
            "labels": self._labels.names,
            "contexts": self.contexts,
            "counts": self._counts,
            "version": self._version,
            "extractor_sha256": self._extractor_sha256,
            **({} if self.plan is None else {"plan": self.plan}),
        }

    @classmethod
    def _from_manifest(
        cls,
        manifest: Mapping[str, Any],
        arrays: Mapping[str, Array],
        extractor: Extractor | None,
        tail: bytes | None,
    ) -> Learner:
        kind = strategies.find(manifest["strategy"])
        options = parse_options(kind.options_type, manifest["options"], strategy=kind.name)
        budget = int(manifest["memory_budget"])
        dim, scale, zero_point = manifest["spec"]
        # Whoever trains the layers above keeps them: what was saved may be of another file.
        tail = arrays["tail"].tobytes() if "tail" in arrays else tail
        spec = LatentSpec(dim, scale, zero_point, tail)
        learner = cls(
            kind(spec, options, seed=int(manifest["seed"]), allowed_bytes=budget),
            memory_budget=budget,
            labels=NameTable("label", tuple(manifest["labels"])),
            contexts=NameTable("context", tuple(manifest["contexts"])),
            extractor=extractor,
            extractor_sha256=manifest["extractor_sha256"],
        )
        learner._counts = [int(count) for count in manifest["counts"]]
        learner._version = int(manifest["version"])
        learner.plan = manifest.get("plan")
        learner._strategy.restore(
            arrays, len(learner._labels), len(learner._contexts), learner._allowed_bytes()
        )
        learner._statistics.restore(arrays, len(learner._labels), budget)
        return learner

    # Inside.

    def _changed(self) -> None:
        self._version += 1
        self._published = None

    def _arrays(self) -> dict[str, Array]:
        """The whole state by name; no two entries share storage."""
        return {**self._strategy.arrays(), **self._statistics.arrays()}

    def _left_for_strategy(self, labels: NameTable, contexts: NameTable, budget: int) -> int:
        """Bytes without names, counts, and what is kept of every class."""
        names = labels.bytes_with_counts + contexts.stored_bytes
        return budget - names - self._statistics.bytes_for(len(labels), budget)

    def _allowed_bytes(self) -> int:
        return self._left_for_strategy(self._labels, self._contexts, self.memory_budget)

    def _refusal(self, budget: int) -> BudgetExceeded | None:
        """Why what must stay does not fit into `budget`; None if it does."""
        names = len(self._labels), len(self._contexts)
        try:
            allowed = self._left_for_strategy(self._labels, self._contexts, budget)
            self._strategy.admit(*names, 0, allowed)
        except BudgetExceeded as refusal:
            return refusal
        return None

    def _extract(self, images: Sequence[Any]) -> Array:
        if self.extractor is None:
            raise InvalidOption(
                "this learner has no extractor: create or load it with extractor='default' or "
                "a path, or give latents"
            )
        if not len(images):
            return np.zeros((0, self.dim), dtype=np.uint8)
        return self.extractor.extract(np.stack([self.extractor.prepare(image) for image in images]))

    def _admit(
        self, latents: Array, labels: Sequence[str], contexts: Contexts
    ) -> tuple[Float32, tuple[NameTable, NameTable]]:
        rows = checked_latents(latents, self.spec)
        if isinstance(labels, str) or len(labels) != len(rows):
            raise InvalidLabel(
                f"{len(rows)} latents came with "
                f"{'one string' if isinstance(labels, str) else f'{len(labels)} labels'}; "
                "give a list with one label for each"
            )
        named = _context_names(contexts, len(rows))
        new_labels = self._labels.with_names(labels)
        new_contexts = self._contexts.with_names([name for name in named if name is not None])
        self._strategy.check_contexts(_context_numbers(named, new_contexts))
        allowed_bytes = self._left_for_strategy(new_labels, new_contexts, self.memory_budget)
        self._strategy.admit(len(new_labels), len(new_contexts), len(rows), allowed_bytes)
        return rows, (new_labels, new_contexts)

    def _batch(
        self,
        rows: Float32,
        labels: Sequence[str],
        contexts: Contexts,
        ids: Sequence[int] | None,
    ) -> Batch:
        numbers = [self._labels.number(label) for label in labels]
        return Batch(
            rows,
            np.array(numbers, dtype=np.int64),
            _context_numbers(_context_names(contexts, len(rows)), self._contexts),
            np.full(len(rows), NO_ID) if ids is None else np.asarray(ids, dtype=np.int64),
        )


def _growth(batch: Batch, classes: int, contexts: int) -> Iterator[tuple[int, int]]:
    """Parts of a batch that each begin where a class or a context is new.

    Growing as names appear, not all at once before, makes a call with many samples the
    same lesson as many calls with one.
    """
    start = 0
    for row in range(len(batch)):
        if batch.classes[row] >= classes or batch.contexts[row] >= contexts:
            classes = max(classes, int(batch.classes[row]) + 1)
            contexts = max(contexts, int(batch.contexts[row]) + 1)
            if row > start:
                yield start, row
                start = row
    yield start, len(batch)


def _context_names(contexts: Contexts, count: int) -> list[str | None]:
    if contexts is None or isinstance(contexts, str | int):
        return [None if contexts is None else str(contexts)] * count
    if len(contexts) != count:
        raise InvalidLabel(f"{count} latents came with {len(contexts)} contexts")
    return [None if context is None else str(context) for context in contexts]


def _context_numbers(named: Sequence[str | None], table: NameTable) -> Int64:
    numbers = [NO_CONTEXT if name is None else table.number(name) for name in named]
    return np.array(numbers, dtype=np.int64)


def _load_extractor(extractor: str | Path | Extractor | None) -> Extractor | None:
    if isinstance(extractor, str | Path):
        from edge_cl.extractor import load_extractor

        return load_extractor(extractor)
    return extractor
