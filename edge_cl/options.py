"""Options that strategies share, checked and described by pydantic.

A strategy's own options subclass these; names are the same wherever the meaning is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_cl.errors import InvalidOption
from edge_cl.optimizer import SGD, Adam, Optimizer

STEP_LENGTHS = {"sgd": (2.0, 0.3), "adam": (0.01, 0.001)}
"""Of a linear head and of one with hidden layers, on normalised latents (decision 0004)."""

Width = Annotated[int, Field(ge=1, le=65536)]


class Options(BaseModel):
    """Options of every strategy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    normalise: Literal["none", "l2", "power_l2"] = Field(
        "power_l2",
        description="What is done to a latent before the strategy sees it: nothing, unit "
        "length, or signed square root then unit length.",
    )
    batch_size: int = Field(1, ge=1, le=4096, description="New samples in one step.")
    epochs: int = Field(1, ge=1, le=1000, description="Steps taken on every batch.")
    experience_samples: int | None = Field(
        None,
        ge=1,
        description="Close an experience after this many samples, beside changes of the "
        "context and explicit ends; null leaves it to those.",
    )


class HeadOptions(Options):
    """Options of strategies with a gradient-trained head."""

    hidden: tuple[Width, ...] = Field((), description="Widths of hidden layers; () is linear.")
    optimizer: Literal["sgd", "adam"] = Field("sgd", description="Update rule.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Step length; null is 2, with hidden layers 0.3, and for adam 0.01 and 0.001.",
    )
    momentum: float = Field(0.0, ge=0, lt=1, description="Momentum of sgd.")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="Weight decay of sgd.")
    softmax_over: Literal["seen", "context"] = Field(
        "seen",
        description="Classes in the softmax: all seen so far (class-incremental), or those "
        "of the sample's context (task-incremental).",
    )

    @property
    def step_length(self) -> float:
        """The learning rate, also where the options leave it to the head's shape."""
        if self.learning_rate is not None:
            return self.learning_rate
        linear, deep = STEP_LENGTHS[self.optimizer]
        return deep if self.hidden else linear

    def make_optimizer(self) -> Optimizer:
        """The update rule that the options name."""
        if self.optimizer == "adam":
            return Adam(self.step_length)
        return SGD(self.step_length, self.momentum, self.weight_decay)


class MemoryOptions(Options):
    """Options of strategies with a replay memory."""

    memory_samples: int | None = Field(
        None, ge=1, description="Exemplars at most; null fills the memory budget."
    )
    replay_batch: int = Field(64, ge=1, le=65536, description="Exemplars replayed in one step.")
    codec: str = Field("uint8", description="How an exemplar is stored.")
    selection: str = Field("reservoir", description="Which samples stay in the memory.")
    retrieval: str = Field("uniform", description="Which exemplars are replayed.")


OptionsT = TypeVar("OptionsT", bound=Options)


def parse_options(
    kind: type[OptionsT], values: Mapping[str, Any] | None, *, strategy: str
) -> OptionsT:
    """Options of type `kind` from a plain mapping.

    Raises
    ------
    InvalidOption
        Naming the option, the value, what is allowed, and the options that exist.
    """
    try:
        return kind.model_validate(dict(values or {}))
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                known = ", ".join(sorted(kind.model_fields))
                faults.append(f"option {name!r} does not exist; there are: {known}")
            else:
                faults.append(f"option {name!r} = {fault['input']!r}: {fault['msg']}")
        raise InvalidOption(f"strategy {strategy!r}: " + "; ".join(faults)) from None
