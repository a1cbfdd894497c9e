"""From the samples of a request to one matrix of latents, or to all that is wrong with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from edge_cl.errors import EdgeCLError
from edge_cl.extractor import ImageLimits
from edge_cl.frontends import Frontend
from edge_cl.latents import LARGEST_LATENT
from edge_cl.names import checked_name
from edge_cl.types import Array, LatentSpec
from service.bodies import Item
from service.errors import Faults, Problem, of_library
from service.meters import Meters
from service.operations import Sample

if TYPE_CHECKING:
    from edge_cl.extractor import Extractor
    from service.store import Origin

__all__ = ["LatentMaker", "check_extractors", "checked_samples"]

CHUNK_SAMPLES = 16
LONGEST_TEXT_BYTES = 128
BYTES_OF = {"uint8": 1, "float16": 2, "float32": 4}


class Notes(NamedTuple):
    """What a client may say of a sample beside its label; see `service.operations.Sample`."""

    context: str | None
    device: str | None
    captured_at: str | None
    metadata: str | None


class LatentMaker:
    """Makes latents of whatever a client sent.

    Parameters
    ----------
    limits
        What images may be.
    meters
        Instruments.
    """

    def __init__(self, limits: ImageLimits, meters: Meters) -> None:
        self._limits = limits
        self._meters = meters
        self.used_at = time.monotonic()
        """When an extractor was used last."""

    def latents(
        self,
        items: Sequence[Item],
        spec: LatentSpec,
        extractor: Extractor | None,
        frontend: Frontend | None = None,
        look: Callable[[dict[int, Array]], None] | None = None,
        show: Callable[[int, Image.Image], None] | None = None,
    ) -> Array:
        """(N, D) uint8 codes if every sample has them, else float32.

        Parameters
        ----------
        items
            The samples.
        spec
            What the learner's latents are.
        extractor
            Makes them of images; None if the learner takes none.
        frontend
            Makes them of recordings, if the learner has one.
        look
            Is shown the pixels that the extractor sees, by row, a few at a time.
        show
            Is shown each image as it was decoded, with its row.

        Raises
        ------
        Problem
            With a pointer to each sample that cannot be used.
        """
        rows: list[Array | None] = [None] * len(items)
        faults = Faults()
        for start in range(0, len(items), CHUNK_SAMPLES):
            # A chunk at a time, so that only a few decoded images are held.
            chunk = range(start, min(start + CHUNK_SAMPLES, len(items)))
            images = {}
            for row in chunk:
                with faults.collected():
                    item = items[row]
                    if item.image is not None:
                        decoded, images[row] = self._pixels(item, extractor, frontend)
                        if show is not None:
                            show(row, decoded)
                    elif item.sound is not None or item.series is not None:
                        rows[row] = self._recorded(item, extractor, frontend)
                    else:
                        rows[row] = _latent(item, spec)
            if images and not faults and extractor is not None:
                self._extract(extractor, images, rows)
                if look is not None:
                    look(images)
        faults.raise_any()
        return _matrix([row for row in rows if row is not None], spec)

    def _recorded(
        self, item: Item, extractor: Extractor | None, frontend: Frontend | None
    ) -> Array:
        """The codes of a sound or a series."""
        name, field = ("sound", "audio_b64") if item.series is None else ("series", "series")
        pointer = _pointer(item, field)
        if frontend is None or frontend.name != name:
            raise Problem("invalid", _refusal(extractor is not None, frontend)).at(pointer)
        try:
            with self._meters.predict.labels("extract").time():
                return frontend.code(item.sound if name == "sound" else item.series)
        except EdgeCLError as error:
            raise of_library(error).at(pointer) from error

    def _pixels(
        self, item: Item, extractor: Extractor | None, frontend: Frontend | None
    ) -> tuple[Image.Image, Array]:
        """An image as it was decoded, and as the extractor sees it."""
        pointer = _pointer(item, "image_b64")
        if extractor is None or item.image is None:
            raise Problem("invalid", _refusal(extractor is not None, frontend)).at(pointer)
        try:
            with self._meters.predict.labels("decode").time():
                decoded = extractor.decoded(item.image, self._limits)
                return decoded, extractor.fitted(decoded)
        except EdgeCLError as error:
            raise of_library(error).at(pointer) from error

    def _extract(
        self, extractor: Extractor, images: dict[int, Array], rows: list[Array | None]
    ) -> None:
        with self._meters.predict.labels("extract").time():
            self.used_at = time.monotonic()
            codes = extractor.extract(np.stack(list(images.values())))
            self.used_at = time.monotonic()
        for row, code in zip(images, codes, strict=True):
            rows[row] = code


def _pointer(item: Item, field: str) -> str:
    return f"{item.pointer}/{field}" if item.pointer.startswith("/samples") else item.pointer


def _refusal(takes_images: bool, frontend: Frontend | None) -> str:
    """What a learner takes, to who sent something else."""
    if frontend is not None:
        return f"this learner takes {frontend.takes}, or latents"
    return f"this learner takes {'images, or latents' if takes_images else 'latents only'}"


def check_extractors(items: Sequence[Item], origin: Origin) -> None:
    """Problem for samples that say they come from another extractor than the learner's."""
    known = (origin.extractor, origin.extractor_sha256)
    faults = Faults()
    for item in items:
        if item.extractor is not None and item.extractor not in known:
            own = "has none" if origin.extractor is None else f"is taught by {origin.extractor!r}"
            detail = f"the latent is of extractor {str(item.extractor)[:80]!r}, the learner {own}"
            with faults.collected():
                raise Problem("extractor-mismatch", detail).at(f"{item.pointer}/extractor")
    faults.raise_any()


def checked_samples(items: Sequence[Item]) -> tuple[Sample, ...]:
    """The labels and notes of a request's samples; Problem when one cannot be used."""
    samples, faults = [], Faults()
    for item in items:
        with faults.collected():
            samples.append(_sample(item))
    faults.raise_any()
    return tuple(samples)


def checked_text(value: Any, name: str, pointer: str) -> str | None:
    """An optional short text of a client; Problem when it cannot be used."""
    if value is None:
        return None
    try:
        return checked_name(value, name)
    except EdgeCLError as error:
        raise of_library(error).at(f"{pointer}/{name}") from error


def checked_notes(item: Item) -> Notes:
    """What is said of a sample beside its label; Problem when something cannot be used."""
    return Notes(
        checked_text(item.context, "context", item.pointer),
        checked_text(item.device, "device", item.pointer),
        checked_text(item.captured_at, "captured_at", item.pointer),
        item.metadata,
    )


def _sample(item: Item) -> Sample:
    label = checked_text(item.label, "label", item.pointer)
    if label is None:
        raise Problem("invalid-label", "a sample to learn needs a label").at(
            f"{item.pointer}/label"
        )
    return Sample(label, **checked_notes(item)._asdict())


def _latent(item: Item, spec: LatentSpec) -> Array:
    try:
        if isinstance(item.latent, bytes):
            latent = _from_bytes(item.latent, item.dtype, spec)
        else:
            latent = _from_numbers(item.latent or [], spec)
    except Problem as fault:
        raise fault.at(f"{item.pointer}/latent") from fault
    return latent


def _from_numbers(numbers: list[Any], spec: LatentSpec) -> Array:
    if not all(type(number) in (int, float) for number in numbers):
        raise Problem("invalid-latent", "a latent is a list of numbers")
    if len(numbers) != spec.dim:
        raise _wrong_width(f"{len(numbers)} numbers", spec)
    try:
        values = np.array(numbers, dtype=np.float64)
    except OverflowError as error:
        raise Problem("invalid-latent", "a number is too large for a latent") from error
    return _finite(values)


def _from_bytes(content: bytes, dtype: Any, spec: LatentSpec) -> Array:
    if dtype is None:
        dtype = next((n for n, size in BYTES_OF.items() if len(content) == size * spec.dim), None)
        if dtype is None:
            raise _wrong_width(f"{len(content)} bytes", spec)
    if not isinstance(dtype, str) or dtype not in BYTES_OF:
        raise Problem("invalid-latent", f"dtype is one of {', '.join(BYTES_OF)}")
    if len(content) != BYTES_OF[dtype] * spec.dim:
        raise _wrong_width(f"{len(content)} bytes of {dtype}", spec)
    values = np.frombuffer(content, dtype=np.dtype(dtype).newbyteorder("<"))
    if dtype != "uint8":
        return _finite(values.astype(np.float64))
    if not spec.quantised:
        raise Problem("invalid-latent", "this learner's latents are float32: it has no uint8 codes")
    return values


def _finite(values: Array) -> Array:
    bad = np.flatnonzero(~(np.abs(values) <= LARGEST_LATENT))
    if len(bad):
        raise Problem(
            "invalid-latent",
            f"value {bad[0]} is {values[bad[0]]}: values must be finite and at most "
            f"{LARGEST_LATENT:g} in magnitude",
        )
    return values.astype(np.float32)


def _wrong_width(what: str, spec: LatentSpec) -> Problem:
    sizes = ", ".join(f"{size * spec.dim} of {name}" for name, size in BYTES_OF.items())
    return Problem(
        "invalid-latent",
        f"the latent has {what}; this learner's have {spec.dim} values (bytes: {sizes})",
    )


def _matrix(rows: Sequence[Array], spec: LatentSpec) -> Array:
    if all(row.dtype == np.uint8 for row in rows):
        return np.stack(rows)
    return np.stack([spec.to_float(row) if row.dtype == np.uint8 else row for row in rows])
