"""A real service that the tests of the command line share."""

import pytest

from edge_cl.demo.images import digits
from edge_cl.local_service import LocalService


@pytest.fixture(scope="session")
def digit_images():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[bench]'")
    return digits().part(12, 5)


@pytest.fixture(scope="session")
def real_service(tmp_path_factory):
    with LocalService(tmp_path_factory.mktemp("service"), {"memory_budget": "1MiB"}) as service:
        yield service


@pytest.fixture
def write_folder(tmp_path):
    """Write encoded images as class folders."""

    def write(by_label, name="images"):
        folder = tmp_path / name
        for label, images in by_label.items():
            (folder / label).mkdir(parents=True)
            for number, image in enumerate(images):
                (folder / label / f"{number}.png").write_bytes(image)
        return folder

    return write
