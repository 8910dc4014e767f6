"""The AudioVAE's decoder: causal BigVGAN-style upsampling, a frame to 1920 samples, two frames of look-ahead."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.audiovae.alias_free import AliasFree
from models.audiovae.blocks import Carry, CausalConv, CausalUp
from models.audiovae.config import AudioVAEConfig


class AMPBlock(nn.Module):
    """Residual block of BigVGAN (AMPBlock1), causal: x + conv(act(dilated conv(act(x)))) for each dilation."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(CausalConv(channels, channels, kernel, dilation=d) for d in dilations)
        self.convs2 = nn.ModuleList(CausalConv(channels, channels, kernel) for _ in dilations)
        self.activations = nn.ModuleList(AliasFree(channels) for _ in range(2 * len(dilations)))

    def forward(self, x_BCL: Tensor, carry: Carry | None = None) -> Tensor:
        for number, (dilated, plain) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            y_BCL = dilated(self.activations[2 * number](x_BCL, carry), carry)
            x_BCL = x_BCL + plain(self.activations[2 * number + 1](y_BCL, carry), carry)
        return x_BCL


class LookaheadConv(nn.Conv1d):
    """Centered convolution over frames; a stream gets each output once the frames that it looks ahead to are there."""

    def __init__(self, inside: int, outside: int, ahead: int) -> None:
        super().__init__(inside, outside, 2 * ahead + 1)
        self.ahead = ahead

    def forward(self, x_BCF: Tensor, carry: Carry | None = None) -> Tensor:
        """Shapes: (B, C, F) -> (B, C', F); of a stream, as many frames as are ready, maybe none."""
        if carry is None:
            return super().forward(functional.pad(x_BCF, (self.ahead, self.ahead)))
        history = carry.get((self, "input"))
        if history is None:
            history = x_BCF.new_zeros((*x_BCF.shape[:-1], self.ahead))
        joined = torch.cat([history, x_BCF], dim=-1)
        carry[self, "input"] = joined[..., -2 * self.ahead :].clone() if self.ahead else joined[..., :0]
        if joined.shape[-1] <= 2 * self.ahead:
            return x_BCF.new_zeros((x_BCF.shape[0], self.out_channels, 0))
        return super().forward(joined)


class Decoder(nn.Module):
    """Vectors behind the recurrent block to waveform."""

    def __init__(self, config: AudioVAEConfig) -> None:
        super().__init__()
        self.blocks_a_stage = len(config.resblock_kernel_sizes)
        self.tanh = config.use_tanh_at_final
        channels = config.upsample_initial_channel
        self.conv_pre = LookaheadConv(config.latent_dim, channels, config.num_decoder_lookahead)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate in config.upsample_rates:
            self.ups.append(nn.ModuleList([CausalUp(channels, channels // 2, rate)]))
            channels //= 2
            for kernel, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True):
                self.resblocks.append(AMPBlock(channels, kernel, dilations))
        self.activation_post = AliasFree(channels, trained_filters=True)
        self.conv_post = CausalConv(channels, 1, 7, bias=config.use_bias_at_final)

    def forward(self, x_BDF: Tensor, carry: Carry | None = None) -> Tensor:
        """Shapes: (B, D, F) -> (B, F * hop); of a stream, the frames whose look-ahead has come."""
        x: Tensor = self.conv_pre(x_BDF, carry)
        if x.shape[-1] == 0:
            return x.new_zeros((x.shape[0], 0))
        for stage in range(len(self.ups)):
            x = self.upsampled(x, stage, carry)
        x = self.conv_post(self.activation_post(x, carry), carry)
        return (torch.tanh(x) if self.tanh else x.clamp(-1.0, 1.0)).squeeze(1)

    def upsampled(self, x_BCL: Tensor, stage: int, carry: Carry | None) -> Tensor:
        """One stage: up by its rate, then the mean of its residual blocks."""
        x_BCL = cast(nn.ModuleList, self.ups[stage])[0](x_BCL, carry)
        first = stage * self.blocks_a_stage
        blocks = self.resblocks[first : first + self.blocks_a_stage]
        return torch.stack([block(x_BCL, carry) for block in blocks]).mean(0)
