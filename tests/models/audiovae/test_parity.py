"""The official AudioVAE: its names and shapes at full size, its tensors on the small official checkpoint."""

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.audiovae.config import AudioVAEConfig
from models.audiovae.streaming import StreamingDecoder
from models.audiovae.vae import AudioVAE
from models.speaker.campplus import SpeakerEncoder

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def official(shared: Path) -> AudioVAE:
    folder = shared / "parity" / "tiny_ckpt"
    block = json.loads((folder / "config.json").read_text())["vocoder"]
    vae = AudioVAE(AudioVAEConfig.from_dict(block))
    vae.load_state_dict(load_file(folder / "vocoder.safetensors"), strict=True)
    return vae.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "parity" / "fixtures" / "vae.safetensors")


def error(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("file", ["vocoder", "speaker_encoder"])
def test_full_size_networks_have_the_official_names_and_shapes(shared: Path, file: str) -> None:
    with torch.device("meta"):
        net = AudioVAE(AudioVAEConfig()) if file == "vocoder" else SpeakerEncoder()
    trained = dict(net.named_parameters())
    found = {
        name: ("x".join(map(str, tensor.shape)), "param" if name in trained else "buffer")
        for name, tensor in net.state_dict().items()
    }
    with (shared / "parity" / "state_dict_full.tsv").open() as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["file"] == f"{file}.safetensors"]
    assert len(rows) > 900
    assert found == {row["key"]: ("" if row["shape"] == "scalar" else row["shape"], row["kind"]) for row in rows}


def test_encoder_matches_stage_by_stage(official: AudioVAE, recorded: dict[str, Tensor]) -> None:
    convolved = official.audio_encoder(recorded["wav"][:, 0])
    assert error(convolved, recorded["encoder_conv_out"]) < 1e-4
    assert error(official.enc_mi_layer(convolved.transpose(1, 2)), recorded["enc_mi_out"]) < 1e-4
    posterior = official.encode(recorded["wav"][:, 0])
    both = torch.cat([posterior.mean_BFD, posterior.log_std_BFD], dim=-1).transpose(1, 2)
    assert error(both, recorded["mean_logstd"]) < 1e-4


def test_decoder_matches_stage_by_stage(official: AudioVAE, recorded: dict[str, Tensor]) -> None:
    latent_BFD, decoder = recorded["z"].transpose(1, 2), official.decoder
    entered = official.decoder_input(latent_BFD)
    assert error(entered, recorded["decoder_in"]) < 1e-4
    pre = decoder.conv_pre(entered)
    assert error(pre, recorded["conv_pre_out"]) < 1e-4
    up = decoder.ups[0][0](pre)  # type: ignore[index]
    assert error(up, recorded["ups0_out"]) < 1e-4
    assert error(decoder.resblocks[0](up), recorded["amp0_out"]) < 1e-4
    activation = decoder.resblocks[0].activations[0]  # type: ignore[union-attr,index]
    assert error(activation(recorded["act0_in"]), recorded["act0_out"]) < 1e-4
    assert error(official.decode(latent_BFD), recorded["audio"][:, 0]) < 1e-4


@pytest.mark.parametrize(
    ("pattern", "sizes"),
    [
        ("4", [4] * 11),
        ("4x2then16", [4, 4, 16, 16, 4]),
        ("4x2then8_tail4", [4, 4, 8, 8, 8, 8, 4]),
    ],
)
def test_stream_matches_the_official_chunks(
    official: AudioVAE, recorded: dict[str, Tensor], pattern: str, sizes: list[int]
) -> None:
    stream = StreamingDecoder(official)
    chunks = [stream.push(part) for part in recorded["z"].transpose(1, 2).split(sizes, dim=1)]
    chunks.append(stream.flush())
    assert [chunk.shape[1] for chunk in chunks] == recorded[f"stream.{pattern}.chunk_lens"].tolist()
    assert error(torch.cat(chunks, dim=1), recorded[f"stream.{pattern}.audio"][:, 0]) < 1e-4


def test_left_context_is_the_official_one(official: AudioVAE, recorded: dict[str, Tensor]) -> None:
    assert official.config.left_context_frames == int(recorded["stream.left_context_frames"])
    assert AudioVAEConfig().left_context_frames == 27
