"""48 kHz sound to 25 Hz latents and back: causal encoder, flow-regularized posterior, BigVGAN-style decoder."""
