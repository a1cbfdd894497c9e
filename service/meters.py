"""What the service counts and times, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["Meters"]

FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
REQUESTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meters:
    """One process's instruments, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Histogram(
            "edge_cl_http_request_duration_seconds",
            "Time from the request's head to the end of the answer.",
            ["method", "route", "status"],
            buckets=REQUESTS,
            registry=registry,
        )
        self.errors = Counter(
            "edge_cl_errors", "Error answers by problem.", ["type"], registry=registry
        )
        self.predictions = Counter(
            "edge_cl_predictions", "Samples predicted.", ["learner", "outcome"], registry=registry
        )
        self.predict = Histogram(
            "edge_cl_predict_duration_seconds",
            "Time of one stage of a request's images or latents.",
            ["stage"],
            buckets=FAST,
            registry=registry,
        )
        self.learned = Counter(
            "edge_cl_samples_learned", "Samples learned.", ["learner"], registry=registry
        )
        self.learn = Histogram(
            "edge_cl_learn_duration_seconds",
            "Time that the learner needed for one request.",
            ["learner"],
            buckets=FAST,
            registry=registry,
        )
        self.commit = Histogram(
            "edge_cl_commit_duration_seconds",
            "Time of one durable commit of a group of requests.",
            ["learner"],
            buckets=FAST,
            registry=registry,
        )
        self.publish = Histogram(
            "edge_cl_publish_duration_seconds",
            "Time to settle and publish what was learned.",
            ["learner"],
            buckets=FAST,
            registry=registry,
        )
        self.snapshots = Counter(
            "edge_cl_snapshots", "Snapshots by outcome.", ["learner", "outcome"], registry=registry
        )
        self.build = Gauge(
            "edge_cl_build_info", "What runs here; always 1.", ["version", "extractor"],
            registry=registry,
        )  # fmt: skip

    def forget(self, learner: str) -> None:
        """Drop the series of a learner that was deleted."""
        for metric in (self.learned, self.learn, self.commit, self.publish):
            metric.remove_by_labels({"learner": learner})
        for metric in (self.predictions, self.snapshots):
            metric.remove_by_labels({"learner": learner})
