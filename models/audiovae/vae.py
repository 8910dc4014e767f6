"""The AudioVAE: 48 kHz waveform to Gaussian latents at 25 Hz, and back."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from models.audiovae.blocks import Carry, RecurrentBlock
from models.audiovae.config import AudioVAEConfig
from models.audiovae.decoder import Decoder
from models.audiovae.encoder import Encoder


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian a frame. The second half is the log of the standard deviation, not of the variance."""

    mean_BFD: Tensor
    log_std_BFD: Tensor

    def sample(self, noise_BFD: Tensor) -> Tensor:
        """mean + noise * std, with standard normal noise that the caller draws."""
        return self.mean_BFD + noise_BFD * self.log_std_BFD.exp()


class AudioVAE(nn.Module):
    """Encoder and decoder; names and shapes of the state dict are those of an official vocoder.safetensors."""

    def __init__(self, config: AudioVAEConfig) -> None:
        super().__init__()
        self.config = config
        width = config.latent_dim
        self.audio_encoder = Encoder(config)
        self.enc_mi_layer = RecurrentBlock(width, config.mi_num_layers)
        self.pre_proj = nn.Conv1d(width, 2 * width, 1)
        self.post_proj = nn.Conv1d(width, width, 1)
        self.dec_mi_layer = RecurrentBlock(width, config.mi_num_layers)
        self.decoder = Decoder(config)

    def encode(self, wave_BS: Tensor, length_B: Tensor | None = None) -> Posterior:
        """Shapes: (B, S) -> (B, F, D) twice, F = ceil(S / hop). The last frames see zeros after the end.

        With `length_B`, the samples of each utterance before padding, its frames are those that it would have alone.
        """
        frames_B = None if length_B is None else -(-length_B // self.config.hop)
        return self.posterior(self.audio_encoder(wave_BS, frames_B))

    def posterior(self, encoded_BDF: Tensor) -> Posterior:
        """What the encoder made, through recurrent block and projection: (B, D, F) -> (B, F, D) twice."""
        x_BFD = self.enc_mi_layer(encoded_BDF.transpose(1, 2))
        mean, log_std = self.pre_proj(x_BFD.transpose(1, 2)).transpose(1, 2).chunk(2, dim=-1)
        return Posterior(mean, log_std)

    def decoder_input(self, latent_BFD: Tensor, carry: Carry | None = None) -> Tensor:
        """Latents through projection and recurrent block: (B, F, D) -> (B, D, F)."""
        projected_BFD = self.post_proj(latent_BFD.transpose(1, 2)).transpose(1, 2)
        return cast(Tensor, self.dec_mi_layer(projected_BFD, carry)).transpose(1, 2)

    def decode(self, latent_BFD: Tensor, carry: Carry | None = None) -> Tensor:
        """Shapes: (B, F, D) -> (B, F * hop), samples within [-1, 1]. With `carry`: see models.audiovae.streaming."""
        return cast(Tensor, self.decoder(self.decoder_input(latent_BFD, carry), carry))

    def forward(self, wave_BS: Tensor, noise_BFD: Tensor) -> tuple[Posterior, Tensor]:
        """Encode, sample with the given noise, decode: the posterior and the waveform made from it."""
        posterior = self.encode(wave_BS)
        return posterior, self.decode(posterior.sample(noise_BFD))
