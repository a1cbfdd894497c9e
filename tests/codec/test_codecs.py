from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_cl.codec import Codec, make_codec, names
from edge_cl.codec.bits import pack, packed_bytes, unpack
from edge_cl.errors import CheckpointError, InvalidOption
from edge_cl.types import Float32, LatentSpec

RANGED = tuple(name for name in names() if name.startswith("uint"))
SCALAR = tuple(name for name in names() if name != "pq")
DIMS = st.sampled_from([1, 2, 3, 7, 8, 9, 31, 64, 65])
WIDE = st.floats(-1e6, 1e6, width=32)
codes_specs = st.builds(
    LatentSpec,
    dim=DIMS,
    scale=st.floats(2.0**-13, 128, width=32),
    zero_point=st.integers(0, 255),
)


def fit(codec: Codec, latents: Float32) -> Codec:
    return codec if codec.covers(latents) else codec.widened(latents)


@st.composite
def float_latents(draw: st.DrawFn) -> Float32:
    shape = (draw(st.integers(1, 6)), draw(DIMS))
    return draw(hnp.arrays(np.float32, shape, elements=WIDE))


def test_an_unknown_codec_is_named_with_those_there_are() -> None:
    with pytest.raises(InvalidOption, match=r"'zip'; there are: float32, float16, uint8"):
        make_codec("zip", LatentSpec(4))


@given(st.integers(1, 8), st.integers(0, 5), st.integers(1, 40), st.integers(0, 999))
def test_packed_bits_unpack(bits: int, rows: int, dim: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 1 << bits, (rows, dim)).astype(np.uint8)
    packed = pack(values, bits)
    assert packed.shape == (rows, packed_bytes(dim, bits))
    np.testing.assert_array_equal(unpack(packed, bits, dim), values)


@pytest.mark.parametrize("name", SCALAR)
@given(latents=float_latents())
@settings(max_examples=60, deadline=None)
def test_float_latents_round_trip_within_the_bound(name: str, latents: Float32) -> None:
    spec = LatentSpec(latents.shape[1])
    codec = fit(make_codec(name, spec), latents)
    if name == "float16":
        latents = np.clip(latents, -65504, 65504)
    codes = codec.encode(latents)
    assert codes.dtype == np.uint8
    assert codes.shape == (len(latents), codec.row_bytes)
    decoded = codec.decode(codes)
    assert decoded.dtype == np.float32
    assert np.abs(decoded.astype(np.float64) - latents).max() <= codec.error_bound()


@pytest.mark.parametrize("name", SCALAR)
@given(spec=codes_specs, seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_extractor_codes_round_trip_within_the_bound(
    name: str, spec: LatentSpec, seed: int
) -> None:
    codec = make_codec(name, spec)
    assert codec.fitted
    assert codec.arrays() == {}
    codes = np.random.default_rng(seed).integers(0, 256, (5, spec.dim)).astype(np.uint8)
    latents = spec.to_float(codes)
    assert codec.covers(latents)
    error = np.abs(codec.decode(codec.encode(latents)) - latents)
    assert error.max() <= codec.error_bound()


@pytest.mark.parametrize("name", ["uint8", "uint8_channel"])
@given(spec=codes_specs)
def test_extractor_codes_pass_through_uint8_exactly(name: str, spec: LatentSpec) -> None:
    codec = make_codec(name, spec)
    codes = np.arange(256, dtype=np.uint8)[:, None].repeat(spec.dim, axis=1)
    np.testing.assert_array_equal(codec.encode(spec.to_float(codes)), codes)
    np.testing.assert_array_equal(codec.decode(codes), spec.to_float(codes))


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("spec", [LatentSpec(13), LatentSpec(13, scale=0.5, zero_point=9)])
def test_decoding_is_stable(name: str, spec: LatentSpec) -> None:
    """Encoding what was decoded changes nothing: re-encoding does not drift."""
    rng = np.random.default_rng(0)
    latents = rng.normal(0, 3, (40, 13)).astype(np.float32)
    codec = fit(make_codec(name, spec), latents)
    codes = codec.encode(latents)
    np.testing.assert_array_equal(codec.encode(codec.decode(codes)), codes)


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("spec", [LatentSpec(9), LatentSpec(9, scale=0.5)])
def test_an_empty_batch(name: str, spec: LatentSpec) -> None:
    codec = fit(make_codec(name, spec), np.ones((1, 9), np.float32))
    codes = codec.encode(np.zeros((0, 9), np.float32))
    assert codes.shape == (0, codec.row_bytes)
    assert codec.decode(codes).shape == (0, 9)
    assert codec.covers(np.zeros((0, 9), np.float32))


@pytest.mark.parametrize("name", RANGED)
def test_ranges_widen_and_restore(name: str) -> None:
    rng = np.random.default_rng(0)
    narrow, wide = (rng.normal(0, s, (20, 9)).astype(np.float32) for s in (1, 9))
    codec = make_codec(name, LatentSpec(9))
    assert not codec.fitted
    assert not codec.covers(narrow)
    assert codec.error_bound() == np.inf
    with pytest.raises(ValueError, match="no range yet"):
        codec.encode(narrow)
    unfitted = codec.arrays()
    codec = codec.widened(narrow)
    assert codec.covers(narrow)
    assert not codec.covers(wide)
    assert codec.widened(wide).covers(np.concatenate([narrow, wide]))
    twin = make_codec(name, LatentSpec(9))
    twin.restore(codec.arrays())
    np.testing.assert_array_equal(twin.encode(narrow), codec.encode(narrow))
    assert twin.ledger_bytes() == sum(a.nbytes for a in codec.arrays().values())
    twin.restore(unfitted)
    assert not twin.fitted
    with pytest.raises(CheckpointError):
        twin.restore({"range": np.zeros((2, 5), np.float32)})


def test_widening_is_logarithmic_in_the_growth_of_the_latents() -> None:
    codec, widenings = make_codec("uint8", LatentSpec(3)), 0
    for value in np.linspace(1, 1000, 3000, dtype=np.float32):
        latents = np.full((1, 3), value, np.float32)
        if not codec.covers(latents):
            codec, widenings = codec.widened(latents), widenings + 1
    assert widenings <= 1 + np.log(1000) / np.log(1.25)


def test_fixed_ranges_saturate() -> None:
    spec = LatentSpec(2, scale=0.1, zero_point=10)
    beyond = np.array([[-5.0, 99.0]], np.float32)
    for name in ("uint8", "uint4", "uint3"):
        codec = make_codec(name, spec)
        assert not codec.covers(beyond)
        assert codec.widened(beyond) is codec
        np.testing.assert_allclose(codec.decode(codec.encode(beyond)), [[-1.0, 24.5]], rtol=1e-5)
    half = make_codec("float16", LatentSpec(1))
    assert not half.covers(np.array([[1e6]], np.float32))
    assert half.decode(half.encode(np.array([[1e6]], np.float32))) == 65504


def test_half_precision_is_relative() -> None:
    latents = np.geomspace(2**-14, 60000, 500, dtype=np.float32)[:, None]
    codec = make_codec("float16", LatentSpec(1))
    error = np.abs(codec.decode(codec.encode(latents)) - latents)
    assert np.all(error <= 2.0**-11 * latents)


@pytest.mark.parametrize(
    ("name", "row_bytes"),
    [
        ("float32", 2048),
        ("float16", 1024),
        ("uint8", 512),
        ("uint7", 448),
        ("uint6", 384),
        ("uint4", 256),
        ("uint3", 192),
        ("uint2", 128),
    ],
)
def test_bytes_of_a_row(name: str, row_bytes: int) -> None:
    assert make_codec(name, LatentSpec(512)).row_bytes == row_bytes
