"""Learning without forgetting: what was known before is a teacher on the new samples."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import distillation, distillation_gradient, softmax
from edge_cl.head import Forward
from edge_cl.options import HeadOptions, Options
from edge_cl.state import Slot
from edge_cl.strategy import Experience, GradientStrategy, Needs
from edge_cl.types import Batch, Bool, Float32

OUTSIDE = np.float32(-1e9)


class LwFOptions(HeadOptions):
    """Options of LwF."""

    temperature: float = Field(2.0, gt=0, description="Softens teacher and student.")
    strength: float | None = Field(
        None,
        ge=0,
        description="Weight of the distillation beside a loss of weight 1; null weighs the "
        "loss 1/t and the distillation 1 - 1/t in the t-th experience.",
    )
    distil_over: Literal["old", "seen"] = Field(
        "seen",
        description="Classes in the student's softmax when it is distilled: those the teacher "
        "knows, or all of the output's, with a target of zero for those that it does not.",
    )


class LwF(GradientStrategy):
    """The head as it was before the experience teaches the new one on the new samples.

    No old sample is kept: the teacher's softened answers to the new samples stand for the
    old experiences (Li & Hoiem 2016, eq. 2 to 4). They are computed from the teacher's
    frozen weights, which equals recording them before the first update. With
    `softmax_over` "context" every old context is an output of its own, as in the paper.
    """

    name: ClassVar[str] = "lwf"
    paper: ClassVar[str] = "Li & Hoiem 2016, arXiv:1606.09282, eq. 2 to 4"
    needs: ClassVar[Needs] = Needs(boundaries=True)
    options_type: ClassVar[type[Options]] = LwFOptions

    teacher: Float32
    taught: Bool

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head's state, the teacher's weights, and the classes of each of its outputs."""
        outputs = contexts if self.head_options.softmax_over == "context" else 1
        return {
            **super().slots(classes, contexts),
            "teacher": Slot((self.head.size(classes),)),
            "taught": Slot((outputs, classes), np.bool_),
        }

    def end(self, experience: Experience) -> None:
        """What is known now will teach."""
        self.teacher[:] = self.weights
        self.taught[:] = self.present_outputs()

    def present_outputs(self) -> Bool:
        """(outputs, C): the classes of every output now; one output of all, or one a context."""
        if self.head_options.softmax_over == "context":
            return self.membership
        return np.ones((1, self.classes), dtype=np.bool_)

    def loss(self, batch: Batch, forward: Forward) -> tuple[float, Float32]:
        """Cross-entropy on the new labels, and the mean distillation over old outputs."""
        value, gradient = super().loss(batch, forward)
        old = np.flatnonzero(self.taught.any(axis=1))
        if not len(old):
            return value, gradient
        of_new, of_old = self.loss_weights()
        answers = self.head.logits(self.teacher, batch.latents)
        value, gradient = of_new * value, np.float32(of_new) * gradient
        for output in old:
            known = self.taught[output]
            asked = (
                known if self.lwf_options.distil_over == "old" else self.present_outputs()[output]
            )
            more, slope = self.distil(forward.logits, answers, known, asked)
            value += of_old / len(old) * more
            gradient += np.float32(of_old / len(old)) * slope
        return value, gradient

    def distil(
        self, logits: Float32, answers: Float32, known: Bool, asked: Bool
    ) -> tuple[float, Float32]:
        """Distillation of one output, and its gradient by `logits` (N, C).

        Parameters
        ----------
        answers
            (N, C) logits of the teacher.
        known, asked
            (C,) classes in the teacher's and in the student's softmax.
        """
        temperature = self.lwf_options.temperature
        targets = softmax(np.where(known, answers, OUTSIDE), temperature)
        student = np.where(asked, logits, OUTSIDE)
        return (
            distillation(student, targets, temperature),
            distillation_gradient(student, targets, temperature),
        )

    def loss_weights(self) -> tuple[float, float]:
        """Weights of the loss on new labels and of the distillation."""
        if self.lwf_options.strength is not None:
            return 1.0, self.lwf_options.strength
        return 1 / self.experience.index, 1 - 1 / self.experience.index

    @property
    def lwf_options(self) -> LwFOptions:
        """The options, as those of LwF."""
        assert isinstance(self.options, LwFOptions)
        return self.options
