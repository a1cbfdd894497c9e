"""The same exemplars in another memory: under another codec, or another policy."""

from __future__ import annotations

import numpy as np

from edge_cl.memory import latents
from edge_cl.memory.replay import ReplayMemory

CHUNK_ROWS = 256


def convert(source: ReplayMemory, empty: ReplayMemory, rng: np.random.Generator) -> None:
    """Fill `empty`, of the capacity and the columns of `source`, with the rows of `source`.

    Under the same selection policy each keeps its slot and what the policy noted of it;
    another policy is offered all of them, in order.
    """
    for start in range(0, len(source), CHUNK_ROWS):
        slots = np.arange(start, min(start + CHUNK_ROWS, len(source)))
        batch = source.rows(slots)
        columns = {name: column[slots] for name, column in source._rows.columns.items()}
        if empty.selection != source.selection:
            empty.add(batch, rng, columns=columns)
            continue
        for row, slot in enumerate(slots.tolist()):
            labels = (int(a[row]) for a in (batch.classes, batch.contexts, batch.ids))
            empty._rows.write(slot, *labels)
        empty.codec = latents.encode(empty._rows, empty.codec, slots, batch.latents)
        for name, values in columns.items():
            empty._rows.columns[name][slots] = values
    if empty.selection == source.selection:
        empty._policy.counters = list(source._policy.counters)
        noted = source._policy.arrays()
        for name, array in empty._policy.arrays().items():
            array[...] = noted[name]
