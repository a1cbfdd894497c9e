"""Latents into rows and out of them, through a codec that may have to learn on the way."""

from __future__ import annotations

import numpy as np

from edge_cl.codec import Codec
from edge_cl.memory.rows import Rows
from edge_cl.types import Array, Float32, Int64

_TRAINING_ROWS = 1024
_RE_ENCODED_ROWS = 256


def decode(rows: Rows, codec: Codec, slots: Array) -> Float32:
    """Latents of the rows in `slots`, (n, D)."""
    if not codec.fitted:
        return np.zeros((len(slots), codec.dim), dtype=np.float32)
    return codec.decode(rows.codes[slots])


def encode(rows: Rows, codec: Codec, slots: Int64, latents: Float32) -> Codec:
    """Write `latents`, (n, D), into `slots`.

    Returns
    -------
    The codec of all rows from now on: another one if `latents` were out of the
    range of `codec`, or taught it something; the older rows are then re-encoded.
    """
    if len(slots) == 0:
        return codec
    new = codec
    if codec.wants_training(rows.size):
        older = np.setdiff1d(np.arange(rows.size), slots)[-_TRAINING_ROWS:]
        new = codec.widened(np.concatenate([decode(rows, codec, older), latents]))
    elif not codec.covers(latents):
        new = codec.widened(latents)
    if new is not codec and codec.fitted:
        _re_encode(rows, codec, new)
    # A slot that was taken twice keeps the later sample: the last assignment wins.
    rows.codes[slots] = new.encode(latents)
    return new


def _re_encode(rows: Rows, old: Codec, new: Codec) -> None:
    for start in range(0, rows.size, _RE_ENCODED_ROWS):
        part = slice(start, min(start + _RE_ENCODED_ROWS, rows.size))
        rows.codes[part] = new.encode(old.decode(rows.codes[part]))
