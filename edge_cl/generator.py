"""A small variational autoencoder of latents, for strategies that rehearse what they dream.

Encoder and decoder are two `Head`s over one flat weight vector, so that the generator is
NumPy with explicit gradients, and its state is named arrays like everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.head import Head
from edge_cl.optimizer import Adam
from edge_cl.options import HeadOptions, Options, Width
from edge_cl.state import Slot
from edge_cl.strategy import Experience, GradientStrategy
from edge_cl.types import Array, Float32

_LARGEST_LOG_VARIANCE = np.float32(10.0)
_LEAST_VARIANCE = np.float32(1e-8)


class GeneratorOptions(HeadOptions):
    """Options of strategies with a generator."""

    generator_hidden: tuple[Width, ...] = Field(
        (),
        description="Widths of the encoder's hidden layers, mirrored in the decoder; none is a "
        "linear generator, which learns fastest from single latents.",
    )
    generator_code: int = Field(
        32, ge=1, le=4096, description="Width of the generator's own code (the VAE's z)."
    )
    generator_rate: float = Field(3e-3, gt=0, le=1, description="Adam's rate for the generator.")
    reconstruction: Literal["gaussian", "bernoulli"] = Field(
        "gaussian",
        description="What the decoder models: any latents, or values in [0, 1] such as pixels.",
    )
    replay_batch: int = Field(32, ge=1, le=65536, description="Latents generated in one step.")


@dataclass(frozen=True)
class LatentVAE:
    """Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114), pure functions.

    Parameters
    ----------
    dim
        Width D of the latents.
    hidden
        Widths of the encoder's hidden layers.
    code
        Width Z of the code.
    bernoulli
        Whether values are in [0, 1] with binary cross-entropy. Otherwise they are
        Gaussian with one variance, the mean squared error of the batch: the maximum
        likelihood estimate (Rybkin et al. 2021, arXiv:2006.13202).
    scale
        Latents are divided by it: Adam's steps are of one size, and would drown values
        much smaller than 1.
    """

    dim: int
    hidden: tuple[int, ...]
    code: int
    bernoulli: bool = False
    scale: float = 1.0

    @property
    def encoder(self) -> Head:
        """Latents to means and log variances of codes."""
        return Head(self.dim, self.hidden)

    @property
    def decoder(self) -> Head:
        """Codes to latents."""
        return Head(self.code, self.hidden[::-1])

    @property
    def size(self) -> int:
        """Weights of both."""
        return self._split + self.decoder.size(self.dim)

    @property
    def _split(self) -> int:
        return self.encoder.size(2 * self.code)

    def networks(self, weights: Float32) -> tuple[tuple[Head, Float32], tuple[Head, Float32]]:
        """Encoder and decoder, each with its view of `weights`."""
        cut = self._split
        return (self.encoder, weights[:cut]), (self.decoder, weights[cut:])

    def initial(self, rng: np.random.Generator) -> Float32:
        """Fresh weights: random hidden layers, output layers of zeros."""
        encoder = self.encoder.initial(2 * self.code, rng)
        return np.concatenate([encoder, self.decoder.initial(self.dim, rng)])

    def centre(self, weights: Float32, latents: Float32) -> None:
        """Let the decoder start from the mean of (N, D) `latents`, and codes from 0.

        Otherwise the mean is first learned through the codes, which then lie far from where
        `sample` draws them.
        """
        if not self.bernoulli:
            bias = self.decoder.rows(weights[self._split :])[:, -1]
            bias[:] = latents.mean(axis=0) / np.float32(self.scale)

    def decode(self, weights: Float32, codes: Float32) -> Float32:
        """Latents (N, D) of codes (N, Z)."""
        outputs = self.decoder.logits(weights[self._split :], codes)
        return _sigmoid(outputs) if self.bernoulli else outputs * np.float32(self.scale)

    def sample(self, weights: Float32, count: int, rng: np.random.Generator) -> Float32:
        """`count` latents from the prior."""
        return self.decode(weights, rng.standard_normal((count, self.code), dtype=np.float32))

    def gradient(
        self, weights: Float32, latents: Float32, shares: Float32, noise: Float32
    ) -> tuple[float, Float32]:
        """Negative evidence bound (eq. 10) for each value, and its gradient by the weights.

        For each value, not for all of them: Adam divides the scale out but for its epsilon,
        which must be large enough to still the weights of values that hardly ever vary.

        Parameters
        ----------
        latents
            (N, D).
        shares
            (N,) weight of each row in the loss; they sum to 1.
        noise
            (N, Z) standard normal, of the reparametrised codes.

        Returns
        -------
        The loss without additive constants, in nats a value, and its flat gradient.
        """
        encoder, decoder = weights[: self._split], weights[self._split :]
        latents = latents / np.float32(self.scale)
        encoded = self.encoder.forward(encoder, latents)
        mean = encoded.logits[:, : self.code]
        log_variance = np.clip(
            encoded.logits[:, self.code :], -_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE
        )
        deviation = np.exp(np.float32(0.5) * log_variance)
        decoded = self.decoder.forward(decoder, mean + deviation * noise)
        error, by_output = self._reconstruction(decoded.logits, latents, shares)
        by_output *= shares[:, None]
        by_decoder, by_code = self.decoder.gradients(decoder, decoded, by_output)
        square = deviation * deviation
        divergence = 0.5 * ((mean * mean + square - log_variance - 1).sum(axis=1) @ shares)
        by_log_variance = by_code * noise * deviation + shares[:, None] * (square - 1)
        by_moments = np.concatenate(
            [by_code + shares[:, None] * mean, np.float32(0.5) * by_log_variance], axis=1
        )
        by_encoder = self.encoder.gradient(encoder, encoded, by_moments)
        gradient = np.concatenate([by_encoder, by_decoder])
        gradient /= np.float32(self.dim)
        return (error + float(divergence)) / self.dim, gradient

    def _reconstruction(
        self, outputs: Float32, latents: Float32, shares: Float32
    ) -> tuple[float, Float32]:
        if self.bernoulli:
            losses = np.logaddexp(0, outputs) - latents * outputs
            return float(losses.sum(axis=1) @ shares), _sigmoid(outputs) - latents
        error = outputs - latents
        squares = (error * error).sum(axis=1) @ shares
        variance = np.maximum(squares / np.float32(self.dim), _LEAST_VARIANCE)
        return 0.5 * self.dim * float(np.log(variance)), error / variance


def _sigmoid(values: Float32) -> Float32:
    result: Float32 = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * values))
    return result


class GenerativeStrategy(GradientStrategy):
    """A gradient strategy with a generator that is trained on what it dreams too.

    `dream` draws from the generator as it was at the end of the last experience; the
    present one learns from the new latents and these (Shin et al. 2017, section 3.2).
    """

    options_type: ClassVar[type[Options]] = GeneratorOptions

    generator: Float32
    old_generator: Float32
    generator_steps: Array

    @property
    def generator_options(self) -> GeneratorOptions:
        """The options, as those of a generator."""
        assert isinstance(self.options, GeneratorOptions)
        return self.options

    def setup(self) -> None:
        """Build the generator too."""
        super().setup()
        options = self.generator_options
        self.vae = LatentVAE(
            self.spec.dim,
            options.generator_hidden,
            options.generator_code,
            options.reconstruction == "bernoulli",
            self.scale,
        )
        self.generator_rule = Adam(options.generator_rate)

    @property
    def scale(self) -> float:
        """Root mean square of a value of latents of unit length; 1 for others."""
        return 1.0 if self.options.normalise == "none" else self.spec.dim**-0.5

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head's state; the generator, its copy of last time, and Adam's moments."""
        size = self.vae.size
        rule = {f"generator_{k}": slot for k, slot in self.generator_rule.slots(size).items()}
        generator = Slot((size,))
        return {
            **super().slots(classes, contexts),
            "generator": generator,
            "old_generator": generator,
            **rule,
        }

    def initialise(self) -> None:
        """Random hidden layers of head and generator."""
        super().initialise()
        self.generator[:] = self.vae.initial(self.rng)

    @property
    def new_share(self) -> float:
        """Weight of new samples: one part in as many as there were experiences."""
        return 1 / max(self.experience.index, 1)

    def dream(self) -> Float32:
        """Latents (M, D) of earlier experiences; none in the first."""
        count = self.generator_options.replay_batch if self.experience.index > 1 else 0
        return self.vae.sample(self.old_generator, count, self.rng)

    def train_generator(self, latents: Float32, shares: Float32) -> float:
        """One step of the generator on (N, D) latents; returns its loss."""
        if not self.generator_steps[0] and len(latents):
            self.vae.centre(self.generator, latents)
        noise = self.rng.standard_normal((len(latents), self.vae.code), dtype=np.float32)
        loss, gradient = self.vae.gradient(self.generator, latents, shares, noise)
        state: dict[str, Array] = {
            name: getattr(self, f"generator_{name}") for name in self.generator_rule.slots(0)
        }
        self.generator_rule.update(self.generator, gradient, state)
        return loss

    def end(self, experience: Experience) -> None:
        """From here on, dreams are those of the generator as it is now."""
        super().end(experience)
        self.old_generator[:] = self.generator


def row_shares(new: int, dreamed: int, new_share: float) -> Float32:
    """Weights (N,) of `new` rows and then `dreamed` ones; they sum to 1.

    Shin et al. 2017, eq. 1: the new rows' mean loss counts `new_share`, the
    dreamed rows' mean loss the rest.
    """
    if not new or not dreamed:
        return np.full(new + dreamed, 1 / max(new + dreamed, 1), dtype=np.float32)
    shares = np.empty(new + dreamed, dtype=np.float32)
    shares[:new] = new_share / new
    shares[new:] = (1 - new_share) / dreamed
    return shares
