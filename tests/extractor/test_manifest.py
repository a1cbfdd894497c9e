import pytest

from edge_cl.errors import ExtractorError
from edge_cl.extractor import Manifest

FULL = Manifest(
    id="one", input_height=8, input_width=9, dim=5, scale=0.5, zero_point=3, fit="crop",
    layer="last", licence="MIT", training_data="none", recipe="by hand", accuracy={"probe": 50.0},
)  # fmt: skip


def test_round_trip():
    assert Manifest.from_metadata(FULL.to_metadata(), "", 0) == FULL


def test_digest_and_size_are_computed_not_stored():
    again = Manifest.from_metadata(FULL.to_metadata(), "abc", 7)
    assert (again.sha256, again.file_bytes) == ("abc", 7)
    assert not any("sha256" in key for key in FULL.to_metadata())


@pytest.mark.parametrize("missing", ["id", "input_height", "dim", "scale", "zero_point"])
def test_missing_keys(missing):
    metadata = FULL.to_metadata()
    del metadata[f"edge_cl.{missing}"]
    with pytest.raises(ExtractorError, match="extractor build"):
        Manifest.from_metadata(metadata, "", 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [("scale", "0"), ("scale", "NaN"), ("zero_point", "300"), ("dim", "0"), ("fit", '"stretch"'),
     ("colour", '"BGR"'), ("scale", '"x"'), ("dim", "{")],
)  # fmt: skip
def test_impossible_values(key, value):
    with pytest.raises(ExtractorError):
        Manifest.from_metadata({**FULL.to_metadata(), f"edge_cl.{key}": value}, "", 0)


def test_unknown_keys_of_later_versions_are_ignored():
    metadata = {**FULL.to_metadata(), "edge_cl.colour_of_the_sky": '"blue"'}
    assert Manifest.from_metadata(metadata, "", 0) == FULL
