"""Sounds and numbers made fit for a page: small MP3s, spectrograms as PNG, histograms as SVG. No files, no display."""

import base64
import html
import io
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.row import Wave

COLORS = ((16, 18, 27), (52, 33, 90), (122, 44, 110), (196, 70, 84), (240, 133, 62), (250, 200, 120), (255, 246, 220))
DEPTH_DB = 75.0
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def data_uri(kind: str, data: bytes) -> str:
    """Bytes as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def mp3(wave_S: Wave, *, rate_hz: int) -> bytes:
    """Compressed for listening, at the next rate that MP3 has; written in pieces of a second."""
    import soundfile
    import soxr

    target_hz = next((rate for rate in MP3_RATES if rate >= rate_hz), MP3_RATES[-1])
    if target_hz != rate_hz:
        wave_S = soxr.resample(wave_S, rate_hz, target_hz)
    wave_S = np.clip(wave_S, -1, 1)
    buffer = io.BytesIO()
    settings = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.6}
    with soundfile.SoundFile(buffer, "w", samplerate=target_hz, channels=1, **settings) as file:
        for start in range(0, len(wave_S), target_hz):
            file.write(wave_S[start : start + target_hz])
    return buffer.getvalue()


def spectrogram(wave_S: Wave, *, rate_hz: int, width: int = 280, height: int = 72) -> bytes:
    """A PNG of level over time and frequency, from 0 Hz at the bottom to half the rate at the top."""
    size = 512
    padded = np.pad(wave_S, (0, max(0, size - len(wave_S))))
    starts = np.linspace(0, len(padded) - size, width).astype(int)
    frames = np.stack([padded[start : start + size] for start in starts]) * np.hanning(size).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))[:, : size // 2]
    edges = np.linspace(0, size // 2, height + 1).astype(int)
    rows = np.stack([power[:, a : max(b, a + 1)].max(axis=1) for a, b in zip(edges, edges[1:], strict=False)])
    level_db = 10 * np.log10(rows[::-1] / max(float(rows.max()), 1e-12) + 1e-12)
    return png(np.clip((level_db / DEPTH_DB + 1) * 255, 0, 255).astype(np.uint8))


def png(gray: NDArray[np.uint8]) -> bytes:
    """An image of (rows, columns) in our colors: PNG with a palette (RFC 2083)."""
    height, width = gray.shape
    anchors = np.linspace(0, 255, len(COLORS))
    palette = np.stack([np.interp(np.arange(256), anchors, [c[k] for c in COLORS]) for k in range(3)], axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in gray)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", np.round(palette).astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def histogram(
    groups: Mapping[str, Sequence[float]],
    *,
    marks: Mapping[str, float],
    bins: int = 36,
    width: int = 420,
    height: int = 130,
) -> str:
    """Stacked bars (a CSS class for each group) over a common axis, with named marks; an SVG."""
    values = np.concatenate([np.asarray(list(group), dtype=float) for group in groups.values()] or [np.zeros(0)])
    if not len(values):
        return ""
    low, high = bounds(values, marks=list(marks.values()))
    marks = {name: value for name, value in marks.items() if low <= value <= high}
    counts = {
        name: np.histogram(np.clip(group, low, high), bins=bins, range=(low, high))[0] for name, group in groups.items()
    }
    tallest = max(1, int(np.sum(list(counts.values()), axis=0).max()))
    top, bottom, step = 16, height - 18, width / bins
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img">']
    filled = np.zeros(bins)
    for name, count in counts.items():
        for number in np.flatnonzero(count):
            tall = count[number] / tallest * (bottom - top)
            y = bottom - filled[number] - tall
            filled[number] += tall
            parts.append(
                f'<rect class="{name}" x="{number * step + 0.5:.1f}" y="{y:.1f}" '
                f'width="{step - 1:.1f}" height="{tall:.1f}">'
                f"<title>{count[number]} {name}</title></rect>"
            )
    parts.append(f'<line class="axis" x1="0" x2="{width}" y1="{bottom}" y2="{bottom}"/>')
    for at, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        label = short(low + at * (high - low))
        parts.append(f'<text x="{at * width:.0f}" y="{height - 4}" text-anchor="{anchor}">{label}</text>')
    for name, value in marks.items():
        x = (value - low) / (high - low) * width
        anchor = "end" if x > width * 0.7 else "start"
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{bottom}"/>')
        parts.append(
            f'<text class="mark" x="{x + (-4 if anchor == "end" else 4):.1f}" y="11" text-anchor="{anchor}">'
            f"{html.escape(name)}</text>"
        )
    return "".join(parts) + "</svg>"


def bounds(values: NDArray[np.float64], *, marks: Sequence[float]) -> tuple[float, float]:
    """An axis that holds all but far outliers, and the marks that are near; it is never of no length."""
    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    reach = (high - low) or abs(low) or 1.0
    near = [mark for mark in marks if low - reach <= mark <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin


def short(value: float) -> str:
    """A number of a few figures: `1.23k`, `12.3`, `0.08`."""
    if abs(value) >= 1000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}" if abs(value) >= 1 else f"{round(value, 2) + 0.0:.2f}"
