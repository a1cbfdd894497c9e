"""How good an extractor is: linear probes, few-shot, int8 against float, CPU time.

Every model sees the same images through the same public path, `Extractor.prepare`
and `Extractor.extract`, and the same seeds. Figures come with 95 % intervals.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.progress import track

from edge_cl.errors import MissingExtra
from edge_cl.extractor import Extractor, load_extractor
from edge_cl.extractor.onnx import session_options
from edge_cl.toolchain.packs import read_pack
from edge_cl.types import Float32, Int64, UInt8

PROBE_PACKS = ("cifar10", "cifar100")
EPISODE_PACKS = {"cifar100": "test", "omniglot_small": None}
STRENGTHS = (0.001, 0.01, 0.1)
"""Inverse regularisation of the probe; chosen on held-out training images."""

console = Console(stderr=True)


@dataclass(frozen=True)
class Measured:
    """A figure in per cent with half the width of its 95 % interval."""

    percent: float
    interval: float

    def __str__(self) -> str:
        return f"{self.percent:.2f} ± {self.interval:.2f}"


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


def float_model(path: Path, like: Extractor, mean: float = 128.0, scale: float = 128.0) -> Model:
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


def latents_of(model: Model, pack: Pack, cache: Path | None) -> Float32:
    """Latents of a whole pack, kept in `cache` under the model's digest."""
    path = cache and cache / f"{pack.name}-{model.sha256[:16]}.npy"
    if path and path.exists():
        return np.asarray(np.load(path))
    items = track(pack.items, f"{model.name}: {pack.name}", console=console)
    latents = model.embed(items)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, latents)
    return latents


def probe(
    train: Float32, train_labels: Int64, test: Float32, test_labels: Int64, seed: int
) -> Measured:
    """Accuracy of a logistic regression on standardised latents.

    The regularisation is chosen on 5,000 training images that a fit on 15,000
    others has not seen; the final fit uses all training images.
    """
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    train, test = (train - mean) / deviation, (test - mean) / deviation
    order = np.random.default_rng(seed).permutation(len(train))
    held_out, subset = order[:5000], order[5000:20000]
    if len(subset) < 1000:
        strength = STRENGTHS[1]
    else:
        scores = {
            c: _fit(train[subset], train_labels[subset], c).score(
                train[held_out], train_labels[held_out]
            )
            for c in STRENGTHS
        }
        strength = max(scores, key=lambda c: scores[c])
    accuracy = _fit(train, train_labels, strength).score(test, test_labels)
    interval = 1.96 * np.sqrt(accuracy * (1 - accuracy) / len(test))
    return Measured(100 * float(accuracy), 100 * float(interval))


def _fit(latents: Float32, labels: Int64, strength: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as missing:
        raise MissingExtra("the linear probe (scikit-learn)", "bench") from missing
    return LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(latents, labels)


def episodes(
    latents: Float32, labels: Int64, seed: int, ways: int = 5, shots: int = 5,
    queries: int = 15, count: int = 600,
) -> Measured:  # fmt: skip
    """Mean accuracy of the nearest class mean over random few-shot episodes.

    Latents are scaled to length one, and so are the class means.
    """
    rng = np.random.default_rng(seed)
    unit = latents / (np.linalg.norm(latents, axis=1, keepdims=True) + 1e-9)
    by_class = {c: np.flatnonzero(labels == c) for c in np.unique(labels)}
    classes = [c for c, rows in by_class.items() if len(rows) > shots]
    accuracies = []
    for _ in range(count):
        chosen = rng.choice(classes, ways, replace=False)
        drawn = [rng.permutation(by_class[c])[: shots + queries] for c in chosen]
        means = np.stack([unit[rows[:shots]].mean(0) for rows in drawn])
        means /= np.linalg.norm(means, axis=1, keepdims=True) + 1e-9
        guesses = [(unit[rows[shots:]] @ means.T).argmax(1) == k for k, rows in enumerate(drawn)]
        accuracies.append(np.concatenate(guesses).mean())
    interval = 1.96 * np.std(accuracies, ddof=1) / np.sqrt(count)
    return Measured(100 * float(np.mean(accuracies)), 100 * float(interval))


def cpu_ms(models: list[Model], rounds: int = 100) -> list[float]:
    """Median CPU milliseconds of one image on one thread, the models taking turns."""
    times: list[list[float]] = [[] for _ in models]
    for _ in range(rounds):
        for model, spent in zip(models, times, strict=True):
            start = time.process_time()
            model.once()
            spent.append(1000 * (time.process_time() - start))
    return [float(np.median(spent)) for spent in times]


def measure(models: list[Model], packs: Path, cache: Path | None, seed: int) -> list[Report]:
    """Reports of all models, in order."""
    reports = [Report(m.name, m.sha256, m.file_bytes, m.dim, m.input_px) for m in models]
    for name in dict.fromkeys([*PROBE_PACKS, *EPISODE_PACKS]):
        pack = Pack.read(packs, name)
        for model, report in zip(models, reports, strict=True):
            latents = latents_of(model, pack, cache)
            if name in PROBE_PACKS:
                fit, test = pack.rows("train"), pack.rows("test")
                report.probes[name] = probe(
                    latents[fit], pack.labels[fit], latents[test], pack.labels[test], seed
                )
            if name in EPISODE_PACKS:
                rows = pack.rows(EPISODE_PACKS[name])
                report.episodes[name] = episodes(latents[rows], pack.labels[rows], seed)
            console.print(f"{name}: {report.name}", report.probes.get(name, ""))
    for report, spent_ms in zip(reports, cpu_ms(models), strict=True):
        report.cpu_ms = spent_ms
    return reports


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


def markdown(reports: list[Report], around: dict[str, Any], command: str) -> str:
    """The figures as a table, best read beside the JSON of the same name."""
    page = io.StringIO()
    page.write("# Extractors, measured\n\n")
    page.write(
        "Written by `edge-cl bench extractor`; percentages with 95 % intervals. Probe: logistic\n"
        "regression on all 50,000 training images, tested on 10,000. Few-shot: 600 episodes, 5\n"
        "classes, 5 examples each, nearest class mean. CPU: median of one image on one thread,\n"
        "the models taking turns.\n\n"
    )
    page.write("| model | kB | input | dim | CIFAR-10 probe | CIFAR-100 probe ")
    page.write("| CIFAR-100 5-way 5-shot | omniglot 5-way 5-shot | CPU ms |\n")
    page.write("|---|---|---|---|---|---|---|---|---|\n")
    for r in reports:
        cells = [r.name, f"{r.file_bytes / 1000:.0f}", str(r.input_px), str(r.dim)]
        cells += [str(r.probes[name]) for name in PROBE_PACKS]
        cells += [str(r.episodes[name]) for name in EPISODE_PACKS]
        page.write("| " + " | ".join([*cells, f"{r.cpu_ms:.2f}"]) + " |\n")
    page.write("\n")
    for key, value in around.items():
        page.write(f"- {key}: {value}\n")
    page.write(f"- command: `{command}`\n\nModel files (sha256):\n\n")
    for r in reports:
        page.write(f"- {r.name}: `{r.sha256}`\n")
    return page.getvalue()


@click.command("extractor")
@click.option("--packs", type=click.Path(path_type=Path, exists=True), required=True,
              help="Folder with cifar10, cifar100 and omniglot_small (.tar.zst).")  # fmt: skip
@click.option("--model", "models", multiple=True, default=("default",), show_default=True,
              help="Extractor to measure: 'default' or a model file. Repeatable.")  # fmt: skip
@click.option("--float-model", type=click.Path(path_type=Path, exists=True),
              help="Float32 ONNX of the first model, for the cost of int8.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/results"),
              show_default=True, help="Folder for extractor.json and extractor.md.")  # fmt: skip
@click.option("--cache", type=click.Path(path_type=Path), help="Folder that keeps latents.")
@click.option("--seed", type=int, default=0, show_default=True)
def extractor(
    packs: Path, models: tuple[str, ...], float_model: Path | None, out: Path,
    cache: Path | None, seed: int,
) -> None:  # fmt: skip
    """Linear probes, few-shot episodes and CPU time of extractors."""
    measured = [int8_model(path) for path in models]
    if float_model is not None:
        measured.insert(1, _float_of(float_model, models[0]))
    reports = measure(measured, packs, cache, seed)
    around = surroundings(seed)
    command = "edge-cl bench extractor " + " ".join(_public(sys.argv[1:]))
    out.mkdir(parents=True, exist_ok=True)
    content = {**around, "command": command, "models": [asdict(r) for r in reports]}
    (out / "extractor.json").write_text(json.dumps(content, indent=2) + "\n")
    (out / "extractor.md").write_text(markdown(reports, around, command))
    click.echo(markdown(reports, around, command))


def _float_of(path: Path, model: str) -> Model:
    return float_model(path, load_extractor(model))


def _public(arguments: list[str]) -> list[str]:
    """Arguments without the words before the options, folders shortened to their names."""
    first = next((k for k, a in enumerate(arguments) if a.startswith("-")), len(arguments))
    return [Path(a).name if "/" in a else a for a in arguments[first:]]
