"""The AudioVAE as arithmetic: frames, look-ahead, streaming, configuration."""

from dataclasses import replace

import pytest
import torch

from models.audiovae.blocks import WeightNormConv
from models.audiovae.config import AudioVAEConfig
from models.audiovae.initialize import initialize, speech_like_noise
from models.audiovae.streaming import StreamingDecoder
from models.audiovae.together import batches, decoded_together
from models.audiovae.vae import AudioVAE

HOP = 1920


def speech(frames: int, *, batch: int = 1) -> torch.Tensor:
    return speech_like_noise(batch=batch, samples=frames * HOP, rate_hz=48000, seed=7)


@torch.no_grad()
def test_frames_and_samples_correspond_exactly(vae: AudioVAE) -> None:
    posterior = vae.encode(speech(9))
    assert posterior.mean_BFD.shape == posterior.log_std_BFD.shape == (1, 9, 8)
    assert vae.decode(posterior.mean_BFD).shape == (1, 9 * HOP)
    assert vae.encode(speech(9)[:, : 8 * HOP + 1]).mean_BFD.shape[1] == 9


@torch.no_grad()
def test_a_padded_utterance_has_the_frames_it_has_alone(vae: AudioVAE) -> None:
    wave_BS = speech(6)
    padded_BS = torch.nn.functional.pad(wave_BS, (0, 4 * HOP))
    alone = vae.encode(wave_BS).mean_BFD
    torch.testing.assert_close(vae.encode(padded_BS, torch.tensor([6 * HOP])).mean_BFD[:, :6], alone)
    assert float((vae.encode(padded_BS).mean_BFD[:, :6] - alone).abs().max()) > 1e-5


def moved_by_the_ninth_frame(vae: AudioVAE) -> torch.Tensor:
    """How far each frame of the posterior's mean moves where the sound changes from the ninth on."""
    wave_BS = speech(12)
    changed_BS = wave_BS.clone()
    changed_BS[:, 8 * HOP :] += 0.1
    return (vae.encode(wave_BS).mean_BFD - vae.encode(changed_BS).mean_BFD).abs().amax(dim=(0, 2))


@torch.no_grad()
def test_encoder_looks_two_frames_ahead_and_no_further(vae: AudioVAE) -> None:
    moved = moved_by_the_ninth_frame(vae)
    assert torch.all(moved[:6] == 0)
    assert moved[6] > 0


@torch.no_grad()
def test_encoder_without_lookahead_sees_two_frames_of_the_past_instead(vae: AudioVAE) -> None:
    blind = AudioVAE(replace(vae.config, num_encoder_lookahead=0))
    assert blind.state_dict()["audio_encoder.generator.20.layer.weight_v"].shape == (8, 32, 3)
    moved = moved_by_the_ninth_frame(blind)
    assert torch.all(moved[:8] == 0)
    assert moved[8] > 0


@torch.no_grad()
def test_decoder_looks_two_frames_ahead_and_no_further(vae: AudioVAE) -> None:
    latent_BFD = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(1))
    changed_BFD = latent_BFD.clone()
    changed_BFD[:, 8] += 1
    moved = (vae.decode(latent_BFD) - vae.decode(changed_BFD)).abs()[0]
    assert float(moved[: 6 * HOP].max()) < 1e-6  # sums in another order, nothing more
    assert float(moved[6 * HOP : 7 * HOP].max()) > 1e-4


@pytest.mark.parametrize("sizes", [[4, 4, 4], [1] * 12, [1, 2, 9], [12], [5, 0, 7]])
@torch.no_grad()
def test_streamed_chunks_equal_the_whole(vae: AudioVAE, sizes: list[int]) -> None:
    latent_BFD = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(2))
    stream = StreamingDecoder(vae)
    chunks = [stream.push(part) for part in latent_BFD.split(sizes, dim=1)] + [stream.flush()]
    seen = torch.tensor(sizes).cumsum(0)
    ready = [max(0, int(count) - 2) * HOP for count in seen]
    assert [sum(chunk.shape[1] for chunk in chunks[: n + 1]) for n in range(len(sizes))] == ready
    torch.testing.assert_close(torch.cat(chunks, dim=1), vae.decode(latent_BFD), atol=1e-5, rtol=0)


@torch.no_grad()
def test_new_latents_never_change_what_was_spoken(vae: AudioVAE) -> None:
    draw = torch.Generator().manual_seed(3)
    one, other = (torch.randn(8, 8, generator=draw) for _ in range(2))
    first, second = StreamingDecoder(vae), StreamingDecoder(vae)
    torch.testing.assert_close(first.push(one), second.push(one), atol=0, rtol=0)
    assert not torch.equal(first.push(one), second.push(other))
    assert first.flush().shape == (2 * HOP,)
    with pytest.raises(RuntimeError, match="flushed"):
        first.push(one)


def test_a_stream_shorter_than_its_lookahead_still_speaks(vae: AudioVAE) -> None:
    stream, latent_BFD = StreamingDecoder(vae), torch.ones(1, 1, 8)
    assert stream.push(latent_BFD).shape == (1, 0)
    with torch.no_grad():
        torch.testing.assert_close(stream.flush(), vae.decode(latent_BFD), atol=1e-5, rtol=0)
    assert StreamingDecoder(vae).flush().shape == (1, 0)


@torch.no_grad()
def test_initialization_keeps_the_signal_alive_through_all_layers() -> None:
    torch.manual_seed(0)
    plain = AudioVAE(AudioVAEConfig(downsample_channels=(12,) * 7, upsample_initial_channel=64, latent_dim=8))
    wave_BS = speech(16, batch=2)
    faded = plain.encode(wave_BS).mean_BFD.std(dim=1).mean()
    initialize(plain, seed=3)
    posterior = plain.encode(wave_BS)
    assert posterior.mean_BFD.std(dim=1).mean() > 20 * faded
    assert posterior.mean_BFD.std(dim=1).mean() > 5 * posterior.log_std_BFD.exp().mean()
    made_BS = plain.decode(posterior.mean_BFD)
    assert 0.01 < float(made_BS.std()) < 0.5
    again = AudioVAE(plain.config)
    initialize(again, seed=3)
    assert torch.equal(again.encode(wave_BS).mean_BFD, posterior.mean_BFD)


@torch.no_grad()
def test_initialization_scales_every_layer_of_the_encoder() -> None:
    torch.manual_seed(0)
    vae = AudioVAE(AudioVAEConfig(downsample_channels=(12,) * 7, upsample_initial_channel=64, latent_dim=8))
    wave_BS, found = speech(16, batch=2), []
    initialize(vae, seed=3, wave_BS=wave_BS)
    for layer in vae.audio_encoder.modules():
        if isinstance(layer, WeightNormConv):
            layer.register_forward_hook(lambda _, __, out: found.append(float(out.std())))
    vae.audio_encoder.generator(wave_BS.unsqueeze(1))
    expected = [1.0] + 6 * [1.0, *6 * [1.0, 0.3]] + [1.0]
    assert found == pytest.approx(expected, rel=1e-3)


def test_configuration_survives_a_round_trip_with_unknown_keys() -> None:
    block = {**AudioVAEConfig().to_dict(), "something_new": [1, {"deep": 2}]}
    config = AudioVAEConfig.from_dict(block)
    assert config.extra == {"something_new": [1, {"deep": 2}]}
    assert config.to_dict() == block
    assert (config.hop, config.frame_hz) == (1920, 25.0)


def test_configuration_reports_every_problem_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"no other AudioVAE was released.*one entry more.*twice upsample_rates"):
        AudioVAEConfig(causal=False, downsample_channels=(12, 24), upsample_kernel_sizes=(3,) * 6)


@torch.no_grad()
def test_utterances_decoded_together_are_what_each_is_alone(vae: AudioVAE) -> None:
    latents = [torch.randn(frames, 8, generator=torch.Generator().manual_seed(frames)) for frames in (5, 1, 9, 8)]
    for wave_S, latent_FD in zip(decoded_together(vae, latents), latents, strict=True):
        torch.testing.assert_close(wave_S, vae.decode(latent_FD[None])[0], atol=2e-6, rtol=0)


def test_batches_hold_utterances_of_like_length_and_no_more_frames_than_stated() -> None:
    assert list(batches([4, 0, 9, 3, 20, 4], most=18)) == [[4], [2, 0], [5, 3]]
