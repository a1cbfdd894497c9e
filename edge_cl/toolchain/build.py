"""``edge-cl extractor build``: an extractor from a torch module, a float or an int8 ONNX model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_cl.errors import ExtractorError
from edge_cl.extractor.extractor import Extractor, load_extractor
from edge_cl.extractor.manifest import Manifest
from edge_cl.toolchain import parity as check
from edge_cl.toolchain.extras import optional
from edge_cl.toolchain.samples import Samples, read_samples
from edge_cl.toolchain.sources import IMAGENET_DEVIATION, IMAGENET_MEAN, load_network

if TYPE_CHECKING:
    import onnx

CALIBRATION_SAMPLES = 512


@dataclass(frozen=True)
class Order:
    """What to build, and what to say about it in the manifest.

    Parameters
    ----------
    source
        See `edge_cl.toolchain.sources.load_network`.
    out
        The model file to write.
    samples
        Folder of images or data pack, for calibration and parity.
    id
        Name and version; the output's file name when None.
    layer
        The tensor that becomes the latent; the last global average when None.
    size
        Height and width; the model's own where it fixes them, else 224 x 224.
    mean, deviation
        Per channel, in pixels: what the model expects is ``(pixel - mean) / deviation``.
        A model that takes uint8 pixels needs neither.
    fit
        Aspect ratio policy.
    licence, training_data, recipe
        For the manifest.
    weights, download
        For torch modules.
    """

    source: str
    out: Path
    samples: Path
    id: str | None = None
    layer: str | None = None
    size: tuple[int, int] | None = None
    mean: Sequence[float] = IMAGENET_MEAN
    deviation: Sequence[float] = IMAGENET_DEVIATION
    fit: str = "squash"
    licence: str = "unknown"
    training_data: str = "unknown"
    recipe: str = "unknown"
    weights: Path | None = None
    download: bool = False


@dataclass(frozen=True)
class Made:
    """An extractor's graph before its manifest, and the reference for its parity.

    Parameters
    ----------
    model
        uint8 images in, uint8 codes out.
    reference
        What it was made from, cut at the same layer.
    inputs
        What the reference takes for the samples.
    scale, zero_point
        Of the codes.
    """

    model: onnx.ModelProto
    reference: onnx.ModelProto
    inputs: Any
    scale: float
    zero_point: int


def build(order: Order, min_cosine: float, max_probe_drop: float) -> check.Parity:
    """Build an extractor; the file appears only if its parity report passes.

    Raises
    ------
    ExtractorError
        When the source cannot be used, or the result is too far from it.
    MissingExtra
        When a package is not installed.
    """
    optional("onnx", "building extractors")
    from edge_cl.toolchain import graph

    model = load_network(order.source, order.size or (224, 224), order.weights, order.download)
    size = graph.input_size(model) or order.size or (224, 224)
    layer = order.layer or graph.default_layer(model)
    samples = read_samples(order.samples, size, order.fit)
    whole = graph.quantised(model)
    reference = graph.cut(model, graph.codes_behind(model, layer) if whole else layer)
    make = _import_quantised if whole else _quantise
    made = make(order, reference, samples)
    manifest = _manifest(order, made, layer, size)
    return _write(order, made, manifest, samples, (min_cosine, max_probe_drop))


def _quantise(order: Order, reference: onnx.ModelProto, samples: Samples) -> Made:
    from edge_cl.toolchain import quantise

    calibration = samples.images[:CALIBRATION_SAMPLES]
    model, scale, zero_point = quantise.to_extractor(
        reference, calibration, order.mean, order.deviation
    )
    inputs = quantise.normalise(samples.images, order.mean, order.deviation)
    return Made(model, reference, inputs, scale, zero_point)


def _import_quantised(order: Order, reference: onnx.ModelProto, samples: Samples) -> Made:
    from edge_cl.toolchain import graph, quantise

    rows = graph.takes_uint8_rows(reference)
    inputs: Any = samples.images
    if not rows:
        inputs = quantise.normalise(samples.images, order.mean, order.deviation)
    latent = reference.graph.output[0].name
    step = graph.quantisation(reference, latent) if graph.is_codes(reference, latent) else None
    if step is None:
        calibration = quantise.latents_of(reference, inputs[:CALIBRATION_SAMPLES])
        step = quantise.latent_step(calibration)
    model = type(reference)()
    model.CopyFrom(reference)
    graph.append_codes(model, *step)
    if rows:
        graph.rename_input(model)
    else:
        graph.fuse_input(model, samples.images.shape[1:3], order.mean, order.deviation)
    return Made(model, reference, inputs, *step)


def _manifest(order: Order, made: Made, layer: str, size: tuple[int, int]) -> Manifest:
    dim = made.model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    return Manifest(
        id=order.id or order.out.stem, input_height=size[0], input_width=size[1], dim=dim,
        scale=float(np.float32(made.scale)), zero_point=made.zero_point,
        input="image", output="embedding_q", fit=order.fit, layer=layer, licence=order.licence,
        training_data=order.training_data, recipe=order.recipe,
    )  # fmt: skip


def _write(
    order: Order, made: Made, manifest: Manifest, samples: Samples, bars: tuple[float, float]
) -> check.Parity:
    """Write beside the target, measure, and move into place only what passes."""
    from edge_cl.toolchain import graph

    order.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=order.out.parent) as folder:
        draft = Path(folder, "draft.onnx")
        graph.write_manifest(made.model, manifest)
        draft.write_bytes(made.model.SerializeToString())
        report = compare(draft, made, samples)
        report.require(*bars)
        graph.write_manifest(made.model, replace(manifest, accuracy=report.figures()))
        draft.write_bytes(made.model.SerializeToString())
        load_extractor(draft).close()
        os.replace(draft, order.out)
    return report


def compare(path: Path, made: Made, samples: Samples) -> check.Parity:
    """The parity of an extractor file with the reference that it was made from."""
    from edge_cl.toolchain import quantise

    with load_extractor(path) as extractor:
        codes = extractor.extract(samples.images)
        latents = extractor.spec.to_float(codes)
        expected = quantise.latents_of(made.reference, made.inputs)
        if expected.dtype == np.uint8:
            expected = (expected.astype(np.float32) - made.zero_point) * np.float32(made.scale)
        expected = expected.reshape(len(expected), -1)
        alone = np.concatenate([extractor.extract(i[None]) for i in samples.images[:16]])
        steps = np.abs(alone.astype(int) - codes[:16].astype(int)).max()
        spent = _cpu_ms(extractor, made, samples)
    found = check.cosines(latents, expected)
    probes: tuple[float | None, float | None] = (None, None)
    if samples.labels is not None and len(samples.labels) >= 20 * (samples.labels.max() + 1):
        probes = tuple(check.ridge_percent(x, samples.labels) for x in (latents, expected))  # type: ignore[assignment]
    size_ratio = path.stat().st_size / len(made.reference.SerializeToString())
    return check.Parity(
        float(found.mean()), float(found.min()), int(steps), *spent, size_ratio, *probes
    )


def _cpu_ms(extractor: Extractor, made: Made, samples: Samples) -> tuple[float, float]:
    from edge_cl.extractor import onnx as runtime

    session = runtime.open_on(made.reference.SerializeToString(), runtime.CPU, 1)
    name, one = session.get_inputs()[0].name, made.inputs[:1]
    if not session.get_outputs():
        raise ExtractorError("the reference has no output")
    return check.median_cpu_ms(
        lambda: extractor.extract(samples.images[:1]), lambda: session.run(None, {name: one})
    )
