"""A client that a stock generator makes from the OpenAPI document teaches and predicts."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serving_kit import Running, latent

pytest.importorskip("openapi_python_client", reason="openapi-python-client is not installed")


def test_a_generated_client_teaches_corrects_and_predicts(
    latents: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = latents.client.get("/openapi.json").json()
    ids = [
        o["operationId"] for operations in document["paths"].values() for o in operations.values()
    ]
    assert len(set(ids)) == len(ids)
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none",
         "--path", "openapi.json", "--output-path", "generated_edge_cl"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(tmp_path))

    def part(name: str) -> Any:
        return importlib.import_module(f"generated_edge_cl.{name}")

    with part("client").Client(base_url=latents.url) as client:
        models = part("models")
        lesson = models.TeachJsonBody(
            samples=[
                models.TeachJsonBodySamplesItem(label=f"class {kind}", latent=latent(kind))
                for kind in range(3)
            ]
        )
        taught = part("api.samples.teach").sync("l", client=client, body=lesson)
        assert taught.accepted == 3
        question = models.PredictJsonBody(
            samples=[models.PredictJsonBodySamplesItem(latent=latent(kind, 9)) for kind in range(3)]
        )
        found = part("api.predictions.predict").sync("l", client=client, body=question)
        assert [one.label for one in found.predictions] == ["class 0", "class 1", "class 2"]
        part("api.versions.undo_last").sync("l", client=client)
        assert part("api.learners.show_learner").sync("l", client=client).classes == 0
        missing = part("api.learners.show_learner").sync_detailed("nobody", client=client)
        assert missing.status_code == 404
        assert missing.parsed.type_.endswith("not-found")
