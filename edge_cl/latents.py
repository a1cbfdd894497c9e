"""Latents as callers give them, checked."""

from __future__ import annotations

import numpy as np

from edge_cl.errors import InvalidLatent
from edge_cl.types import Array, Float32, LatentSpec

LARGEST_LATENT = 1e6
"""Magnitude above which a latent value is taken for an error."""


def checked_latents(latents: Array, spec: LatentSpec) -> Float32:
    """Latents as finite float32 (N, D).

    Raises
    ------
    InvalidLatent
        With what was given and what is expected.
    """
    rows = np.asarray(latents)
    if rows.ndim != 2 or rows.shape[1] != spec.dim:
        raise InvalidLatent(
            f"latents have shape {rows.shape}, expected (N, {spec.dim}): this learner's "
            f"latents are {spec.dim} values wide"
        )
    if rows.dtype == np.uint8:
        if not spec.quantised:
            raise InvalidLatent("uint8 codes were given, but this learner's latents are float32")
        return spec.to_float(rows)
    if rows.dtype.kind != "f":
        raise InvalidLatent(f"latents must be float32 or uint8 codes, got {rows.dtype}")
    bad = ~(np.abs(rows) <= LARGEST_LATENT)
    if bad.any():
        n, d = (int(i) for i in np.argwhere(bad)[0])
        raise InvalidLatent(
            f"latent {n} has the value {rows[n, d]} at index {d}: values must be finite and at "
            f"most {LARGEST_LATENT:g} in magnitude"
        )
    return rows.astype(np.float32)
