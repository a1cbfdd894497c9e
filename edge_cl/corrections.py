"""Corrections of a learner: what was taught wrongly is forgotten, relabelled or denied.

Each method has a twin `check_…` that changes nothing: it says what the correction would
do, or raises what it would raise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_cl.errors import Conflict, InvalidInput, InvalidLabel, NotFound
from edge_cl.latents import checked_latents
from edge_cl.names import VACANT, NameTable, checked_name
from edge_cl.recall import NOTHING, Correction, Found, Recall
from edge_cl.types import NO_CONTEXT, Array, Batch, Bool, Float32, Int64
from edge_cl.unknown import ClassStatistics

if TYPE_CHECKING:
    from edge_cl.strategy import Strategy
    from edge_cl.types import LatentSpec

__all__ = ["Correctable"]


class Correctable:
    """The corrections of a `Learner`; its base class."""

    memory_budget: int
    _strategy: Strategy
    _labels: NameTable
    _contexts: NameTable
    _counts: list[int]
    _statistics: ClassStatistics

    if TYPE_CHECKING:

        @property
        def spec(self) -> LatentSpec:
            """What the latents are."""

        def _changed(self) -> None: ...

        def _allowed_bytes(self) -> int: ...

        def _left_for_strategy(
            self, labels: NameTable, contexts: NameTable, budget: int
        ) -> int: ...

    @property
    def wants_latents(self) -> bool:
        """Whether forgetting needs the latents of what it forgets, to be exact or at all."""
        return self._strategy.subtracts

    @property
    def wants_latents_of_classes(self) -> bool:
        """Whether forgetting a class needs the latents of its samples, to be exact."""
        return self._strategy.subtracts and not self._strategy.class_stands_alone

    def remembers(self, sample_id: int) -> bool:
        """Whether a replay memory has this sample."""
        return self._strategy.remembers(sample_id)

    def forget(
        self,
        sample_ids: Sequence[int] | None = None,
        label: str | None = None,
        recall: Recall = NOTHING,
    ) -> Correction:
        """Forget samples, or everything about a label.

        Parameters
        ----------
        sample_ids
            Ids given when they were taught.
        label
            Of the class to forget, in place of ids.
        recall
            The samples, from whoever still has them: without it, only what is in a
            replay memory can be found.

        Raises
        ------
        NotFound
            If there is no such label, or a sample is nowhere.
        """
        if label is not None and sample_ids is None:
            return self._forget_class(label, recall)
        correction, found = self._forgetting(sample_ids, label, recall)
        if self._strategy.subtracts:
            self._strategy.unlearn(found.batch)
        self._strategy.remove_samples(found.batch.ids.tolist())
        self._take_out(found)
        for cls in found.batch.classes.tolist():
            self._counts[cls] -= 1
        self._vacate([c for c in set(found.batch.classes.tolist()) if not self._counts[c]])
        self._changed()
        return correction

    def check_forget(
        self,
        sample_ids: Sequence[int] | None = None,
        label: str | None = None,
        recall: Recall = NOTHING,
    ) -> Correction:
        """What `forget` would do."""
        if label is not None and sample_ids is None:
            return self._class_forgetting(label, recall)
        return self._forgetting(sample_ids, label, recall)[0]

    def relabel(self, sample_id: int, label: str, recall: Recall = NOTHING) -> Correction:
        """Give a sample another label, new or known, and learn it so.

        Raises
        ------
        NotFound
            If its latent is neither in `recall` nor in a replay memory.
        InvalidLabel, BudgetExceeded
            For the new label.
        """
        correction, found, labels = self._relabelling(sample_id, label, recall)
        old, strategy = int(found.batch.classes[0]), self._strategy
        if labels.names[old] != label:
            self._adopt(labels)
            new = labels.number(label)
            batch = found.batch
            if strategy.subtracts:
                strategy.unlearn(batch)
            strategy.relabel_sample(sample_id, new)
            latents = strategy.normalise(batch.latents)
            self._statistics.remove(latents, batch.classes)
            self._statistics.add(latents, np.array([new]))
            strategy.absorb(Batch(batch.latents, np.array([new]), batch.contexts, batch.ids))
            self._counts[old] -= 1
            self._counts[new] += 1
            self._vacate([] if self._counts[old] else [old])
        self._changed()
        return correction

    def check_relabel(self, sample_id: int, label: str, recall: Recall = NOTHING) -> Correction:
        """What `relabel` would do."""
        return self._relabelling(sample_id, label, recall)[0]

    def learn_not(
        self,
        latents: Array,
        labels: Sequence[str],
        contexts: Sequence[str | None] | None = None,
    ) -> Correction:
        """Learn of (N, D) latents what they are not: one step that makes it less likely.

        Raises
        ------
        NotFound
            If a label or a context is not known.
        Conflict
            If the strategy cannot learn so, or there is no other class to be.
        """
        batch, denied = self._denial(latents, labels, contexts)
        self._strategy.deny(batch, denied)
        self._changed()
        return Correction(len(batch), exact=False)

    def check_learn_not(
        self,
        latents: Array,
        labels: Sequence[str],
        contexts: Sequence[str | None] | None = None,
    ) -> Correction:
        """What `learn_not` would do."""
        return Correction(len(self._denial(latents, labels, contexts)[0]), exact=False)

    def rename_class(self, label: str, name: str) -> Correction:
        """Give a class another name, without learning anything.

        Raises
        ------
        NotFound, InvalidLabel, BudgetExceeded
            For a label that is not known, and a name that cannot be one.
        Conflict
            If another class has the name.
        """
        correction = self.check_rename_class(label, name)
        self._adopt(self._labels.replaced(self._labels.numbers(label), name))
        self._changed()
        return correction

    def check_rename_class(self, label: str, name: str) -> Correction:
        """What `rename_class` would do."""
        numbers = self._labels.numbers(label)
        checked_name(name, "label")
        if name != label and name in self._labels.known:
            raise Conflict(f"a class is named {name!r} already: merge {label!r} into it instead")
        self._check_fits(self._labels.replaced(numbers, name))
        return Correction(self._samples_of(numbers), exact=True)

    def merge_classes(self, label: str, into: str) -> Correction:
        """Let the class `label` be the class `into` from now on.

        Strategies that subtract add the two up, exactly. For others the class keeps its
        weights and exemplars, which answer to the other name: their probabilities add up.

        Raises
        ------
        NotFound, Conflict
            If one is not known, or both are the same.
        """
        correction = self.check_merge_classes(label, into)
        old, new = self._labels.numbers(label), self._labels.number(into)
        if self._strategy.merge_class(old[0], new):
            self._counts[new] += self._counts[old[0]]
            self._statistics.merge(old[0], new)
            self._vacate(old)
        else:
            self._adopt(self._labels.replaced(old, into))
        self._changed()
        return correction

    def check_merge_classes(self, label: str, into: str) -> Correction:
        """What `merge_classes` would do."""
        old = self._labels.numbers(label)
        if label == into:
            raise Conflict(f"{label!r} cannot be merged into itself; name another class")
        self._labels.number(into)
        self._check_fits(self._labels.replaced(old, into))
        return Correction(self._samples_of(old), self._strategy.is_exact)

    # Inside.

    def _forgetting(
        self, sample_ids: Sequence[int] | None, label: str | None, recall: Recall
    ) -> tuple[Correction, Found]:
        if label is not None or sample_ids is None:
            raise InvalidInput("give either sample_ids or label to forget, not both")
        ids = list(dict.fromkeys(int(one) for one in sample_ids))
        found = self._find(ids, recall)
        if self._strategy.subtracts and not found.whole:
            raise self._nowhere(ids)
        for cls, count in Counter(found.batch.classes.tolist()).items():
            if count > self._counts[cls]:
                raise Conflict(
                    f"{count} samples of {self._labels.names[cls]!r} are to be forgotten, "
                    f"only {self._counts[cls]} are known; give ids that were taught"
                )
        return Correction(len(ids), self._strategy.is_exact and found.original), found

    def _class_forgetting(self, label: str, recall: Recall) -> Correction:
        strategy, count = self._strategy, self._samples_of(self._labels.numbers(label))
        known = 0 if recall.latents is None else len(checked_latents(recall.latents, self.spec))
        if known > count:
            raise Conflict(f"{known} samples of {label!r} were given, only {count} are known")
        complete = strategy.class_stands_alone or known == count
        return Correction(count, strategy.is_exact and complete)

    def _forget_class(self, label: str, recall: Recall) -> Correction:
        correction = self._class_forgetting(label, recall)
        if self._strategy.subtracts and recall.latents is not None:
            found = self._find(list(recall.ids), recall)
            self._strategy.unlearn(found.batch)
            self._take_out(found)
        self._vacate(self._labels.numbers(label))
        self._changed()
        return correction

    def _relabelling(
        self, sample_id: int, label: str, recall: Recall
    ) -> tuple[Correction, Found, NameTable]:
        found = self._find([sample_id], recall)
        if not found.whole:
            raise self._nowhere([sample_id])
        labels = self._labels.with_names([label])
        self._check_fits(labels)
        return Correction(1, self._strategy.is_exact and found.original), found, labels

    def _find(self, ids: list[int], recall: Recall) -> Found:
        """The samples: as they were taught, else as a memory has them."""
        latents, classes, contexts = [], [], []
        original = whole = True
        taught = None if recall.latents is None else checked_latents(recall.latents, self.spec)
        for sample_id in ids:
            row, kept = recall.row(sample_id), self._strategy.remembered(sample_id)
            if row is None and not len(kept):
                raise self._nowhere([sample_id])
            latent = np.zeros(self.spec.dim, dtype=np.float32)
            if row is not None and taught is not None:
                latent = taught[row]
            else:
                original, whole = False, whole and len(kept) > 0
                latent = kept.latents[0] if len(kept) else latent
            latents.append(latent)
            known = kept.classes[0] if len(kept) else self._labels.number(recall.labels[row or 0])
            classes.append(int(known))
            contexts.append(self._context_of(recall, row, kept))
        batch = Batch(
            np.array(latents, dtype=np.float32).reshape(-1, self.spec.dim),
            np.array(classes, dtype=np.int64),
            np.array(contexts, dtype=np.int64),
            np.array(ids, dtype=np.int64),
        )
        return Found(batch, original, whole)

    def _context_of(self, recall: Recall, row: int | None, kept: Batch) -> int:
        if len(kept):
            return int(kept.contexts[0])
        name = None if row is None else recall.contexts[row]
        return NO_CONTEXT if name is None else self._contexts.number(name)

    def _denial(
        self, latents: Array, labels: Sequence[str], contexts: Sequence[str | None] | None
    ) -> tuple[Batch, Bool]:
        rows: Float32 = checked_latents(latents, self.spec)
        named = [None] * len(rows) if contexts is None else list(contexts)
        if isinstance(labels, str) or len(labels) != len(rows) or len(named) != len(rows):
            raise InvalidLabel(f"{len(rows)} latents need as many labels, and contexts or none")
        if not self._strategy.can_deny:
            self._strategy.deny(Batch.empty(self.spec.dim), np.zeros((0, 0), dtype=np.bool_))
        denied = np.zeros((len(rows), len(self._labels)), dtype=np.bool_)
        for row, label in enumerate(labels):
            denied[row, self._labels.numbers(label)] = True
        if len(self._labels.known) == 1 and len(rows):
            raise Conflict(f"there is no class but {labels[0]!r}: teach another one first")
        classes: Int64 = denied.argmax(axis=1) if len(rows) else np.zeros(0, dtype=np.int64)
        numbers = [NO_CONTEXT if name is None else self._contexts.number(name) for name in named]
        numbered: Int64 = np.array(numbers, dtype=np.int64)
        self._strategy.check_contexts(numbered)
        return Batch(rows, classes, numbered, np.full(len(rows), -1)), denied

    def _vacate(self, classes: list[int]) -> None:
        """Give up the names of these classes, and what is known of them."""
        for cls in classes:
            self._strategy.clear_class(cls)
            self._statistics.clear(cls)
            self._counts[cls] = 0
        self._adopt(self._labels.replaced(classes, VACANT))

    def _adopt(self, labels: NameTable) -> None:
        """Take over names, and fit the strategy to them."""
        before, self._labels = self._labels, labels
        self._clear_reused(before)
        self._strategy.grow(len(labels), len(self._contexts), self._allowed_bytes())
        self._statistics.grow(len(labels), self.memory_budget)
        self._counts += [0] * (len(labels) - len(self._counts))

    def _take_out(self, found: Found) -> None:
        """Take samples out of what is kept of their classes."""
        latents = self._strategy.normalise(found.batch.latents) if found.whole else None
        self._statistics.remove(latents, found.batch.classes)

    def _clear_reused(self, before: NameTable) -> None:
        """Clear what steps may have left in classes that have a name again."""
        for cls, name in enumerate(before.names):
            if name == VACANT != self._labels.names[cls]:
                self._strategy.clear_class(cls)

    def _check_fits(self, labels: NameTable) -> None:
        allowed = self._left_for_strategy(labels, self._contexts, self.memory_budget)
        self._strategy.admit(len(labels), len(self._contexts), 0, allowed)

    def _samples_of(self, classes: list[int]) -> int:
        return sum(self._counts[cls] for cls in classes)

    def _nowhere(self, ids: list[int]) -> NotFound:
        return NotFound(
            f"the latent of sample {', '.join(str(one) for one in ids[:10])} is in no replay "
            f"memory of this learner ({self._strategy.name}), and was not given: teach it "
            "again, or forget its class"
        )
