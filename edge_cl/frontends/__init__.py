"""Front ends for what is no image: a sound or a stretch of sensor readings becomes one latent.

>>> from edge_cl import Learner
>>> from edge_cl.frontends import Sound
>>> sound = Sound()
>>> learner = Learner.create(spec=sound.spec, memory_budget="256KiB")
>>> learner.learn_latents(sound.latents(wav_bytes), ["yes"])       # doctest: +SKIP

A front end is a fixed formula without weights, so it needs no training and no model file.
Its latents are uint8 codes like those of an extractor, and take the same path from there.
"""

from edge_cl.frontends.frontend import Frontend
from edge_cl.frontends.series import Series
from edge_cl.frontends.sound import Sound
from edge_cl.frontends.table import NAMES, frontend

__all__ = ["NAMES", "Frontend", "Series", "Sound", "frontend"]
