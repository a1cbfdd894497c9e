"""Exit codes of ``edge-cl``."""

from __future__ import annotations

OK = 0
PARTLY_FAILED = 1
"""Some of the samples or files failed; the summary says which and why."""
USAGE = 2
"""A wrong option, argument, setting or image."""
UNREACHABLE = 3
"""No answer from the service."""
REFUSED = 4
"""The service cannot do what was asked."""
FAILED = 5
"""What was asked could not be done on this machine: budget, extractor, missing package."""
INTERRUPTED = 130
"""Ctrl-C."""
TERMINATED = 143
"""SIGTERM."""
