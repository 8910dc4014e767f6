"""The backbone: semantic encoder, LLM, flow-matching head, stop head. Training sees all patches at once; speech, one.

A generation carries two explicit states: `State` (LLM and semantic encoder) and `HeadState` (the head's history for one
sampler and voice). One patch is: `stop_probability(hidden)`, `sample_patch(head, hidden, noise)`,
`append_patches(head, hidden, patch)`, and `next_hidden(state, raw patch)`.
"""

from typing import cast

import torch
from torch import Tensor, nn

from models.backbone import layout
from models.backbone.attention import Mask, chunk_mask
from models.backbone.config import ModelConfig
from models.backbone.dit import DiT, Modulation
from models.backbone.flow import Sampler, guided
from models.backbone.history import KeyValues
from models.backbone.linear import Linear
from models.backbone.llm import LanguageModel
from models.backbone.semantic_encoder import SemanticEncoder
from models.backbone.state import HeadState, State
from models.backbone.static import StaticHead, StaticState

APPENDED = 64
"""Patches of a prompt that join the head's history at once, which bounds the memory that this takes."""


class Backbone(nn.Module):
    """Names and shapes of the state dict are those of an official model.safetensors."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        latent, hidden, width = config.latent_dim, config.hidden_size, config.dit.hidden_size
        self.llm = LanguageModel(config.llm)
        self.patch_encoder = SemanticEncoder(
            config.semantic_encoder, latent_dim=latent, patch_size=config.patch_size, hidden_size=hidden
        )
        self.hidden_proj = Linear(hidden, width)
        self.latent_proj = Linear(latent, width)
        self.coordinate_proj = Linear(latent, width)
        self.xvec_proj = nn.Sequential(Linear(config.campplus_embedding_size, width), nn.LayerNorm(width))
        self.velocity_field_predictor = DiT(config.dit, latent_dim=latent, duration_embedding=config.duration_embedding)
        self.eos_proj = nn.Sequential(Linear(hidden, hidden), nn.SiLU(), Linear(hidden, 2))

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights; inputs are cast to it."""
        return self.hidden_proj.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.hidden_proj.weight.device

    # ---- training: all patches at once ----

    def hidden(
        self,
        ids_BL: Tensor,
        latent_BFD: Tensor,
        *,
        audio_BL: Tensor,
        valid_BP: Tensor,
        length_B: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of text and patches: `audio_BL` marks the placeholders that patch embeddings replace.

        Shapes: raw latents (B, P * K, D), right-padded; out (B, L, H). With `length_B`, the tokens of each row without
        padding, the rows are packed into one: nothing is spent on padding, and attention costs all tokens squared.
        """
        embedding_BLH = self.llm.embed(ids_BL)
        if length_B is None:
            patch_BPH = self.patch_encoder(latent_BFD)
            embedding_BLH = layout.scatter(embedding_BLH, patch_BPH, at_BL=audio_BL, valid_BP=valid_BP)
            return cast(Tensor, self.llm(embedding_BLH))
        real_BL = layout.valid_patches(length_B, ids_BL.shape[1])
        frame_BF = valid_BP.repeat_interleave(self.config.patch_size, 1)
        patch_1PH = self.patch_encoder(latent_BFD[frame_BF][None], patches_N=valid_BP.sum(1))
        packed_LH = embedding_BLH[real_BL].masked_scatter(audio_BL[real_BL][:, None], patch_1PH.to(embedding_BLH.dtype))
        hidden_1LH = self.llm(packed_LH[None], length_N=length_B)
        return torch.zeros_like(embedding_BLH).masked_scatter(real_BL[..., None], hidden_1LH)

    def velocity(
        self,
        hidden_BPH: Tensor,
        clean_BFD: Tensor,
        noisy_BFD: Tensor,
        *,
        time_B: Tensor,
        speaker_BH: Tensor | None,
        duration_B: Tensor | None = None,
        dit: DiT | None = None,
        patches_B: Tensor | None = None,
        flex: bool = False,
    ) -> Tensor:
        """Velocity of every noisy patch given the hidden states up to it and the clean patches before it.

        Shapes: hidden states (B, P, H), one before each patch; normalized latents (B, P * K, D); out (B, P * K, D).
        `speaker_BH` comes from `speaker`; `dit` replaces the head (a teacher). With `patches_B`, the patches of each
        row without padding, the rows are packed into one, and what comes out of padding is zero. `flex`: FlexAttention
        instead of a mask of all pairs; on a GPU this is what makes packing pay.
        """
        dit = dit or self.velocity_field_predictor
        modulation = dit.modulation(time_B, speaker_BH=speaker_BH, duration_B=duration_B)
        if patches_B is not None:
            valid_BP = layout.valid_patches(patches_B, hidden_BPH.shape[1])
            frame_BF = valid_BP.repeat_interleave(self.config.patch_size, 1)
            plan = layout.packed_layout(patches_B, unit=self.config.unit)
            packed = hidden_BPH[valid_BP][None], clean_BFD[frame_BF][None], noisy_BFD[frame_BF][None]
            found_1FD = self.in_layout(
                plan,
                *packed,
                patches=patches_B.tolist(),
                dit=dit,
                modulation=modulation.of_tokens(plan.utterance_L),
                flex=flex,
            )
            empty_BFD = found_1FD.new_zeros(*noisy_BFD.shape)
            return empty_BFD.masked_scatter(frame_BF[..., None], found_1FD)
        patches = hidden_BPH.shape[1]
        plan = layout.parallel_layout(patches, unit=self.config.unit, device=self.device)
        return self.in_layout(
            plan, hidden_BPH, clean_BFD, noisy_BFD, patches=[patches], dit=dit, modulation=modulation, flex=flex
        )

    def in_layout(
        self,
        plan: layout.Layout,
        hidden_BPH: Tensor,
        clean_BFD: Tensor,
        noisy_BFD: Tensor,
        *,
        patches: list[int],
        dit: DiT,
        modulation: Modulation,
        flex: bool,
    ) -> Tensor:
        """The velocities of the noisy half of [C|Z]: (B, P * K, D)."""
        mask: Mask
        last = None
        if flex:
            mask = plan.block_mask()
        elif self.device.type == "cpu":  # many small calls, which cost nothing there
            mask, last = plan.pieces(patches, unit=self.config.unit), len(plan.position_L) // 2
        else:
            mask = plan.dense()
        head_BPH = self.hidden_proj(hidden_BPH.to(self.dtype))
        clean_BTH = layout.units(head_BPH, self.latent_proj(clean_BFD.to(self.dtype)))
        noisy_BTH = layout.units(head_BPH, self.coordinate_proj(noisy_BFD.to(self.dtype)))
        out_BLD = dit(
            torch.cat([clean_BTH, noisy_BTH], dim=1),
            rotary=dit.rotary(plan.position_L),
            mask=mask,
            modulation=modulation,
            last=last,
        )
        return layout.frames(out_BLD[:, -noisy_BTH.shape[1] :], unit=self.config.unit)

    def guided_velocity(
        self,
        hidden_BPH: Tensor,
        clean_BFD: Tensor,
        noisy_BFD: Tensor,
        *,
        time_B: Tensor,
        speaker_BH: Tensor,
        guidance: float,
        dit: DiT | None = None,
    ) -> Tensor:
        """`velocity` with classifier-free guidance; both branches in one pass, one branch where guidance is 0."""
        if not guidance:
            return self.velocity(hidden_BPH, clean_BFD, noisy_BFD, time_B=time_B, speaker_BH=speaker_BH, dit=dit)
        both = self.velocity(
            torch.cat([hidden_BPH, torch.zeros_like(hidden_BPH)]),
            torch.cat([clean_BFD, clean_BFD]),
            torch.cat([noisy_BFD, noisy_BFD]),
            time_B=torch.cat([time_B, time_B]),
            speaker_BH=torch.cat([speaker_BH, torch.zeros_like(speaker_BH)]),
            dit=dit,
        )
        conditional, unconditional = both.chunk(2)
        return guided(conditional, unconditional, guidance)

    def stop_logits(self, hidden_BPH: Tensor) -> Tensor:
        """Two scores a hidden state, go on and stop; no gradient reaches the hidden state."""
        return cast(Tensor, self.eos_proj(hidden_BPH.detach()))

    def speaker(self, xvector_BE: Tensor | None, *, batch: int = 1, scale: float = 1.0) -> Tensor:
        """What steers the head towards a voice: (B, 512) -> (B, H); zeros without an x-vector."""
        if xvector_BE is None:
            return self.hidden_proj.weight.new_zeros(batch, self.config.dit.hidden_size)
        return cast(Tensor, self.xvec_proj((scale * xvector_BE).to(self.dtype)))

    # ---- speech: one patch after the other ----

    def start(self, batch: int = 1) -> State:
        """The state before the first token."""
        return State(self.llm.start(), self.patch_encoder.start(batch))

    @torch.no_grad()
    def embed_text(self, ids_BT: Tensor) -> Tensor:
        """LLM input of text tokens: (B, T) -> (B, T, H)."""
        return self.llm.embed(ids_BT)

    @torch.no_grad()
    def embed_patches(self, state: State | StaticState, latent_BFD: Tensor) -> Tensor:
        """LLM input of the next whole patches of raw latents: (B, P * K, D) -> (B, P, H)."""
        return cast(Tensor, self.patch_encoder(latent_BFD, state.semantic))

    @torch.no_grad()
    def prefill(self, state: State | StaticState, embedding_BLH: Tensor, *, real_BL: Tensor | None = None) -> Tensor:
        """Feed LLM inputs, text or patches, behind what the state holds: (B, L, H) -> hidden states (B, L, H).

        `real_BL`: see models.backbone.llm.LanguageModel.forward.
        """
        return cast(Tensor, self.llm(embedding_BLH.to(self.dtype), state.llm, real_BL=real_BL))

    @torch.no_grad()
    def next_hidden(self, state: State, latent_BKD: Tensor) -> Tensor:
        """The hidden state after one more patch of raw latents: (B, K, D) -> (B, H)."""
        return self.prefill(state, self.embed_patches(state, latent_BKD))[:, -1]

    @torch.no_grad()
    def stop_probability(self, hidden_BH: Tensor) -> Tensor:
        """Probability that the patch after this hidden state is the last: (B, H) -> (B,)."""
        return self.stop_logits(hidden_BH).float().softmax(dim=-1)[..., 1]

    @torch.no_grad()
    def start_head(self, sampler: Sampler, speaker_BH: Tensor, *, patches: int = 0) -> HeadState:
        """An empty history for a sampler and a voice a row; all that depends on time and voice alone is made here.

        `patches`: how many are expected in all, a prompt's included; more may come.
        """
        head, rows = self.velocity_field_predictor, speaker_BH.shape[0]
        branches_RH = speaker_BH
        if sampler.branches == 2:
            branches_RH = torch.cat([speaker_BH, torch.zeros_like(speaker_BH)])
        dtype = torch.promote_types(self.dtype, torch.float32)
        times_E = torch.tensor(sampler.times, dtype=dtype, device=self.device)
        time_R = times_E.repeat_interleave(len(branches_RH))
        modulation = head.modulation(
            time_R,
            speaker_BH=branches_RH.repeat(len(times_E), 1),
            duration_B=None if sampler.duration is None else torch.full_like(time_R, sampler.duration),
        )
        past = [KeyValues(len(times_E), columns=patches * self.config.unit) for _ in head.blocks]
        return HeadState(sampler, modulation, past, rows)

    @torch.no_grad()
    def append_patches(self, state: HeadState, hidden_BPH: Tensor, patch_BFD: Tensor) -> None:
        """Add finished units to the history: hidden states and the normalized patches made from them, also a prompt's.

        The last of them waits, and joins with the next patch. Shapes: (B, P, H) or (B, H) for one; (B, P * K, D).
        """
        if not patch_BFD.shape[1]:
            return
        self.settle(state)
        token_RTH = self.unit_tokens(state, hidden_BPH[:, None] if hidden_BPH.dim() == 2 else hidden_BPH, patch_BFD)
        early_RTH, state.waiting_RUH = token_RTH[:, : -self.config.unit], token_RTH[:, -self.config.unit :]
        for some_RTH in torch.split(early_RTH, APPENDED * self.config.unit, 1):
            self.remember(state, some_RTH)

    @torch.no_grad()
    def settle(self, state: HeadState) -> None:
        """Let the unit that waits join the history now."""
        if state.waiting_RUH is not None:
            waiting_RUH, state.waiting_RUH = state.waiting_RUH, None
            self.remember(state, waiting_RUH)

    def remember(self, state: HeadState, token_RTH: Tensor) -> None:
        """Put head input of whole units, of all branches, behind the history of every evaluation."""
        head, new = self.velocity_field_predictor, token_RTH.shape[1]
        if not new:
            return
        seen_RC = state.seen(repeats=state.repeats)
        head.remember(
            token_RTH.repeat(state.sampler.evaluations, 1, 1),
            rotary=head.rotary(state.positions(new, repeats=state.repeats)),
            modulation=state.modulation,
            mask=chunk_mask(new, past=state.length, seen_BC=seen_RC, device=self.device),
            past=state.past,
        )
        state.joined(new)

    @torch.no_grad()
    def sample_patch(
        self, state: HeadState | StaticHead, hidden_BH: Tensor, noise_BKD: Tensor, renoise_BKD: Tensor | None = None
    ) -> Tensor:
        """The next normalized patch out of noise that the caller drew; the history does not hold it until appended.

        Shapes: (B, H), (B, K, D) -> (B, K, D). `renoise_BKD`: where `state.sampler.renoises`.
        """
        head, sampler, unit = self.velocity_field_predictor, state.sampler, self.config.unit
        before_RLH = state.before(self.head_tokens(state, hidden_BH[:, None]))
        new = before_RLH.shape[1] + self.config.patch_size
        rotary = head.rotary(state.positions(new, repeats=sampler.branches))
        mask = state.mask(new, full=unit)

        def velocity(state_BKD: Tensor, time: Tensor | float, number: int) -> Tensor:
            noisy_RKH = self.coordinate_proj(state_BKD.to(self.dtype)).repeat(sampler.branches, 1, 1)
            out_RKD = head(
                torch.cat([before_RLH, noisy_RKH], dim=1),
                rotary=rotary,
                mask=mask,
                modulation=state.each[number],
                past=state.past,
                copy=number,
                last=self.config.patch_size,
            )
            wanted_RKD = cast(Tensor, out_RKD).to(state_BKD.dtype)
            if sampler.branches == 1:
                return wanted_RKD
            conditional, unconditional = wanted_RKD.chunk(2)
            return guided(conditional, unconditional, sampler.guidance)

        patch_BKD = sampler.run(velocity, noise_BKD, renoise_BKD)
        state.settled(unit)
        return patch_BKD

    @torch.no_grad()
    def unit_tokens(self, state: HeadState | StaticHead, hidden_BPH: Tensor, patch_BFD: Tensor) -> Tensor:
        """Head input of finished units, for all branches."""
        frame_RFH = self.latent_proj(patch_BFD.to(self.dtype)).repeat(state.sampler.branches, 1, 1)
        return layout.units(self.head_tokens(state, hidden_BPH), frame_RFH)

    def head_tokens(self, state: HeadState | StaticHead, hidden_BPH: Tensor) -> Tensor:
        """Head input of hidden states, for both branches where there are two; the unconditional one sees zeros."""
        hidden_BPH = hidden_BPH.to(self.dtype)
        if state.sampler.branches == 2:
            hidden_BPH = torch.cat([hidden_BPH, torch.zeros_like(hidden_BPH)])
        return cast(Tensor, self.hidden_proj(hidden_BPH))
