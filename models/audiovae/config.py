"""What decides the shape of an AudioVAE: the `vocoder` block of an official config.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any

FILTER_TAPS = 12
"""Taps of the alias-free filters; fixed in every release."""
STEM_CHANNELS = 12
"""Width of the encoder's first convolution; hard-coded in every release."""


OFFICIAL_DEFAULTS: dict[str, Any] = {
    "sample_rate": 24000,
    "causal": False,
    "causal_encoder": False,
    "use_bias_at_final": True,
    "use_tanh_at_final": True,
}
"""What an official loader assumes for a key that a file lacks, where that is not what the releases have."""


@dataclass(frozen=True, kw_only=True)
class AudioVAEConfig:
    """Field names are the official ones, defaults the released values."""

    sample_rate: int = 48000
    downsample_rates: tuple[int, ...] = (2, 2, 2, 4, 6, 10)
    downsample_channels: tuple[int, ...] = (12, 24, 48, 96, 192, 384, 768)
    upsample_rates: tuple[int, ...] = (10, 6, 4, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (20, 12, 8, 4, 4, 4)
    upsample_initial_channel: int = 1536
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    activation: str = "snakebeta"
    snake_logscale: bool = True
    latent_dim: int = 128
    causal: bool = True
    causal_encoder: bool = True
    mi_num_layers: int = 4
    use_bias_at_final: bool = False
    use_tanh_at_final: bool = False
    num_encoder_lookahead: int = 2
    num_decoder_lookahead: int = 2
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Keys that we do not know, kept so that saving loses nothing."""

    def __post_init__(self) -> None:
        """Raises: ValueError, one sentence with every problem."""
        problems = list(self.problems())
        if problems:
            raise ValueError("vocoder: " + "; ".join(problems))

    def problems(self) -> list[str]:
        """What is wrong with this configuration, a sentence each."""
        wrong = []
        if not (self.causal and self.causal_encoder):
            wrong.append("causal and causal_encoder must both be true: no other AudioVAE was released")
        if self.resblock != "1" or self.activation != "snakebeta" or not self.snake_logscale:
            wrong.append(
                f"resblock {self.resblock!r}, activation {self.activation!r}, snake_logscale {self.snake_logscale} "
                "is not supported; use resblock '1', activation 'snakebeta', snake_logscale true"
            )
        if len(self.downsample_channels) != len(self.downsample_rates) + 1:
            wrong.append("downsample_channels must have one entry more than downsample_rates")
        elif self.downsample_channels[0] != STEM_CHANNELS:
            wrong.append(
                f"downsample_channels starts with {self.downsample_channels[0]}, but must with {STEM_CHANNELS}"
            )
        if list(self.upsample_kernel_sizes) != [2 * rate for rate in self.upsample_rates]:
            wrong.append(f"upsample_kernel_sizes must be twice upsample_rates {list(self.upsample_rates)}")
        if prod(self.upsample_rates) != prod(self.downsample_rates):
            wrong.append(f"up by {prod(self.upsample_rates)} but down by {prod(self.downsample_rates)} samples a frame")
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            wrong.append("resblock_kernel_sizes and resblock_dilation_sizes differ in length")
        if self.upsample_initial_channel >> len(self.upsample_rates) < 1:
            wrong.append(f"upsample_initial_channel {self.upsample_initial_channel} halves to nothing")
        return wrong

    @classmethod
    def from_dict(cls, block: Mapping[str, Any]) -> "AudioVAEConfig":
        """Read the `vocoder` block of config.json; a missing key takes the released value, an unknown one is kept."""
        known = {item.name for item in fields(cls)} - {"extra"}
        values = {key: as_tuples(value) for key, value in block.items() if key in known and value is not None}
        return cls(**values, extra={key: value for key, value in block.items() if key not in known})

    def to_dict(self) -> dict[str, Any]:
        """The `vocoder` block as plain JSON data, unknown keys included."""
        known = {item.name: as_lists(getattr(self, item.name)) for item in fields(self) if item.name != "extra"}
        return {**known, **self.extra}

    @property
    def hop(self) -> int:
        """Waveform samples in a latent frame."""
        return prod(self.downsample_rates)

    @property
    def frame_hz(self) -> float:
        """Latent frames a second."""
        return self.sample_rate / self.hop

    @property
    def left_context_frames(self) -> int:
        """Frames before a frame that its waveform depends on, behind the recurrent block (27 in the release)."""
        activation = FILTER_TAPS - 1
        stage = max(
            sum((kernel - 1) * dilation + (kernel - 1) + 2 * activation for dilation in dilations)
            for kernel, dilations in zip(self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True)
        )
        reach = 6 + activation  # conv_post has 7 taps
        for rate in reversed(self.upsample_rates):
            reach = -(-(reach + stage) // rate) + 1
        return reach + self.num_decoder_lookahead


def as_tuples(value: Any) -> Any:
    """JSON lists as tuples, so that a configuration can be a dictionary key."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def as_lists(value: Any) -> Any:
    """The reverse of `as_tuples`."""
    return [as_lists(item) for item in value] if isinstance(value, tuple) else value
