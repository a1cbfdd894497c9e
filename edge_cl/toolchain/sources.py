"""Where a network comes from: an ONNX file, a torch module, or a name of a model zoo."""

from __future__ import annotations

import importlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_cl.errors import ExtractorError
from edge_cl.toolchain.extras import optional

if TYPE_CHECKING:
    import onnx
    import torch

ZOOS = ("torchvision", "timm")

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)
"""What networks from the zoos expect their pixels to be normalised with."""


def load_network(
    source: str, side_px: tuple[int, int], weights: Path | None = None, download: bool = False
) -> onnx.ModelProto:
    """A network as ONNX.

    Parameters
    ----------
    source
        A path that ends in ``.onnx``; ``torchvision:NAME`` or ``timm:NAME``; or
        ``package.module:callable`` where the callable returns a torch module.
    side_px
        Height and width to export a torch module with.
    weights
        A state dict (``.safetensors``, or ``.pt`` read without executing anything).
    download
        Whether a zoo may fetch its own weights.

    Raises
    ------
    ExtractorError
        When the source cannot be found or its weights do not fit.
    MissingExtra
        When a package that it needs is not installed.
    """
    if source.endswith(".onnx"):
        onnx_package = optional("onnx", "reading ONNX models")
        try:
            return onnx_package.load(source)  # type: ignore[no-any-return]
        except Exception as failure:  # protobuf and onnx share no base class
            raise ExtractorError(f"{source} cannot be read as ONNX: {failure}") from failure
    optional("torch", "exporting a torch module")
    module = torch_module(source, download)
    if weights is not None:
        _load_weights(module, weights)
    return export_torch(module, side_px)


def torch_module(source: str, download: bool) -> torch.nn.Module:
    """The torch module that a source names, without local weights."""
    package, _, name = source.partition(":")
    if not name:
        raise ExtractorError(
            f"{source!r} is neither an .onnx file, nor torchvision:NAME, timm:NAME or "
            "package.module:callable"
        )
    try:
        if package == "torchvision":
            zoo = optional("torchvision.models", f"the network {name}", "torch")
            return zoo.get_model(name, weights="DEFAULT" if download else None)  # type: ignore[no-any-return]
        if package == "timm":
            zoo = optional("timm", f"the network {name}", "torch")
            return zoo.create_model(name, pretrained=download)  # type: ignore[no-any-return]
        return getattr(importlib.import_module(package), name)()  # type: ignore[no-any-return]
    except (ModuleNotFoundError, AttributeError, ValueError, RuntimeError) as failure:
        if isinstance(failure, ModuleNotFoundError) and package in ZOOS:
            raise
        raise ExtractorError(f"{source}: {failure}") from failure


def _load_weights(module: torch.nn.Module, path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: dict[str, Any] = load_file(path)
        else:
            import torch

            state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except Exception as failure:  # pickle, zip, safetensors and torch: no common base
        raise ExtractorError(f"the weights in {path} cannot be used: {failure}") from failure


def export_torch(module: torch.nn.Module, side_px: tuple[int, int]) -> onnx.ModelProto:
    """A torch module in evaluation mode as float ONNX with a free batch size."""
    import onnx
    import torch

    target: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), (torch.zeros(1, 3, *side_px),), target, opset_version=17,
            input_names=["pixels"], output_names=["latent"], dynamo=False,
            dynamic_axes={"pixels": {0: "N"}, "latent": {0: "N"}},
        )  # fmt: skip
    return onnx.load_from_string(target.getvalue())
