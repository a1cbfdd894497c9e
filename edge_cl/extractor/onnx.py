"""ONNX Runtime sessions: options, providers, the self-test, and manifests of bare models."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# It has to be said before ONNX Runtime is loaded: later, it has already made up an id for this
# device and written it below the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from edge_cl.errors import ExtractorError
from edge_cl.extractor.manifest import PREFIX, Manifest
from edge_cl.extractor.wire import names_external_file
from edge_cl.types import UInt8

logger = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Short names of the providers that are known to work."""

_BUILD = "'edge-cl extractor build' makes an extractor of it"

ort.disable_telemetry_events()


def read_model(path: Path) -> bytes:
    """The bytes of a model file that refers to no other file.

    Raises
    ------
    ExtractorError
        When there is no such file, or it is not a whole, self-contained ONNX model.
    """
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise ExtractorError(f"extractor {path}: {failure.strerror}") from failure
    try:
        external = names_external_file(memoryview(content))
    except ValueError as broken:
        raise ExtractorError(f"extractor {path}: not a whole ONNX file ({broken})") from broken
    if external:
        raise ExtractorError(
            f"extractor {path}: its tensors lie in another file, which is refused; save the "
            "model with its weights inside"
        )
    return content


def session_options(threads: int) -> ort.SessionOptions:
    """Options chosen for a small resident memory and an idle process that sleeps.

    Parameters
    ----------
    threads
        Threads inside one inference; the calling thread is one of them.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def full_names(providers: Sequence[str] | None) -> list[str]:
    """ONNX Runtime's names of the wanted providers; the CPU when none is named."""
    return [PROVIDERS.get(p.lower(), p) for p in providers or ("cpu",)]


def _with_options(provider: str) -> tuple[str, dict[str, Any]]:
    if provider == PROVIDERS["cuda"]:
        # By default the arena doubles: on boards that share memory with the GPU that hurts.
        return provider, {"arena_extend_strategy": "kSameAsRequested"}
    cache = os.environ.get("EDGE_CL_TENSORRT_CACHE")
    if provider == PROVIDERS["tensorrt"] and cache:
        # Building an engine takes minutes on a small board; a cached one loads in seconds.
        return provider, {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": cache,
            "trt_timing_cache_enable": True,
        }
    return provider, {}


def open_on(content: bytes, provider: str, threads: int) -> ort.InferenceSession:
    """A session on one provider, the CPU taking what that one cannot.

    Raises
    ------
    ExtractorError
        When the runtime refuses the model or the provider.
    """
    chain = [_with_options(p) for p in dict.fromkeys([provider, CPU])]
    try:
        session = ort.InferenceSession(content, session_options(threads), providers=chain)
    except Exception as failure:  # the runtime raises a dozen types without a common base
        raise ExtractorError(f"ONNX Runtime cannot load the model: {failure}") from failure
    session.disable_fallback()
    return session


def manifest_of(session: ort.InferenceSession, name: str, sha256: str, size: int) -> Manifest:
    """The manifest inside a model, or the one that a bare quantised model implies.

    A bare model qualifies when it takes uint8 (N, H, W, 3) and has a uint8
    (N, dim) output whose ``<output>_scale`` and ``<output>_zero_point`` are in its
    metadata.
    """
    metadata = session.get_modelmeta().custom_metadata_map
    if PREFIX + "id" in metadata:
        manifest = Manifest.from_metadata(metadata, sha256, size)
        _agree(session, manifest)
        return manifest
    images = [i for i in session.get_inputs() if i.type == "tensor(uint8)" and len(i.shape) == 4]
    if len(session.get_inputs()) != 1 or not images or images[0].shape[3] != 3:
        raise ExtractorError(f"{name} does not take uint8 RGB images (N, H, W, 3): {_BUILD}")
    height, width = images[0].shape[1:3]
    if not isinstance(height, int) or not isinstance(width, int):
        raise ExtractorError(f"{name} does not fix the size of its input: {_BUILD}")
    for output in session.get_outputs():
        scale = metadata.get(f"{output.name}_scale")
        if output.type == "tensor(uint8)" and len(output.shape) == 2 and scale is not None:
            return Manifest(
                id=name, input_height=height, input_width=width, dim=int(output.shape[1]),
                scale=float(scale), zero_point=int(metadata.get(f"{output.name}_zero_point", 0)),
                sha256=sha256, file_bytes=size, input=images[0].name, output=output.name,
                layer=output.name, licence=metadata.get("licence", "unknown"),
                recipe=metadata.get("source", "unknown"),
            )  # fmt: skip
    raise ExtractorError(f"{name} has no uint8 latent with a scale in its metadata: {_BUILD}")


def _agree(session: ort.InferenceSession, manifest: Manifest) -> None:
    size = [manifest.input_height, manifest.input_width, 3]
    inputs = {i.name: (i.type, list(i.shape[1:])) for i in session.get_inputs()}
    outputs = {o.name: (o.type, list(o.shape[1:])) for o in session.get_outputs()}
    if inputs != {manifest.input: ("tensor(uint8)", size)}:
        raise ExtractorError(f"{manifest.id}: the manifest says input {size}, the graph {inputs}")
    if outputs.get(manifest.output) != ("tensor(uint8)", [manifest.dim]):
        raise ExtractorError(
            f"{manifest.id}: the manifest says output {manifest.output} of {manifest.dim} uint8 "
            f"codes, the graph {outputs}"
        )


def test_pattern(manifest: Manifest) -> UInt8:
    """Two images with edges and colours of every frequency, the same on every machine."""
    row, column = np.mgrid[0 : manifest.input_height, 0 : manifest.input_width]
    planes = [(row * column) % 251, (row * row + column) % 241, (3 * row + 5 * column) % 239]
    image = np.stack(planes, axis=-1).astype(np.uint8)
    return np.stack([image, image[::-1, ::-1]])


def run(session: ort.InferenceSession, manifest: Manifest, images: UInt8) -> UInt8:
    """Codes (N, dim) of images that already have the right size."""
    codes: UInt8 = session.run([manifest.output], {manifest.input: images})[0]
    return codes


def self_test(session: ort.InferenceSession, manifest: Manifest) -> UInt8:
    """Codes of the test pattern, from one real inference.

    Raises
    ------
    ExtractorError
        When the inference fails, or what comes out are not usable latents.
    """
    try:
        codes = run(session, manifest, test_pattern(manifest))
    except Exception as failure:  # see open_on
        raise ExtractorError(f"{manifest.id}: the self-test failed: {failure}") from failure
    if codes.shape != (2, manifest.dim) or codes.dtype != np.uint8:
        raise ExtractorError(f"{manifest.id}: the self-test gave {codes.dtype} {codes.shape}")
    if np.ptp(codes) == 0:
        raise ExtractorError(f"{manifest.id}: the self-test gave the same code everywhere")
    return codes


def agreement(codes: UInt8, expected: UInt8, zero_point: int) -> float:
    """Smallest cosine between rows of two sets of codes."""
    a, b = (c.astype(np.float64) - zero_point for c in (codes, expected))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.min((a * b).sum(1) / np.maximum(lengths, 1e-12)))
