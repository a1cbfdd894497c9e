import pytest


@pytest.fixture
def tiny_path(tmp_path):
    pytest.importorskip("onnx", reason="writing a test model needs the extra torch")
    from .models import write_tiny

    return write_tiny(tmp_path)
