"""Replay of product-quantised latents."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.equations import cross_entropy, cross_entropy_gradient
from edge_cl.options import HeadOptions, MemoryOptions, Options
from edge_cl.strategy import GradientStrategy
from edge_cl.types import Batch, Float32


class RemindOptions(HeadOptions, MemoryOptions):
    """Options of REMIND."""

    codec: str = Field("pq", description="How an exemplar is stored.")
    selection: str = Field("class_balanced", description="Which samples stay in the memory.")
    replay_batch: int = Field(50, ge=1, le=65536, description="Exemplars replayed in one step.")
    mixup: float = Field(
        0.1,
        ge=0,
        description="Both parameters of the beta distribution by which two exemplars are "
        "mixed into one; 0 mixes none.",
    )


class Remind(GradientStrategy):
    """Learns from reconstructions: of the new sample, and of many exemplars, mixed.

    A latent is stored as the indices of its code words, an eighth of a byte a value, so
    that the memory holds many. The new sample goes through the same quantiser, and each
    replayed one is a mixture of two exemplars of any classes, with the loss mixed alike
    (Hayes et al. 2020, section 4).
    """

    name: ClassVar[str] = "remind"
    paper: ClassVar[str] = (
        "Hayes et al. 2020, arXiv:1910.02509, section 4; mixup: Zhang et al. 2018, "
        "arXiv:1710.09412, eq. 1"
    )
    options_type: ClassVar[type[Options]] = RemindOptions

    def presented(self, batch: Batch) -> Batch:
        """New samples as the memory would give them back, once its codec has learned."""
        codec = self.memory.codec
        if not codec.fitted:
            return self.normalised(batch)
        latents = codec.decode(codec.encode(batch.latents))
        return Batch(self.normalise(latents), batch.classes, batch.contexts, batch.ids)

    def step(self, batch: Batch) -> float:
        """One step on the new samples, which are not mixed, and the mixed exemplars."""
        options = self.options
        assert isinstance(options, RemindOptions)
        self._note_membership(batch)
        one, other = self.rehearse(options.replay_batch), self.rehearse(options.replay_batch)
        share = self.shares(len(one))
        mixed = share[:, None] * one.latents + (1 - share)[:, None] * other.latents
        forward = self.head.forward(self.weights, np.concatenate([batch.latents, mixed]))
        weight = np.concatenate([np.ones(len(batch), dtype=np.float32), share])
        value, by_logits = 0.0, np.zeros_like(forward.logits)
        for partner, part in ((one, weight), (other, 1 - weight)):
            rows = Batch.concat([batch, partner])
            logits = self.allowed_logits(forward.logits, rows.contexts)
            value += float((part * cross_entropy(logits, rows.classes)).mean())
            by_logits += part[:, None] * cross_entropy_gradient(logits, rows.classes)
        self.update(self.head.gradient(self.weights, forward, by_logits))
        return value

    def shares(self, count: int) -> Float32:
        """Share (count,) of the first exemplar in each mixture, Beta(mixup, mixup)."""
        assert isinstance(self.options, RemindOptions)
        parameter = self.options.mixup
        if parameter == 0:
            return np.ones(count, dtype=np.float32)
        return self.rng.beta(parameter, parameter, count).astype(np.float32)
