"""Eight values in one byte: the product quantiser."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.codec.base import Codec
from edge_cl.errors import CheckpointError
from edge_cl.types import Array, Float32, LatentSpec, UInt8

WIDTH = 8
"""Values that share a code."""

CENTROIDS = 256
"""Code words of each group of values: one byte."""

TRAINED_ENOUGH = 1024
"""Latents after which the codebook is final."""

_ITERATIONS = 6
_SEED = 0


class ProductQuantiser(Codec):
    """Groups of 8 neighbouring values, each replaced by the nearest of 256 code words.

    The codebook learns online. Up to 256 latents are kept all but exactly, for
    each is its own code word; then k-means runs each time that their number has
    doubled, until `TRAINED_ENOUGH`. Those that came after the first 256 and
    before the codebook was final carry the error of two codebooks. It is kept as
    the extractor's codes (256 D bytes), or in half precision (512 D bytes), and
    is on the ledger from the start: it pays only for memories of thousands of
    rows.

    References
    ----------
    H. Jégou et al., Product quantization for nearest neighbor search, IEEE TPAMI
    33 (2011), eq. 8.
    """

    name: ClassVar[str] = "pq"

    def __init__(self, spec: LatentSpec) -> None:
        super().__init__(spec)
        self.groups = -(-spec.dim // WIDTH)
        self.row_bytes = self.groups
        kept_as = np.uint8 if spec.quantised else np.float16
        self._codebook: Array = np.zeros((self.groups, CENTROIDS, WIDTH), dtype=kept_as)
        self._trained_on = 0
        self._reach = float("inf")

    @property
    def fitted(self) -> bool:
        """Whether there is a codebook."""
        return self._trained_on > 0

    def covers(self, latents: Float32) -> bool:
        """Whether there is a codebook; latents unlike it get the nearest code words."""
        return self.fitted

    def wants_training(self, n_latents: int) -> bool:
        """See `Codec.wants_training`."""
        trained_on = self._trained_on
        is_exact = n_latents <= CENTROIDS
        return is_exact or (trained_on < TRAINED_ENOUGH and n_latents >= 2 * trained_on)

    def widened(self, latents: Float32) -> Codec:
        """A quantiser with a codebook learned from `latents` (at most 1,024 of them)."""
        if len(latents) == 0:
            return self
        wider = type(self)(self.spec)
        rng = np.random.default_rng(_SEED)
        if len(latents) > TRAINED_ENOUGH:
            latents = latents[np.sort(rng.permutation(len(latents))[:TRAINED_ENOUGH])]
        words = np.stack([k_means(group, rng) for group in self._grouped(latents)])
        wider._set_codebook(self._stored(words), len(latents))
        return wider

    def encode(self, latents: Float32) -> UInt8:
        """See `Codec.encode`; the nearest code word of each group."""
        codes = np.empty((len(latents), self.groups), dtype=np.uint8)
        for g, group in enumerate(self._grouped(np.asarray(latents, dtype=np.float32))):
            codes[:, g] = nearest(group, self._words[g])
        return codes

    def decode(self, codes: UInt8) -> Float32:
        """See `Codec.decode`; one look-up a group."""
        rows = self._words[np.arange(self.groups), codes]
        return np.ascontiguousarray(
            rows.reshape(len(codes), self.groups * rows.shape[-1])[:, : self.dim]
        )

    def error_bound(self) -> float:
        """Spread of the code words: a value between two of them is no further from either."""
        return self._reach

    def arrays(self) -> dict[str, Array]:
        """``codebook``: (D / 8, 256, 8) uint8 or float16, and ``trained_on``: (1,) int64."""
        trained_on = np.array([self._trained_on], dtype=np.int64)
        return {"codebook": self._codebook, "trained_on": trained_on}

    def restore(self, arrays: dict[str, Array]) -> None:
        """See `Codec.restore`."""
        codebook = arrays.get("codebook", np.zeros(0))
        if codebook.shape != self._codebook.shape or codebook.dtype != self._codebook.dtype:
            raise CheckpointError(f"codec pq expects a codebook of shape {self._codebook.shape}")
        self._set_codebook(codebook.copy(), int(arrays["trained_on"][0]))

    @property
    def _words(self) -> Float32:
        if not self.fitted:
            raise ValueError("codec pq has no codebook yet: call widened() with latents")
        return self._decoded

    def _set_codebook(self, codebook: Array, trained_on: int) -> None:
        self._codebook = codebook
        self._trained_on = trained_on
        self._decoded: Float32 = (
            self.spec.to_float(codebook) if self.spec.quantised else codebook.astype(np.float32)
        )
        self._reach = float(np.ptp(self._decoded)) if trained_on else float("inf")

    def _stored(self, words: Float32) -> Array:
        return self.spec.to_codes(words) if self.spec.quantised else words.astype(np.float16)

    def _grouped(self, latents: Float32) -> Float32:
        padded = np.zeros((len(latents), self.groups * WIDTH), dtype=np.float32)
        padded[:, : self.dim] = latents
        return padded.reshape(len(latents), self.groups, WIDTH).transpose(1, 0, 2)


def nearest(points: Float32, words: Float32) -> Array:
    """(N,) index of the nearest of the (K, W) `words` for each of the (N, W) `points`."""
    distances = np.einsum("kw,kw->k", words, words) - 2 * (points @ words.T)
    return np.asarray(np.argmin(distances, axis=1))


def k_means(points: Float32, rng: np.random.Generator) -> Float32:
    """`CENTROIDS` code words, (256, W), of (N, W) `points`, by Lloyd's iterations.

    Starts from distinct random points; words that lose all points stay. With no
    more points than words every point is a word.
    """
    words = np.zeros((CENTROIDS, points.shape[1]), dtype=np.float32)
    chosen = points[rng.permutation(len(points))[:CENTROIDS]]
    words[: len(chosen)] = chosen
    words[len(chosen) :] = chosen[0]
    if len(points) <= CENTROIDS:
        return words
    for _ in range(_ITERATIONS):
        owners = nearest(points, words)
        sizes = np.bincount(owners, minlength=CENTROIDS)
        sums = np.stack([np.bincount(owners, column, CENTROIDS) for column in points.T], axis=1)
        owned = sizes > 0
        words[owned] = sums[owned] / sizes[owned, None]
    return words
