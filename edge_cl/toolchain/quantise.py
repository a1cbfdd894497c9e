"""Static int8 quantisation of a float network into an extractor.

Activations become uint8, weights int8 of seven bits (``reduce_range``), per
channel. The eighth bit is given up on purpose: the fast kernels of CPUs without
VNNI add two products in 16 bits and would saturate, which costs far more
accuracy than the bit.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from edge_cl.toolchain import graph
from edge_cl.types import Float32, UInt8

CALIBRATION_BATCH = 16


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, pixels: Float32) -> None:
        parts = range(0, len(pixels), CALIBRATION_BATCH)
        self._batches: Iterator[dict[str, Float32]] = iter(
            [{name: pixels[k : k + CALIBRATION_BATCH]} for k in parts]
        )

    def get_next(self) -> dict[str, Float32] | None:
        """The next batch, or None at the end: the name is the runtime's."""
        return next(self._batches, None)


def normalise(images: UInt8, mean: Any, deviation: Any) -> Float32:
    """Normalised floats (N, 3, H, W) of uint8 (N, H, W, 3)."""
    planes = (images.astype(np.float32) - np.float32(mean)) / np.float32(deviation)
    return np.ascontiguousarray(planes.transpose(0, 3, 1, 2))


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with batch normalisation folded into convolutions and shapes inferred."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        onnx.save(model, str(before))
        quant_pre_process(str(before), str(after), skip_symbolic_shape=True)
        return onnx.load(str(after))


def quantise(
    model: onnx.ModelProto, pixels: Float32, input_step: tuple[float, int] | None = None
) -> onnx.ModelProto:
    """The int8 QDQ version of a float model.

    Ranges are the average over batches of each batch's extremes: single outliers
    then do not widen the steps of everything else.

    Parameters
    ----------
    model
        Ends at the latent.
    pixels
        Normalised calibration images.
    input_step
        Scale and zero point of the input, where they are known beforehand.
    """
    overrides = {}
    if input_step is not None:
        step = {
            "scale": np.array(input_step[0], np.float32),
            "zero_point": np.array(input_step[1], np.uint8),
        }
        overrides = {model.graph.input[0].name: [{"quant_type": QuantType.QUInt8, **step}]}
    log = logging.getLogger()
    level = log.level
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        onnx.save(model, str(before))
        log.setLevel(logging.ERROR)
        try:
            quantize_static(
                str(before), str(after), _Reader(model.graph.input[0].name, pixels),
                quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_exclude=graph.trailing(model),
                extra_options={
                    "CalibMovingAverage": True, "CalibMovingAverageConstant": 0.05,
                    "ActivationSymmetric": False, "WeightSymmetric": True,
                    "TensorQuantOverrides": overrides,
                },
            )  # fmt: skip
        finally:
            log.setLevel(level)
        return onnx.load(str(after))


def latents_of(model: onnx.ModelProto, inputs: Any, batch: int = 64) -> Any:
    """The first output of a model for all `inputs`."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    parts = [
        session.run(None, {name: inputs[k : k + batch]})[0] for k in range(0, len(inputs), batch)
    ]
    return np.concatenate(parts)


def latent_step(latents: Float32, coverage: float = 0.9999) -> tuple[float, int]:
    """Scale and zero point of uint8 codes that cover nearly all latent values.

    Parameters
    ----------
    latents
        Float latents of the calibration images.
    coverage
        Part of the values that must not be clipped; the rest would cost everybody
        resolution.
    """
    low = min(float(np.quantile(latents, 1 - coverage)), 0.0)
    if latents.min() >= 0:
        low = 0.0
    high = max(float(np.quantile(latents, coverage)), low + 1e-6)
    scale = (high - low) / 255
    return scale, round(-low / scale)


def to_extractor(
    model: onnx.ModelProto, images: UInt8, mean: Any, deviation: Any
) -> tuple[onnx.ModelProto, float, int]:
    """An int8 extractor with fused input of a float model that ends at the latent.

    Parameters
    ----------
    model
        Takes normalised floats (N, 3, H, W); its only output is the latent.
    images
        (N, H, W, 3) uint8 calibration images.
    mean, deviation
        Per channel, in pixels.

    Returns
    -------
    model, scale, zero_point
        Of the uint8 latent codes.
    """
    model = simplify(model)
    pixels = normalise(images, mean, deviation)
    small = quantise(model, pixels, graph.pixel_step(mean, deviation))
    scale, zero_point = latent_step(latents_of(small, pixels))
    graph.append_codes(small, scale, zero_point)
    graph.fuse_input(small, (images.shape[1], images.shape[2]), mean, deviation)
    onnx.checker.check_model(small)
    return small, scale, zero_point
