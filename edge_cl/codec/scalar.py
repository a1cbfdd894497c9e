"""Each value on its own, on a grid of ``2**bits`` levels: the base of the integer codecs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_cl.codec.base import Codec, widest
from edge_cl.codec.bits import pack, packed_bytes, unpack
from edge_cl.codec.span import Span
from edge_cl.errors import CheckpointError
from edge_cl.types import Array, Float32, LatentSpec, UInt8


class ScalarCodec(Codec):
    """A uniform grid over a range, or one that is finer near zero.

    With codes from the extractor the range is that of the codes, 0 to 255, and
    nothing has to be learned. Plain float latents teach the codec its range
    (`Span.of`), which is then kept as two numbers, or two a channel.

    A companded grid is uniform in ``sign(x) sqrt(|x|)``: latents after a ReLU
    and an average pool crowd near zero.

    Attributes
    ----------
    bits
        Bits of one value.
    companded
        Whether the levels are uniform on the square-root axis.
    per_channel
        Whether every channel of float latents has its own range.
    """

    bits: ClassVar[int]
    companded: ClassVar[bool] = False
    per_channel: ClassVar[bool] = False

    def __init__(self, spec: LatentSpec) -> None:
        super().__init__(spec)
        self.row_bytes = packed_bytes(spec.dim, self.bits)
        self._span: Span | None = None
        if spec.quantised:
            ends = spec.to_float(np.array([0, 255], dtype=np.uint8))
            self._set_span(Span(ends[:1], ends[1:]))

    @property
    def fitted(self) -> bool:
        """Whether the range is known."""
        return self._span is not None

    def covers(self, latents: Float32) -> bool:
        """See `Codec.covers`; False until fitted."""
        return self._span is not None and (len(latents) == 0 or self._span.covers(latents))

    def widened(self, latents: Float32) -> Codec:
        """See `Codec.widened`; with extractor codes the range is fixed, and this is self."""
        if self.spec.quantised or len(latents) == 0:
            return self
        wider = type(self)(self.spec)
        if self._span is None:
            wider._set_span(Span.of(latents, per_channel=self.per_channel))
        else:
            wider._set_span(self._span.united(latents))
        return wider

    def encode(self, latents: Float32) -> UInt8:
        """See `Codec.encode`; to the nearest level on the grid's axis."""
        span = self._known()
        steps = self._warp(np.asarray(latents, dtype=np.float32)) - self._warp(span.low)
        steps *= 1 / self._step
        np.rint(steps, out=steps)
        np.clip(steps, 0, self._top, out=steps)
        return pack(steps.astype(np.uint8), self.bits)

    def decode(self, codes: UInt8) -> Float32:
        """See `Codec.decode`; one table look-up a value, or a byte where bits divide it."""
        self._known()
        if self._bytewise is not None:
            latents = self._bytewise[codes].view(np.float32)
            return np.ascontiguousarray(latents[:, : self.dim])
        values = unpack(codes, self.bits, self.dim)
        if not self.per_channel or self.spec.quantised:
            return np.asarray(self._levels[0][values], dtype=np.float32)
        return self._unwarped(values.astype(np.float32))

    def error_bound(self) -> float:
        """Half a step (companded: one step at the far end), and float32 rounding; inf unfitted."""
        if self._span is None:
            return float("inf")
        reach = max(widest(self._span.low), widest(self._span.high))
        rounding = 8 * float(np.finfo(np.float32).eps) * reach
        step = float(self._step.max())
        return (float(np.sqrt(reach)) * step if self.companded else step / 2) + rounding

    def arrays(self) -> dict[str, Array]:
        """``range``: (2, 1) or (2, D) float32, all 0 until fitted; nothing with extractor codes."""
        if self.spec.quantised:
            return {}
        if self._span is None:
            channels = self.dim if self.per_channel else 1
            return {"range": np.zeros((2, channels), dtype=np.float32)}
        return {"range": np.stack([self._span.low, self._span.high])}

    def restore(self, arrays: dict[str, Array]) -> None:
        """See `Codec.restore`.

        Raises
        ------
        CheckpointError
            The range has another shape than this codec's.
        """
        expected = {name: array.shape for name, array in self.arrays().items()}
        if {name: array.shape for name, array in arrays.items()} != expected:
            raise CheckpointError(f"codec {self.name} expects arrays {expected}")
        if expected:
            low, high = arrays["range"].astype(np.float32)
            if np.any(low) or np.any(high):
                self._set_span(Span(low, high))
            else:
                self._span = None

    @property
    def _top(self) -> int:
        return int((1 << self.bits) - 1)

    def _set_span(self, span: Span) -> None:
        self._span = span
        warped_low = self._warp(span.low)
        self._step = (self._warp(span.high) - warped_low) / np.float32(self._top)
        grid = np.arange(self._top + 1, dtype=np.float32)
        shared = len(span.low) == 1
        self._levels = self._unwarped(grid[:, None]).T if shared else np.empty((0, 0), np.float32)
        # All values of a byte are fetched as one word: a half or a quarter of the look-ups.
        whole = shared and self.bits in (2, 4)
        self._bytewise = _byte_table(self._levels[0], self.bits) if whole else None

    def _known(self) -> Span:
        if self._span is None:
            raise ValueError(f"codec {self.name} has no range yet: call widened() with latents")
        return self._span

    def _warp(self, latents: Float32) -> Float32:
        if not self.companded:
            return latents + np.float32(0)
        return np.asarray(np.copysign(np.sqrt(np.abs(latents)), latents), dtype=np.float32)

    def _unwarped(self, steps: Float32) -> Float32:
        axis = np.asarray(steps * self._step + self._warp(self._known().low), dtype=np.float32)
        return axis * np.abs(axis) if self.companded else axis


def _byte_table(levels: Float32, bits: int) -> Array:
    """(256,) words of 8 / bits float32: the levels of all values in a byte."""
    shifts = np.arange(0, 8, bits)
    values = (np.arange(256)[:, None] >> shifts) & ((1 << bits) - 1)
    word = np.int64 if bits == 4 else np.complex128
    return np.array(levels[values].view(word)[:, 0])
