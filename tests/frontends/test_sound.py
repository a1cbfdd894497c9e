"""The log-mel front end against its formulas, computed another way, and on synthetic sounds."""

import math
import struct

import numpy as np
import pytest
from recordings import SOUNDS, sound, wav

from edge_cl import Learner
from edge_cl.errors import InvalidSound, TooLarge
from edge_cl.frontends import Sound
from edge_cl.frontends.sound import BANDS, STRETCHES, band_powers, read_wav

RATE = 16_000
LATENT = Sound()


def tone(hertz, seconds=0.5, rate=RATE, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def mel_corners():
    mel = [2595 * math.log10(1 + hertz / 700) for hertz in (100.0, 3800.0)]
    step = (mel[1] - mel[0]) / 25
    return [700 * (10 ** ((mel[0] + number * step) / 2595) - 1) for number in range(26)]


def plain_powers(samples, rate):
    """Band powers of the first frame, by sums over the definition of the Fourier transform."""
    length = round(0.025 * rate)
    size = 2 ** math.ceil(math.log2(length))
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / length) for n in range(length)]
    corners, powers = mel_corners(), [0.0] * BANDS
    for k in range(size // 2 + 1):
        turns = np.exp(-2j * np.pi * k * np.arange(length) / size)
        twice = 1 if k in (0, size // 2) else 2
        density = twice * abs(np.sum(window * samples[:length] * turns)) ** 2
        density /= rate * sum(w * w for w in window)
        for band in range(BANDS):
            left, middle, right = corners[band : band + 3]
            hertz = k * rate / size
            if left < hertz < right:
                weight = (
                    (hertz - left) / (middle - left)
                    if hertz <= middle
                    else (right - hertz) / (right - middle)
                )
                powers[band] += weight * density * rate / size
    return powers


@pytest.mark.parametrize("rate", [8_000, 11_025, RATE])
def test_band_powers_are_those_of_the_definition(rate):
    samples = np.random.default_rng(0).normal(0, 0.3, round(0.025 * rate))
    assert np.allclose(band_powers(samples, rate)[0], plain_powers(samples, rate), rtol=1e-10)


def test_white_noise_has_the_power_of_the_bands_share_of_the_spectrum():
    """A band of weight area A hertz holds variance * A / (rate / 2), whatever the rate."""
    for rate in (8_000, 48_000):
        noise = np.random.default_rng(1).normal(0, 0.2, 8 * rate)
        corners = np.array(mel_corners())
        areas = (corners[2:] - corners[:-2]) / 2
        expected = 0.04 * areas / (rate / 2)
        assert np.allclose(band_powers(noise, rate).mean(axis=0), expected, rtol=0.12)


def test_a_tone_lies_in_its_band_at_every_rate():
    for rate in (8_000, 16_000, 44_100):
        spectrogram = LATENT.spectrogram(tone(1000, rate=rate), rate)
        middles = np.array(mel_corners())[1:-1]
        loudest = int(np.argmax(spectrogram.mean(axis=0)))
        assert loudest == int(np.argmin(np.abs(middles - 1000)))
    slow, fast = (LATENT.spectrogram(tone(1000, rate=rate), rate) for rate in (8_000, 48_000))
    assert np.abs(slow - fast)[slow > 0.5].max() < 0.05


def test_neither_loudness_nor_silence_around_it_changes_the_latent():
    clip = np.concatenate([tone(500, 0.2), tone(1500, 0.2)])
    shifted = np.concatenate([np.zeros(1600), clip / 8, np.zeros(4800)])
    plain, quiet = (LATENT.spectrogram(one, RATE) for one in (clip, shifted))
    assert np.abs(plain - quiet)[1:-1].max() < 0.12
    order = [int(np.argmax(plain[stretch])) for stretch in (2, STRETCHES - 3)]
    assert order[0] < order[1]


def test_codes_are_the_latent_in_steps_of_one_255th():
    content = wav(tone(700))
    samples, rate = read_wav(content)
    codes = LATENT.latents([content, content])
    assert codes.shape == (2, 384)
    assert codes.dtype == np.uint8
    error = LATENT.spec.to_float(codes[0]) - LATENT.spectrogram(samples, rate).ravel()
    assert np.abs(error).max() <= 0.5 / 255 + 1e-6


def test_silence_is_zero():
    assert LATENT.latents(wav(np.zeros(8000))).max() == 0


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_width_and_number_of_channels_is_the_same_sound(width, channels):
    samples = tone(440, 0.1)
    read, rate = read_wav(wav(samples, width=width, channels=channels))
    assert rate == RATE
    assert np.abs(read - samples).max() <= 0.51 / 2 ** (8 * width - 1)


def riff(**changes):
    """A WAV header written by hand, with values that the library would not write."""
    form = {"format": 1, "channels": 1, "rate": RATE, "width": 2, "declared": None} | changes
    pcm = bytes(8000)
    block = form["channels"] * form["width"]
    declared = len(pcm) if form["declared"] is None else form["declared"]
    fmt = struct.pack(
        "<HHIIHH", form["format"], form["channels"], form["rate"],
        form["rate"] * block, block, 8 * form["width"],
    )  # fmt: skip
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", declared) + pcm
    return b"RIFF" + struct.pack("<I", min(len(body) + declared, 2**32 - 1)) + body


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", InvalidSound, "no WAV file"),
        (b"RIFF\x10\0\0\0WAVEfmt ", InvalidSound, "no WAV file"),
        (wav(tone(440))[:30], InvalidSound, "no WAV file"),
        (wav(tone(440))[:5000], InvalidSound, "says 8,000 frames and ends after 2,478"),
        (riff(format=3), InvalidSound, "no WAV file"),
        (riff(rate=4000), InvalidSound, "4,000 samples a second, 8,000 to 96,000"),
        (riff(channels=9), InvalidSound, "9 channels"),
        (riff(width=5), InvalidSound, "40 bits"),
        (wav(tone(440, 0.04)), InvalidSound, "lasts 0.040 s, at least 0.05 s"),
        (wav(tone(440, 10.1)), TooLarge, "lasts 10.1 s, at most 10 s"),
        (bytes(9 << 20), TooLarge, "9,437,184 bytes, at most 8,388,608"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_limit(content, error, said):
    with pytest.raises(error, match=said):
        LATENT.latents(content)


def test_a_stream_of_unknown_length_is_read_to_its_end():
    samples, _ = read_wav(riff(declared=0xFFFFFFFE))
    assert len(samples) == 4000


def test_bytes_of_any_kind_are_a_sound_or_an_error_of_ours():
    whole, rng = wav(tone(440, 0.06)), np.random.default_rng(3)
    for _ in range(300):
        damaged = bytearray(whole[: rng.integers(12, len(whole))])
        for place in rng.integers(0, min(len(damaged), 60), 3):
            damaged[place] = rng.integers(256)
        try:
            LATENT.latents(bytes(damaged))
        except (InvalidSound, TooLarge):
            continue


def test_a_learner_knows_sounds_taught_class_after_class():
    """20 of each of five kinds, in sequence; chance is 0.2."""
    rng = np.random.default_rng(1)
    learner = Learner.create(spec=LATENT.spec, memory_budget="256KiB")
    for kind in SOUNDS:
        for _ in range(20):
            learner.learn_latents(LATENT.latents(sound(kind, rng)), [kind])
    asked = [kind for kind in SOUNDS for _ in range(20)]
    answers = learner.predict_latents(LATENT.latents([sound(kind, rng) for kind in asked]))
    right = [one.label == kind for one, kind in zip(answers, asked, strict=True)]
    assert np.mean(right) >= 0.8
