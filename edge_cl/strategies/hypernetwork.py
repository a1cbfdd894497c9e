"""Hypernetworks: a network that remembers the weights of others."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import log_softmax
from edge_cl.head import Head
from edge_cl.isolation import IsolationOptions
from edge_cl.options import Options, Width
from edge_cl.state import Role, Slot
from edge_cl.strategy import Experience, GradientStrategy, Needs
from edge_cl.types import Batch, Float32, Int64


class HypernetworkOptions(IsolationOptions):
    """Options of the hypernetwork; `hidden` is the head that it makes."""

    hidden: tuple[Width, ...] = Field((32,), description="Widths of the made head's layers.")
    hyper_hidden: tuple[Width, ...] = Field(
        (32, 32), description="Widths of the hypernetwork's own hidden layers."
    )
    chunk_size: int = Field(
        256, ge=1, le=1 << 20, description="Weights of the head that are made at a time."
    )
    embedding_size: int = Field(
        8, ge=1, le=4096, description="Width of a context's embedding, and of a chunk's."
    )
    optimizer: Literal["sgd", "adam"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(1e-3, gt=0, le=100, description="Step length.")
    strength: float = Field(
        0.01, ge=0, description="Weight beta of keeping what is made for earlier contexts."
    )
    compared_contexts: int = Field(
        4, ge=1, le=1024, description="Earlier contexts, drawn at random, that a step compares."
    )


class Hypernetwork(GradientStrategy):
    """A small network makes the weights of each context's head from an embedding.

    Learning a context is held by what the network made for earlier ones before it began
    (von Oswald et al. 2020, eq. 2): outputs are compared, the network's own weights are
    free. It makes the head in chunks, each with an embedding. Without a context, the
    head whose answer has the lowest entropy is taken.
    """

    name: ClassVar[str] = "hypernetwork"
    paper: ClassVar[str] = "von Oswald, Henning, Sacramento & Grewe 2020, arXiv:1906.00695, eq. 2"
    needs: ClassVar[Needs] = Needs(boundaries=True)
    options_type: ClassVar[type[Options]] = HypernetworkOptions
    learns_denials: ClassVar[bool] = False

    old_weights: Float32
    embeddings: Float32

    @property
    def hyper_options(self) -> HypernetworkOptions:
        """The options, as the hypernetwork's."""
        assert isinstance(self.options, HypernetworkOptions)
        return self.options

    def setup(self) -> None:
        """Build the head, and the network that makes its weights."""
        super().setup()
        options = self.hyper_options
        self.maker = Head(2 * options.embedding_size, options.hyper_hidden)

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """What is learned, as it is and as it was before the context, and embeddings.

        `weights` is the embedding of the context in training, the network, and at the end,
        so that it may grow with the head, one embedding a chunk.
        """
        options = self.hyper_options
        chunks = -(-self.head.size(classes) // options.chunk_size)
        width = options.embedding_size
        size = width + self.maker.size(options.chunk_size) + chunks * width
        return {
            "weights": Slot((size,), role=Role.PUBLISHED),
            "old_weights": Slot((size,)),
            "embeddings": Slot((contexts, width), role=Role.PUBLISHED),
            "membership": Slot((contexts, classes), np.bool_, Role.PUBLISHED),
            **self.optimizer.slots(size),
        }

    def initialise(self) -> None:
        """A network whose outputs have variance 1; `scale` makes He et al.'s of it."""
        width, chunk = self.hyper_options.embedding_size, self.hyper_options.chunk_size
        maker = self.maker.initial(chunk, self.rng)
        rows = self.maker.rows(maker)
        rows[:, :-1] = self.rng.standard_normal((chunk, self.maker.feature_dim))
        rows /= np.float32(np.sqrt(self.maker.feature_dim))
        self.weights[width : width + len(maker)] = maker
        self._embed_chunks(width + len(maker))

    def grown(self, old_classes: int, old_contexts: int) -> None:
        """Embeddings of new chunks; as no context relies on them, they were always so."""
        chunk = self.hyper_options.chunk_size
        before = -(-self.head.size(old_classes) // chunk) * self.hyper_options.embedding_size
        self._embed_chunks(self.hyper_options.embedding_size + self.maker.size(chunk) + before)

    def _embed_chunks(self, start: int) -> None:
        self.weights[start:] = self.rng.standard_normal(len(self.weights) - start)
        self.old_weights[start:] = self.weights[start:]

    def begin(self, experience: Experience) -> None:
        """A random embedding, or the context's own; remember the network as it is."""
        width, context = self.hyper_options.embedding_size, experience.context
        known = bool(self.membership[context].any())
        self.weights[:width] = (
            self.embeddings[context] if known else self.rng.standard_normal(width)
        )
        self.embeddings[context] = self.weights[:width]
        self.old_weights[:] = self.weights
        for name in self.optimizer.slots(0):
            getattr(self, name)[:] = 0

    def split(self, weights: Float32) -> tuple[Float32, Float32]:
        """Views of the network and of the chunk embeddings (chunks, E) in `weights`."""
        width = self.hyper_options.embedding_size
        stop = width + self.maker.size(self.hyper_options.chunk_size)
        return weights[width:stop], weights[stop:].reshape(-1, width)

    def maker_inputs(self, weights: Float32, embeddings: Float32) -> Float32:
        """(K * chunks, 2 E): every context's embedding with every chunk's."""
        _, chunks = self.split(weights)
        count, width = embeddings.shape
        inputs = np.empty((count, len(chunks), 2 * width), dtype=np.float32)
        inputs[:, :, :width] = embeddings[:, None]
        inputs[:, :, width:] = chunks
        return inputs.reshape(-1, 2 * width)

    def scale(self) -> Float32:
        """(P,) deviation of each of the head's weights when it is first made."""
        scale = np.empty(self.head.size(self.classes), dtype=np.float32)
        for (matrix, bias), into in zip(self.head.layers(scale), self.head.widths, strict=False):
            matrix[:] = bias[:] = np.sqrt(2 / into)
        self.head.rows(scale)[:] = np.sqrt(1 / self.head.feature_dim)
        return scale

    def made_heads(self, weights: Float32, embeddings: Float32) -> Float32:
        """(K, P) flat weights of the heads of K embeddings (K, E)."""
        inputs = self.maker_inputs(weights, embeddings)
        maker, chunks = self.split(weights)
        outputs, scale = self.maker.logits(maker, inputs), self.scale()
        made: Float32 = outputs.reshape(len(embeddings), len(chunks) * outputs.shape[1])
        return made[:, : len(scale)] * scale

    def step(self, batch: Batch) -> float:
        """One step down the task's loss and the distance of earlier contexts' heads (eq. 2)."""
        self._note_membership(batch)
        context, width = int(batch.contexts[0]), self.hyper_options.embedding_size
        earlier = self.drawn_contexts(context)
        inputs = self.maker_inputs(self.weights, self.embeddings[[context, *earlier]])
        maker, _ = self.split(self.weights)
        forward = self.maker.forward(maker, inputs)
        outputs = forward.logits.reshape(1 + len(earlier), -1)
        heads = outputs[:, : self.head.size(self.classes)] * self.scale()
        value, by_heads = self.by_heads(batch, heads, earlier)
        by_outputs = np.zeros_like(outputs)
        by_outputs[:, : heads.shape[1]] = by_heads * self.scale()
        by_maker, by_inputs = self.maker.gradients(
            maker, forward, by_outputs.reshape(forward.logits.shape)
        )
        by_inputs = by_inputs.reshape(1 + len(earlier), -1, 2 * width)
        gradient = np.concatenate(
            [
                by_inputs[0, :, :width].sum(axis=0),
                by_maker,
                by_inputs[:, :, width:].sum(axis=0).ravel(),
            ]
        )
        self.update(gradient)
        self.embeddings[context] = self.weights[:width]
        return value

    def by_heads(self, batch: Batch, heads: Float32, earlier: Int64) -> tuple[float, Float32]:
        """Loss, and its gradient by the made heads: the present one, then earlier ones."""
        forward = self.head.forward(heads[0], batch.latents)
        value, by_logits = self.loss(batch, forward)
        gradient = np.empty_like(heads)
        gradient[0] = self.head.gradient(heads[0], forward, by_logits)
        targets = self.made_heads(self.old_weights, self.embeddings[earlier])
        weight = np.float32(2 * self.hyper_options.strength / max(len(earlier), 1))
        gradient[1:] = weight * self.relevant(earlier) * (heads[1:] - targets)
        return value, gradient

    def drawn_contexts(self, context: int) -> Int64:
        """Earlier contexts to compare in this step.

        A mean over a random few has the expectation of the mean over all t - 1.
        """
        known = np.flatnonzero(self.membership.any(axis=1))
        earlier: Int64 = known[known != context]
        count = self.hyper_options.compared_contexts
        if len(earlier) > count:
            earlier = np.sort(self.rng.choice(earlier, count, replace=False))
        return earlier

    def relevant(self, contexts: Int64) -> Float32:
        """(K, P) 1 for weights that decide a context's answers, 0 for other classes' rows."""
        relevant = np.ones((len(contexts), self.head.size(self.classes)), dtype=np.float32)
        rows = np.repeat(self.membership[contexts], self.head.row_size, axis=1)
        relevant[:, self.head.body_size :] = rows
        return relevant

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Logits of the context's classes, or of the context with the lowest entropy."""
        known = np.flatnonzero(self.membership.any(axis=1))
        answers, entropies = [], []
        for one in known.tolist() if context is None else [context]:
            made = self.made_heads(self.weights, self.embeddings[one : one + 1])[0]
            logits = self.head.logits(made, latents)
            answers.append(self.allowed_logits(logits, np.full(len(latents), one)))
            entropies.append(relative_entropy(logits[:, self.membership[one]]))
        best = np.argmin(entropies, axis=0)
        chosen: Float32 = np.asarray(answers)[best, np.arange(len(latents))]
        return chosen


def relative_entropy(logits: Float32) -> Float32:
    """(N,) entropy of the softmax of (N, C) as a part of the largest possible, ln C.

    1 for a single class: an answer without alternative says nothing about the context.
    """
    if logits.shape[1] < 2:
        return np.ones(len(logits), dtype=np.float32)
    logarithm = log_softmax(logits)
    entropy: Float32 = -(np.exp(logarithm) * logarithm).sum(axis=1)
    return entropy / np.float32(np.log(logits.shape[1]))
