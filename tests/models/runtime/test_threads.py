"""One bundle, several threads: every request sounds as it does alone."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.packing import Packs
from models.runtime.bundle import Bundle
from models.runtime.generate import generate
from models.runtime.precision import place
from models.runtime.session import Session
from models.runtime.stream import generate_stream
from tests.models.runtime.voices import voice

SHORT: dict[str, Any] = {"num_steps": 1, "max_patches": 6, "stop_threshold": 1.0, "stop_guard": False}


def streamed(bundle: Bundle, seed: int) -> Tensor:
    return torch.cat([chunk.wave_S for chunk in generate_stream(bundle, "one two", seed=seed, **SHORT)])


def in_session(bundle: Bundle, seed: int) -> Tensor:
    session = Session(bundle, seed=seed, **SHORT)
    heard = [*session.push("ha"), *session.finish()]
    return torch.cat([chunk.wave_S for chunk in heard])


def continued(bundle: Bundle, seed: int) -> Tensor:
    return generate(bundle, "one", seed=seed, prompt_audio=voice(0.5 + seed / 10), prompt_text="ha", **SHORT).wave_S


def all_at_once(works: list[Callable[[], Tensor]]) -> list[Tensor]:
    """What each gives, begun together, a thread each."""
    made: dict[int, Tensor] = {}
    begin = threading.Barrier(len(works))

    def run(number: int) -> None:
        begin.wait()
        made[number] = works[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [made[number] for number in range(len(works))]


@pytest.mark.parametrize("graphs", [False, True])
def test_requests_of_several_threads_sound_as_they_do_alone(small: Bundle, graphs: bool) -> None:
    bundle = place(small, graphs=graphs)
    ways: list[Callable[[Bundle, int], Tensor]] = [streamed, in_session, continued, streamed, in_session, continued]
    alone = [speak(bundle, seed) for seed, speak in enumerate(ways)]
    together = all_at_once([lambda seed=seed, speak=speak: speak(bundle, seed) for seed, speak in enumerate(ways)])
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


class Hurried(Packs):
    """A module whose weights another thread uses, in another form, as soon as something is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.met = False

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "packed" and not self.met:
            self.met = True
            assert self.kept([self.weight], lambda: "theirs", key="theirs") == "theirs"


def test_what_a_module_keeps_for_one_thread_is_not_handed_to_another() -> None:
    module = Hurried().eval()
    assert module.kept([module.weight], lambda: "ours", key="ours") == "ours"
