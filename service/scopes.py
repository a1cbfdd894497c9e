"""Which scope a key needs for each route; one table, read by the gate and the documents."""

from __future__ import annotations

__all__ = ["OPEN", "OPEN_PATHS", "SCOPE_OF", "SHARED"]

OPEN = "open"
"""For probes and pages, which could not send a key."""

SCOPE_OF: dict[str, str] = {
    "GET /": OPEN,
    "GET /docs": OPEN,
    "GET /livez": OPEN,
    "GET /readyz": OPEN,
    "GET /healthz": OPEN,
    "GET /v2/health/live": OPEN,
    "GET /v2/health/ready": OPEN,
    "GET /metrics": "read",
    "GET /v1/info": "read",
    "GET /v1/extractor/layers": "read",
    "GET /v1/strategies": "read",
    "GET /v1/strategies/{strategy}": "read",
    "GET /v1/events": "read",
    "GET /v1/jobs": "read",
    "GET /v1/jobs/{job}": "read",
    "DELETE /v1/jobs/{job}": "learn",
    "GET /v1/learners": "read",
    "GET /v1/learners/{learner}": "read",
    "GET /v1/learners/{learner}/classes": "read",
    "GET /v1/learners/{learner}/samples": "read",
    "GET /v1/learners/{learner}/samples/{sample_id}": "read",
    "GET /v1/learners/{learner}/samples/{sample_id}/thumbnail": "read",
    "GET /v1/learners/{learner}/predictions/{prediction_id}/thumbnail": "read",
    "GET /v1/learners/{learner}/metrics": "read",
    "POST /v1/learners/{learner}/predict": "predict",
    "POST /v1/learners/{learner}/evaluate": "predict",
    "POST /v1/learners/{learner}/predictions/{prediction_id}/feedback": "learn",
    "GET /v1/learners/{learner}/inbox": "read",
    "POST /v1/learners/{learner}/samples": "learn",
    "POST /v1/learners/{learner}/experience/end": "learn",
    "GET /v1/learners/{learner}/versions": "read",
    "POST /v1/learners/{learner}/undo": "learn",
    "POST /v1/learners/{learner}/rollback": "learn",
    "POST /v1/learners/{learner}/checkpoints": "learn",
    "DELETE /v1/learners/{learner}/checkpoints/{checkpoint}": "learn",
    "PATCH /v1/learners/{learner}/samples/{sample_id}": "learn",
    "DELETE /v1/learners/{learner}/samples/{sample_id}": "learn",
    "PATCH /v1/learners/{learner}/classes/{label}": "learn",
    "POST /v1/learners/{learner}/classes/{label}/merge": "learn",
    "DELETE /v1/learners/{learner}/classes/{label}": "learn",
    "GET /v2": "read",
    "POST /v2/repository/index": "read",
    "GET /v2/models/{learner}": "read",
    "GET /v2/models/{learner}/versions/{version}": "read",
    "GET /v2/models/{learner}/ready": "read",
    "GET /v2/models/{learner}/versions/{version}/ready": "read",
    "POST /v2/models/{learner}/infer": "predict",
    "POST /v2/models/{learner}/versions/{version}/infer": "predict",
    "POST /v1/learners": "admin",
    "POST /v1/learners/import": "admin",
    "GET /v1/learners/{learner}/export": "admin",
    "PATCH /v1/learners/{learner}": "admin",
    "DELETE /v1/learners/{learner}": "admin",
    "GET /v1/keys": "admin",
    "POST /v1/keys": "admin",
    "DELETE /v1/keys/{key}": "admin",
}
"""A route that is missing here is for admins only, and a test fails."""

OPEN_PATHS = frozenset(
    ("/openapi.json", *(name.split(" ")[1] for name, scope in SCOPE_OF.items() if scope == OPEN))
)

SHARED = frozenset(
    (
        "GET /v1/events",
        "GET /v1/jobs",
        "GET /v1/jobs/{job}",
        "DELETE /v1/jobs/{job}",
        "GET /v1/info",
        "GET /v1/extractor/layers",
        "GET /v1/strategies",
        "GET /v1/strategies/{strategy}",
        "GET /v1/learners",
        "GET /v2",
        "POST /v2/repository/index",
    )
)
"""Routes without a learner in their path that a key bound to learners may use all the same."""
