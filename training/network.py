"""How workers on several machines find each other: by the network that Ray joins these machines by."""

import os
from typing import Any

GLOO = "GLOO_SOCKET_IFNAME"


def torch_config(*, backend: str) -> Any:
    """Ray Train's TorchConfig, whose workers speak over the interface by which their machine has joined Ray.

    Left alone, gloo tells the others the address that the machine's own name stands for: 127.0.1.1 on Debian, or, where
    the name stands for nothing, 127.0.0.1. No other machine finds it there. NCCL leaves those out by itself.
    """
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import _TorchBackend

    class Reachable(_TorchBackend):  # type: ignore[misc]
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            worker_group.execute(speak_over_rays_network)
            super().on_start(worker_group, backend_config)

    class ReachableConfig(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type:
            return Reachable

    return ReachableConfig(backend=backend)


def speak_over_rays_network() -> None:
    """Tell gloo, in this process, which interface to use; what the person has set stays."""
    import ray

    if found := interface_of(ray.util.get_node_ip_address()):
        os.environ.setdefault(GLOO, found)  # noqa: TID251 - there is no other way to say it


def interface_of(address: str) -> str | None:
    """The name of the interface of this machine that has the address; None where none has."""
    import psutil

    return next(
        (name for name, known in psutil.net_if_addrs().items() if any(one.address == address for one in known)), None
    )
