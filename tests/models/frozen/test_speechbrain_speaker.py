"""SpeechBrain's speaker embedders: small folders as the hub has them give what SpeechBrain itself makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.frozen import WeightsError
from models.frozen.speechbrain_speaker import SpeechbrainSpeaker, embedder

ECAPA = """
n_mels: 80
compute_features: !new:speechbrain.lobes.features.Fbank {n_mels: !ref <n_mels>}
mean_var_norm: !new:speechbrain.processing.features.InputNormalization {norm_type: sentence, std_norm: False}
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [16, 16, 16, 16, 48]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 16
    lin_neurons: 24
modules: {embedding_model: !ref <embedding_model>}
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer {loadables: {embedding_model: !ref <embedding_model>}}
"""
XVECTOR = """
n_mels: 24
compute_features: !new:speechbrain.lobes.features.Fbank {n_mels: !ref <n_mels>}
mean_var_norm: !new:speechbrain.processing.features.InputNormalization {norm_type: sentence, std_norm: False}
embedding_model: !new:speechbrain.lobes.models.Xvector.Xvector
    in_channels: !ref <n_mels>
    activation: !name:torch.nn.LeakyReLU
    tdnn_blocks: 5
    tdnn_channels: [16, 16, 16, 16, 32]
    tdnn_kernel_sizes: [5, 3, 3, 1, 1]
    tdnn_dilations: [1, 2, 3, 1, 1]
    lin_neurons: 20
"""
NOISE = [np.random.default_rng(seed).normal(0, 0.1, size=n).astype(np.float32) for seed, n in ((0, 24000), (1, 40000))]


def network_of(kind: str) -> Any:
    """The network that the YAML describes, by SpeechBrain, with random weights."""
    torch.manual_seed(0)
    if kind == "ecapa":
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

        return ECAPA_TDNN(80, channels=[16, 16, 16, 16, 48], attention_channels=16, lin_neurons=24).eval()
    from speechbrain.lobes.models.Xvector import Xvector

    return Xvector(in_channels=24, tdnn_channels=[16, 16, 16, 16, 32], lin_neurons=20).eval()


def folder_of(root: Path, kind: str) -> Path:
    """A folder of the hub."""
    folder = root / kind
    folder.mkdir()
    (folder / "hyperparams.yaml").write_text(ECAPA if kind == "ecapa" else XVECTOR)
    torch.save(network_of(kind).state_dict(), folder / "embedding_model.ckpt")
    return folder


@pytest.mark.parametrize(("kind", "bands", "width"), [("ecapa", 80, 24), ("xvector", 24, 20)])
def test_embeddings_are_those_of_speechbrain_and_the_same_each_time(
    kind: str, bands: int, width: int, tmp_path: Path
) -> None:
    from speechbrain.lobes.features import Fbank
    from speechbrain.processing.features import InputNormalization

    model = SpeechbrainSpeaker(folder_of(tmp_path, kind))
    there, back = model(NOISE), model(NOISE[::-1])
    assert [vector.shape for vector in there] == [(width,), (width,)]
    np.testing.assert_array_equal(there, back[::-1])
    whole = torch.ones(1)
    with torch.no_grad():
        features = Fbank(n_mels=bands).eval()(torch.from_numpy(NOISE[1])[None])
        normalized = InputNormalization(norm_type="sentence", std_norm=False).eval()(features, whole)
        expected = network_of(kind)(normalized, whole)[0, 0]
    np.testing.assert_allclose(there[1], expected / expected.norm(), atol=1e-3)


def test_windows_are_those_of_the_sound_cut_by_hand(tmp_path: Path) -> None:
    model = SpeechbrainSpeaker(folder_of(tmp_path, "ecapa"))
    found = model.windows(NOISE[1], window=24000, hop=12000)
    by_hand = [model([NOISE[1][start : start + 24000]])[0] for start in (0, 12000, 16000)]
    np.testing.assert_allclose(found, by_hand, atol=1e-5)
    assert len(model([NOISE[0][:100]])) == 1


def test_a_folder_that_lacks_something_or_runs_something_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="needs checkpoint"):
        embedder(None)
    with pytest.raises(WeightsError, match="no SpeechBrain folder at"):
        embedder(tmp_path / "none")
    folder = folder_of(tmp_path, "ecapa")
    stored = torch.load(folder / "embedding_model.ckpt", weights_only=True)
    del stored["fc.conv.bias"]
    torch.save(stored, folder / "embedding_model.ckpt")
    with pytest.raises(WeightsError, match=r"it lacks fc\.conv\.bias; put a folder of the hub there"):
        embedder(folder)(NOISE[:1])
    hostile = ECAPA.replace("speechbrain.lobes.features.Fbank {n_mels: !ref <n_mels>}", "os.system [true]")
    (folder / "hyperparams.yaml").write_text(hostile)
    with pytest.raises(WeightsError, match=r"asks for !new:os\.system, which is not allowed"):
        embedder(folder)(NOISE[:1])
    (folder / "embedding_model.ckpt").unlink()
    with pytest.raises(WeightsError, match="no weights at"):
        embedder(folder)


def test_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "ecapa")
    before = embedder(folder).fingerprint
    stored = torch.load(folder / "embedding_model.ckpt", weights_only=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "hyperparams.yaml").write_text(ECAPA)
    torch.save({**stored, "fc.conv.bias": stored["fc.conv.bias"] + 1}, tmp_path / "other" / "embedding_model.ckpt")
    assert embedder(tmp_path / "other").fingerprint != before
