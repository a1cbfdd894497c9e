"""Images for the tests of the bridge."""

import pytest

from edge_cl.demo.images import digits


@pytest.fixture(scope="session")
def digit_images():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[bench]'")
    return digits().part(2, 1)
