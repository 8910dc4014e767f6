"""The official package's side of the benchmark; see official.py. Runs in its own virtual environment.

python official_theirs.py CHECKPOINT THREADS
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from dots_tts.data.collator import PadCollator
from dots_tts.data.pipelines.tokenizing import build_tokenized_example
from dots_tts.models.dots_tts.config import LossConfig
from dots_tts.runtime import DEFAULT_TRAIN_TEMPLATE, DotsTtsRuntime
from dots_tts.training.losses import compute_gradient_loss
from official_side import SEED, TEXT, Clock, counted, serve, timed_each, training_batch, training_waves, vae_latents
from safetensors.torch import save_file
from torch import Tensor, nn


@contextmanager
def seeded() -> Iterator[None]:
    """Noise of patches from a generator of its own, as the other side draws it."""
    own, draw = torch.randn, torch.Generator().manual_seed(SEED)

    def drawn(*size: Any, **_: Any) -> Tensor:
        return own(*size, generator=draw)

    torch.randn = drawn
    try:
        yield
    finally:
        torch.randn = own


class Side:
    """The tasks, on one checkpoint."""

    def __init__(self, folder: str, threads: int) -> None:
        self.runtime = DotsTtsRuntime.from_pretrained(
            folder, precision="float32", optimize=False, warmup_on_optimize=False
        )
        self.model = self.runtime.model
        self.optimizer: torch.optim.AdamW | None = None
        torch.set_num_threads(threads)  # its constructor chose one

    def latents(self, count: int, steps: int, guidance: float, cached: bool) -> Iterator[Tensor]:
        """Raw patches."""
        if self.model._optimize_enabled != cached:
            self.model.set_optimize(cached)
        self.runtime.max_generate_length = count
        inputs = self.runtime._prepare_inputs(text=TEXT, prompt_audio_path=None, prompt_text=None, template_name=None)
        return self.model._generate_latents_stream(
            inputs,
            precision="float32",
            ode_method="euler",
            num_steps=steps,
            guidance_scale=guidance,
            eos_threshold=2.0,
        )

    def patches(self, count: int, steps: int, guidance: float, cached: bool, out: str) -> dict[str, Any]:
        """Time of every patch of one generation."""
        with seeded():
            times, made = timed_each(self.latents(count, steps, guidance, cached))
        save_file({"latents": torch.cat(made, dim=1)[0].contiguous()}, out)
        return {"times": times}

    def flops(self, count: int, steps: int, guidance: float, cached: bool) -> dict[str, Any]:
        """Operations of patch `count`."""
        found: dict[str, Any] = {}
        with seeded():
            made = self.latents(count, steps, guidance, cached)
            for _ in range(count - 1):
                next(made)
            with counted(found):
                next(made)
        return found

    def vae(self, count: int, out: str) -> dict[str, Any]:
        """Time of every step of a decoded stream."""
        config = self.model.config
        decoder = self.model._get_vocoder_inference()
        latent = vae_latents(patches=count, patch=config.patch_size, latent=config.latent_dim)
        state = decoder.init_stream_state(batch_size=1, chunk_size=config.patch_size)
        steps = (
            decoder.stream_step(part, stream_state=state, optimize=False)
            for part in latent.split(config.patch_size, dim=1)
        )
        times, made = timed_each(steps)
        save_file({"audio": torch.cat(made, dim=-1).flatten()}, out)
        return {"times": times}

    def first_audio(self, steps: int, out: str) -> dict[str, Any]:
        """Time from the request to the first samples."""
        self.model.set_optimize(False)
        self.runtime.max_generate_length = 500
        with seeded():
            clock = Clock()
            stream = self.runtime.generate_stream(text=TEXT, num_steps=steps)
            first = next(chunk for chunk in stream if chunk.shape[-1])
            times = [clock.read()]
            stream.close()
        save_file({"audio": first.flatten().contiguous()}, out)
        return {"times": times}

    def train(self, seconds: float, out: str) -> dict[str, Any]:
        """Forward and backward of the head over one utterance."""
        core, config = self.model.core, self.model.config
        batch = training_batch(
            seconds=seconds, patch=config.patch_size, latent=config.latent_dim, hidden=core.llm_hidden_size
        )
        inside = core.fm_helper.compute_xt_ut
        core.fm_helper.compute_xt_ut = lambda clean: inside(clean, t=batch["time"], x0=batch["noise"])
        core.zero_grad()
        hidden_BPH = batch["hidden"].requires_grad_()
        patches = torch.tensor([hidden_BPH.shape[1]])
        clock = Clock()
        sequence, target, attention, valid, positions, times, prefix, generated, unit = (
            core.io_helper.prepare_inputs_for_dit(
                hiddens=hidden_BPH,
                hidden_lens=patches,
                latents=batch["clean"],
                latent_lens=patches * config.patch_size,
                hidden_proj=core.hidden_proj,
                latent_proj=core.latent_proj,
                noisy_proj=core.coordinate_proj,
                span_mask=torch.ones(hidden_BPH.shape[:2], dtype=torch.bool),
                hidden_patch_size=core.hidden_patch_size,
                latent_patch_size=core.latent_patch_size,
                fm_helper=core.fm_helper,
                cfg_droprate=-1,
            )
        )
        said = core.velocity_field_predictor(
            x=sequence,
            timesteps=times,
            pos_ids=positions,
            mask=valid,
            attn_mask=attention,
            return_hidden_stats=False,
            g_cond=core.xvec_proj(batch["xvector"]),
        )
        pred = core.io_helper.get_dit_outputs(
            pred_v=said,
            fm_prefix_lengths=prefix,
            fm_gen_lengths=generated,
            fm_gen_patch_size=unit,
            latent_patch_size=core.latent_patch_size,
        )
        loss = nn.functional.mse_loss(pred, target)
        loss.backward()
        spent = clock.read()
        core.fm_helper.compute_xt_ut = inside
        grads = {name: p.grad for name, p in core.velocity_field_predictor.named_parameters() if p.grad is not None}
        save_file({"loss": loss.detach().reshape(1), "hidden": hidden_BPH.grad, **grads}, out)
        return {"times": [spent]}

    def step(self, seconds: list[float], again: bool, out: str) -> dict[str, Any]:
        """A whole training step from waveforms: frozen networks, forward, backward, clipping, AdamW. It encodes clips
        in every step, `again` or not."""
        del again
        model, tokenizer = self.model, self.model.tokenizer
        if self.optimizer is None:
            model.train()
            model.requires_grad_(False)
            model.core.requires_grad_(True)
            self.optimizer = torch.optim.AdamW(model.core.parameters(), lr=1e-5, weight_decay=0.01)
        samples = []
        for number, wave_S in enumerate(training_waves(seconds, patch_samples=7680)):
            words = {"text": TEXT, "tokenizer": tokenizer, "template": DEFAULT_TRAIN_TEMPLATE}
            example = build_tokenized_example(**words, num_audio_tokens=len(wave_S) // 7680)
            samples.append(
                {"fid": str(number), "sample": wave_S[None], "sample_length": len(wave_S), **example}
                | {"num_text_tokens": 0, "num_audio_tokens": 0, "fbank": torch.zeros(1, 80), "fbank_length": 1}
            )
        batch = PadCollator(tokenizer)(samples)
        batch["fbank"] = batch["fbank_lengths"] = None  # as on the other side, they are made within the step
        clock = Clock()
        prepared = model.prepare_training_batch(batch)
        terms = model(prepared)
        counts = {name: float(mask.sum()) for name, mask in prepared["loss_masks"].items()}
        loss = compute_gradient_loss(
            terms,
            global_normalizers=counts,
            loss_config=LossConfig(),
            ddp_world_size=1,
            gradient_accumulation_steps=1,
        )
        loss.backward()
        nn.utils.clip_grad_norm_(model.core.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        spent = clock.read()
        save_file({"loss": loss.detach().reshape(1)}, out)
        return {"times": [spent]}

    def epochs(self, seconds: list[float], count: int, out: str) -> dict[str, Any]:
        """The mean step of so many epochs of the same clips, the first one included."""
        spent = [self.step(seconds, number > 0, out)["times"][0] for number in range(count)]
        return {"times": [[sum(of) / count for of in zip(*spent, strict=True)]]}


if __name__ == "__main__":
    side = Side(sys.argv[1], int(sys.argv[2]))
    serve({name: getattr(side, name) for name in ("patches", "flops", "vae", "first_audio", "train", "step", "epochs")})
