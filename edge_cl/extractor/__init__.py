"""The frozen extractor: images of any kind in, uint8 latent codes out.

It needs NumPy, ONNX Runtime and Pillow, nothing else. Models are made and
imported by `edge_cl.toolchain`, which never runs on a device.
"""

from __future__ import annotations

from edge_cl.extractor.extractor import Extractor, load_extractor
from edge_cl.extractor.images import ImageLimits, decode_image
from edge_cl.extractor.manifest import Manifest

__all__ = ["Extractor", "ImageLimits", "Manifest", "decode_image", "load_extractor"]
