"""Tells what is of no class that was taught, and how sure a prediction really is.

``docs/unknown.md`` has the rule, what it costs and what it measured.
"""

from __future__ import annotations

from edge_cl.unknown.calibration import FALSE_REJECT_RATE, Calibration, calibrated, remembered
from edge_cl.unknown.statistics import ClassStatistics

__all__ = ["FALSE_REJECT_RATE", "Calibration", "ClassStatistics", "calibrated", "remembered"]
