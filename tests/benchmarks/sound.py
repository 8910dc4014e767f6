"""What do the measures of sound find on the recordings beside the checkout?

python tests/benchmarks/sound.py [upsampling] [low_pass] [gate] [enhancement]
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.signal

from pipelines.clip import Clip
from pipelines.row import Segment, Wave
from pipelines.synthetic.sounds import mixed, noise
from pipelines.transforms import bandwidth, enhance, separate
from tests.sounds import RESAMPLERS, by_soxr, clip_of, native, scored, wideband

AUDIO = Path(__file__).resolve().parents[2].parent / "shared" / "audio"
MOST_SECONDS = 12


def recordings(*folders: str, pattern: str = "*") -> Iterator[tuple[str, Wave, int]]:
    """Name, waveform and rate of the sound files of some folders."""
    for folder in folders:
        for path in sorted((AUDIO / folder).glob(pattern)):
            if path.suffix in (".flac", ".wav", ".mp3"):
                wave, rate_hz = native(path)
                yield f"{folder}/{path.name}", wave[: MOST_SECONDS * rate_hz], rate_hz


def upsampling() -> None:
    """Share of LibriSpeech clips whose upsampling is found, with what, and at which bandwidth."""
    measure = bandwidth.Transform(bandwidth.Config())
    clips = [wave for _, wave, _ in recordings("libri_clean100", "libri_other")]

    def found(name: str, waves: list[Wave], rate_hz: int, source_hz: int | None) -> None:
        begun = time.process_time()
        facts: list[Segment] = [scored(measure, clip_of(wave, rate_hz)) for wave in waves]
        cost = (time.process_time() - begun) / sum(len(wave) / rate_hz for wave in waves)
        hit = np.mean([fact.upsampled_from_hz == source_hz for fact in facts])
        widths = sorted(fact.bandwidth_hz or 0 for fact in facts)
        print(
            f"{name:44} {len(waves):4} {np.mean([bool(f.upsampled) for f in facts]):9.3f} {hit:10.3f}"
            f" {widths[0]:8.0f} {widths[len(widths) // 2]:8.0f} {widths[-1]:8.0f} {cost:8.4f}"
        )

    print(f"{'':44} {'n':>4} {'upsampled':>9} {'right rate':>10} {'least Hz':>8} {'median':>8} {'most':>8} {'s/s':>8}")
    for source_hz, rate_hz in ((16000, 48000), (16000, 44100), (8000, 48000)):
        for name, resample in RESAMPLERS.items():
            sources = clips if source_hz == 16000 else [by_soxr(wave, 16000, source_hz) for wave in clips]
            waves = [resample(wave, source_hz, rate_hz) for wave in sources]
            found(f"{source_hz} -> {rate_hz} Hz, {name}", waves, rate_hz, source_hz)
    found("16 kHz as it is", clips, 16000, None)
    found("16 kHz, hiss continued to 24 kHz", [wideband(wave, seed=n) for n, wave in enumerate(clips)], 48000, None)
    for name in ("music/demucs_test.mp3", "noisy/dfn_clean_freesound_33711.flac", "en/jfk.flac"):
        wave, rate_hz = native(AUDIO / name)
        found(f"{name} ({rate_hz} Hz)", [wave], rate_hz, None)


def low_pass() -> None:
    """Error of the bandwidth on filtered noise, in Hz."""
    measure = bandwidth.Transform(bandwidth.Config())
    random = np.random.default_rng(0)
    signals = {"white": random.normal(0, 0.1, size=96000), "pink": noise(2, rate_hz=48000, random=random)}
    print(f"{'edge, Hz':10}" + "".join(f"{name + ', ' + kind:>18}" for name in signals for kind in ("fir", "elliptic")))
    for edge_hz in (4000, 5000, 6000, 7000, 8000, 10000, 12000, 14000, 16000, 18000, 20000):
        sos = scipy.signal.ellip(10, 0.1, 80, edge_hz, fs=48000, output="sos")
        taps = scipy.signal.firwin(801, edge_hz, fs=48000)
        row = []
        for wave in signals.values():
            for filtered in (scipy.signal.lfilter(taps, 1, wave), scipy.signal.sosfilt(sos, wave)):
                facts = scored(measure, clip_of(filtered.astype(np.float32), 48000))
                row.append(f"{(facts.bandwidth_hz or 0) - edge_hz:18.0f}")
        print(f"{edge_hz:<10}" + "".join(row))


def gate() -> None:
    """Share of recordings that the gate stops, by folder and by level of the background under clean speech."""
    transform = separate.Transform(separate.Config())

    def line(name: str, waves: list[tuple[Wave, int]]) -> None:
        facts = [scored(transform, clip_of(wave, rate_hz)) for wave, rate_hz in waves]
        shares = [[f.music_ratio or 0, f.singing_ratio or 0, f.noise_ratio or 0] for f in facts]
        stopped = sum(fact.separated != "no" for fact in facts)
        most = "".join(f"{value:9.2f}" for value in np.max(shares, axis=0))
        print(f"{name:44} {len(facts):4} {stopped:8}{most}")

    print(f"{'':44} {'n':>4} {'stopped':>8}{'music':>9}{'singing':>9}{'noise':>9}   (largest shares)")
    for folder in ("libri_clean100", "libri_other", "en", "zh", "conversation", "noise", "music"):
        line(folder, [(wave, rate_hz) for _, wave, rate_hz in recordings(folder)])
    for kind in ("clean", "noisy"):
        line(f"noisy, the {kind} ones", [(w, r) for _, w, r in recordings("noisy", pattern=f"*{kind}*")])
    speech = [wave for _, wave, _ in recordings("libri_clean100")][::3]
    backgrounds = {name: by_soxr(w, r, 16000) for name, w, r in recordings("noise", "music")}
    backgrounds["white"] = np.random.default_rng(0).normal(0, 0.1, size=160000).astype(np.float32)
    for name, background in backgrounds.items():
        for snr_db in (20, 10, 5, 0):
            waves = [(mixed(wave, np.resize(background, len(wave)), snr_db=snr_db), 16000) for wave in speech]
            line(f"{name} at {snr_db} dB", waves)


def enhancement() -> None:
    """STOI against the clean reference, and the opinion of DNSMOS, of the clips that the gate lets be enhanced."""
    from pystoi import stoi

    transform = enhance.Transform(enhance.Config())

    def line(name: str, pairs: list[tuple[Wave, Wave]], rate_hz: int) -> None:
        rows = []
        for clean, noisy in pairs:
            done = transform([clip_of(noisy, rate_hz)])[0]
            assert isinstance(done, Clip)
            if done.segment.enhanced != "no":
                opinions = (done.segment.enhancement_before or 0, done.segment.enhancement_after or 0)
                rows.append((stoi(clean, noisy, rate_hz), stoi(clean, done.wave_S, rate_hz), *opinions))
        if not rows:
            print(f"{name:44} {len(pairs):4} {0:8}")
            return
        values = np.array(rows)
        numbers = "".join(f"{value:9.3f}" for value in values.mean(axis=0))
        least = (values[:, 1] - values[:, 0]).min()
        print(f"{name:44} {len(pairs):4} {len(rows):8}{numbers}{least:9.3f}")

    columns = ("STOI", "after", "DNSMOS", "after", "least")
    print(f"{'':44} {'n':>4} {'enhanced':>8}" + "".join(f"{name:>9}" for name in columns))
    pairs = []
    for path in sorted((AUDIO / "noisy").glob("vb_*_clean.flac")):
        noisy_path = path.with_name(path.name.replace("clean", "noisy"))
        if noisy_path.exists():
            pairs.append((native(path)[0], native(noisy_path)[0]))
    line("VoiceBank pairs", pairs, 16000)
    clean = [wave[: 8 * 16000] for _, wave, _ in recordings("libri_clean100")][::4]
    backgrounds = {name: by_soxr(w, r, 16000) for name, w, r in recordings("noise", "music")}
    for snr_db in (20, 10, 5, 0):
        for name, background in backgrounds.items():
            line(
                f"{name} at {snr_db} dB",
                [(wave, mixed(wave, np.resize(background, len(wave)), snr_db=snr_db)) for wave in clean],
                16000,
            )
    for folder in ("libri_clean100", "libri_other", "en", "zh"):
        for _, wave, rate_hz in recordings(folder):
            done = transform([clip_of(wave, rate_hz)])[0]
            assert isinstance(done, Clip)
            if done.segment.enhanced != "no":
                print(f"enhanced, though clean: {folder}, {done.segment.enhancement_before}")


TABLES: dict[str, Callable[[], None]] = {
    "upsampling": upsampling,
    "low_pass": low_pass,
    "gate": gate,
    "enhancement": enhancement,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="What the measures of sound find on the recordings beside the checkout."
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)} (default: all)")
    asked = parser.parse_args().tables
    if unknown := [table for table in asked if table not in TABLES]:
        parser.error(f"no table {unknown[0]}; there are: {', '.join(TABLES)}")
    for table in asked or list(TABLES):
        print(f"\n{table}: {TABLES[table].__doc__}")
        TABLES[table]()
