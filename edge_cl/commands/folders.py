"""Folders of class folders: ``DIR/<label>/<image>``."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import click

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".wav"})


@dataclass(frozen=True)
class LabelledFile:
    """An image or a sound, and the class it is of.

    Parameters
    ----------
    path
        Where it is.
    label
        Name of its class folder.
    name
        Its path below the whole folder, the same on every machine.
    """

    path: Path
    label: str
    name: str


def labelled_files(folder: Path, per_class: int | None = None) -> list[LabelledFile]:
    """All images and sounds below the class folders of `folder`, class after class.

    Raises
    ------
    click.UsageError
        If there is none.
    """
    files: list[LabelledFile] = []
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        if class_folder.name.startswith("."):
            continue
        images = sorted(p for p in class_folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        files += [
            LabelledFile(image, class_folder.name, image.relative_to(folder).as_posix())
            for image in images[:per_class]
        ]
    if not files:
        raise click.UsageError(
            f"{folder} has no image and no sound in a class folder: put them into "
            f"{folder}/<label>/ as {', '.join(sorted(SUFFIXES))}"
        )
    return files


def interleaved(files: Iterable[LabelledFile], seed: int) -> list[LabelledFile]:
    """The same files with the classes taking turns, shuffled within each."""
    by_label: dict[str, list[LabelledFile]] = defaultdict(list)
    for file in files:
        by_label[file.label].append(file)
    chance = random.Random(seed)
    for of_label in by_label.values():
        chance.shuffle(of_label)
    rounds = zip_longest(*by_label.values())
    return [file for turn in rounds for file in turn if file is not None]
