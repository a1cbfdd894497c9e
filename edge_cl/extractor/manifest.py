"""What an extractor is: the description that travels inside its model file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from edge_cl.errors import ExtractorError
from edge_cl.types import LatentSpec

PREFIX = "edge_cl."
"""Keys of the model's metadata that belong to the manifest begin with this."""

FITS = ("squash", "crop")
"""How an image that is not as wide as it is high is made so; see `images.fit`."""

_COMPUTED = ("sha256", "file_bytes")


@dataclass(frozen=True)
class Manifest:
    """A frozen extractor, described.

    Parameters
    ----------
    id
        Name and version, such as ``edge-cl-builtin-1``.
    input_height, input_width
        Pixels of the input.
    dim
        Values in one latent.
    scale, zero_point
        A latent value is ``(code - zero_point) * scale``.
    sha256
        Of the model file: two extractors with the same digest give the same latents.
    file_bytes
        Size of the model file.
    input, output
        Names in the graph: uint8 (N, H, W, 3) in, uint8 (N, dim) out.
    colour
        Order of the input's channels.
    fit
        Aspect ratio policy, one of `FITS`.
    layer
        Where in the network the latent was taken.
    shape
        Of the latent there: (channels, height, width); empty for a plain vector.
    licence, training_data, recipe
        Under what terms, from which images (with their source and commit), and how
        the weights came about; ``unknown`` where the file does not say.
    accuracy
        Figures as measured when the file was built, by name.
    """

    id: str
    input_height: int
    input_width: int
    dim: int
    scale: float
    zero_point: int
    sha256: str = ""
    file_bytes: int = 0
    input: str = "image"
    output: str = "embedding_q"
    colour: str = "RGB"
    fit: str = "squash"
    layer: str = "unknown"
    shape: tuple[int, ...] = ()
    licence: str = "unknown"
    training_data: str = "unknown"
    recipe: str = "unknown"
    accuracy: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values that no image and no code could have."""
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.colour != "RGB":
            raise ExtractorError(f"extractor {self.id}: colour {self.colour!r}, only RGB is known")
        if self.fit not in FITS:
            raise ExtractorError(f"extractor {self.id}: fit {self.fit!r}, one of {FITS} is needed")
        if min(self.input_height, self.input_width, self.dim) < 1:
            raise ExtractorError(f"extractor {self.id}: sizes must be positive")
        if not self.scale > 0 or not 0 <= self.zero_point <= 255:
            raise ExtractorError(
                f"extractor {self.id}: scale {self.scale} must be above 0, "
                f"zero point {self.zero_point} from 0 to 255"
            )

    @property
    def spec(self) -> LatentSpec:
        """Width and quantisation of the latents."""
        return LatentSpec(self.dim, self.scale, self.zero_point)

    def to_metadata(self) -> dict[str, str]:
        """Key and value pairs for the model file; the digest is not among them."""
        return {
            PREFIX + f.name: json.dumps(getattr(self, f.name), sort_keys=True)
            for f in fields(self)
            if f.name not in _COMPUTED
        }

    @staticmethod
    def from_metadata(metadata: Mapping[str, str], sha256: str, file_bytes: int) -> Manifest:
        """The manifest in a model's metadata.

        Raises
        ------
        ExtractorError
            When a needed key is missing or has an impossible value.
        """
        known = {f.name for f in fields(Manifest)} - set(_COMPUTED)
        try:
            values: dict[str, Any] = {
                name: json.loads(metadata[PREFIX + name])
                for name in known
                if PREFIX + name in metadata
            }
            return Manifest(**values, sha256=sha256, file_bytes=file_bytes)
        except (TypeError, ValueError) as broken:
            raise ExtractorError(
                f"the model's manifest cannot be read ({broken}): write it anew with "
                "'edge-cl extractor build'"
            ) from broken
