"""edge_cl: learn on the device, sample by sample, without forgetting, within fixed bytes.

A frozen, quantised extractor turns an image into a latent. A replay memory keeps
compressed latents within a byte budget. A small head learns from new and remembered
latents, by one of the continual-learning strategies of the literature.

>>> import numpy as np
>>> from edge_cl import Learner
>>> learner = Learner.create(strategy="ncm", dim=4, memory_budget="16KiB")
>>> learner.learn_latents(np.eye(4, dtype=np.float32), ["cup", "pen", "cup", "pen"])
>>> learner.predict_latents(np.eye(4, dtype=np.float32)[:1])[0].label
'cup'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_cl.errors import EdgeCLError

if TYPE_CHECKING:
    from edge_cl import strategies
    from edge_cl.learner import Learner
    from edge_cl.published import Published
    from edge_cl.types import LatentSpec, Prediction

__version__ = "0.1.0"

__all__ = [
    "EdgeCLError",
    "LatentSpec",
    "Learner",
    "Prediction",
    "Published",
    "__version__",
    "strategies",
]

# Imported when asked for: a health probe or a client that only sends must not pay for what learns.
_HOMES = {
    "LatentSpec": "edge_cl.types",
    "Learner": "edge_cl.learner",
    "Prediction": "edge_cl.types",
    "Published": "edge_cl.published",
}


def __getattr__(name: str) -> Any:
    if name == "strategies":
        return import_module("edge_cl.strategies")
    if name not in _HOMES:
        raise AttributeError(f"module 'edge_cl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
