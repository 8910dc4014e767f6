"""Sounds and numbers made fit for a page: Opus, spectrograms as WebP, histograms as SVG. No files, no display."""

import base64
import html
import io

import numpy as np
from numpy.typing import NDArray

from pipelines.audit.bins import Binned
from pipelines.clip import resampled
from pipelines.row import Wave

COLORS = ((16, 18, 27), (52, 33, 90), (122, 44, 110), (196, 70, 84), (240, 133, 62), (250, 200, 120), (255, 246, 220))
DEPTH_DB = 75.0
OPUS_HZ = 48000


def data_uri(kind: str, data: bytes) -> str:
    """Bytes as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def opus(wave_S: Wave, *, rate_hz: int, bits_per_second: int) -> bytes:
    """Compressed for listening, as WebM; the same bytes every time."""
    import av

    whole = (np.clip(resampled(wave_S, rate_hz=rate_hz, to_hz=OPUS_HZ), -1, 1) * 32767).astype(np.int16)[np.newaxis]
    frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
    frame.sample_rate = OPUS_HZ
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm", options={"fflags": "+bitexact"}) as file:
        settings = {"compression_level": "5", "vbr": "constrained"}
        stream = file.add_stream("libopus", rate=OPUS_HZ, options=settings)
        stream.bit_rate, stream.layout = bits_per_second, "mono"
        for packets in (stream.encode(frame), stream.encode(None)):
            for packet in packets:
                file.mux(packet)
    return buffer.getvalue()


def spectrogram(wave_S: Wave, *, rate_hz: int, width: int = 300, height: int = 72) -> bytes:
    """A WebP of level over time and frequency, from 0 Hz at the bottom to half the rate at the top."""
    from PIL import Image

    size = 512
    padded = np.pad(wave_S, (0, max(0, size - len(wave_S))))
    starts = np.linspace(0, len(padded) - size, width).astype(int)
    frames = np.stack([padded[start : start + size] for start in starts]) * np.hanning(size).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))[:, : size // 2]
    edges = np.linspace(0, size // 2, height + 1).astype(int)
    rows = np.stack([power[:, a : max(b, a + 1)].max(axis=1) for a, b in zip(edges, edges[1:], strict=False)])
    level_db = 10 * np.log10(rows[::-1] / max(float(rows.max()), 1e-12) + 1e-12)
    file = io.BytesIO()
    Image.fromarray(colored(np.clip(level_db / DEPTH_DB + 1, 0, 1))).save(file, "WEBP", quality=45, method=4)
    return file.getvalue()


def colored(level: NDArray[np.float64]) -> NDArray[np.uint8]:
    """0..1 as red, green and blue, from dark to light."""
    anchors = np.linspace(0, 1, len(COLORS))
    channels = [np.interp(level, anchors, [color[k] for color in COLORS]) for k in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def histogram(bins: Binned, *, width: int = 420, height: int = 120) -> str:
    """Hours over the value of a score, stacked by what became of them, with the limits of the manifest; an SVG."""
    edges, top, bottom = bins.edges, 16, height - 18
    low, high = float(edges[0]), float(edges[-1])
    groups = {"kept": bins.kept, "alone": bins.alone, "dropped": bins.other}
    x = (edges - low) / (high - low) * width
    density = np.sum(list(groups.values()), axis=0) / np.diff(edges)
    tallest = float(density.max()) or 1.0
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="histogram">']
    filled = np.zeros(len(density))
    for name, hours in groups.items():
        for number in np.flatnonzero(hours > 0):
            tall = hours[number] / (edges[number + 1] - edges[number]) / tallest * (bottom - top)
            y = bottom - filled[number] - tall
            filled[number] += tall
            wide = max(x[number + 1] - x[number] - 0.6, 0.4)
            parts.append(
                f'<rect class="{name}" x="{x[number]:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'
            )
    parts.append(f'<rect class="out low" x="0" y="{top}" width="0" height="{bottom - top}"/>')
    parts.append(f'<rect class="out high" x="{width}" y="{top}" width="0" height="{bottom - top}"/>')
    parts.append(f'<line class="axis" x1="0" x2="{width}" y1="{bottom}" y2="{bottom}"/>')
    for at, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        label = short(low + at * (high - low))
        parts.append(f'<text x="{at * width:.0f}" y="{height - 4}" text-anchor="{anchor}">{label}</text>')
    return "".join([*parts, *marks(bins, width=width, bottom=bottom), "</svg>"])


def marks(bins: Binned, *, width: int, bottom: int) -> list[str]:
    """The limits, as named lines; names that would lie over one another are left out."""
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    near = [limit for limit in sorted(bins.limits, key=lambda limit: limit.value) if low <= limit.value <= high]
    places = [(limit.value - low) / (high - low) * width for limit in near]
    parts, taken = [], [(x, x) for x in places]
    for limit, x in zip(near, places, strict=True):
        place = "" if limit.place == "keep" else f"{limit.place} "
        name = f"{place}{limit.language + ' ' if limit.language else ''}{short(limit.value)}"
        wide = 6.0 * len(name) + 6
        begin = x - wide if x > width * 0.7 else x
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{bottom}"/>')
        if all(begin + wide <= a or begin >= b for a, b in taken if (a, b) != (x, x)):
            taken.append((begin, begin + wide))
            side, anchor = (-4, "end") if x > width * 0.7 else (4, "start")
            parts.append(
                f'<text class="mark" x="{x + side:.1f}" y="11" text-anchor="{anchor}">{html.escape(name)}</text>'
            )
    return parts


def short(value: float) -> str:
    """A number of a few figures: `12.3k`, `12.3`, `0.08`."""
    if abs(value) >= 9999.5:
        return f"{value / 1000:.3g}k"
    if abs(value) >= 1:
        return f"{round(value)}" if abs(value) >= 999.5 else f"{value:.3g}"
    return f"{round(value, 2) + 0.0:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
