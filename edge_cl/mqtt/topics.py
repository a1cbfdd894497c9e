"""The topics of one learner."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Topics:
    """Topics below ``<prefix>/<learner>``.

    Parameters
    ----------
    prefix
        Words before the name of the learner.
    learner
        Its name.
    """

    prefix: str
    learner: str

    @property
    def root(self) -> str:
        """What every topic begins with."""
        return f"{self.prefix}/{self.learner}"

    @property
    def availability(self) -> str:
        """``online`` or ``offline``, retained; the bridge's last will."""
        return f"{self.root}/availability"

    @property
    def state(self) -> str:
        """What the learner is, as JSON, retained."""
        return f"{self.root}/state"

    @property
    def taught(self) -> str:
        """Receipts of lessons, as JSON."""
        return f"{self.root}/taught"

    @property
    def error(self) -> str:
        """What could not be done, as JSON."""
        return f"{self.root}/error"

    @property
    def prediction(self) -> str:
        """The last prediction, as JSON, retained."""
        return f"{self.root}/prediction"

    @property
    def image(self) -> str:
        """The image of the last prediction, retained."""
        return f"{self.root}/image"

    def wanted(self) -> list[str]:
        """What the bridge subscribes to; ``#`` includes the topic itself."""
        return [f"{self.root}/{word}/#" for word in ("teach", "predict", "feedback")]

    def words(self, topic: str) -> tuple[str, str]:
        """The command of a topic, and what stands after it: ``teach``, ``cup``."""
        command, _, rest = topic.removeprefix(f"{self.root}/").partition("/")
        return command, rest

    @property
    def object_id(self) -> str:
        """The name of the learner as Home Assistant wants it in topics and ids."""
        return "edge_cl_" + re.sub(r"[^A-Za-z0-9_-]", "_", self.learner)
