"""Trains the built-in extractor: a small net imitates frozen teachers' embeddings.

The loss is one minus the cosine between a linear map of the latent and the
teacher's target (see `teachers.targets`); class labels are not used. The schedule
is a function of the part of a time budget that has passed, so that a machine
shared with others still ends with a finished model, and the weights are averaged
so that any checkpoint can be exported.

Run ``python -m edge_cl.toolchain.pretrain --help``; a stopped run resumes from its
last checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import queue
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_cl.toolchain.augment import Augmentation, augment
from edge_cl.toolchain.net import LatentNet, normalise
from edge_cl.toolchain.packs import cached_images
from edge_cl.toolchain.teachers import view_of
from edge_cl.types import UInt8

CHECKPOINT_EVERY_S = 240.0
CURVE_FIELDS = (
    "elapsed_s", "cpu_s", "epochs", "side_px", "learning_rate", "loss", "held_out_loss", "targets",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learned, except the time budget; read from JSON."""

    seed: int
    width: int
    dim: int
    part_samples: int
    parts: int
    learning_rate: float
    momentum: float
    weight_decay: float
    warm_up: float
    sides_px: list[tuple[float, int]]
    average_decay: float
    held_out_samples: int
    teachers: list[str]
    views: list[str]
    augmentation: Augmentation

    @staticmethod
    def read(path: Path) -> Recipe:
        """The recipe in a JSON file."""
        fields: dict[str, Any] = json.loads(path.read_text())
        fields["augmentation"] = Augmentation(**fields["augmentation"])
        fields["sides_px"] = [(float(a), int(b)) for a, b in fields["sides_px"]]
        return Recipe(**fields)

    def side_px(self, part: float) -> int:
        """Resolution at a part, 0 to 1, of the budget."""
        return next(side for start, side in reversed(self.sides_px) if part >= start)

    @property
    def batch_samples(self) -> int:
        """Images in one update."""
        return self.part_samples * self.parts

    def rate(self, part: float) -> float:
        """Learning rate at a part of the budget: linear warm-up, then linear to zero."""
        if part < self.warm_up:
            return self.learning_rate * max(part / self.warm_up, 0.02)
        return self.learning_rate * max(1 - part, 0.0) / (1 - self.warm_up)


@dataclass
class Targets:
    """Teacher embeddings by (teacher, view); files join when they are complete.

    Parameters
    ----------
    folder
        Where `edge_cl.toolchain.teachers` writes.
    recipe
        Names of teachers and views.
    """

    folder: Path
    recipe: Recipe
    codes: dict[tuple[str, str], UInt8] = field(default_factory=dict)
    means: dict[str, Tensor] = field(default_factory=dict)

    def refresh(self) -> None:
        """Take up embeddings that have been completed since the last call."""
        for teacher in self.recipe.teachers:
            for view in self.recipe.views:
                path = self.folder / f"{teacher}-{view}.npy"
                if (teacher, view) not in self.codes and path.exists():
                    self.codes[teacher, view] = np.load(path)
                    rows = self.codes[teacher, view][::7].astype(np.float32)
                    self.means.setdefault(teacher, torch.from_numpy(np.sqrt(rows).mean(0)))

    def teachers_of(self, view: str) -> list[str]:
        """Teachers that have embedded this view."""
        return [t for t in self.recipe.teachers if (t, view) in self.codes]

    def of(self, teacher: str, view: str, rows: UInt8) -> Tensor:
        """Unit targets (B, dim) of these images."""
        roots = torch.from_numpy(self.codes[teacher, view][rows].astype(np.float32)).sqrt_()
        return functional.normalize(roots - self.means[teacher], dim=1)


class Student(nn.Module):
    """The net with one linear map a teacher; only the net is kept.

    Parameters
    ----------
    recipe
        Sizes of the net.
    teacher_dims
        Width of each teacher's embedding, by name.
    """

    def __init__(self, recipe: Recipe, teacher_dims: dict[str, int]) -> None:
        super().__init__()
        self.net = LatentNet(recipe.width, recipe.dim)
        self.maps = nn.ModuleList([nn.Linear(recipe.dim, d) for d in teacher_dims.values()])
        self.names = list(teacher_dims)

    def loss(self, pixels: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """Mean over the teachers of one minus the cosine."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latents = self.net(normalise(pixels).contiguous(memory_format=torch.channels_last))
        losses = []
        for name, target in targets.items():
            guess = self.maps[self.names.index(name)](latents.float())
            losses.append(1 - functional.cosine_similarity(guess, target).mean())
        return torch.stack(losses).mean()


class Training:
    """One run: student, optimiser, averaged student, clock.

    Parameters
    ----------
    recipe
        What to do.
    work
        Folder of decoded images and teacher embeddings.
    out
        Folder of this run: checkpoint, curve.
    budget_s
        Seconds of wall clock until the learning rate is zero.
    pack
        The training images.
    threads
        Parts of a batch that are computed at the same time.
    """

    def __init__(
        self, recipe: Recipe, work: Path, out: Path, budget_s: float, pack: Path, threads: int
    ) -> None:
        # Parallel are the parts of a batch: OpenMP inside operators would spin at its barriers
        # whenever another program has one of the cores.
        torch.set_num_threads(1)
        self.recipe, self.out, self.budget_s = recipe, out, budget_s
        images, _ = cached_images(pack, "train", 64, work)
        self.images = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
        self.boxes = {
            v: torch.from_numpy(view_of(v, len(images), 64, recipe.seed).boxes)
            for v in recipe.views
        }
        self.targets = Targets(work, recipe)
        torch.manual_seed(recipe.seed)
        self.rng = torch.Generator().manual_seed(recipe.seed)
        self.student = Student(recipe, {t: self._dim(t) for t in recipe.teachers})
        self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self.pool = ThreadPoolExecutor(threads)
        self.replicas: queue.SimpleQueue[Student] = queue.SimpleQueue()
        for replica in (self.student, *(self._replica() for _ in range(threads - 1))):
            self.replicas.put(replica)
        self.optimiser = self._optimiser()
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(recipe.seed))
        self.held_out, self.train = torch.split(
            order, [recipe.held_out_samples, len(images) - recipe.held_out_samples]
        )
        self.elapsed_s = self.cpu_s = 0.0
        self.steps = 0

    @staticmethod
    def _dim(teacher: str) -> int:
        return int(1024 * float(teacher.split("_")[2]))

    def _optimiser(self) -> torch.optim.SGD:
        decayed = [p for p in self.student.parameters() if p.ndim > 1]
        others = [p for p in self.student.parameters() if p.ndim == 1]
        groups = [
            {"params": decayed, "weight_decay": self.recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=0.1, momentum=self.recipe.momentum, nesterov=True)

    def _replica(self) -> Student:
        replica = copy.deepcopy(self.student)
        for mine, theirs in zip(replica.parameters(), self.student.parameters(), strict=True):
            mine.data = theirs.data
        return replica

    def batch(
        self, rows: Tensor, side_px: int, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Augmented pixels of these images and what each teacher says about their view."""
        views = [v for v in self.recipe.views if self.targets.teachers_of(v)]
        view = views[int(torch.randint(len(views), (1,), generator=rng))]
        pixels = augment(
            self.images[rows], self.boxes[view][rows], side_px, self.recipe.augmentation, rng
        )
        picked = rows.numpy()
        return pixels, {t: self.targets.of(t, view, picked) for t in self.targets.teachers_of(view)}

    def _gradient(self, rows: Tensor, seed: int) -> float:
        torch.set_num_threads(1)
        replica = self.replicas.get()
        rng = torch.Generator().manual_seed(seed)
        side_px = self.recipe.side_px(self.elapsed_s / self.budget_s)
        loss = replica.loss(*self.batch(rows, side_px, rng))
        (loss / self.recipe.parts).backward()  # type: ignore[no-untyped-call]
        self.replicas.put(replica)
        return loss.item()

    def step(self, rows: Tensor) -> float:
        """One update; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(self.elapsed_s / self.budget_s)
        seeds = [hash((self.recipe.seed, self.steps, k)) % 2**62 for k in range(self.recipe.parts)]
        parts = torch.split(rows, self.recipe.part_samples)
        losses = list(self.pool.map(self._gradient, parts, seeds))
        self._gather()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.steps += 1
        self._average()
        return float(np.mean(losses))

    def _gather(self) -> None:
        replicas = [self.replicas.get() for _ in range(self.replicas.qsize())]
        for replica in replicas:
            self.replicas.put(replica)
            if replica is self.student:
                continue
            for mine, theirs in zip(self.student.parameters(), replica.parameters(), strict=True):
                if theirs.grad is not None:
                    mine.grad = theirs.grad if mine.grad is None else mine.grad + theirs.grad
                    theirs.grad = None

    def _average(self) -> None:
        # Early averages would remember the random start: the window grows with the steps.
        decay = min(self.recipe.average_decay, self.steps / (self.steps + 20))
        mine, theirs = self.average.state_dict(), self.student.state_dict()
        for name, value in mine.items():
            if value.is_floating_point():
                value.lerp_(theirs[name], 1 - decay)
            else:
                value.copy_(theirs[name])

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Loss of the averaged student on whole held-out images at full resolution."""
        self.average.eval()
        losses = []
        for rows in torch.split(self.held_out, 250):
            targets = {
                t: self.targets.of(t, "whole", rows.numpy())
                for t in self.targets.teachers_of("whole")
            }
            losses.append(float(self.average.loss(self.images[rows].float(), targets)))
        return float(np.mean(losses))

    @property
    def epochs(self) -> float:
        """Training images seen, in multiples of the training set."""
        return self.steps * self.recipe.batch_samples / len(self.train)

    def run(self) -> None:
        """Train until the budget is used up, resuming from a checkpoint if there is one."""
        self.resume()
        self._train_mode()
        self.targets.refresh()
        saved_s, losses = self.elapsed_s, []
        while self.elapsed_s < self.budget_s:
            order = self.train[torch.randperm(len(self.train), generator=self.rng)]
            for rows in torch.split(order, self.recipe.batch_samples):
                if len(rows) < self.recipe.batch_samples or self.elapsed_s >= self.budget_s:
                    break
                wall_s, cpu_s = time.monotonic(), time.process_time()
                losses.append(self.step(rows))
                self.elapsed_s += time.monotonic() - wall_s
                self.cpu_s += time.process_time() - cpu_s
                if self.elapsed_s - saved_s > CHECKPOINT_EVERY_S:
                    self.checkpoint(float(np.mean(losses)))
                    self.targets.refresh()
                    saved_s, losses = self.elapsed_s, []
        self.checkpoint(float(np.mean(losses)) if losses else float("nan"))

    def _train_mode(self) -> None:
        for _ in range(self.replicas.qsize()):
            replica = self.replicas.get()
            replica.train()
            self.replicas.put(replica)

    def checkpoint(self, loss: float) -> None:
        """Write the state atomically and a line of the curve."""
        state = {
            "student": self.student.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(), "rng": self.rng.get_state(),
            "elapsed_s": self.elapsed_s, "cpu_s": self.cpu_s, "steps": self.steps,
            "epochs": self.epochs, "budget_s": self.budget_s,
        }  # fmt: skip
        self.out.mkdir(parents=True, exist_ok=True)
        part = self.out / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.out / "checkpoint.pt")
        part_done = self.elapsed_s / self.budget_s
        line = (
            round(self.elapsed_s), round(self.cpu_s), round(self.epochs, 2),
            self.recipe.side_px(part_done), round(self.recipe.rate(part_done), 4),
            round(loss, 4), round(self.held_out_loss(), 4), len(self.targets.codes),
        )  # fmt: skip
        curve = self.out / "curve.csv"
        fresh = not curve.exists()
        with curve.open("a", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerows([CURVE_FIELDS, line] if fresh else [line])
        print(*(f"{k}={v}" for k, v in zip(CURVE_FIELDS, line, strict=True)), flush=True)

    def resume(self) -> None:
        """Continue where the last checkpoint of this folder stopped."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.set_state(state["rng"])
        self.elapsed_s, self.cpu_s = state["elapsed_s"], state["cpu_s"]
        self.steps = state["steps"]


def averaged_net(checkpoint: Path, recipe: Recipe) -> tuple[LatentNet, dict[str, float]]:
    """The averaged net of a checkpoint in evaluation mode, and what it took to train."""
    state = torch.load(checkpoint, weights_only=True)
    net = LatentNet(recipe.width, recipe.dim)
    prefix = "net."
    net.load_state_dict(
        {k[len(prefix) :]: v for k, v in state["average"].items() if k.startswith(prefix)}
    )
    return net.eval(), {k: float(state[k]) for k in ("elapsed_s", "cpu_s", "epochs", "steps")}


def main() -> None:
    """Train the built-in extractor within a time budget."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pack", type=Path, required=True, help="tinyimagenet.tar.zst")
    parser.add_argument("--work", type=Path, required=True, help="decoded images, embeddings")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint and curve")
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("pretrain.json"))
    args = parser.parse_args()
    recipe = Recipe.read(args.recipe)
    Training(recipe, args.work, args.out, args.hours * 3600, args.pack, args.threads).run()


if __name__ == "__main__":
    main()
