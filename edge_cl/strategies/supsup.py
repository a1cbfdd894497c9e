"""SupSup: supermasks of a random network that is never trained."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import cross_entropy, cross_entropy_gradient, log_softmax
from edge_cl.errors import Conflict
from edge_cl.head import Forward
from edge_cl.isolation import IsolationOptions, MaskStrategy, matrices, matrix_positions
from edge_cl.optimizer import Optimizer
from edge_cl.options import Options, Width
from edge_cl.state import Role, Slot
from edge_cl.strategy import Experience, Needs
from edge_cl.types import NO_CONTEXT, Batch, Bool, Float32, Int64


class SupSupOptions(IsolationOptions):
    """Options of SupSup; the optimiser is that of the mask scores."""

    hidden: tuple[Width, ...] = Field((128,), description="Widths of hidden layers.")
    optimizer: Literal["sgd", "adam"] = Field("adam", description="Update rule of the scores.")
    learning_rate: float = Field(1e-2, gt=0, le=100, description="Step length of the scores.")
    outputs: int = Field(
        100,
        ge=2,
        le=65536,
        description="Output units, and so classes at most; those no class has yet sharpen the "
        "guess of the context.",
    )
    kept: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Part of each layer's weights in a mask, those of the highest scores; "
        "null keeps scores of 0 and more.",
    )
    infer_from: Literal["sample", "batch"] = Field(
        "sample",
        description="Guess the context of each sample, or one for all samples of a call.",
    )


class SupSup(MaskStrategy):
    """Finds for every context a subnetwork of one fixed random network.

    The weights are signed constants made from the seed and take no memory; a context is one
    bit a weight (Wortsman et al. 2020, section 3). Without a context, all masks are
    superposed, and the one along which the entropy of the output falls fastest is taken
    (there, scenario GN, one shot).
    """

    name: ClassVar[str] = "supsup"
    paper: ClassVar[str] = "Wortsman et al. 2020, arXiv:2006.14769, section 3"
    needs: ClassVar[Needs] = Needs(boundaries=True)
    options_type: ClassVar[type[Options]] = SupSupOptions
    last_layer_bias: ClassVar[bool] = False

    @property
    def supsup_options(self) -> SupSupOptions:
        """The options, as SupSup's."""
        assert isinstance(self.options, SupSupOptions)
        return self.options

    @property
    def mask_rule(self) -> Optimizer:
        """The optimiser of the options."""
        return self.optimizer

    @property
    def mask_size(self) -> int:
        """All weights, output layer included."""
        return self.head.size(self.supsup_options.outputs)

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Masks, scores, and which class belongs to which context; no weights."""
        membership = Slot((contexts, classes), np.bool_, Role.PUBLISHED)
        return {"membership": membership, **self.mask_slots(contexts)}

    def initialise(self) -> None:
        """Nothing: the weights come from the seed."""

    def admit(
        self, classes: int, contexts: int, new_samples: int, allowed_bytes: int
    ) -> dict[str, int]:
        """As every strategy's; raises Conflict if there are more classes than outputs."""
        capacities = super().admit(classes, contexts, new_samples, allowed_bytes)
        if classes > self.supsup_options.outputs:
            raise Conflict(
                f"strategy 'supsup' has {self.supsup_options.outputs} output units, and "
                f"{classes} classes are asked for; make a learner with more outputs"
            )
        return capacities

    def maskable(self) -> Float32:
        """Plus or minus one constant a layer, the same on every machine; no biases.

        The constant is He et al.'s deviation for the part of the weights that a mask keeps.
        """
        words = np.random.Philox(key=self.seed).random_raw(-(-self.mask_size // 64))
        bits = np.unpackbits(words.astype("<u8").view(np.uint8), count=self.mask_size)
        weights = bits.astype(np.float32) * 2 - 1
        for part, into in matrices(self.head, self.supsup_options.outputs):
            weights[part] *= np.float32(np.sqrt(2 / (into * (self.supsup_options.kept or 0.5))))
        hidden = self.head.body_size
        weights[:hidden] *= matrix_positions(self.head)
        return weights

    def initial_scores(self) -> Float32:
        """Random scores of the scale of weights, of which half are positive."""
        scores = self.rng.uniform(-1, 1, self.mask_size).astype(np.float32)
        for part, into in matrices(self.head, self.supsup_options.outputs):
            scores[part] /= np.float32(np.sqrt(into))
        return scores

    def scores_of(self, mask: Bool) -> Float32:
        """Random scores whose signs are the mask's."""
        magnitude = np.abs(self.initial_scores())
        return np.where(mask, magnitude, -magnitude)

    def mask_of(self, scores: Float32) -> Bool:
        """Scores of 0 and more, or the highest of each layer."""
        kept = self.supsup_options.kept
        if kept is None:
            return np.asarray(scores >= 0)
        mask = np.zeros(self.mask_size, dtype=np.bool_)
        for part, _ in matrices(self.head, self.supsup_options.outputs):
            mask[part] = scores[part] >= np.quantile(scores[part], 1 - kept)
        return mask

    def seen_weights(self, context: int) -> Float32:
        """The random weights under the context's mask."""
        return self.maskable() * self.mask(context)

    def claim_rows(self, batch: Batch) -> None:
        """Nothing: the output layer is masked like the others."""

    def loss(self, batch: Batch, forward: Forward) -> tuple[float, Float32]:
        """Cross-entropy over all outputs, so that those of no class are pushed down."""
        value = float(cross_entropy(forward.logits, batch.classes).mean())
        return value, cross_entropy_gradient(forward.logits, batch.classes)

    def learn(self, context: int, gradient: Float32) -> None:
        """Train the mask: the only thing that is learned."""
        self.train_mask(context, gradient)

    def end(self, experience: Experience) -> None:
        """Nothing: the mask is up to date."""

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Logits of the classes of the context, or of the one that is guessed."""
        contexts = np.full(len(latents), NO_CONTEXT if context is None else context)
        if context is None:
            contexts = self.guessed_contexts(latents)
        logits = np.empty((len(latents), self.classes), dtype=np.float32)
        for one in np.unique(contexts):
            rows = contexts == one
            logits[rows] = self.head.logits(self.seen_weights(one), latents[rows])[
                :, : self.classes
            ]
        return self.allowed_logits(logits, contexts)

    def guessed_contexts(self, latents: Float32) -> Int64:
        """(N,) contexts whose coefficients lower the entropy fastest."""
        known = np.flatnonzero(self.membership.any(axis=1))
        descent = -self.entropy_gradient(latents, known)
        if self.supsup_options.infer_from == "batch":
            descent = np.broadcast_to(descent.sum(axis=0), descent.shape)
        guessed: Int64 = known[descent.argmax(axis=1)]
        return guessed

    def entropy_gradient(self, latents: Float32, known: Int64) -> Float32:
        """(N, T) gradient of each sample's output entropy by each mask's coefficient.

        At equal coefficients 1/T. By a layer's masked weights M * W a sample's gradient is the
        product of its delta with what the layer gives through that mask alone, so that one
        backward pass and a forward pass a mask do.
        """
        weights = [self.seen_weights(int(context)) for context in known]
        mixed: Float32 = np.mean(weights, axis=0, dtype=np.float32)
        forward = self.head.forward(mixed, latents)
        logarithm = log_softmax(forward.logits)
        probability = np.exp(logarithm)
        entropy = -(probability * logarithm).sum(axis=1, keepdims=True)
        by_logits = -probability * (logarithm + entropy)
        deltas = self.head.deltas(mixed, forward, by_logits)
        gradient = np.zeros((len(latents), len(known)), dtype=np.float32)
        for column, masked in zip(gradient.T, weights, strict=True):
            layers = [*(matrix for matrix, _ in self.head.layers(masked)), self.head.rows(masked)]
            for matrix, delta, inputs in zip(layers, deltas, forward.inputs, strict=True):
                column += (delta * (inputs @ matrix.T)).sum(axis=1)
        return gradient
