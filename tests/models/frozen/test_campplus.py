"""CAM++ as an embedder: released weights and every layout that they come in; refused where a tensor is missing."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.frozen import Wave, WeightsError
from models.frozen.campplus import CampPlus, embedder
from models.speaker.campplus import CAMPPlus, SpeakerEncoder

NOISE = [np.random.default_rng(seed).normal(0, 0.1, size=n).astype(np.float32) for seed, n in ((0, 24000), (1, 40000))]


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Random weights of a small width, as 3D-Speaker and FunASR name them."""
    torch.manual_seed(0)
    return CAMPPlus(width=24).state_dict()


def saved(tensors: object, path: Path) -> Path:
    torch.save(tensors, path)
    return path


def test_every_layout_of_the_same_weights_gives_the_same_embedding(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    (tmp_path / "released").mkdir()
    flat = saved(tensors, tmp_path / "released" / "campplus_cn_common.bin")
    nested = saved({"state_dict": {f"module.{name}": value for name, value in tensors.items()}}, tmp_path / "nested.pt")
    expected = CampPlus(flat)(NOISE)
    assert [vector.shape for vector in expected] == [(24,), (24,)]
    assert all(np.linalg.norm(vector) == pytest.approx(1, abs=1e-5) for vector in expected)
    for path in (nested, flat.parent):
        np.testing.assert_array_equal(CampPlus(path)(NOISE), expected)


def test_the_speaker_encoder_of_a_bundle_gives_its_own_x_vector(tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = SpeakerEncoder()
    save_file(encoder.state_dict(), tmp_path / "speaker_encoder.safetensors")
    found = CampPlus(tmp_path / "speaker_encoder.safetensors")(NOISE[:1])[0]
    from models.speaker.fbank import fbank, without_mean

    raw = encoder.model(without_mean(fbank(torch.from_numpy(NOISE[0]).unsqueeze(0))))[0]
    np.testing.assert_allclose(found, (raw / raw.norm()).numpy(), atol=1e-5)


def test_one_embedding_an_input_in_order_whatever_came_before(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    model = CampPlus(saved(tensors, tmp_path / "x.pt"))
    there, back = model(NOISE), model(NOISE[::-1])
    np.testing.assert_array_equal(there, back[::-1])
    assert len(model([*NOISE, NOISE[0][:100]])) == 3, "a very short sound has an embedding too"
    mixed = model([NOISE[1][:24000], NOISE[1], NOISE[0], NOISE[1][8000:32000]])
    np.testing.assert_allclose(mixed[1:3], [there[1], there[0]], atol=1e-5)
    np.testing.assert_allclose(mixed[3], model([NOISE[1][8000:32000]])[0], atol=1e-5)
    assert len(model.windows(NOISE[1], window=24000, hop=12000)) == 3, "the last one ends with the clip"


def test_windows_are_those_of_the_sound_cut_by_hand(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    model = CampPlus(saved(tensors, tmp_path / "x.pt"))
    found = model.windows(NOISE[1], window=24000, hop=16000)
    by_hand = [model.windows(NOISE[1][start : start + 24000], window=24000, hop=16000)[0] for start in (0, 16000)]
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


def test_a_tensor_that_is_missing_unknown_or_misshapen_is_named(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    lost = {name: value for name, value in tensors.items() if not name.startswith("head.conv1")}
    with pytest.raises(WeightsError, match=r"it lacks head\.conv1\.weight; name a CAM\+\+ file"):
        CampPlus(saved(lost, tmp_path / "lost.pt"))(NOISE[:1])
    with pytest.raises(WeightsError, match=r"has the unknown head\.conv9\.weight"):
        CampPlus(saved({**tensors, "head.conv9.weight": torch.zeros(1)}, tmp_path / "more.pt"))(NOISE[:1])
    with pytest.raises(WeightsError, match=r"has head\.bn1\.bias of shape \(3,\), not \(32,\)"):
        CampPlus(saved({**tensors, "head.bn1.bias": torch.zeros(3)}, tmp_path / "other.pt"))(NOISE[:1])


class Armed:
    """What a hostile checkpoint would hold."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("a checkpoint ran code",)


def test_a_checkpoint_never_runs_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Armed()}, tmp_path / "armed.pt")
    with pytest.raises(WeightsError, match="holds no tensors that can be read"):
        CampPlus(tmp_path / "armed.pt")(NOISE[:1])
    assert "ran code" not in capsys.readouterr().out


def test_a_missing_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no CAM\+\+ checkpoint at .*; name a CAM\+\+ file of 3D-Speaker or FunASR"):
        embedder(tmp_path / "none.bin")
    with pytest.raises(WeightsError, match="should hold one .bin, .pt or .safetensors file, but holds none"):
        embedder(tmp_path)


def test_fingerprint_follows_the_weights(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    one = CampPlus(saved(tensors, tmp_path / "one.pt"))
    changed = {**tensors, "head.bn1.bias": tensors["head.bn1.bias"] + 1}
    assert one.fingerprint != CampPlus(saved(changed, tmp_path / "two.pt")).fingerprint


@pytest.mark.shared
def test_released_weights_tell_speakers_of_librispeech_apart(shared: Path) -> None:
    """Cuts of 3 s, one a file: 53 of 10 speakers."""
    paths = sorted((shared / "audio" / "libri_other").glob("*.flac"))
    waves: list[Wave] = [soundfile.read(path, dtype="float32")[0][8000:56000] for path in paths]
    vectors = np.stack(CampPlus()(waves))
    speakers = np.array([path.stem.split("-")[0] for path in paths])
    upper = np.triu_indices(len(paths), k=1)
    cosines, same = (vectors @ vectors.T)[upper], (speakers[:, None] == speakers[None])[upper]
    thresholds = np.unique(cosines)
    equal_error = min(max((cosines[~same] >= t).mean(), (cosines[same] < t).mean()) for t in thresholds)
    assert equal_error <= 0.01, equal_error
