"""A SpeechBrain file is read as data: what is asked for is made from what is allowed, and nothing else is called."""

from pathlib import Path

import pytest

from models.frozen import WeightsError
from models.frozen.hyperpyyaml import Hyperparameters

TEXT = """
__set_seed: !apply:torch.manual_seed [!ref <seed>]
__old: !!python/object/apply:os.system ["touch made"]
seed: 7
data_folder: !PLACEHOLDER
n_fft: 512
paths: !ref <data_folder>/x
half: !ref <n_fft> // 2 + 1
odd: !ref -(<n_fft> - 2.5) * 2
window: !name:torch.hamming_window
line: !new:torch.nn.Linear
  in_features: !ref <half>
  out_features: 3
list:
  - !ref <line>
  - !ref <nested[inner]>
nested:
  inner: !ref <seed>
evil: !new:os.system ["touch made"]
call: !apply:os.system ["touch made"]
power: !ref <seed> ** 99
loop: !ref <loop>
wrong: !new:torch.nn.Linear {breadth: 3}
"""


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hyperparameters:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hyperparams.yaml"
    path.write_text(TEXT)
    return Hyperparameters(path, allowed={"torch.nn.Linear", "torch.hamming_window"}, fix="use another")


def test_references_arithmetic_and_allowed_classes_are_made_once(read: Hyperparameters) -> None:
    import torch

    assert (read.get("half"), read.get("odd")) == (257, -1019.0)
    assert read.get("window") is torch.hamming_window
    line, inner = read.get("list")
    assert line is read.get("line")
    assert line.in_features == 257
    assert inner == 7


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("evil", r"asks for !new:os\.system, which is not allowed"),
        ("call", r"asks for !apply:os\.system"),
        ("__set_seed", r"asks for !apply:torch\.manual_seed"),
        ("__old", r"asks for !python/object/apply:os\.system"),
        ("paths", "asks for !PLACEHOLDER"),
        ("power", "neither a key nor arithmetic"),
        ("loop", "refers to itself"),
        ("wrong", "gives wrong arguments"),
        ("nothing", "has no key 'nothing'"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_sentence_and_not_called(read: Hyperparameters, key: str, why: str) -> None:
    with pytest.raises(WeightsError, match=why):
        read.get(key)
    assert not Path("made").exists()


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- 1\n")
    with pytest.raises(WeightsError, match=r"is no table of keys; use another"):
        Hyperparameters(tmp_path / "a.yaml", allowed=set(), fix="use another")
    (tmp_path / "b.yaml").write_text("a: [")
    with pytest.raises(WeightsError, match="cannot be read"):
        Hyperparameters(tmp_path / "b.yaml", allowed=set(), fix="use another")
