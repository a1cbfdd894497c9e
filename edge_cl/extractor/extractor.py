"""The frozen extractor: images in, latent codes out."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_cl.errors import ExtractorError, ExtractorMismatch, InvalidInput, MissingExtra
from edge_cl.extractor import onnx
from edge_cl.extractor.images import ImageLimits, Source, fit, rgb_image
from edge_cl.extractor.manifest import Manifest
from edge_cl.types import LatentSpec, UInt8

if TYPE_CHECKING:
    from types import ModuleType

    import onnxruntime as ort

    from edge_cl.extractor.replay_layer import Cut, ReplayLayer

logger = logging.getLogger(__name__)

BUILTIN = "default"
"""The name of the extractor that comes with the package."""

AT = "@"
"""Stands between an extractor's name and the layer at which its latent is taken."""

CHUNK_SAMPLES = 8
"""Images in one inference: more would cost memory and gain no time."""

MIN_AGREEMENT = 0.98
"""Smallest cosine between an accelerator's latents and the CPU's in the self-test."""


class Extractor:
    """A frozen network that turns images into uint8 latent codes.

    Made by `load_extractor`. All methods may be called from many threads at once:
    they share one session (and its weights) unless they are given one each, and with
    one thread per inference, the default, each caller computes on its own core.
    `release` and `close` wait for nobody: a call that is under way finishes on the
    session that it holds.

    The codes of an image do not depend on the images that are extracted with it.

    Parameters
    ----------
    path
        The model file.
    threads
        Threads inside one inference.
    providers
        Execution providers to try, in this order.
    session_per_thread
        Whether every calling thread gets a session of its own.
    layer
        Where the latent is taken; at the model's own output when None.
    """

    def __init__(
        self,
        path: Path,
        threads: int,
        providers: Sequence[str] | None,
        session_per_thread: bool = False,
        layer: str | None = None,
    ) -> None:
        self.path = path
        self.layer = layer
        self._session_per_thread = session_per_thread
        self._own = threading.local()
        self._threads = threads
        self._providers = onnx.full_names(providers)
        self._lock = threading.Lock()
        self._closed = False
        content = onnx.read_model(path)
        self._file_sha256 = hashlib.sha256(content).hexdigest()
        cpu = onnx.open_on(content, onnx.CPU, threads)
        self._whole = onnx.manifest_of(cpu, path.name, self._file_sha256, len(content))
        self.manifest: Manifest = self._whole
        self.tail: bytes | None = None
        if layer is not None:
            part = _cut(content, self._whole, layer)
            content, self.manifest, self.tail = part.front, part.manifest, part.tail
            cpu = onnx.open_on(content, onnx.CPU, threads)
        self._session: ort.InferenceSession | None = None
        self.provider = onnx.CPU
        self._session = self._choose(content, cpu)

    @property
    def spec(self) -> LatentSpec:
        """Width and quantisation of the latents, and the layers above them."""
        return replace(self.manifest.spec, tail=self.tail)

    def at(self, layer: str) -> Extractor:
        """The same model, with the latent taken at a layer.

        Raises
        ------
        ExtractorError, MissingExtra
            As `load_extractor`; also when it is cut already.
        ExtractorMismatch
            When the file has been replaced.
        """
        if self.layer is not None:
            raise ExtractorError(
                f"extractor {self.manifest.id} is cut already: name the layer there"
            )
        self.model()
        return Extractor(self.path, self._threads, self._providers, self._session_per_thread, layer)

    @property
    def loaded(self) -> bool:
        """Whether the session is in memory; `extract` loads it when it is not."""
        return self._session is not None

    def _choose(self, content: bytes, cpu: ort.InferenceSession) -> ort.InferenceSession:
        expected = onnx.self_test(cpu, self.manifest)
        for name in self._providers:
            if name == onnx.CPU:
                break
            try:
                session = onnx.open_on(content, name, self._threads)
                if name not in session.get_providers():
                    raise ExtractorError("it is not in this build of ONNX Runtime, or did not load")
                codes = onnx.self_test(session, self.manifest)
                cosine = onnx.agreement(codes, expected, self.manifest.zero_point)
                if not cosine >= MIN_AGREEMENT:
                    raise ExtractorError(f"its latents differ from the CPU's (cosine {cosine:.3f})")
            except ExtractorError as reason:
                logger.warning("extractor: provider %s cannot be used: %s", name, reason)
                continue
            self.provider = name
            return session
        if self._providers[0] != onnx.CPU:
            logger.warning("extractor: runs on %s instead of %s", onnx.CPU, self._providers[0])
        self.provider = onnx.CPU
        return cpu

    def _open(self) -> ort.InferenceSession:
        with self._lock:
            if self._closed:
                raise ExtractorError(f"extractor {self.manifest.id} is closed")
            if self._session is None:
                self._session = self._open_another()
            return self._session

    def _open_another(self) -> ort.InferenceSession:
        return onnx.open_on(self.model(), self.provider, self._threads)

    def model(self) -> bytes:
        """The model, if its file still is the one that was loaded; ExtractorMismatch if not."""
        content = onnx.read_model(self.path)
        if hashlib.sha256(content).hexdigest() != self._file_sha256:
            raise ExtractorMismatch(
                f"extractor {self.path} has been replaced since it was loaded; its latents "
                "would not match those that are stored: restart with the old file, or "
                "teach anew"
            )
        return content if self.layer is None else _cut(content, self._whole, self.layer).front

    def replay_layers(self) -> list[ReplayLayer]:
        """The layers at which it can be cut; MissingExtra without the package onnx."""
        cutting = _cutting("listing an extractor's layers")
        found: list[ReplayLayer] = cutting.layers_of(self.model(), self.manifest)
        return found

    def _session_here(self) -> ort.InferenceSession:
        """The session for the calling thread; its own one lives as long as the shared one."""
        shared = self._open()
        if not self._session_per_thread:
            return shared
        if getattr(self._own, "beside", None) is not shared:
            self._own.session, self._own.beside = self._open_another(), shared
        own: ort.InferenceSession = self._own.session
        return own

    def extract(self, images: UInt8) -> UInt8:
        """Latent codes of prepared images.

        Parameters
        ----------
        images
            (N, H, W, 3) uint8 RGB of the manifest's size; `prepare` makes them.

        Returns
        -------
        ndarray
            (N, dim) uint8 codes.
        """
        size = (self.manifest.input_height, self.manifest.input_width, 3)
        if images.dtype != np.uint8 or images.shape[1:] != size:
            raise InvalidInput(
                f"images are uint8 (N, {size[0]}, {size[1]}, 3), not {images.dtype} {images.shape}"
            )
        session = self._session_here()
        codes = np.empty((len(images), self.manifest.dim), np.uint8)
        for start in range(0, len(images), CHUNK_SAMPLES):
            rows = slice(start, start + CHUNK_SAMPLES)
            codes[rows] = onnx.run(session, self.manifest, np.ascontiguousarray(images[rows]))
        return codes

    def prepare(self, image: Source, limits: ImageLimits | None = None) -> UInt8:
        """An image of any kind and size as this extractor wants it.

        Parameters
        ----------
        image
            Encoded bytes, a PIL image, or a uint8 array (H, W), (H, W, 3) or (H, W, 4).
        limits
            What may be decoded; `ImageLimits()` when None.

        Returns
        -------
        ndarray
            (input_height, input_width, 3) uint8 RGB.
        """
        return self.fitted(self.decoded(image, limits))

    def decoded(self, image: Source, limits: ImageLimits | None = None) -> Image.Image:
        """The first half of `prepare`: upright RGB, of any size that is large enough."""
        enough_px = 2 * max(self.manifest.input_height, self.manifest.input_width)
        return rgb_image(image, limits or ImageLimits(), enough_px=enough_px)

    def fitted(self, image: Image.Image) -> UInt8:
        """The second half of `prepare`: `decoded` as the extractor sees it."""
        manifest = self.manifest
        return fit(image, manifest.input_height, manifest.input_width, manifest.fit)

    def release(self) -> None:
        """Give the session's memory back; the next `extract` loads it again."""
        with self._lock:
            self._session = None

    def close(self) -> None:
        """Give the session's memory back for good."""
        with self._lock:
            self._session = None
            self._closed = True

    def __enter__(self) -> Extractor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Extractor {self.manifest.id} on {self.provider}>"


def _cutting(purpose: str) -> ModuleType:
    """What cuts extractors; only here, since whoever does not does without the package onnx."""
    try:
        return import_module("edge_cl.extractor.replay_layer")
    except ImportError as error:
        raise MissingExtra(purpose, "onnx") from error


def _cut(content: bytes, manifest: Manifest, layer: str) -> Cut:
    parts: Cut = _cutting("an extractor that is cut at a layer").cut(content, manifest, layer)
    return parts


def split_source(source: str | Path) -> tuple[str | Path, str | None]:
    """``NAME@LAYER`` as the model's name and the layer; None where there is no layer."""
    words = str(source)
    if AT not in words or Path(words).exists():
        return source, None
    name, _, layer = words.rpartition(AT)
    return name, layer


def builtin_path() -> Path:
    """Where the built-in extractor's model file lies."""
    return Path(str(resources.files("edge_cl.extractor").joinpath("assets", "builtin.onnx")))


def load_extractor(
    source: str | Path = BUILTIN,
    *,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    session_per_thread: bool = False,
) -> Extractor:
    """The built-in extractor, or the one in a model file, tested by one real inference.

    Parameters
    ----------
    source
        ``"default"`` for the built-in one, or the path of an ONNX file; with ``@LAYER``
        behind it, the latent is taken at that layer, which needs the package onnx.
    threads
        Threads inside one inference; 1 when None, which is fastest for single images
        and lets callers in several threads run side by side.
    providers
        Names of execution providers to try in this order, such as
        ``("tensorrt", "cuda", "cpu")``; the CPU when None. One that fails its self-test
        is passed over with a warning in the log, and the CPU is always the last resort.
    session_per_thread
        Give every calling thread a session of its own instead of one for all. A session
        of the built-in extractor takes 16 MB, and the CPU provider runs calls of several
        threads side by side in one session anyway; a provider that does not may gain.

    Raises
    ------
    ExtractorError
        When the file is missing, damaged, foreign, fails the self-test, or has no such
        layer.
    MissingExtra
        For a layer, without the package onnx.
    """
    if threads is not None and threads < 1:
        raise InvalidInput(f"threads is {threads}, at least 1 is needed")
    name, layer = split_source(source)
    path = builtin_path() if name == BUILTIN else Path(name)
    return Extractor(path, threads or 1, providers, session_per_thread, layer)
