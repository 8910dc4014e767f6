"""Image and cluster files name what exists, in the versions that are pinned; nothing of them was built or started."""

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from infra.workflow.signals import GRACE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "infra" / "docker" / "Dockerfile").read_text()
PINS = dict(
    line.split("==") for line in (ROOT / "infra/constraints/py311.txt").read_text().splitlines() if "==" in line
)


def job() -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((ROOT / "infra" / "kubernetes" / "rayjob.yaml").read_text())["spec"]
    return spec


def test_the_image_has_what_it_copies_and_what_a_submitted_job_needs() -> None:
    for line in re.findall(r"^COPY --chown=1000 (.+) \S+$", DOCKERFILE, re.M):
        assert all((ROOT / name).exists() for name in line.split())
    assert "prepare /stipple /stipple/.venv cluster" in DOCKERFILE
    needs = [need for need in metadata.requires("ray") or () if 'extra == "default"' in need]
    names = {re.split(r"[^\w-]", need)[0].replace("_", "-") for need in needs}
    assert len(names) > 5
    assert names <= set(PINS)


def test_the_job_runs_files_of_the_image_as_its_user_on_the_pinned_ray_with_a_token() -> None:
    spec = job()
    words = spec["entrypoint"].split()
    assert words[0] == "stipple"
    files = [word.rpartition("=")[2] for word in words if word.endswith(".yaml")]
    assert len(files) == 2
    assert all((ROOT / file).is_file() for file in files)
    waits = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]
    assert int(waits) > GRACE_SECONDS, "Ray kills a job 3 s after it has asked it to stop"
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == PINS["ray"]
    assert cluster["authOptions"] == {"mode": "token"}
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.M)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": int(user), "fsGroup": int(user)}
        (memory,) = (volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)
        # by default Ray takes 30 % of the memory, and puts it on the disk where /dev/shm is too small
        assert 80e6 < int(group["rayStartParams"]["object-store-memory"]) < int(memory.removesuffix("Gi")) * 2**30
        (container,) = pod["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
