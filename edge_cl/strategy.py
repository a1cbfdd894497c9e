"""The plug-in surface: what a continual-learning strategy is.

A strategy learns from batches of latents and gives scores to latents. Its whole
state is a set of named arrays whose shapes follow from the number of classes and
contexts (`slots`), plus one or more replay memories. From that declaration this
module derives growth, the byte ledger, checkpoints and the published copy, so that a
strategy's own file holds nothing but its paper.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from edge_cl.codec import make_codec
from edge_cl.equations import (
    cross_entropy,
    cross_entropy_gradient,
    denial_direction,
    l2,
    power_l2,
)
from edge_cl.errors import BudgetExceeded, CheckpointError, ContextRequired
from edge_cl.head import Forward, Head
from edge_cl.memory import ReplayMemory
from edge_cl.options import HeadOptions, MemoryOptions, Options
from edge_cl.state import Role, Slot, enlarged, generator_state, set_generator_state, zeros
from edge_cl.types import NO_CONTEXT, Array, Batch, Bool, Float32, Int64, LatentSpec
from edge_cl.unlearning import Unlearning

Self = TypeVar("Self", bound="Strategy")


@dataclass(frozen=True)
class Needs:
    """What a strategy asks of the stream and of the machine.

    Parameters
    ----------
    boundaries
        It does something when an experience ends.
    context_to_predict
        It cannot predict without a context id, and cannot infer one.
    second_pass
        It reads the samples of the present experience again, from a bounded window.
    history
        It keeps every sample, and refuses more when the budget is full.
    hidden_layer
        With a linear head it is no more than a simpler method.
    torch
        It needs the extra ``edge-cl[torch]``.
    tail
        It trains the extractor's layers above the latent, so that the extractor must be cut
        at a layer.
    """

    boundaries: bool = False
    context_to_predict: bool = False
    second_pass: bool = False
    history: bool = False
    hidden_layer: bool = False
    torch: bool = False
    tail: bool = False


@dataclass(frozen=True)
class MemoryPlan:
    """One replay memory of a strategy.

    Parameters
    ----------
    share
        Part of the bytes left beside the fixed state, in (0, 1].
    codec, selection, retrieval
        Names, as in the options.
    samples
        Exemplars at most, or None.
    least_samples
        Exemplars without which the strategy makes no sense; asking for a budget
        below them is refused.
    per_experience
        Emptied when an experience ends: a window of the present one.
    """

    share: float
    codec: str = "uint8"
    selection: str = "reservoir"
    retrieval: str = "uniform"
    samples: int | None = None
    least_samples: int = 1
    per_experience: bool = False


@dataclass
class Experience:
    """A stretch of the stream between two boundaries.

    Parameters
    ----------
    index
        1 for the first.
    context
        Context id of its samples.
    samples
        How many were learned so far.
    """

    index: int = 0
    context: int = NO_CONTEXT
    samples: int = 0
    is_open: bool = False


class Strategy(Unlearning, ABC):
    """One way to learn continually. Subclasses are one file, one paper.

    Parameters
    ----------
    spec
        What the latents are.
    options
        An instance of this class's `options_type`.
    seed
        Seed of the strategy's own random generator.
    allowed_bytes
        What the whole state may take, published copy and replay memory included.

    Raises
    ------
    BudgetExceeded
        If the state without any class does not fit.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[Needs] = Needs()
    options_type: ClassVar[type[Options]] = Options

    def __init__(
        self, spec: LatentSpec, options: Options, *, seed: int = 0, allowed_bytes: int
    ) -> None:
        self.spec = spec
        self.options = options
        self.seed = seed
        self.classes = 0
        self.contexts = 0
        self.experience = Experience()
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.setup()
        self._slots = self.slots(0, 0)
        self._allocate({})
        self.initialise()
        self.memories = self._make_memories(allowed_bytes)

    # What a subclass writes.

    def setup(self) -> None:
        """Build what is no state: the architecture, the update rule."""

    @abstractmethod
    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Every array of the state, as an attribute's name and its `Slot`."""

    def initialise(self) -> None:
        """Give the arrays their first values, where these are not zero."""

    def memory_plans(self) -> dict[str, MemoryPlan]:
        """Replay memories by name; by default `memory` if the options have a codec."""
        options = self.options
        if not isinstance(options, MemoryOptions):
            return {}
        return {
            "memory": MemoryPlan(
                share=1.0,
                codec=options.codec,
                selection=options.selection,
                retrieval=options.retrieval,
                samples=options.memory_samples,
            )
        }

    def columns(self, memory: str, classes: int) -> dict[str, Slot]:
        """What the memory called `memory` keeps beside each latent: shape of one row's value."""
        return {}

    def make_room(self, memory: str, capacity: int) -> None:
        """A memory is about to shrink to `capacity`, and its policy to evict what is over."""

    def constants(self) -> dict[str, Array]:
        """Arrays made again from the seed at every start: counted, but not saved."""
        return {}

    def grown(self, old_classes: int, old_contexts: int) -> None:
        """Give new rows their first values, where these are not zero."""

    def begin(self, experience: Experience) -> None:
        """Open an experience."""

    def end(self, experience: Experience) -> None:
        """Close an experience: consolidate."""

    @abstractmethod
    def step(self, batch: Batch) -> float:
        """Learn from `batch`; `epochs` may repeat it. Return the loss, or 0."""

    def remember(self, batch: Batch) -> None:
        """Offer every sample, exactly once, to the memories."""
        for memory in self.memories.values():
            memory.add(batch, self.rng)

    def settle(self) -> None:
        """Make the derived arrays afresh. Must not change what learning reads."""

    @abstractmethod
    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Scores (N, classes) of normalised latents (N, D), larger is likelier.

        Pure, and reads only published and derived arrays.
        """

    # What every strategy shares.

    @property
    def memory(self) -> ReplayMemory:
        """The replay memory named `memory`."""
        return self.memories["memory"]

    def check_contexts(self, contexts: Int64) -> None:
        """Raise ContextRequired if samples of these context ids cannot be learned."""

    def normalise(self, latents: Float32) -> Float32:
        """Latents (N, D) as the strategy sees them."""
        if self.options.normalise == "power_l2":
            return power_l2(latents)
        return l2(latents) if self.options.normalise == "l2" else latents

    def rehearse(self, count: int, memory: str = "memory") -> Batch:
        """A batch of up to `count` exemplars, normalised."""
        return self.normalised(self.memories[memory].sample(count, self.rng))

    def normalised(self, batch: Batch) -> Batch:
        """The batch with normalised latents."""
        return Batch(self.normalise(batch.latents), batch.classes, batch.contexts, batch.ids)

    def repeats(self, batch: Batch) -> int:
        """How many steps a batch is worth: the option `epochs`."""
        return self.options.epochs

    def presented(self, batch: Batch) -> Batch:
        """New raw samples as `step` gets them: normalised."""
        return self.normalised(batch)

    def observe(self, batch: Batch, *, remember: bool = True) -> None:
        """Learn `batch` in order, opening and closing experiences on the way.

        Parameters
        ----------
        batch
            Raw latents; their classes and contexts must have been grown for.
        remember
            False when the caller shows samples several times (passes over an
            experience) and this is not the one time that they are offered to the
            memories.
        """
        for part in self._experience_parts(batch):
            normal = self.presented(part)
            for _ in range(self.repeats(part)):
                self.step(normal)
            if remember:
                self.remember(part)
                self.experience.samples += len(part)

    def end_experience(self) -> None:
        """Close the open experience, if there is one."""
        if self.experience.is_open:
            self.end(self.experience)
            for name, plan in self.memory_plans().items():
                self.memories[name].end_experience()
                if plan.per_experience:
                    self.memories[name].clear()
            self.experience.is_open = False

    def held_out_scores(self, samples: Batch, scores: Float32) -> Float32 | None:
        """The scores (N, C) of learned samples as if each had not been learned.

        Pure. None where that cannot be told: then calibration has to discount what it reads
        from samples that were trained on.

        Parameters
        ----------
        samples
            N normalised samples that were learned.
        scores
            Theirs, (N, C), as they are.
        """
        return None

    def publish(self: Self) -> Self:
        """An immutable copy that only gives scores, for other threads."""
        self.settle()
        twin = copy.copy(self)
        twin.memories = {}
        for name, slot in self._slots.items():
            if slot.role is Role.PUBLISHED:
                setattr(twin, name, getattr(self, name).copy())
            elif slot.role is Role.PRIVATE:
                delattr(twin, name)
        del twin.rng
        for name, slot in self._slots.items():
            if slot.role is Role.DERIVED:
                delattr(self, name)
        return twin

    # Bytes.

    def fixed_bytes(self, classes: int, contexts: int) -> int:
        """Bytes of everything but the exemplars, at that many classes and contexts."""
        total = sum(slot.total_bytes for slot in self.slots(classes, contexts).values())
        total += sum(array.nbytes for array in self._bookkeeping().values())
        total += sum(array.nbytes for array in self.constants().values())
        for plan in self.memory_plans().values():
            codec = make_codec(plan.codec, self.spec)
            total += sum(array.nbytes for array in codec.arrays().values())
        return total

    def capacities(self, classes: int, contexts: int, allowed_bytes: int) -> dict[str, int]:
        """Exemplars that each memory may hold at that many classes and contexts.

        Raises
        ------
        BudgetExceeded
            If the fixed state, or the least useful memory beside it, does not fit.
        """
        fixed = self.fixed_bytes(classes, contexts)
        capacities, least_free = {}, 0
        for name, plan in self.memory_plans().items():
            row_bytes = make_codec(plan.codec, self.spec).row_bytes + sum(
                slot.stored_bytes for slot in self.columns(name, classes).values()
            )
            free = int(max(0, allowed_bytes - fixed) * plan.share)
            room = ReplayMemory.capacity_for(free, row_bytes, plan.selection)
            capacities[name] = room if plan.samples is None else min(room, plan.samples)
            least_samples = max(plan.least_samples, 1)
            least_bytes = ReplayMemory.bytes_for(row_bytes, least_samples, plan.selection)
            # What is free is shared out: the memory that needs most of it decides.
            least_free = max(least_free, -int(-least_bytes // plan.share))
        short = any(
            capacities[name] < min(plan.least_samples, plan.samples or plan.least_samples)
            for name, plan in self.memory_plans().items()
        )
        if fixed > allowed_bytes or short:
            raise BudgetExceeded(
                fixed + least_free,
                allowed_bytes,
                f"strategy {self.name!r} with {classes} classes and {contexts} contexts at "
                f"{self.spec.dim} values a latent; raise memory_budget, or take a smaller "
                "head, a shorter latent or a strategy with less state",
            )
        return capacities

    def admit(
        self, classes: int, contexts: int, new_samples: int, allowed_bytes: int
    ) -> dict[str, int]:
        """`capacities`, after asking whether `new_samples` more can be learned.

        Raises
        ------
        BudgetExceeded
            If the state does not fit, or a strategy that keeps every sample is full.
        """
        capacities = self.capacities(classes, contexts, allowed_bytes)
        if self.needs.history:
            for name, capacity in capacities.items():
                wanted = len(self.memories[name]) + new_samples
                if wanted > capacity:
                    row_bytes = self.memories[name].codec.row_bytes
                    raise BudgetExceeded(
                        allowed_bytes + (wanted - capacity) * row_bytes,
                        allowed_bytes,
                        f"strategy {self.name!r} keeps every sample, and {wanted:,} are more "
                        f"than the {capacity:,} that fit; raise memory_budget, or take a "
                        "strategy with a bounded memory",
                    )
        return capacities

    def grow(self, classes: int, contexts: int, allowed_bytes: int) -> None:
        """Make room for classes and contexts; evicts exemplars before it allocates.

        Raises
        ------
        BudgetExceeded
            Before anything has changed.
        """
        capacities = self.capacities(classes, contexts, allowed_bytes)
        for name, capacity in capacities.items():
            memory, columns = self.memories[name], self.columns(name, classes)
            if capacity < len(memory):
                self.make_room(name, capacity)
            if capacity != memory.capacity or columns != self.columns(name, self.classes):
                memory.resize(capacity, self.rng, columns)
        if (classes, contexts) == (self.classes, self.contexts):
            return
        old = {name: getattr(self, name) for name in self._state_names()}
        old_classes, old_contexts = self.classes, self.contexts
        self.classes, self.contexts = classes, contexts
        self._slots = self.slots(classes, contexts)
        self._allocate(old)
        self.grown(old_classes, old_contexts)

    def ledger(self) -> dict[str, int]:
        """Bytes by name; the published copy and derived arrays are `published`."""
        ledger = {name: getattr(self, name).nbytes for name in self._state_names()}
        ledger["bookkeeping"] = sum(array.nbytes for array in self._bookkeeping().values())
        ledger.update({name: array.nbytes for name, array in self.constants().items()})
        ledger["published"] = sum(
            slot.stored_bytes for slot in self._slots.values() if slot.role is not Role.PRIVATE
        )
        for memory_name, memory in self.memories.items():
            for part, size in memory.ledger_bytes().items():
                ledger[f"{memory_name}/{part}"] = size
        return ledger

    # Checkpoints.

    def arrays(self) -> dict[str, Array]:
        """The whole state; no two entries share storage."""
        arrays = {name: getattr(self, name) for name in self._state_names()}
        arrays.update(self._bookkeeping())
        for memory_name, memory in self.memories.items():
            for part, array in memory.arrays().items():
                arrays[f"{memory_name}/{part}"] = array
        return arrays

    def restore(
        self, arrays: Mapping[str, Array], classes: int, contexts: int, allowed_bytes: int
    ) -> None:
        """Become the strategy whose `arrays` these are; it continues bit-identically.

        Raises
        ------
        CheckpointError
            If an array is missing or has the wrong shape or type.
        """
        self.classes, self.contexts = classes, contexts
        self._slots = self.slots(classes, contexts)
        for name in self._state_names():
            setattr(self, name, _checked(arrays, name, self._slots[name]))
        self.memories = self._make_memories(allowed_bytes)
        for memory_name, memory in self.memories.items():
            prefix = f"{memory_name}/"
            memory.restore(
                {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            )
        set_generator_state(self.rng, _checked(arrays, "rng", Slot((6,), np.uint64)))
        index, context, samples, is_open = (
            int(v) for v in _checked(arrays, "experience", Slot((4,), np.int64))
        )
        self.experience = Experience(index, context, samples, bool(is_open))

    def _bookkeeping(self) -> dict[str, Array]:
        now = self.experience
        return {
            "rng": generator_state(self.rng),
            "experience": np.array(
                [now.index, now.context, now.samples, now.is_open], dtype=np.int64
            ),
        }

    def _state_names(self) -> list[str]:
        return [name for name, slot in self._slots.items() if slot.role is not Role.DERIVED]

    def _allocate(self, old: Mapping[str, Array]) -> None:
        for name in self._state_names():
            slot = self._slots[name]
            setattr(self, name, enlarged(old[name], slot) if name in old else zeros(slot))

    def _make_memories(self, allowed_bytes: int) -> dict[str, ReplayMemory]:
        capacities = self.capacities(self.classes, self.contexts, allowed_bytes)
        return {
            name: ReplayMemory(
                make_codec(plan.codec, self.spec),
                capacities[name],
                selection=plan.selection,
                retrieval=plan.retrieval,
                columns=self.columns(name, self.classes),
            )
            for name, plan in self.memory_plans().items()
        }

    def _experience_parts(self, batch: Batch) -> Iterator[Batch]:
        start = 0
        while start < len(batch):
            context = int(batch.contexts[start])
            self._open_experience(context)
            stop = min(start + self.options.batch_size, len(batch))
            changes = np.flatnonzero(batch.contexts[start:stop] != context)
            if len(changes):
                stop = start + int(changes[0])
            limit = self.options.experience_samples
            if limit is not None:
                stop = min(stop, start + max(1, limit - self.experience.samples))
            yield batch[start:stop]
            start = stop

    def _open_experience(self, context: int) -> None:
        now, limit = self.experience, self.options.experience_samples
        full = limit is not None and now.samples >= limit
        if now.is_open and (now.context != context or full):
            self.end_experience()
        if not self.experience.is_open:
            self.experience = Experience(now.index + 1, context, 0, True)
            for memory in self.memories.values():
                memory.begin_experience(self.experience.index)
            self.begin(self.experience)


def _checked(arrays: Mapping[str, Array], name: str, slot: Slot) -> Array:
    if name not in arrays:
        raise CheckpointError(f"the checkpoint has no array {name!r}; it is incomplete")
    array = arrays[name]
    if array.shape != slot.shape or array.dtype != np.dtype(slot.dtype):
        raise CheckpointError(
            f"array {name!r} is {array.dtype}{array.shape}, expected "
            f"{np.dtype(slot.dtype)}{slot.shape}; the checkpoint is of another version"
        )
    return array.copy()


class GradientStrategy(Strategy):
    """A strategy that trains a head by gradient steps.

    Subclasses override `training_batch` (what is in the batch), `loss` (what is
    minimised) or `shape_gradient` (what becomes of the gradient).
    """

    options_type: ClassVar[type[Options]] = HeadOptions
    last_layer_bias: ClassVar[bool] = True
    learns_denials: ClassVar[bool] = True

    weights: Float32
    membership: Bool

    def setup(self) -> None:
        """Build the head and its update rule."""
        options = self.head_options
        self.head = Head(self.spec.dim, options.hidden, bias=self.last_layer_bias)
        self.optimizer = options.make_optimizer()

    @property
    def head_options(self) -> HeadOptions:
        """The options, as those of a head."""
        assert isinstance(self.options, HeadOptions)
        return self.options

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Weights, the optimiser's state, and which class belongs to which context."""
        size = self.head.size(classes)
        slots = {"weights": Slot((size,), role=Role.PUBLISHED), **self.optimizer.slots(size)}
        if self.head_options.softmax_over == "context":
            slots["membership"] = Slot((contexts, classes), np.bool_, Role.PUBLISHED)
        return slots

    def initialise(self) -> None:
        """Random hidden layers; class rows start at zero."""
        self.weights[:] = self.head.initial(0, self.rng)

    def training_batch(self, batch: Batch) -> Batch:
        """What one step trains on."""
        return batch

    def loss(self, batch: Batch, forward: Forward) -> tuple[float, Float32]:
        """Loss and its gradient by the logits: mean cross-entropy."""
        logits = self.allowed_logits(forward.logits, batch.contexts)
        value = float(cross_entropy(logits, batch.classes).mean())
        return value, cross_entropy_gradient(logits, batch.classes)

    def shape_gradient(self, gradient: Float32, batch: Batch) -> Float32:
        """The gradient that the update rule gets."""
        return gradient

    def step(self, batch: Batch) -> float:
        """One gradient step on `training_batch`."""
        self._note_membership(batch)
        batch = self.training_batch(batch)
        value, gradient = self.loss_gradient(batch)
        self.update(self.shape_gradient(gradient, batch))
        return value

    def loss_gradient(self, batch: Batch) -> tuple[float, Float32]:
        """`loss` at the present weights, and its gradient by all of them, flat."""
        forward = self.head.forward(self.weights, batch.latents)
        value, by_logits = self.loss(batch, forward)
        return value, self.head.gradient(self.weights, forward, by_logits)

    def update(self, gradient: Float32) -> None:
        """Let the update rule change the weights."""
        state = {name: getattr(self, name) for name in self.optimizer.slots(0)}
        self.optimizer.update(self.weights, gradient, state)

    def present_weights(self) -> Float32:
        """The weights whose logits decide now."""
        return self.weights

    def deny(self, batch: Batch, denied: Bool) -> None:
        """For each sample a step of the class rows that moves its logits by `denial_direction`.

        Hidden layers, momentum and penalties have no part in it.
        """
        if not self.can_deny:
            super().deny(batch, denied)
        for latent, context, row in zip(batch.latents, batch.contexts, denied, strict=True):
            present, normal = self.present_weights(), self.normalise(latent[None])
            logits = self.allowed_logits(self.head.logits(present, normal), context[None])
            inputs = self.head.features(present, normal)
            if self.head.bias:
                inputs = np.concatenate([inputs, np.ones((1, 1), dtype=np.float32)], axis=1)
            inputs /= max(float((inputs * inputs).sum()), 1e-12)
            self.shift_rows(-denial_direction(logits, row[None]).T @ inputs)

    def shift_rows(self, change: Float32) -> None:
        """Add to what the class rows (C, row_size) are, now and later."""
        self.head.rows(self.weights)[:] += change

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Logits of the head, of the context's classes only if the softmax is so."""
        return self.scores_with(self.weights, latents, context)

    def scores_with(self, weights: Float32, latents: Float32, context: int | None) -> Float32:
        """As `scores`, of a head with these weights."""
        logits = self.head.logits(weights, latents)
        if self.head_options.softmax_over == "seen":
            return logits
        if context is None:
            raise ContextRequired(
                f"strategy {self.name!r} with softmax_over='context' needs a context to predict"
            )
        return self.allowed_logits(logits, np.full(len(logits), context, dtype=np.int64))

    def allowed_logits(self, logits: Float32, contexts: Int64) -> Float32:
        """Logits with those outside each sample's context at -1e9, if the option says so."""
        if self.head_options.softmax_over == "seen":
            return logits
        return np.where(self.membership[contexts], logits, np.float32(-1e9))

    def check_contexts(self, contexts: Int64) -> None:
        """Refuse samples without a context where the softmax is over the context's classes."""
        if self.head_options.softmax_over == "context" and (contexts == NO_CONTEXT).any():
            raise ContextRequired(
                f"strategy {self.name!r} with softmax_over='context' needs a context with "
                "every sample"
            )

    def _note_membership(self, batch: Batch) -> None:
        if self.head_options.softmax_over == "context":
            self.membership[batch.contexts, batch.classes] = True
