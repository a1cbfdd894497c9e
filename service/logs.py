"""Log lines: plain text for people, or one JSON object per line."""

from __future__ import annotations

import json
import logging
import sys
import time

__all__ = ["configure"]

FIELDS = ("request_id", "route", "status", "key")


class JsonLines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON."""
        content = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        content |= {name: vars(record)[name] for name in FIELDS if name in vars(record)}
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content)


class TextLines(logging.Formatter):
    """Time, level, message, and the id of the request."""

    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of text."""
        line = super().format(record)
        request_id = vars(record).get("request_id")
        return f"{line} [{request_id}]" if request_id else line


def configure(level: str, style: str) -> None:
    """Send all log lines of this process to the standard error."""
    lines = logging.StreamHandler(sys.stderr)
    text = TextLines("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    lines.setFormatter(JsonLines() if style == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
