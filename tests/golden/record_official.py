"""Record the official package in the modes of tests/models/runtime/modes.py: every draw, the latents, and the audio.

Needs a Python that has dots.tts 0.3.1 beside this project's own packages, and the parity folder:
    PYTHONPATH=. python tests/golden/record_official.py ../shared/parity tests/golden/official
"""

import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from dots_tts.runtime_double_streaming import DotsTtsRuntimeDoubleStreaming
from safetensors.torch import save_file
from torch import Tensor

from tests.models.runtime.modes import CASES, EVERY, TEXT, TRANSCRIPT, Recorded, folder_of, prompt_of

NAMES = {"method": "ode_method", "template": "template_name", "initial_silence": "initial_silence_audio_tokens"}
"""Our word for an option -> theirs."""


@contextmanager
def noting(draws: list[Tensor]) -> Iterator[None]:
    """Note every random draw."""
    own = torch.randn, torch.randn_like, random.randint

    def noted(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            value = make(*args, **kwargs)
            draws.append(torch.as_tensor(value).clone())
            return value

        return made

    torch.randn, torch.randn_like, random.randint = (noted(make) for make in own)
    try:
        yield
    finally:
        torch.randn, torch.randn_like, random.randint = own


def record(case: Recorded, *, parity: Path, work: Path) -> dict[str, Tensor]:
    """One run of the official package."""
    runtime = DotsTtsRuntimeDoubleStreaming.from_pretrained(
        str(folder_of(case, parity=parity, at=work / "checkpoint")),
        precision="float32",
        optimize=False,
        max_generate_length=case.most,
        warmup_on_optimize=False,
    )
    request: dict[str, Any] = {NAMES.get(name, name): value for name, value in case.options.items()}
    prompt = prompt_of(case, parity=parity, at=work / "long.wav")
    if prompt is not None:
        request["prompt_audio_path"] = str(prompt)
    if case.prompt.endswith("pair"):
        request["prompt_text"] = TRANSCRIPT
    torch.manual_seed(7)
    random.seed(7)
    draws: list[Tensor] = []
    latents: list[Tensor] = []
    step = type(runtime.model._get_vocoder_inference()).stream_step

    def stepping(self: Any, latent: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        latents.append(latent[0].clone())
        return step(self, latent, *args, **kwargs)

    made = runtime.model._generate_latents_stream

    def making(*args: Any, **kwargs: Any) -> Iterator[Tensor]:
        for latent in made(*args, **kwargs):
            latents.append(latent[0].clone())
            yield latent

    with noting(draws):
        if case.how == "session":
            type(runtime.model._get_vocoder_inference()).stream_step = stepping
            session = runtime.start_double_streaming(**request)
            heard = [session.push_text_token(token) for token in runtime.model.tokenizer.encode(TEXT)]
            chunks = [chunk for chunk in (*heard, *session.finish_text()) if chunk is not None]
            type(runtime.model._get_vocoder_inference()).stream_step = step
        elif case.how == "stream":
            runtime.model._generate_latents_stream = making
            chunks = list(runtime.generate_stream(text=TEXT, **request))
        else:
            runtime.model._generate_latents_stream = making
            chunks = [runtime.generate(text=TEXT, **request)["audio"]]
    audio = torch.cat([chunk[0, 0] for chunk in chunks])
    return {
        **{f"draw.{number:03d}": value for number, value in enumerate(draws)},
        "latents": torch.cat(latents).contiguous(),
        "samples": torch.tensor([chunk.shape[-1] for chunk in chunks]),
        "audio": audio[::EVERY].contiguous(),
    }


def main(parity: Path, out: Path) -> None:
    """Record all cases."""
    out.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as work:
            found = record(case, parity=parity, work=Path(work))
        save_file(found, out / f"{name}.safetensors")
        print(name, list(found["latents"].shape), int(found["samples"].sum()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
