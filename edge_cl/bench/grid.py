"""``edge-cl bench run``: strategies x scenarios x budgets x orders, one JSON a run.

A run that is there already, with the same settings, is not repeated: a grid that was
broken off goes on where it was, and one that has grown adds only what is new.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import click

from edge_cl import strategies
from edge_cl.bench.bounds import bound_of
from edge_cl.bench.report import machine
from edge_cl.bench.scenarios import SCENARIOS, TOLD_OF_ENDS, Source, make_stream
from edge_cl.bench.stream_options import sample_options
from edge_cl.bench.trial import CALL_SAMPLES, Examination, OutOfTime, Trial
from edge_cl.budget import parse_bytes
from edge_cl.commands.output import progress_bar
from edge_cl.errors import EdgeCLError, InvalidOption
from edge_cl.learner import Learner
from edge_cl.options import parse_options

RUNS = Path("bench-runs")
OWN_EXPERIENCE_SAMPLES = 500
"""Where nobody says that an experience ends, a strategy that needs it closes one so often."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides the outcome of one run.

    Parameters
    ----------
    strategy, scenario
        By name.
    budget
        Bytes, as people write them.
    order
        Number of the stream's order; also the learner's seed.
    source
        Of the samples.
    options
        Beside the strategy's own defaults.
    points, limit_s
        As `Examination`.
    """

    strategy: str
    scenario: str
    budget: str
    order: int
    source: Source = field(default_factory=Source)
    options: Mapping[str, Any] = field(default_factory=dict)
    points: int = 10
    limit_s: float | None = None

    def all_options(self) -> dict[str, Any]:
        """Options of the learner: the scenario's, then the given ones, then defaults."""
        kind = strategies.find(self.strategy)
        known, chosen = kind.options_type.model_fields, dict(self.options)
        if self.scenario == "task" and "softmax_over" in known:
            chosen.setdefault("softmax_over", "context")
        if self.scenario not in TOLD_OF_ENDS and kind.needs.boundaries:
            chosen.setdefault("experience_samples", OWN_EXPERIENCE_SAMPLES)
        parsed = parse_options(kind.options_type, chosen, strategy=self.strategy)
        return parsed.model_dump(mode="json")

    def record(self) -> dict[str, Any]:
        """All settings, options resolved, for JSON."""
        source = {k: v for k, v in asdict(self.source).items() if k != "folder"}
        return {
            "strategy": self.strategy,
            "scenario": self.scenario,
            "budget": self.budget,
            "order": self.order,
            **source,
            "options": self.all_options(),
            "points": self.points,
            "limit_s": self.limit_s,
            "call_samples": CALL_SAMPLES,
        }


def run_file(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Where a run of these settings is kept: a readable name and a digest of them all."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    words = [str(settings[key]) for key in ("strategy", "scenario", "budget", "order")]
    return folder / f"{'-'.join(words)}-{digest}.json"


def run(settings: Settings, folder: Path) -> dict[str, Any]:
    """The record of a run: read if it is there, else made and written."""
    described = settings.record()
    path = run_file(folder, described)
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    record = {
        "settings": described,
        "outcome": _outcome(settings),
        "edge_cl": version("edge-cl"),
        "machine": machine(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_json(path, record)
    return record


def write_json(path: Path, content: Any) -> None:
    """Write atomically: a run that is broken off leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def _outcome(settings: Settings) -> dict[str, Any]:
    stream = make_stream(settings.scenario, settings.source, settings.order)
    examination = Examination(settings.points, limit_s=settings.limit_s)
    title = f"{settings.strategy}, {settings.scenario}, {settings.budget}, #{settings.order}"
    try:
        learner = Learner.create(
            strategy=settings.strategy,
            spec=stream.spec,
            memory_budget=settings.budget,
            options=settings.all_options(),
            seed=settings.order,
        )
        with progress_bar(title, len(stream)) as advance:
            figures = Trial(learner, stream, examination, advance).run().figures(stream)
    except OutOfTime as reason:
        return {"status": "out of time", "reason": str(reason)}
    except EdgeCLError as reason:
        return {"status": "refused", "error": type(reason).__name__, "reason": str(reason)}
    return {"status": "done", **figures}


def grid(
    names: Iterable[str],
    scenarios: Iterable[str],
    budgets: Iterable[str],
    orders: int,
    **others: Any,
) -> Iterator[Settings]:
    """All settings, the orders outermost: a grid that is broken off is whole up to an order."""
    for order, scenario, budget, name in product(range(orders), scenarios, budgets, names):
        yield Settings(name, scenario, budget, order, **others)


def parse_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """Options from ``name=value`` words; values are JSON where they can be, else strings."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidOption(f"an option is written name=value, got {pair!r}")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def command_line() -> str:
    """The present command without the folders of one machine."""
    return " ".join(["edge-cl", *(re.sub(r"^/.*/(?=[^/])", "", word) for word in sys.argv[1:])])


@click.command("run")
@click.option("--strategy", "names", multiple=True, help="May be repeated.  [all there are]")
@click.option("--scenario", "scenarios", multiple=True, type=click.Choice(list(SCENARIOS)),
              default=("class", "task", "domain", "bursts", "blurry"), show_default=True,
              help="May be repeated.")  # fmt: skip
@click.option("--budget", "budgets", multiple=True, default=("256KiB", "1MiB"),
              show_default=True, help="May be repeated.")  # fmt: skip
@sample_options()
@click.option("--extractor", default=Source.extractor, show_default=True,
              help="'default', an ONNX file, or the name of a model at hand.")  # fmt: skip
@click.option("--option", "pairs", multiple=True, help="name=value of the strategies.")
@click.option("--points", default=10, show_default=True, help="Tests on the way at least.")
@click.option("--limit-s", type=float, help="Give a run up after so many CPU seconds.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              default=RUNS, show_default=True, help="Folder of the runs.")  # fmt: skip
@click.option("--bound/--no-bound", default=True, show_default=True,
              help="Also train offline on all samples at once.")  # fmt: skip
def run_command(
    names: tuple[str, ...], scenarios: tuple[str, ...], budgets: tuple[str, ...], orders: int,
    pack: str, extractor: str, train: int, test: int, pairs: tuple[str, ...], points: int,
    limit_s: float | None, out: Path, bound: bool,
) -> int:  # fmt: skip
    """Run strategies on streams; what is in the folder already is not run again."""
    for budget in budgets:
        parse_bytes(budget)
    source = Source(pack, extractor, train or None, test or None)
    if bound:
        bound_of(source, out)
    broken = 0
    for settings in grid(
        names or strategies.names(), scenarios, budgets, orders,
        source=source, options=parse_pairs(pairs), points=points, limit_s=limit_s,
    ):  # fmt: skip
        broken += not attempt(settings, out)
    return 1 if broken else 0


def attempt(settings: Settings, out: Path) -> bool:
    """Run, and say what came of it; a broken strategy must not cost the others their runs."""
    try:
        click.echo(_line(settings, run(settings, out)["outcome"]))
    except Exception as error:
        click.echo(f"{settings.strategy} {settings.scenario}: {error!r}", err=True)
        return False
    return True


def _line(settings: Settings, outcome: Mapping[str, Any]) -> str:
    words = f"{settings.strategy} {settings.scenario} {settings.budget} #{settings.order}:"
    if outcome["status"] != "done":
        return f"{words} {outcome['status']}, {outcome['reason']}"
    forgotten = outcome["forgetting"]
    return (
        f"{words} accuracy {100 * outcome['accuracy']:.1f}, "
        f"forgetting {'–' if forgotten is None else f'{100 * forgotten:.1f}'}, "
        f"{outcome['most_bytes']:,} bytes, {outcome['learn_us']:.0f} µs a sample"
    )
