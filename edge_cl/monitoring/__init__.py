"""How good a learner is, measured on the stream that it learns from."""

from edge_cl.monitoring.adwin import Adwin
from edge_cl.monitoring.prequential import Alarm, Monitor, Outcome
from edge_cl.monitoring.tally import Tally

__all__ = ["Adwin", "Alarm", "Monitor", "Outcome", "Tally"]
