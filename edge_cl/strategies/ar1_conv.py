"""AR1* as published: latent replay at a layer of the extractor, the layers above trained."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from edge_cl.errors import InvalidOption, MissingExtra
from edge_cl.optimizer import SlowPart
from edge_cl.options import Options
from edge_cl.state import Slot
from edge_cl.strategies.ar1 import AR1, AR1Options
from edge_cl.strategy import Needs
from edge_cl.types import Array, Batch, Float64, Int64

if TYPE_CHECKING:
    from edge_cl.tail.head import TailHead


class AR1ConvOptions(AR1Options):
    """Options of AR1* on the layers above the replay layer."""

    normalise: Literal["none"] = Field(
        "none", description="The layers above want their input as it is."
    )
    hidden: tuple[()] = Field((), description="The hidden layers are the extractor's.")
    norm: Literal["batch", "batch_renorm"] = Field(
        "batch_renorm", description="Normalisation behind every convolution and matrix."
    )
    norm_momentum: float = Field(
        0.01, gt=0, le=1, description="Share of a batch in the running statistics."
    )
    features: Literal["none", "l2", "power_l2"] = Field(
        "power_l2",
        description="What is done to the features before the last layer: nothing, unit "
        "length, or signed square root then unit length.",
    )
    codec: str = Field("uint8", description="How an exemplar is stored.")
    batch_size: int = Field(4, ge=1, le=4096, description="New samples in one step.")
    tail_learning_rate: float = Field(
        0.3, ge=0, le=100, description="Step length of the layers above; 0 freezes them."
    )
    calibration_samples: int = Field(
        64,
        ge=1,
        le=100_000,
        description="Samples that give the first running statistics; the layers above learn "
        "after them.",
    )
    strength: float = Field(
        0.0, ge=0, description="Weight of the penalty on the layers above; 0 is AR1*free."
    )


class AR1Conv(AR1):
    """CWR* on the last layer, and the extractor's layers above the replay layer learn on.

    Exemplars are codes of an intermediate layer. What lies above it is trained slowly, with
    batch renormalisation, on new and replayed latents together (Pellegrini et al. 2020,
    section III); synaptic intelligence can hold it (Maltoni & Lomonaco 2019).
    """

    name: ClassVar[str] = "ar1_conv"
    paper: ClassVar[str] = (
        "Pellegrini et al. 2020, arXiv:1912.01100; AR1*: Lomonaco, Maltoni & Pellegrini 2020, "
        "arXiv:1907.03799, section 4"
    )
    needs: ClassVar[Needs] = Needs(boundaries=True, torch=True, tail=True)
    options_type: ClassVar[type[Options]] = AR1ConvOptions

    moments: Float64
    calibrated: Int64

    def setup(self) -> None:
        """The layers above as the body of the head, trained at a rate of their own.

        Raises
        ------
        InvalidOption
            If the latents are those of an extractor's last layer.
        MissingExtra
            Without torch.
        """
        super().setup()
        if self.spec.tail is None:
            raise InvalidOption(
                f"strategy {self.name!r} trains the extractor's layers above the latent, and there "
                "are none above these latents: take an extractor that is cut at a layer, such as "
                "'default@residual3' ('edge-cl extractor replay-layers' lists them)"
            )
        self.head = tail_head(self.spec.tail, self.conv_options, bias=self.last_layer_bias)
        ratio = self.conv_options.tail_learning_rate / self.conv_options.step_length
        self.optimizer = SlowPart(self.optimizer, self.head.body_size, ratio)

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """AR1's state, and the sums of the first statistics."""
        channels = sum(layer.channels for layer in self.tail_head.net.weighted)
        return {
            **super().slots(classes, contexts),
            "moments": Slot((2, channels), np.float64),
            "calibrated": Slot((1,), np.int64),
        }

    def constants(self) -> dict[str, Array]:
        """The layers above as the extractor has them."""
        return {"tail": np.frombuffer(self.spec.tail or b"", dtype=np.uint8)}

    def arrays(self) -> dict[str, Array]:
        """The whole state, and the layers that it began with: a loaded learner needs no other."""
        return {**super().arrays(), **self.constants()}

    @property
    def normalises(self) -> bool:
        """Whether the layers above learn: not before their first statistics are known."""
        return self.conv_options.tail_learning_rate > 0 and self.is_calibrated

    @property
    def is_calibrated(self) -> bool:
        """Whether the first statistics of the layers above are known."""
        return bool(self.calibrated[0] >= self.conv_options.calibration_samples)

    def remember(self, batch: Batch) -> None:
        """Offer every sample to the memory; the first ones also give the statistics."""
        super().remember(batch)
        if self.is_calibrated:
            return
        body = self.weights[: self.head.body_size]
        found = self.tail_head.net.moments(body, self.normalise(batch.latents))
        self.moments += len(batch) * np.stack(found)
        self.calibrated += len(batch)
        if self.is_calibrated:
            self.tail_head.recentre(self.weights, *(self.moments / self.calibrated))

    @property
    def conv_options(self) -> AR1ConvOptions:
        """The options, as those of this strategy."""
        assert isinstance(self.options, AR1ConvOptions)
        return self.options

    @property
    def tail_head(self) -> TailHead:
        """The head, as the one that it is."""
        return cast("TailHead", self.head)


def tail_head(tail: bytes, options: AR1ConvOptions, *, bias: bool) -> TailHead:
    """The head on the layers of an ONNX model; MissingExtra without torch."""
    for package in ("torch", "onnx"):
        if find_spec(package) is None:
            raise MissingExtra(f"strategy 'ar1_conv' ({package})", "torch")
    # Only now: torch takes seconds and hundreds of megabytes.
    from edge_cl.tail.head import TailHead
    from edge_cl.tail.net import TailNet

    net = TailNet(tail)
    renormalised = options.norm == "batch_renorm"
    return TailHead(
        int(np.prod(net.shape)), bias=bias, net=net, scaling=options.features,
        largest_ratio=options.largest_ratio if renormalised else 1.0,
        largest_shift=options.largest_shift if renormalised else 0.0,
        momentum=options.norm_momentum,
    )  # fmt: skip
