"""Tensors of a bundle: written once each, read and checked by name, copied into networks."""

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models.runtime.files import READABLE, BundleError

SHOWN = 40
"""Names listed in one message; a wrong configuration can make thousands differ."""

TIED = {"llm.lm_head.weight": "llm.model.embed_tokens.weight"}
"""A tensor, and the one that a model ties it to. Where the model has it as one of its own it is read; a file that lacks
it means the other one, as officially."""
COUNTERS = ".num_batches_tracked"
"""Ending of tensors that some writers leave out, and nothing but training by batch norms reads."""


def checksum(value: Tensor) -> int:
    """CRC-32 of a tensor's bytes; 1.6 GB/s on one core."""
    flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return zlib.crc32(flat.numpy())  # type: ignore[arg-type]


def own_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the tensors that share their storage with an earlier one (a tied head)."""
    seen: set[tuple[int, int, tuple[int, ...]]] = set()
    kept = {}
    for name, value in state.items():
        place = (value.untyped_storage().data_ptr(), int(value.storage_offset()), tuple(value.shape))
        if value.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = value
    return kept


def write_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """A safetensors file, each tensor once."""
    path.parent.mkdir(exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in own_tensors(state).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors lets nobody but the owner read it


def checksums(state: Mapping[str, Tensor]) -> dict[str, int]:
    """A checksum for each tensor that `write_tensors` writes."""
    return {name: checksum(value) for name, value in own_tensors(state).items()}


def read_tensors(path: Path, sums: Mapping[str, int] | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file; `sums` are their checksums, where they are known.

    Raises: BundleError naming the tensors that a truncated file lacks, or that are not what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError) as error:
        cut = listed(beyond_the_end(path))
        what = f"it ends before {cut}" if cut else "it may be truncated"
        raise BundleError(f"{path} cannot be read ({error}); {what}: copy or download it again") from None
    if strange := {str(value.dtype) for value in tensors.values()} - {str(dtype) for dtype in READABLE}:
        raise BundleError(f"{path} has tensors of types that are not read here: {listed(strange)}; convert them")
    check_sums(path, tensors, sums)
    return tensors


def check_sums(path: Path, tensors: Mapping[str, Tensor], sums: Mapping[str, int] | None) -> None:
    """Raises: BundleError naming the tensors of a file that are not what was written, where checksums are known."""
    if others := changed(tensors, sums or {}):
        raise BundleError(f"{path}: {len(others)} not those that were written: {listed(others)}; copy the file again")


def changed(tensors: Mapping[str, Tensor], sums: Mapping[str, int]) -> list[str]:
    """Names of tensors that have another checksum than when they were written: changed, or swapped."""
    return [name for name, value in tensors.items() if name in sums and checksum(value) != sums[name]]


def beyond_the_end(path: Path) -> list[str]:
    """Names of the tensors whose bytes a truncated file has not, as far as its header is whole."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            header = json.loads(file.read(length)) if length < size else {}
        ends = {name: facts["data_offsets"][1] for name, facts in header.items() if name != "__metadata__"}
        return [name for name, end in ends.items() if 8 + length + end > size]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):  # not a header
        return []


def tied(name: str, stored: Mapping[str, Tensor]) -> bool:
    """Whether a tensor is a copy of the one that it is tied to, which some writers store too."""
    one, other = stored[name], stored.get(TIED.get(name, ""))
    return other is not None and one.dtype == other.dtype and torch.equal(one, other)


def listed(names: Iterable[str]) -> str:
    """Names in order, cut where they are many."""
    ordered = sorted(names)
    return ", ".join(ordered[:SHOWN]) + (f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else "")


def fill(
    networks: Mapping[str, nn.Module], *, where: Path, sums: Mapping[str, Mapping[str, int]] | None = None
) -> None:
    """Copy the tensors of files (names in `where`) into new networks; one file at a time is in memory.

    `sums`: checksums a file.

    Raises: BundleError naming every tensor of any file that is missing, unexpected, misshapen, not finite or changed;
    the networks are of no use then.
    """
    problems: list[str] = []
    for name, network in networks.items():
        wanted, found = matched(network.state_dict(), read_tensors(where / name))
        wrong = misfits(wanted, found, sums=(sums or {}).get(name, {}))
        problems += [f"{name}: {len(names)} {what}: {listed(names)}" for what, names in wrong.items() if names]
        if not problems:
            with torch.no_grad():
                for key, value in wanted.items():
                    value.copy_(found[key])
    if problems:
        raise BundleError(f"{where}: the tensors do not fit the configuration; {'; '.join(problems)}")


def matched(state: Mapping[str, Tensor], stored: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of a network that a file must have, and those of the file: a tied one, which may be stored or not,
    stands for the other, and counters may be missing."""
    wanted = {key: value for key, value in own_tensors(state).items() if key in stored or COUNTERS not in key}
    both = {key: stored[one] for key, one in TIED.items() if key in wanted and one in stored} | stored
    return wanted, {key: both[key] for key in both if key in wanted or (key not in state and not tied(key, both))}


def misfits(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, sums: Mapping[str, int]
) -> dict[str, list[str]]:
    """What is wrong with tensors that were found, in words, and the names of those that it is wrong with."""
    pairs = [(key, wanted[key], found[key]) for key in wanted if key in found]
    return {
        "missing": [key for key in wanted if key not in found],
        "unexpected": [key for key in found if key not in wanted],
        "misshapen": [
            f"{key} {list(own.shape)} instead of {list(needed.shape)}"
            for key, needed, own in pairs
            if own.shape != needed.shape
        ],
        "of whole numbers instead of numbers with a fraction": [
            key for key, needed, own in pairs if needed.is_floating_point() and not own.is_floating_point()
        ],
        "not finite": [key for key, _, own in pairs if not bool(torch.isfinite(own).all())],
        "not those that were written": changed({key: own for key, _, own in pairs}, sums),
    }
