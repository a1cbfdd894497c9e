"""Elastic weight consolidation: weights that mattered are held where they were."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import softmax
from edge_cl.errors import ContextRequired
from edge_cl.head import Head
from edge_cl.options import HeadOptions, Options
from edge_cl.state import Slot
from edge_cl.strategy import Experience, GradientStrategy, MemoryPlan, Needs
from edge_cl.types import NO_CONTEXT, Batch, Bool, Float32, Int64

FISHER_ROWS = 256


class EWCOptions(HeadOptions):
    """Options of EWC."""

    optimizer: Literal["sgd", "adam"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(1e-2, gt=0, le=100, description="Step length.")
    strength: float = Field(100.0, ge=0, description="The paper's lambda, for the mean Fisher.")
    variant: Literal["online", "offline"] = Field(
        "online",
        description="One anchor and a decaying sum of Fishers, or an anchor and a Fisher for "
        "every context (the original, which needs a context with every sample).",
    )
    decay: float = Field(1.0, ge=0, le=1, description="The online variant's gamma.")
    fisher_samples: int = Field(
        2000, ge=1, description="Samples of an experience that its Fisher is computed on."
    )
    codec: str = Field("uint8", description="How these are stored until then.")


class EWC(GradientStrategy):
    """A quadratic penalty holds every weight by its Fisher information for old experiences.

    The penalty is lambda / 2 times the sum of F (theta - theta*)² over the anchors
    (Kirkpatrick et al. 2017, eq. 3), or over the last one with F = gamma F + F_new
    (Schwarz et al. 2018, section 3.2; Huszar 2018 on why one anchor is right). The Fisher
    is the exact diagonal, computed when an experience ends, from a window of its samples.
    """

    name: ClassVar[str] = "ewc"
    paper: ClassVar[str] = (
        "Kirkpatrick et al. 2017, arXiv:1612.00796, eq. 3; online: Schwarz et al. 2018, "
        "arXiv:1805.06370, section 3.2"
    )
    needs: ClassVar[Needs] = Needs(boundaries=True, second_pass=True)
    options_type: ClassVar[type[Options]] = EWCOptions

    importance: Float32
    anchor: Float32

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head's state; for every anchor a value and an importance for every weight."""
        anchors = contexts if self.ewc_options.variant == "offline" else 1
        held = Slot((anchors, self.head.size(classes)))
        return {**super().slots(classes, contexts), "importance": held, "anchor": held}

    def memory_plans(self) -> dict[str, MemoryPlan]:
        """A window of the present experience."""
        options = self.ewc_options
        return {
            "window": MemoryPlan(
                1.0, options.codec, samples=options.fisher_samples, per_experience=True
            )
        }

    def shape_gradient(self, gradient: Float32, batch: Batch) -> Float32:
        """The loss's gradient and the penalty's."""
        strength = np.float32(self.ewc_options.strength)
        for importance, anchor in zip(self.importance, self.anchor, strict=True):
            gradient += strength * importance * (self.weights - anchor)
        return gradient

    def end(self, experience: Experience) -> None:
        """Move the anchor here, and say how much each weight matters."""
        row = experience.context if self.ewc_options.variant == "offline" else 0
        keep = 0.0 if self.ewc_options.variant == "offline" else self.ewc_options.decay
        self.importance[row] *= np.float32(keep)
        self.importance[row] += window_fisher(self, self.weights)
        self.anchor[row] = self.weights

    def check_contexts(self, contexts: Int64) -> None:
        """Refuse samples without a context where every context has its own anchor."""
        super().check_contexts(contexts)
        if self.ewc_options.variant == "offline" and (contexts == NO_CONTEXT).any():
            raise ContextRequired(
                f"strategy {self.name!r} with variant='offline' keeps an anchor for every "
                "context and needs one with every sample; 'online' does without"
            )

    @property
    def ewc_options(self) -> EWCOptions:
        """The options, as those of EWC."""
        assert isinstance(self.options, EWCOptions)
        return self.options


def fisher(head: Head, weights: Float32, latents: Float32, allowed: Bool | None = None) -> Float32:
    """Sum over samples of the Fisher information's diagonal, flat.

    For every sample the square of the gradient of log p(c | x) is weighted by p(c | x) and
    summed over all classes c: the expectation over the model's own labels, exactly.

    Parameters
    ----------
    weights
        (P,) where it is computed.
    latents
        (N, D), normalised.
    allowed
        (N, C) classes in each sample's softmax; None for all.
    """
    forward = head.forward(weights, latents)
    logits = forward.logits
    p = softmax(logits if allowed is None else np.where(allowed, logits, np.float32(-1e9)))
    total = np.zeros_like(weights)
    for c in range(p.shape[1]):
        by_logits = -p
        by_logits[:, c] += 1
        # Squaring turns the root of the weight into the weight.
        by_logits *= np.sqrt(p[:, c : c + 1])
        total += head.squared_gradient(weights, forward, by_logits)
    return total


def window_fisher(strategy: GradientStrategy, weights: Float32) -> Float32:
    """Mean Fisher diagonal of the strategy's head at `weights`, over its window."""
    window, total = strategy.memories["window"], np.zeros_like(weights)
    by_context = strategy.head_options.softmax_over == "context"
    for chunk in window.chunks(FISHER_ROWS):
        batch = strategy.normalised(chunk)
        allowed = strategy.membership[batch.contexts] if by_context else None
        total += fisher(strategy.head, weights, batch.latents, allowed)
    total /= np.float32(max(len(window), 1))
    return total
