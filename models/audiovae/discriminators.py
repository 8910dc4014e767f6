"""What tells made waveforms from recorded ones while the AudioVAE trains: by periods, and by sub-bands of a CQT.

Multi-period discriminator: HiFi-GAN (Kong et al. 2020). Multi-scale sub-band CQT discriminator: Gu et al. 2023, in
the setting of BigVGAN-v2. Both return a score map and the feature maps on the way to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

LOWEST_HZ = 32.703
"""C1, the lowest bin of the CQT."""


@dataclass(frozen=True)
class Maps:
    """What one sub-discriminator makes of a batch: a score map, and the feature maps on the way to it."""

    score: Tensor
    features: list[Tensor]


class PeriodDiscriminator(nn.Module):
    """Folds the waveform into columns of `period` samples and convolves down them."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        widths = [1, *channels]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(inside, outside, (5, 1), stride=(3 if last > 1 else 1, 1), padding=(2, 0)))
            for (inside, outside), last in zip(pairwise(widths), range(len(channels), 0, -1), strict=True)
        )
        self.post = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave_BS: Tensor) -> Maps:
        padded = functional.pad(wave_BS.unsqueeze(1), (0, -wave_BS.shape[-1] % self.period), mode="reflect")
        x = padded.view(padded.shape[0], 1, -1, self.period)
        features = []
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), 0.1)
            features.append(x)
        score = self.post(x)
        return Maps(score, [*features, score])


class BandDiscriminator(nn.Module):
    """Looks at a complex constant-Q transform, each octave through its own first convolution."""

    def __init__(self, *, rate_hz: int, hop: int, bins: int, octaves: int, channels: int) -> None:
        super().__init__()
        self.rate_hz, self.hop, self.bins, self.octaves = rate_hz, hop, bins, octaves
        self.transforms: dict[str, Any] = {}
        kernel = (3, 9)
        self.octave_convs = nn.ModuleList(nn.Conv2d(2, 2, kernel, padding=(1, 4)) for _ in range(octaves))
        convs: list[nn.Module] = [nn.Conv2d(2, channels, kernel, padding=(1, 4))]
        for dilation in (1, 2, 4):
            strided = nn.Conv2d(
                channels, channels, kernel, stride=(1, 2), dilation=(dilation, 1), padding=(dilation, 4)
            )
            convs.append(weight_norm(strided))
        convs.append(weight_norm(nn.Conv2d(channels, channels, (3, 3), padding=(1, 1))))
        self.convs = nn.ModuleList(convs)
        self.post = weight_norm(nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)))

    def transform(self, device: torch.device) -> Any:
        """The CQT on `device`, made at first use: its kernels are large, fixed, and belong in no checkpoint.

        At twice the rate of the waveform: the top octave must stay below the working Nyquist frequency. A hop counts
        samples of that doubled rate, as in BigVGAN-v2: 512 are 5.3 ms at 48 kHz.
        """
        if str(device) not in self.transforms:
            from nnAudio.features.cqt import CQT2010v2

            self.transforms[str(device)] = CQT2010v2(
                sr=2 * self.rate_hz,
                hop_length=self.hop,
                fmin=LOWEST_HZ,
                n_bins=self.octaves * self.bins,
                bins_per_octave=self.bins,
                output_format="Complex",
                pad_mode="constant",
                verbose=False,
            ).to(device)
        return self.transforms[str(device)]

    def spectrum(self, wave_BS: Tensor) -> Tensor:
        """Complex CQT as two channels: (B, S) -> (B, 2, frames, octaves * bins), lowest bin first."""
        from torchaudio.functional import resample

        with torch.autocast(wave_BS.device.type, enabled=False):
            doubled = resample(wave_BS.float(), self.rate_hz, 2 * self.rate_hz)
            complex_BNT2: Tensor = self.transform(wave_BS.device)(doubled)
        return complex_BNT2.permute(0, 3, 2, 1)

    def forward(self, wave_BS: Tensor) -> Maps:
        return self.of_spectrum(self.spectrum(wave_BS))

    def of_spectrum(self, spectrum: Tensor) -> Maps:
        """What it makes of a `spectrum`."""
        octaves = torch.split(spectrum, self.bins, dim=-1)
        x = torch.cat([conv(octave) for conv, octave in zip(self.octave_convs, octaves, strict=True)], dim=-1)
        features = []
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), 0.1)
            features.append(x)
        return Maps(self.post(x), features)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Defaults are HiFi-GAN's and BigVGAN-v2's; tiny ones use the same classes with small numbers."""

    rate_hz: int = 48000
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    cqt_hops: tuple[int, ...] = (512, 256, 256)
    cqt_bins: tuple[int, ...] = (24, 36, 48)
    cqt_octaves: int = 9
    cqt_channels: int = 128


class Discriminator(nn.Module):
    """All sub-discriminators; the maps of each."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.by_period = nn.ModuleList(PeriodDiscriminator(period, config.period_channels) for period in config.periods)
        self.by_band = nn.ModuleList(
            BandDiscriminator(
                rate_hz=config.rate_hz,
                hop=hop,
                bins=bins,
                octaves=config.cqt_octaves,
                channels=config.cqt_channels,
            )
            for hop, bins in zip(config.cqt_hops, config.cqt_bins, strict=True)
        )

    def forward(self, wave_BS: Tensor) -> list[Maps]:
        """Shapes: (B, S) -> the maps of each sub-discriminator, periods first."""
        return [one(wave_BS) for one in [*self.by_period, *self.by_band]]
