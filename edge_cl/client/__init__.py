"""A Python client of a running service.

>>> from edge_cl.client import Client
>>> client = Client("http://127.0.0.1:8080")      # doctest: +SKIP
>>> client.teach("cup.jpg", "cup").accepted       # doctest: +SKIP
1
>>> client.predict("what_is_this.jpg").label      # doctest: +SKIP
'cup'

`AsyncClient` has the same methods, to be awaited. Every call is described once
(`api`, `administration`, `correcting`, `scores`, `uploads`) and its answer read by
plain functions; only the clients themselves talk to the network. What is taught
carries an idempotency key, so that a call may be repeated until it is answered
without teaching the same sample twice; `OfflineQueue` keeps it on the device's
disk until then.
"""

from edge_cl.client.answers import Predicted, ServiceProblem, ServiceUnreachable, Taught
from edge_cl.client.asynchronous import AsyncClient
from edge_cl.client.events import Event
from edge_cl.client.queue import Drained, OfflineQueue
from edge_cl.client.queue_file import QueueError, QueueFull, SetAside
from edge_cl.client.retries import Retries
from edge_cl.client.scores import Evaluated, Metrics
from edge_cl.client.sync import Client
from edge_cl.client.uploads import Job, JobUnfinished

__all__ = [
    "AsyncClient",
    "Client",
    "Drained",
    "Evaluated",
    "Event",
    "Job",
    "JobUnfinished",
    "Metrics",
    "OfflineQueue",
    "Predicted",
    "QueueError",
    "QueueFull",
    "Retries",
    "ServiceProblem",
    "ServiceUnreachable",
    "SetAside",
    "Taught",
]
