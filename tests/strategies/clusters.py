"""Small strategies and small streams for the tests beside this file."""

import numpy as np

from edge_cl.checks import CHECKS, Subject
from edge_cl.options import parse_options
from edge_cl.strategies import find
from edge_cl.types import NO_CONTEXT, Batch, LatentSpec

DIM = 6
ALLOWED_BYTES = 1 << 22
CODES = LatentSpec(DIM, scale=1 / 64, zero_point=0)


def make(name, spec=CODES, seed=3, allowed_bytes=ALLOWED_BYTES, **options):
    kind = find(name)
    values = {"normalise": "none", **options}
    parsed = parse_options(kind.options_type, values, strategy=name)
    return kind(spec, parsed, seed=seed, allowed_bytes=allowed_bytes)


def draw(rng, classes, rows, context=NO_CONTEXT, noise=0.15):
    """Clusters around unit vectors, of latents that codes keep exactly."""
    labels = np.array(classes, dtype=np.int64)[rng.integers(0, len(classes), rows)]
    latents = 2 * np.eye(DIM)[labels % DIM] + rng.normal(0, noise, (rows, DIM))
    latents = CODES.to_float(CODES.to_codes(latents.astype(np.float32)))
    batch = Batch.of(latents, labels, context)
    return Batch(batch.latents, batch.classes, batch.contexts, np.arange(rows))


def teach(strategy, batch):
    """Grow for the batch, and learn it."""
    strategy.grow(
        max(strategy.classes, int(batch.classes.max()) + 1),
        max(strategy.contexts, int(batch.contexts.max()) + 1),
        ALLOWED_BYTES,
    )
    strategy.observe(batch)


def accuracy(strategy, batch, context=None):
    served = strategy.publish()
    scores = served.scores(served.normalise(batch.latents), context)
    return float((scores.argmax(axis=1) == batch.classes).mean())


QUICK_CHECKS = [
    check
    for check in CHECKS
    if check.__name__
    in ("restores_at_any_sample", "predicts_purely", "keeps_its_ledger", "shares_no_storage")
]


def conforms(name, check, spec=None, **options):
    check(Subject(name, options, spec or LatentSpec(5), long_samples=600))
