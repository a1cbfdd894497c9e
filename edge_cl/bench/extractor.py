"""How good an extractor is: linear probes, few-shot, int8 against float, CPU time.

Every model sees the same images through the same public path, `Extractor.prepare`
and `Extractor.extract`, and the same seeds. Figures come with 95 % intervals.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.progress import track

from edge_cl.bench.probes import (
    STRENGTHS,
    Measured,
    episodes,
    logistic,
    probe,
    remembered,
    standardised,
)  # fmt: skip
from edge_cl.extractor import Extractor, load_extractor
from edge_cl.extractor.onnx import session_options
from edge_cl.toolchain.packs import read_pack
from edge_cl.toolchain.parity import cosines
from edge_cl.types import Float32, Int64, UInt8

PROBE_PACKS = ("cifar10", "cifar100")
EPISODE_PACKS = {"cifar100": "test", "omniglot_small": None}
console = Console(stderr=True)


@dataclass
class Report:
    """Everything measured about one model."""

    name: str
    sha256: str
    file_bytes: int
    dim: int
    input_px: int
    probes: dict[str, Measured] = field(default_factory=dict)
    episodes: dict[str, Measured] = field(default_factory=dict)
    cpu_ms: float = float("nan")


Embed = Callable[[Iterable[bytes]], Float32]


@dataclass(frozen=True)
class Model:
    """Something to be measured: a name, its digest, and how it makes latents."""

    name: str
    sha256: str
    file_bytes: int
    dim: int
    input_px: int
    embed: Embed
    once: Callable[[], Any]


def int8_model(path: str) -> Model:
    """An extractor as the service uses it."""
    extractor = load_extractor(path)
    manifest = extractor.manifest
    blank = _noise(manifest.input_height, manifest.input_width)

    def embed(items: Iterable[bytes]) -> Float32:
        codes = [extractor.extract(batch) for batch in _batches(items, extractor)]
        return extractor.spec.to_float(np.concatenate(codes))

    return Model(
        manifest.id.removesuffix(".onnx"), manifest.sha256, manifest.file_bytes, manifest.dim,
        manifest.input_height, embed, lambda: extractor.extract(blank),
    )  # fmt: skip


def original_of(path: Path, like: Extractor, mean: float = 128.0, scale: float = 128.0) -> Model:
    """The float32 network that an extractor was quantised from, on the same pixels."""
    content = path.read_bytes()
    session = ort.InferenceSession(content, session_options(1), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: UInt8) -> Float32:
        planes = (images.astype(np.float32) - mean) / scale
        latents: Float32 = session.run(None, {name: planes.transpose(0, 3, 1, 2)})[0]
        return latents

    def embed(items: Iterable[bytes]) -> Float32:
        return np.concatenate([run(batch) for batch in _batches(items, like)])

    manifest = like.manifest
    blank = _noise(manifest.input_height, manifest.input_width)
    digest = hashlib.sha256(content).hexdigest()
    return Model(
        f"{manifest.id} float32", digest, len(content), manifest.dim, manifest.input_height,
        embed, lambda: run(blank),
    )  # fmt: skip


def _noise(height: int, width: int) -> UInt8:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)


def _batches(items: Iterable[bytes], extractor: Extractor, size: int = 64) -> Iterable[UInt8]:
    batch = []
    for item in items:
        batch.append(extractor.prepare(item))
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


@dataclass(frozen=True)
class Pack:
    """Encoded images of one data pack, their labels and splits."""

    name: str
    items: list[bytes]
    labels: Int64
    splits: list[str]

    @staticmethod
    def read(folder: Path, name: str) -> Pack:
        """All items of a pack; two-colour images become greyscale PNG."""
        rows, items = [], []
        for row, content in read_pack(folder / f"{name}.tar.zst"):
            rows.append(row)
            items.append(content)
        labels = np.array([int(row["label"]) for row in rows], np.int64)
        return Pack(name, items, labels, [row["split"] for row in rows])

    def rows(self, split: str | None) -> Int64:
        """Indices of the items of a split; of all items when None."""
        return np.array([k for k, s in enumerate(self.splits) if split in (None, s)], np.int64)


def kept(model: Model, pack: Pack, cache: Path | None) -> Path:
    """The file in which a model's latents of a pack are kept."""
    return (cache or Path()) / f"{pack.name}-{model.sha256[:16]}.npy"


def latents_of(model: Model, pack: Pack, cache: Path | None) -> Float32:
    """Latents of a whole pack, kept in `cache` under the model's digest."""
    path = kept(model, pack, cache)
    if cache and path.exists():
        return np.asarray(np.load(path))
    items = track(pack.items, f"{model.name}: {pack.name}", console=console)
    latents = model.embed(items)
    if cache:
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, latents)
    return latents


def cpu_ms(models: list[Model], rounds: int = 100) -> list[float]:
    """Median CPU milliseconds of one image on one thread, the models taking turns."""
    times: list[list[float]] = [[] for _ in models]
    for _ in range(rounds):
        for model, spent in zip(models, times, strict=True):
            start = time.process_time()
            model.once()
            spent.append(1000 * (time.process_time() - start))
    return [float(np.median(spent)) for spent in times]


def measure(
    models: list[Model], packs: Path, cache: Path | None, seed: int, beside: int = 0
) -> list[Report]:
    """Reports of all models, in order; of the last `beside` ones only what `cache` holds."""
    reports = [Report(m.name, m.sha256, m.file_bytes, m.dim, m.input_px) for m in models]
    for name in dict.fromkeys([*PROBE_PACKS, *EPISODE_PACKS]):
        pack = Pack.read(packs, name)
        for place, (model, report) in enumerate(zip(models, reports, strict=True)):
            if place >= len(models) - beside and not kept(model, pack, cache).exists():
                continue
            latents = latents_of(model, pack, cache)
            stem = f"{name}-{model.sha256[:16]}-seed{seed}"
            if name in PROBE_PACKS:
                report.probes[name] = remembered(
                    cache and cache / f"{stem}-probe.json",
                    partial(_probe_pack, latents, pack, seed),
                )
            if name in EPISODE_PACKS:
                rows = pack.rows(EPISODE_PACKS[name])
                report.episodes[name] = episodes(latents[rows], pack.labels[rows], seed)
            shown = report.probes.get(name) or report.episodes.get(name)
            console.print(f"{name}: {report.name}: {shown}")
    for report, spent_ms in zip(reports, cpu_ms(models), strict=True):
        report.cpu_ms = spent_ms
    return reports


def _probe_pack(latents: Float32, pack: Pack, seed: int) -> Measured:
    fit, test = pack.rows("train"), pack.rows("test")
    return probe(latents[fit], pack.labels[fit], latents[test], pack.labels[test], seed)


@dataclass
class Cost:
    """What int8 costs and saves against the float32 network that it came from.

    Parameters
    ----------
    train_samples
        Images of each pack that the probes were fitted on; tested on all 10,000.
    cosine_mean, cosine_min
        Between both latents of the test images.
    size_ratio, cpu_ratio
        int8 over float32.
    probes
        By pack: accuracy in int8, in float32, and the points lost.
    """

    train_samples: int
    cosine_mean: float = 1.0
    cosine_min: float = 1.0
    size_ratio: float = float("nan")
    cpu_ratio: float = float("nan")
    probes: dict[str, dict[str, float]] = field(default_factory=dict)


def cost_of_int8(
    small: Model, original: Model, packs: Path, cache: Path | None, seed: int, count: int
) -> Cost:
    """Both networks on the same random training images and on all test images."""
    cost = Cost(count, size_ratio=small.file_bytes / original.file_bytes)
    for name in PROBE_PACKS:
        pack = Pack.read(packs, name)
        fit = np.random.default_rng(seed).permutation(pack.rows("train"))[:count]
        test = pack.rows("test")
        rows = np.concatenate([fit, test])
        exact = original.embed(
            track([pack.items[k] for k in rows], f"{original.name}: {name}", console=console)
        )
        coarse = latents_of(small, pack, cache)[rows]
        found = [
            logistic(standardised(x, count)[:count], pack.labels[fit], STRENGTHS[1]).score(
                standardised(x, count)[count:], pack.labels[test]
            )
            for x in (coarse, exact)
        ]
        percent = [100 * float(score) for score in found]
        cost.probes[name] = {
            "int8": percent[0], "float32": percent[1], "lost_points": percent[1] - percent[0],
        }  # fmt: skip
        alike = cosines(coarse[count:], exact[count:])
        cost.cosine_mean = min(cost.cosine_mean, float(alike.mean()))
        cost.cosine_min = min(cost.cosine_min, float(alike.min()))
    small_ms, original_ms = cpu_ms([small, original])
    cost.cpu_ratio = small_ms / original_ms
    return cost


def surroundings(seed: int) -> dict[str, Any]:
    """What a reader needs to repeat the figures."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "seed": seed,
        "python": platform.python_version(),
        "onnxruntime": ort.__version__,
        "processor": _processor(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    vnni = "with VNNI" if "vnni" in flags else "without VNNI"
    return f"{names[0] if names else platform.machine()} ({vnni})"


def markdown(reports: list[Report], cost: Cost | None, around: dict[str, Any]) -> str:
    """The figures as tables, best read beside the JSON of the same name."""
    head = ["model", "kB", "input", "dim", "CIFAR-10 probe", "CIFAR-100 probe"]
    head += ["CIFAR-100 5-way 5-shot", "omniglot 5-way 5-shot", "CPU ms"]
    lines = [INTRODUCTION, _row(head), "|" + "---|" * len(head)]
    for r in reports:
        cells = [r.name, f"{r.file_bytes / 1000:.0f}", str(r.input_px), str(r.dim)]
        cells += [str(r.probes.get(name, "not measured")) for name in PROBE_PACKS]
        cells += [str(r.episodes.get(name, "not measured")) for name in EPISODE_PACKS]
        lines.append(_row([*cells, f"{r.cpu_ms:.2f}"]))
    if cost is not None:
        lines += _cost_lines(cost)
    lines += ["", *(f"- {key}: {value}" for key, value in around.items()), "", "Model files:", ""]
    lines += [f"- {r.name}: sha256 `{r.sha256}`" for r in reports]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cost_lines(cost: Cost) -> list[str]:
    lines = ["", "## int8 against float32", ""]
    lines += [
        f"Probes of the first model above, fitted on {cost.train_samples:,} training images.",
        "", "| probe | int8 | float32 | points lost |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, p in cost.probes.items():
        lines.append(_row([name, *(f"{p[k]:.2f}" for k in ("int8", "float32", "lost_points"))]))
    return [
        *lines,
        "",
        f"Cosine of the latents: mean {cost.cosine_mean:.4f}, least {cost.cosine_min:.4f}. "
        f"File {100 * cost.size_ratio:.1f} %, CPU time {100 * cost.cpu_ratio:.0f} % of float32.",
    ]


INTRODUCTION = """# Extractors, measured

Written by `edge-cl bench extractor`; percentages with 95 % intervals. Probe: logistic regression
on all 50,000 training images, tested on 10,000. Few-shot: 600 episodes of 5 classes with 5 examples
each, nearest class mean. CPU: median of one image on one thread, the models taking turns.
"""


@click.command("extractor")
@click.option("--packs", type=click.Path(path_type=Path, exists=True), required=True,
              help="Folder with cifar10, cifar100 and omniglot_small (.tar.zst).")  # fmt: skip
@click.option("--model", "models", multiple=True, default=("default",), show_default=True,
              help="Extractor to measure: 'default' or a model file. Repeatable.")  # fmt: skip
@click.option("--beside", multiple=True,
              help="Model for CPU time, and for what the cache holds of it.")  # fmt: skip
@click.option("--float-model", type=click.Path(path_type=Path, exists=True),
              help="Float32 ONNX of the first model, for the cost of int8.")  # fmt: skip
@click.option("--float-samples", default=10_000, show_default=True,
              help="Training images of each pack for that comparison.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/results"),
              show_default=True, help="Folder for extractor.json and extractor.md.")  # fmt: skip
@click.option("--cache", type=click.Path(path_type=Path), help="Folder that keeps latents.")
@click.option("--seed", type=int, default=0, show_default=True)
def extractor(
    packs: Path, models: tuple[str, ...], beside: tuple[str, ...],
    float_model: Path | None, float_samples: int, out: Path, cache: Path | None, seed: int,
) -> None:  # fmt: skip
    """Linear probes, few-shot episodes and CPU time of extractors."""
    measured = [int8_model(path) for path in (*models, *beside)]
    reports = measure(measured, packs, cache, seed, len(beside))
    cost = None
    if float_model is not None:
        original = original_of(float_model, load_extractor(models[0]))
        cost = cost_of_int8(measured[0], original, packs, cache, seed, float_samples)
    around = surroundings(seed)
    around["command"] = "edge-cl bench extractor " + " ".join(_public(sys.argv[1:]))
    out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {**around, "models": [asdict(r) for r in reports]}
    if cost is not None:
        content["int8_against_float32"] = asdict(cost)
    (out / "extractor.json").write_text(json.dumps(content, indent=2) + "\n")
    page = markdown(reports, cost, around)
    (out / "extractor.md").write_text(page)
    click.echo(page)


def _public(arguments: list[str]) -> list[str]:
    """Arguments without the words before the options, folders shortened to their names."""
    first = next((k for k, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    return [Path(a).name if "/" in a else a for a in arguments[first:]]
