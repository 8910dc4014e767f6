"""The files of a bundle: read without running anything that lies in them, check by name, write whole or not at all."""

import codecs
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from models.text.tokens import specials

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class BundleError(ValueError):
    """A folder that is not a usable bundle. The message is a sentence that names files and tensors."""


READABLE = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8}
    | {torch.uint8, torch.bool}
)
"""Types of tensors that a bundle may hold."""


@contextmanager
def as_bundle_error(what: str) -> Iterator[None]:
    """What a broken checkpoint makes of the code that reads it, as one sentence: `what`, then what the error said.

    Raises: BundleError.
    """
    try:
        yield
    except (BundleError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 (torch.load, tokenizers and transformers let errors of any kind out)
        said = next(iter(str(error).strip().splitlines()), "")
        reason = (
            said if said and type(error) in (ValueError, OSError, RuntimeError) else f"{type(error).__name__} {said}"
        )
        raise BundleError(f"{what}: {reason.strip()}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON table."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
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


def read_sums(path: Path) -> dict[str, dict[str, int]]:
    """Checksums of tensors, a table a file; none where there is no such file, as in an official release."""
    sums = read_json(path) if path.is_file() else {}
    for name, table in sums.items():
        if not isinstance(table, dict) or not all(isinstance(number, int) for number in table.values()):
            raise BundleError(f"{path}: what it says of {name} is not a table of whole numbers; copy the file again")
    return sums


def read_stats(path: Path, *, width: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of the latents, each `[D]`, from a torch file, with numbers allowed in it and nothing else.

    The official loader takes tensors, lists and arrays of numpy; so does this one.
    """
    with as_bundle_error(f"{path} cannot be read, or holds more than tensors and numbers"):
        try:
            with torch.serialization.safe_globals(array_parts()):
                stats = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError:
            raise ValueError("it is damaged, or would run code when it is read") from None
        if not isinstance(stats, dict):
            raise BundleError(f"{path} should hold a table with mean and var, but holds a {type(stats).__name__}")
        listed = (list, np.ndarray)
        stats = {name: torch.tensor(value) if isinstance(value, listed) else value for name, value in stats.items()}
    problems = []
    for name in ("mean", "var"):
        value = stats.get(name)
        if not isinstance(value, Tensor):
            problems.append(f"{name} is missing")
        elif value.dtype not in READABLE or value.layout != torch.strided:
            problems.append(f"{name} is a {value.layout} tensor of {value.dtype}, and should be plain numbers")
        elif value.shape != (width,):
            problems.append(f"{name} has shape {list(value.shape)}, and latent_dim is {width}")
        elif not bool(torch.isfinite(value).all()) or (name == "var" and not bool((value > 0).all())):
            problems.append(f"{name} has values that are not {'positive' if name == 'var' else 'finite'}")
    if problems:
        raise BundleError(f"{path}: {'; '.join(problems)}")
    return stats["mean"].float(), stats["var"].float()


def array_parts() -> list[Any]:
    """What a pickled array of numbers is made of, as numpy 1 and 2 name it; none of it runs code of a file."""
    rebuild = np.array(0.0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")]
    kinds = {type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64)}
    return [*((rebuild, name) for name in names), np.ndarray, np.dtype, *kinds, codecs.encode]


TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt")


def has_tokenizer(root: Path) -> bool:
    """Are there files to make a tokenizer from?"""
    whole, *parts = ((root / name).is_file() for name in TOKENIZER)
    return whole or all(parts)


def is_pointer(path: Path) -> bool:
    """Whether a clone without Git LFS left a few lines in the place of a file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(24) == b"version https://git-lfs."


def read_tokenizer(root: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer whose files lie in `root`; no network, no code from the folder."""
    from transformers import AutoTokenizer, PreTrainedConfig

    if not has_tokenizer(root):
        raise BundleError(f"there is no tokenizer in {root}: tokenizer.json (or vocab.json with merges.txt) is missing")
    with as_bundle_error(f"the tokenizer in {root} cannot be read"):
        tokenizer = AutoTokenizer.from_pretrained(
            str(root), local_files_only=True, trust_remote_code=False, config=PreTrainedConfig()
        )
        specials(tokenizer)
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
        raise BundleError(
            f"the bundle could not be written to {path}: {error}; make room there, or name another place"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
