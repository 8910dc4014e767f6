"""The Demucs backend, on a small random HTDemucs in the file layout of the hub."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.frozen import WeightsError
from models.frozen.demucs import Demucs, separator

RATE_HZ = 8000
KWARGS = {
    "sources": ["drums", "bass", "other", "vocals"],
    "samplerate": RATE_HZ,
    "segment": {"_type": "fraction", "numerator": 39, "denominator": 20},
    "channels": 8,
    "depth": 3,
    "t_layers": 1,
    "t_heads": 2,
    "nfft": 512,
    "bottom_channels": 16,
}


def network(kwargs: dict[str, Any]) -> Any:
    """A small HTDemucs with random weights."""
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    return HTDemucs(**{**kwargs, "segment": Fraction(39, 20)})


def save(path: Path, *, state: dict[str, torch.Tensor] | None = None, **changes: str) -> Path:
    """A model file as demucs exports them for the hub."""
    from safetensors.torch import save_file

    state = state if state is not None else network(KWARGS).state_dict()
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(KWARGS)} | changes
    save_file({name: value.clone().contiguous() for name, value in state.items()}, path, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("demucs") / "small.safetensors")


def waves(*seconds: float) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.normal(0, 0.1, size=round(s * RATE_HZ)).astype(np.float32) for s in seconds]


def test_a_voice_has_the_length_of_its_mixture_and_is_the_same_whatever_came_before(checkpoint: Path) -> None:
    demucs = Demucs(checkpoint)
    assert demucs.RATE_HZ == RATE_HZ
    given = waves(5.3, 0.4, 2.0)
    voices = demucs(given)
    assert [len(voice) for voice in voices] == [len(wave) for wave in given]
    assert all(np.isfinite(voice).all() for voice in voices)
    again = Demucs(checkpoint)(given[::-1])[::-1]
    assert all(np.array_equal(one, other) for one, other in zip(voices, again, strict=True))


def test_the_voice_is_the_mean_of_the_vocals_that_the_network_itself_gives(checkpoint: Path) -> None:
    given = waves(1.95)[0]
    net = network(KWARGS).eval()
    normal = torch.from_numpy((given - given.mean()) / given.std()).expand(1, 2, -1)
    with torch.no_grad():
        expected = net(normal)[0, 3].mean(0).numpy() * given.std() + given.mean()
    middle = slice(0, round(0.7 * 1.95 * RATE_HZ))  # the second chunk, which is padded, begins behind it
    np.testing.assert_allclose(Demucs(checkpoint)([given])[0][middle], expected[middle], atol=1e-5)


def test_silence_stays_silence_and_nothing_stays_nothing(checkpoint: Path) -> None:
    silent, empty = Demucs(checkpoint)([np.zeros(4000, np.float32), np.zeros(0, np.float32)])
    assert not silent.any()
    assert len(silent) == 4000
    assert len(empty) == 0


def test_a_file_that_asks_for_another_class_is_refused_before_anything_is_called(tmp_path: Path) -> None:
    path = save(tmp_path / "evil.safetensors", klass="subprocess.Popen", args='[["touch", "x"]]', kwargs="{}")
    with pytest.raises(WeightsError, match=r"asks for 'subprocess\.Popen', which is none of"):
        Demucs(path)
    with pytest.raises(WeightsError, match="holds quantized weights"):
        Demucs(save(tmp_path / "diffq.safetensors", structure="{}"))


def test_pickled_missing_and_broken_files_are_sentences(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no Demucs checkpoint at .*none\.safetensors; put a model file"):
        separator(tmp_path / "none.safetensors", device="cpu")
    with pytest.raises(WeightsError, match="demucs needs checkpoint"):
        separator(None, device="cpu")
    pickled = tmp_path / "955717e8.th"
    torch.save({}, pickled)
    with pytest.raises(WeightsError, match="pickled ones"):
        Demucs(pickled)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        Demucs(torn)


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    state = network(KWARGS).state_dict()
    lacking = {name: value for name, value in state.items() if name != "encoder.0.conv.weight"}
    with pytest.raises(WeightsError, match=r"encoder\.0\.conv\.weight"):
        Demucs(save(tmp_path / "lacking.safetensors", state=lacking))(waves(0.1))
    wrong = {**state, "decoder.0.conv_tr.bias": torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"decoder\.0\.conv_tr\.bias"):
        Demucs(save(tmp_path / "wrong.safetensors", state=wrong))(waves(0.1))


def test_fingerprint_follows_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    state = network(KWARGS).state_dict()
    state["encoder.0.conv.bias"] += 1
    other = save(tmp_path / "other.safetensors", state=state)
    assert Demucs(checkpoint).fingerprint != Demucs(other).fingerprint
    assert Demucs(checkpoint).fingerprint != Demucs(checkpoint, overlap=0.1).fingerprint
