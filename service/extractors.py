"""The service's extractor, whole, and cut at the layers that learners want."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from edge_cl.errors import ExtractorError, ExtractorMismatch, MissingExtra
from edge_cl.extractor.extractor import AT
from service.errors import FieldError, Problem

if TYPE_CHECKING:
    from edge_cl.extractor import Extractor
    from service.store import Origin

__all__ = ["Extractors"]


class Extractors:
    """One model file, run at one or more of its layers; may be used by many threads.

    Parameters
    ----------
    whole
        The extractor that the settings name; None when only latents are taken.
    """

    def __init__(self, whole: Extractor | None) -> None:
        self.whole = whole
        self._cuts: dict[str, Extractor] = {}
        self._lock = threading.Lock()

    def named(self, name: str | None) -> Extractor:
        """What a client calls an extractor: ``default``, its id, or one of these with ``@LAYER``.

        Raises
        ------
        Problem
            If there is no such extractor or layer.
        """
        if self.whole is None:
            raise Problem("invalid", "the service has no extractor: give `dim`").at("/dim")
        own = self.whole.manifest.id
        if name in (None, "default", own):
            return self.whole
        first, _, layer = str(name).rpartition(AT)
        try:
            if first in ("default", own):
                return self._cut(layer)
            detail = f"the service runs {own!r}; `default` means that one"
        except MissingExtra as error:
            raise Problem("missing-extra", str(error)).at("/extractor") from error
        except ExtractorError as error:
            detail = str(error)
        raise Problem("invalid", detail, [FieldError("/extractor", detail)])

    def of(self, origin: Origin) -> Extractor | None:
        """The extractor that makes a learner's latents; None if clients make them.

        Raises
        ------
        ExtractorMismatch
            If the learner was taught with another one.
        ExtractorError, MissingExtra
            If it cannot be cut at the learner's layer here.
        """
        if self.whole is None or origin.extractor_sha256 is None:
            return None
        found, own = self.whole, self.whole.manifest
        wanted = origin.extractor or ""
        if wanted.startswith(own.id + AT):
            found = self._cut(wanted.removeprefix(own.id + AT))
        if origin.extractor_sha256 != found.manifest.sha256:
            raise ExtractorMismatch(
                f"it was taught with extractor {wanted} ({origin.extractor_sha256[:12]}), the "
                f"service runs {own.id} ({own.sha256[:12]}): start with the old model file, "
                "or delete the learner's folder and teach it again"
            )
        return found

    def layers(self) -> list[dict[str, Any]]:
        """The layers at which the extractor can be cut; MissingExtra without the package onnx."""
        if self.whole is None:
            return []
        return [layer.described() for layer in self.whole.replay_layers()]

    @property
    def loaded(self) -> bool:
        """Whether a session is in memory."""
        return any(one.loaded for one in self._all())

    def release(self) -> None:
        """Give the memory of all sessions back; they load themselves again."""
        for one in self._all():
            one.release()

    def summary(self) -> dict[str, Any] | None:
        """What clients are told of the extractor."""
        if self.whole is None:
            return None
        manifest = self.whole.manifest
        return {
            "id": manifest.id,
            "sha256": manifest.sha256,
            "input_height": manifest.input_height,
            "input_width": manifest.input_width,
            "dim": manifest.dim,
            "scale": manifest.scale,
            "zero_point": manifest.zero_point,
            "licence": manifest.licence,
            "provider": self.whole.provider,
            "loaded": self.loaded,
            "layers": "/v1/extractor/layers",
        }

    def _all(self) -> list[Extractor]:
        whole = [] if self.whole is None else [self.whole]
        return [*whole, *list(self._cuts.values())]

    def _cut(self, layer: str) -> Extractor:
        assert self.whole is not None
        with self._lock:
            if layer not in self._cuts:
                self._cuts[layer] = self.whole.at(layer)
            return self._cuts[layer]
