"""The replay memory: what stays (selection), how it is kept (codec), what comes back (retrieval).

``docs/memory.md`` has the table of bytes and of what each policy does.
"""

from __future__ import annotations

from edge_cl.memory.replay import ReplayMemory
from edge_cl.memory.retrieval import retrievals
from edge_cl.memory.selection import selections
from edge_cl.memory.tiered import TieredMemory

__all__ = ["ReplayMemory", "TieredMemory", "retrievals", "selections"]
