"""Ray Train starts the workers of a stage, and starts them again where one dies: the only file that knows how."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.storage import out_of_sight
from infra.workflow.node import Refused
from training.ends import STOPPED, work
from training.errand import Errand
from training.heap import keep_freed_memory
from training.network import torch_config
from training.watch import NOTES

RESIZE_SECONDS = 600.0
"""Between two looks for room for more workers: a change loses what came after the newest checkpoint."""


def fit(errand: Errand, *, name: str) -> None:
    """Let Ray Train start the workers, and start them again when one dies; returns when all have ended.

    Raises: TrainingFailedError when they died more often than the manifest allows, and none said why in a sentence.
    """
    from ray.train import TrainingFailedError

    with settled(elastic=errand.manifest.min_workers is not None):
        try:
            trainer_of(errand, name=name).fit()
        except TrainingFailedError:
            if not (Path(errand.work) / STOPPED).exists():
                raise


def trainer_of(errand: Errand, *, name: str) -> Any:
    """Ray Train's trainer of the stage."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    manifest = errand.manifest
    gpus = manifest.device == "cuda"
    return lean_trainer()(
        train_worker,
        train_loop_config=errand.to_dict(),
        scaling_config=ScalingConfig(
            num_workers=manifest.workers if manifest.min_workers is None else (manifest.min_workers, manifest.workers),
            use_gpu=gpus,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if gpus else {})},
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
        ),
        torch_config=torch_config(backend="nccl" if gpus else "gloo"),
        run_config=RunConfig(
            name=f"{name}-{errand.token[:8]}",
            storage_path=str(Path(errand.work) / "ray"),
            failure_config=FailureConfig(
                max_failures=manifest.max_failures, controller_failure_limit=manifest.max_failures
            ),
        ),
    )


@contextmanager
def settled(*, elastic: bool) -> Iterator[None]:
    """Settings of Ray Train that it reads from the environment alone; what the person has set stays.

    Workers wait for room so long: 60 s by default, and a busy machine then starts them for ever. An elastic stage that
    lost a machine asks for as many as before, since Ray misses the machine only later: it is not to wait for it long.
    """
    import ray

    chosen = {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "90" if elastic else "600",
        "RAY_TRAIN_METRICS_ENABLED": "0",
    }
    if len(ray.nodes()) == 1:
        chosen["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
    told = os.environ  # noqa: TID251 - there is no other way to say it
    ours = {name: value for name, value in chosen.items() if name not in told}
    told.update(ours)
    try:
        yield
    finally:
        for name in ours:
            told.pop(name, None)


def lean_trainer() -> Any:
    """TorchTrainer without the actors that serve nothing here; each is a process, and 2 s of a core at every start.

    The manager of Ray Data sets has none to manage. The cleaner of placement groups outlives a killed driver; on a
    local Ray nothing does.
    """
    import ray
    from ray.train.torch import TorchTrainer

    unused = {"DatasetsCallback"} | ({"PlacementGroupCleanerCallback"} if len(ray.nodes()) == 1 else set())

    class LeanTrainer(TorchTrainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            return [one for one in super()._create_default_callbacks() if type(one).__name__ not in unused]

        def _register_sigint_handler(self, controller: Any) -> None:
            """Ctrl-C stays with who runs the stage, and lets it save; Ray's own handler throws the work away."""

    return LeanTrainer


def train_worker(config: dict[str, Any]) -> None:
    """The loop in a worker of Ray Train, which has made the process group.

    Raises: Refused where its machine does not see the store.
    """
    from training.world import world_of_process_group

    if unseen := out_of_sight(config["work"]):
        raise Refused(unseen)
    keep_freed_memory()
    world = world_of_process_group()
    path = Path(config["work"]) / NOTES

    def say(line: str) -> None:
        if world.rank == 0:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    errand = Errand.from_dict(config)
    if world.size < errand.manifest.workers:
        say(f"{world.size} of {errand.manifest.workers} workers have room")
    work(errand, world, say)
