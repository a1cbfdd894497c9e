"""What earlier versions of `slda_replay` saved, in the arrays that it keeps now.

They had means in 16-bit fixed point, directions of all features, samples that waited as
codes of whole latents, and at first no order of the features but the one drawn by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edge_cl import factors, fixed_point
from edge_cl.codec import make_codec
from edge_cl.layout import MEAN_BITS, Layout
from edge_cl.types import Array, Float32, LatentSpec

FIXED_POINT = 32767
"""Steps of their means in one unit."""

NAMES = "count", "mean", "waiting", "waits"


def upgraded(
    arrays: Mapping[str, Array],
    spec: LatentSpec,
    drawn: Array,
    normalise: Callable[[Float32], Float32],
) -> dict[str, Array]:
    """The same statistics, but for the last bits of means and waiting samples.

    Parameters
    ----------
    arrays
        All that was saved; returned as it is if it is not of an earlier version.
    spec
        Of the latents.
    drawn
        The order of the features where none was saved.
    normalise
        Latents as the strategy sees them.
    """
    layout = arrays.get("layout")
    if layout is None or layout.shape != (3,) or not all(name in arrays for name in NAMES):
        return dict(arrays)
    width, rank, waiting = layout.tolist()
    order, waits = arrays.get("order", drawn), int(arrays["waits"][0])
    means, steps = fixed_point.integers(arrays["mean"] / np.float32(FIXED_POINT), MEAN_BITS)
    codec = make_codec("uint8" if spec.quantised else "float16", spec)
    rows = np.zeros((len(arrays["waiting"]), width), dtype=np.float32)
    rows[:waits] = normalise(codec.decode(arrays["waiting"][:waits]))[:, order[:width]]
    waiting_codes, waiting_steps = fixed_point.to_8(rows)
    every = np.tile(np.arange(width), (len(means), 1))
    return {
        **arrays,
        "order": order,
        "layout": np.array(Layout(width, width, rank, waiting), dtype=np.int64),
        "mean": fixed_point.pack(means, MEAN_BITS),
        "mean_step": steps,
        "picked": factors.pick_bits(every, width),
        "waiting": waiting_codes,
        "waiting_step": waiting_steps,
    }
