"""The files of a bundle: read without running anything that lies in them, check by name, write whole or not at all."""

import json
import os
import pickle
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class BundleError(ValueError):
    """A folder that is not a usable bundle. The message is a sentence that names files and tensors."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON table."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise BundleError(f"{path} should hold a table, but holds a {type(value).__name__}")
    return value


def read_card(root: Path, name: str) -> dict[str, Any]:
    """stipple.json, or nothing in an official release."""
    if not (root / name).is_file():
        return {}
    card = read_json(root / name)
    if not isinstance(card.get("files"), list):
        raise BundleError(f"{root / name} does not list the bundle's files; the bundle was not written to its end")
    return card


def read_stats(path: Path, *, width: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of the latents, each `[D]`, from a torch file, with tensors allowed in it and nothing else."""
    try:
        stats = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise BundleError(f"{path} cannot be read, or holds more than tensors: {reason}") from None
    if not isinstance(stats, dict):
        raise BundleError(f"{path} should hold a table with mean and var, but holds a {type(stats).__name__}")
    problems = []
    stats = {name: torch.tensor(value) if isinstance(value, list) else value for name, value in stats.items()}
    for name in ("mean", "var"):
        value = stats.get(name)
        if not isinstance(value, Tensor):
            problems.append(f"{name} is missing")
        elif value.shape != (width,):
            problems.append(f"{name} has shape {list(value.shape)}, and latent_dim is {width}")
        elif not bool(torch.isfinite(value).all()) or (name == "var" and not bool((value > 0).all())):
            problems.append(f"{name} has values that are not {'positive' if name == 'var' else 'finite'}")
    if problems:
        raise BundleError(f"{path}: {'; '.join(problems)}")
    return stats["mean"].float(), stats["var"].float()


def has_tokenizer(root: Path) -> bool:
    """Are there files to make a tokenizer from?"""
    return (root / "tokenizer.json").is_file() or all((root / name).is_file() for name in ("vocab.json", "merges.txt"))


def read_tokenizer(root: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer whose files lie in `root`; no network, no code from the folder."""
    from transformers import AutoTokenizer, PreTrainedConfig

    if not has_tokenizer(root):
        raise BundleError(f"there is no tokenizer in {root}: tokenizer.json (or vocab.json with merges.txt) is missing")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(root), local_files_only=True, trust_remote_code=False, config=PreTrainedConfig()
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"the tokenizer in {root} cannot be read: {str(error).splitlines()[0]}") from None
    for how in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(how, None)  # of this call, not of the tokenizer: it would be saved with it
    return tokenizer


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A table, in the order given, readable by people."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A folder beside `path` to write into, which becomes `path` at the end, or vanishes when something goes wrong.

    Raises: BundleError when `path` has something in it, or when the disk refuses.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise BundleError(f"{path} exists and is not an empty folder; a bundle is never written over something")
    folder = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True)
        yield folder
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        folder.replace(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"the bundle could not be written to {path}: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
