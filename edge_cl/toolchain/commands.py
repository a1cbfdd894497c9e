"""``edge-cl extractor``: build, check, show, layers, replay-layers, split.

`show` and the self-test of `check` need nothing but the service's own packages;
the rest asks for the extra ``torch`` when it is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

console = Console()
_FILE = click.Path(path_type=Path)
_EXISTING = click.Path(path_type=Path, exists=True)


@click.group("extractor")
def extractor() -> None:
    """Build, import and check frozen extractors."""


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a size such as 224 or 160x120")
    return int(found[1]), int(found[2] or found[1])


def _three(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3):
        raise click.BadParameter(f"{text!r} is not one number, nor three with commas between")
    return values * 3 if len(values) == 1 else values


@extractor.command()
@click.argument("source")
@click.option("--out", "-o", type=_FILE, required=True, help="The model file to write.")
@click.option("--samples", type=_EXISTING, required=True,
              help="Images for calibration and parity: a folder, or a .tar.zst pack.")  # fmt: skip
@click.option("--layer", help="Tensor to take the latent from; see 'layers'.")
@click.option("--id", "identity", help="Name and version for the manifest.")
@click.option("--size", help="Input size where the model leaves it open, such as 160 or 160x120.")
@click.option("--mean", default="123.675,116.28,103.53", show_default=True,
              help="Of the pixels that the model expects.")  # fmt: skip
@click.option("--deviation", default="58.395,57.12,57.375", show_default=True,
              help="What the pixels are divided by after that.")  # fmt: skip
@click.option("--fit", type=click.Choice(["squash", "crop"]), default="squash", show_default=True,
              help="What happens to images of another shape.")  # fmt: skip
@click.option("--licence", default="unknown", help="For the manifest.")
@click.option("--training-data", default="unknown", help="For the manifest.")
@click.option("--recipe", default="unknown", help="For the manifest.")
@click.option("--weights", type=_EXISTING, help="State dict for a torch module.")
@click.option("--download", is_flag=True, help="Let torchvision or timm fetch its weights.")
@click.option("--min-cosine", default=0.97, show_default=True, help="Refuse below this.")
@click.option("--max-probe-drop", default=1.0, show_default=True, help="Refuse above, in points.")
def build(
    source: str, out: Path, samples: Path, layer: str | None, identity: str | None,
    size: str | None, mean: str, deviation: str, fit: str, licence: str, training_data: str,
    recipe: str, weights: Path | None, download: bool, min_cosine: float, max_probe_drop: float,
) -> None:  # fmt: skip
    """Make an extractor of SOURCE.

    SOURCE is an .onnx file (float or quantised), torchvision:NAME, timm:NAME, or
    package.module:callable that returns a torch module.
    """
    from edge_cl.toolchain.build import Order
    from edge_cl.toolchain.build import build as make

    order = Order(
        source=source, out=out, samples=samples, id=identity, layer=layer, size=_size(size),
        mean=_three(mean), deviation=_three(deviation), fit=fit, licence=licence,
        training_data=training_data, recipe=recipe, weights=weights, download=download,
    )  # fmt: skip
    with console.status("building and comparing"):
        parity = make(order, min_cosine, max_probe_drop)
    _table("parity with the source", parity.figures())
    click.echo(f"{out}: {out.stat().st_size:,} bytes")


@extractor.command()
@click.argument("source", default="default")
def check(source: str) -> None:
    """Test an extractor: one real inference, batches, weights that could saturate."""
    from edge_cl.toolchain.inspect import examine

    found = examine(source)
    _table(source, found.figures)
    for fault in found.faults:
        click.echo(f"fault: {fault}", err=True)
    if found.faults:
        raise SystemExit(1)


@extractor.command()
@click.argument("source", default="default")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def show(source: str, as_json: bool) -> None:
    """Print an extractor's manifest."""
    from edge_cl.extractor import load_extractor

    with load_extractor(source) as opened:
        manifest = {**asdict(opened.manifest), "accuracy": dict(opened.manifest.accuracy)}
    if as_json:
        click.echo(json.dumps(manifest, indent=2))
    else:
        _table(str(manifest["id"]), manifest)


@extractor.command()
@click.argument("source")
@click.option("--size", help="Input size for torch modules, such as 160 or 160x120.")
def layers(source: str, size: str | None) -> None:
    """List the tensors of SOURCE that can be the latent, with shapes and bytes."""
    from edge_cl.toolchain.extras import optional

    optional("onnx", "listing layers")
    from edge_cl.toolchain import graph
    from edge_cl.toolchain.sources import load_network

    model = load_network(source, _size(size) or (224, 224))
    table = Table("layer", "operator", "shape", "bytes a latent")
    for layer in graph.layers(model):
        shape = " x ".join(map(str, layer.shape))
        table.add_row(layer.name, layer.made_by, shape, f"{layer.latent_bytes:,}")
    console.print(table)


@extractor.command("replay-layers")
@click.argument("source", default="default")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def replay_layers(source: str, as_json: bool) -> None:
    """List the layers at which an extractor can be cut: NAME@LAYER is an extractor too."""
    from edge_cl.extractor import load_extractor
    from edge_cl.toolchain.extras import optional

    optional("onnx", "listing layers")
    with load_extractor(source) as opened:
        found = opened.replay_layers()
    if as_json:
        click.echo(json.dumps([layer.described() for layer in found], indent=2))
        return
    table = Table("layer", "shape", "bytes a latent", "weights above")
    for layer in found:
        shape = " x ".join(map(str, layer.shape))
        table.add_row(layer.name, shape, f"{layer.latent_bytes:,}", f"{layer.tail_weights:,}")
    console.print(table)


@extractor.command()
@click.argument("layer")
@click.option("--source", type=_EXISTING, help="Model file; the built-in one when not given.")
@click.option("--out", "-o", type=_FILE, required=True, help="Folder for the two files.")
def split(layer: str, source: Path | None, out: Path) -> None:
    """Write the frozen part up to LAYER, and the layers above it."""
    from edge_cl.extractor.extractor import BUILTIN
    from edge_cl.toolchain.split import split as cut

    for path in cut(source or BUILTIN, layer, out):
        click.echo(f"{path}: {path.stat().st_size:,} bytes")


def _table(title: str, rows: Mapping[str, object]) -> None:
    table = Table("", "", title=title, show_header=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)
