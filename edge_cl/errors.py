"""The exceptions of edge_cl, one tree.

::

    EdgeCLError
    ├── InvalidInput              what the caller sent cannot be used (HTTP 422)
    │   ├── InvalidImage          bytes that are no image, truncated, or animated beyond use
    │   ├── InvalidLatent         wrong width, type, or values that are not finite
    │   ├── InvalidSound          bytes that are no WAV file, or one of a kind that is not taken
    │   ├── InvalidSeries         sensor readings of the wrong shape, or not finite
    │   ├── InvalidLabel          empty, too long, or not a string
    │   ├── InvalidOption         an option that the strategy does not have, or a bad value
    │   ├── UnknownStrategy       a strategy name that is not in the table
    │   └── ContextRequired       the strategy cannot predict without a context id
    ├── TooLarge                  a limit on bytes, pixels or samples was passed (HTTP 413)
    ├── NotFound                  no such sample, class or learner (HTTP 404)
    ├── Conflict                  the state forbids it: a name in use, capacity used up (HTTP 409)
    ├── BudgetExceeded            the memory budget cannot hold it (HTTP 507)
    ├── ExtractorError            a model file that cannot be used
    │   └── ExtractorMismatch     latents of another extractor than the learner's
    ├── CheckpointError           a saved learner that is damaged or of another format
    └── MissingExtra              an optional package is not installed
"""

from __future__ import annotations


class EdgeCLError(Exception):
    """Base of every error that edge_cl raises on purpose.

    The message says what happened, the value, the limit and what to do.
    """


class InvalidInput(EdgeCLError, ValueError):
    """What the caller sent cannot be used."""


class InvalidImage(InvalidInput):
    """The bytes are no image that can be decoded."""


class InvalidLatent(InvalidInput):
    """Latents of the wrong width or type, or with values that are not finite."""


class InvalidSound(InvalidInput):
    """The bytes are no WAV file that can be used."""


class InvalidSeries(InvalidInput):
    """Sensor readings of the wrong shape, or that are not finite."""


class InvalidLabel(InvalidInput):
    """A label that is empty, too long, or not a string."""


class InvalidOption(InvalidInput):
    """An option that does not exist, or whose value is out of range."""


class UnknownStrategy(InvalidInput):
    """A strategy name that is not in the table of names."""


class ContextRequired(InvalidInput):
    """The strategy needs a context id to predict, and none was given."""


class TooLarge(EdgeCLError, ValueError):
    """A limit on bytes, pixels or samples was passed."""


class NotFound(EdgeCLError, LookupError):
    """No such sample, class, learner or version."""


class Conflict(EdgeCLError):
    """The present state forbids the request."""


class BudgetExceeded(EdgeCLError):
    """The memory budget cannot hold what was asked for.

    Parameters
    ----------
    asked_bytes
        Bytes that the request needs in all.
    allowed_bytes
        The budget.
    advice
        What to lower, or to raise.
    """

    def __init__(self, asked_bytes: int, allowed_bytes: int, advice: str) -> None:
        self.asked_bytes = asked_bytes
        self.allowed_bytes = allowed_bytes
        self.advice = advice
        super().__init__(
            f"{asked_bytes:,} bytes are needed, the memory budget allows {allowed_bytes:,}: "
            f"{advice}"
        )


class ExtractorError(EdgeCLError):
    """A model file that is missing, damaged, foreign, or fails its self-test."""


class ExtractorMismatch(ExtractorError):
    """Latents or a saved learner belong to another extractor."""


class CheckpointError(EdgeCLError):
    """A saved learner that is damaged, incomplete, or of another format version."""


class MissingExtra(EdgeCLError, ImportError):
    """An optional package is not installed.

    Parameters
    ----------
    what
        What was asked for.
    extra
        The extra that brings the package, as in ``edge-cl[extra]``.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional package: pip install 'edge-cl[{extra}]'")
