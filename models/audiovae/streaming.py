"""Latents in, waveform out, chunk by chunk: every layer carries its own state, nothing is decoded twice."""

import torch
from torch import Tensor

from models.audiovae.blocks import Carry
from models.audiovae.vae import AudioVAE


class StreamingDecoder:
    """The state of one stream (or of a batch in step). Chunks joined equal `AudioVAE.decode` of the whole.

    The waveform of a frame comes out once the two frames after it went in: the first push of 4 frames gives
    2 frames (3840 samples), each later one 4 (7680), and `flush` the last 2.
    """

    def __init__(self, vae: AudioVAE) -> None:
        self.vae = vae
        self.carry: Carry = {}
        self.closed, self.single = False, False

    @torch.no_grad()
    def push(self, latent_BFD: Tensor) -> Tensor:
        """Frames (B, F, D), or (F, D), in; the samples (B, S), or (S,), that are ready out, maybe none.

        Raises: RuntimeError after `flush`: a stream ends once.
        """
        if self.closed:
            raise RuntimeError("this stream was flushed; start another StreamingDecoder")
        if latent_BFD.dim() == 2:
            self.single = True
            return self.push(latent_BFD.unsqueeze(0)).squeeze(0)
        if latent_BFD.shape[1] == 0:
            return latent_BFD.new_zeros((latent_BFD.shape[0], 0))
        return self.vae.decode(latent_BFD, self.carry)

    @torch.no_grad()
    def flush(self) -> Tensor:
        """The samples still held back for want of look-ahead, shaped as by `push`; then the stream is over."""
        self.closed = True
        pre = self.vae.decoder.conv_pre
        held = self.carry.get((pre, "input"))
        if held is None or not pre.ahead:
            rest_BS = pre.weight.new_zeros((1 if held is None else held.shape[0], 0))
        else:
            rest_BS = self.vae.decoder(held.new_zeros((*held.shape[:2], pre.ahead)), self.carry)
        return rest_BS.squeeze(0) if self.single else rest_BS
