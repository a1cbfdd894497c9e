"""API keys: who may do what.

A key is ``edgecl_``, its id, and 32 random bytes. Only its SHA-256 is stored: 256 random
bits cannot be found by trying, so the slow hash that a password needs would cost every
request time and gain nothing. The key of the settings may be a word that a person chose:
it is compared in memory, and never stored.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from service.config import ConfigError
from service.errors import Problem
from service.snapshots import write_atomically

__all__ = ["ANYBODY", "SCOPES", "ApiKey", "Grant", "Keyring"]

SCOPES = ("read", "predict", "learn", "admin")
PREFIX = "edgecl_"
MOST_KEYS = 256
FORMAT = 1


@dataclass(frozen=True)
class Grant:
    """What one request may do.

    Parameters
    ----------
    key
        Id of the key that it came with; None where none is needed.
    scopes
        Of `SCOPES`; ``admin`` includes the others.
    learners
        The only learners that it may reach; None for all.
    """

    key: str | None
    scopes: frozenset[str]
    learners: frozenset[str] | None = None

    def allows(self, scope: str) -> bool:
        """Whether a route of this scope may be called."""
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, learner: str) -> bool:
        """Whether this learner may be touched."""
        return self.learners is None or learner in self.learners


ANYBODY = Grant(None, frozenset(SCOPES))
"""Where no key exists, everybody may do everything."""
CONFIGURED = Grant("settings", frozenset(SCOPES))
"""The key of the settings is an admin's."""


@dataclass(frozen=True)
class ApiKey:
    """A stored key, without its secret.

    Parameters
    ----------
    id
        Part of the key's text, not secret.
    name
        What a person calls it.
    sha256
        Of the key's text, hexadecimal.
    scopes, learners
        As in `Grant`.
    created_at, expires_at
        Seconds since the epoch; None for a key that does not expire.
    """

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    learners: tuple[str, ...] | None
    created_at: float
    expires_at: float | None

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and time.time() >= self.expires_at

    @property
    def rules(self) -> bool:
        """Whether it can manage all keys now."""
        return "admin" in self.scopes and self.learners is None and not self.expired

    @property
    def grant(self) -> Grant:
        """What its bearer may do."""
        learners = None if self.learners is None else frozenset(self.learners)
        return Grant(self.id, frozenset(self.scopes), learners)


class Keyring:
    """All keys of a service, in one file of its data folder.

    Parameters
    ----------
    path
        The file; while it exists, a key is needed.
    configured
        The admin key of the settings, if there is one.

    Raises
    ------
    ConfigError
        If the file cannot be read: to go on without keys would open the service.
    """

    def __init__(self, path: Path, configured: str | None = None) -> None:
        self._path = path
        self._configured = None if configured is None else _digest(configured)
        self._lock = threading.Lock()
        self._keys = _read(path)
        self._locked = path.exists()
        self.used_at: dict[str, float] = {}

    @property
    def needed(self) -> bool:
        """Whether a request needs a key."""
        return self._configured is not None or self._locked

    def all(self) -> list[ApiKey]:
        """Every stored key, oldest first."""
        return list(self._keys.values())

    def grant_of(self, text: str) -> Grant | None:
        """What the bearer of this key may do; None when it is no valid key."""
        digest = _digest(text)
        if self._configured is not None and hmac.compare_digest(digest, self._configured):
            return CONFIGURED
        key = self._keys.get(text.removeprefix(PREFIX).partition("_")[0])
        # An unknown id is compared too, so that it takes the same time.
        same = hmac.compare_digest(digest, key.sha256 if key else _digest(""))
        if key is None or not same or key.expired:
            return None
        self.used_at[key.id] = time.time()
        return key.grant

    def add(
        self,
        name: str,
        scopes: Collection[str],
        learners: Collection[str] | None = None,
        expires_at: float | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key durably; returns it with its text, which is nowhere else.

        Raises
        ------
        Problem
            ``conflict`` if nobody could manage the keys, or if there are too many.
        """
        key_id = secrets.token_hex(4)
        text = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
        key = ApiKey(
            key_id,
            name,
            _digest(text),
            tuple(scope for scope in SCOPES if scope in scopes),
            None if learners is None else tuple(sorted(set(learners))),
            time.time(),
            expires_at,
        )
        with self._lock:
            if not self._managed([*self._keys.values(), key]):
                raise Problem(
                    "conflict",
                    "from the first key on a key is needed: the first must have the scope admin, "
                    "for all learners, or nobody could make another one",
                )
            if len(self._keys) >= MOST_KEYS:
                raise Problem("conflict", f"there are {MOST_KEYS} keys, no more are kept: delete")
            self._write({**self._keys, key_id: key})
        return key, text

    def remove(self, key_id: str, *, last_too: bool = False) -> None:
        """Revoke a key at once and durably.

        Parameters
        ----------
        key_id
            Its id.
        last_too
            Whether it may be the last one that can manage the others.

        Raises
        ------
        Problem
            ``not-found``, or ``conflict`` for the last admin key.
        """
        with self._lock:
            if key_id not in self._keys:
                known = ", ".join(self._keys) or "none"
                raise Problem("not-found", f"no key has the id {key_id[:40]!r}; there are: {known}")
            rest = {one: key for one, key in self._keys.items() if one != key_id}
            if not last_too and not self._managed(rest.values()):
                raise Problem(
                    "conflict",
                    f"{key_id} is the last key that can manage keys: add another first, or stop "
                    "the service and use `edge-cl keys revoke --data`",
                )
            self._write(rest)
            self.used_at.pop(key_id, None)

    def _managed(self, keys: Collection[ApiKey]) -> bool:
        return self._configured is not None or any(key.rules for key in keys)

    def _write(self, keys: dict[str, ApiKey]) -> None:
        try:
            if keys:
                content = {"format": FORMAT, "keys": [asdict(key) for key in keys.values()]}
                encoded = json.dumps(content, indent=1).encode()
                write_atomically(self._path, encoded, mode=0o600)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            raise Problem("disk-full", f"the keys were not stored: {error}") from error
        self._keys, self._locked = keys, bool(keys)


def _read(path: Path) -> dict[str, ApiKey]:
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, known is {FORMAT}")
        keys = [ApiKey(**one) for one in content["keys"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): restore it, or delete it to revoke every key"
        ) from error
    return {key.id: key for key in keys}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
