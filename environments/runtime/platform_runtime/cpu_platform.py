"""Lets stock verl train without an accelerator: a platform "cpu", FSDP engines for it, process groups over gloo.

Loaded by verl itself, named in VERL_USE_EXTERNAL_MODULES. Does nothing where CUDA is there. verl 0.9.1 has the
hooks for all of it but three, which are replaced here: its process groups ask for one backend per device, which
torch refuses when the device is the CPU; it binds to NUMA nodes by GPU; and its offload policy pins memory.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import torch
import torch.distributed
import verl.utils.distributed as verl_distributed
from verl.plugin.platform import PlatformBase, PlatformRegistry, set_platform

NAME = "cpu"
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """What this process holds in memory: what "allocated on the device" means when the device is the CPU."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE


def memory_info() -> tuple[int, int]:
    """(free, total) bytes of the machine."""
    return os.sysconf("SC_AVPHYS_PAGES") * _PAGE, os.sysconf("SC_PHYS_PAGES") * _PAGE


class CpuDeviceModule(ModuleType):
    """`torch.cpu`, with the calls that verl makes on `torch.cuda` and that `torch.cpu` lacks."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> str:
        # verl hands it to Tensor.to(), so it is a name and no index.
        return NAME

    def set_device(self, *_: Any) -> None:
        pass

    def synchronize(self, *_: Any) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def ipc_collect(self) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def get_rng_state(self, *_: Any) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, *_: Any) -> None:
        torch.set_rng_state(state)

    def memory_allocated(self, *_: Any) -> int:
        return resident_bytes()

    memory_reserved = max_memory_allocated = max_memory_reserved = memory_allocated

    def reset_peak_memory_stats(self, *_: Any) -> None:
        pass

    def mem_get_info(self, *_: Any) -> tuple[int, int]:
        return memory_info()

    def get_device_name(self, *_: Any) -> str:
        return "CPU"

    def set_per_process_memory_fraction(self, *_: Any) -> None:
        pass


@PlatformRegistry.register(platform=NAME)
class CpuPlatform(PlatformBase):
    """The machine's processors as one device. See PlatformBase for what each member means."""

    device_name = NAME
    vendor_name = NAME
    device_module = CpuDeviceModule("platform_runtime.cpu_device")

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return not torch.cuda.is_available()

    def current_device(self) -> str:
        return NAME

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        # A logical resource: Ray is told of GPUs that are none, since verl's check knows no other name.
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> None:
        return None


def join_process_group(timeout_second: int = 36000) -> tuple[int, int, int]:
    """(local rank, rank, world size), after joining the group that the environment describes, over gloo."""
    torch.distributed.init_process_group(
        backend="gloo",
        timeout=timedelta(seconds=timeout_second),
        init_method=os.environ.get("DIST_INIT_METHOD"),
    )
    return int(os.environ["LOCAL_RANK"]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def join_process_group_ray(timeout_second: int | None = None, backend: str | None = None) -> None:
    """The same inside a Ray worker, once."""
    if torch.distributed.is_initialized():
        return
    torch.distributed.init_process_group(
        backend="gloo",
        rank=int(os.environ.get("RANK", 0)),
        world_size=int(os.environ.get("WORLD_SIZE", 1)),
        timeout=timedelta(seconds=timeout_second) if timeout_second is not None else None,
        init_method=os.environ.get("DIST_INIT_METHOD"),
    )


def install() -> None:
    set_platform(CpuPlatform())
    verl_distributed.initialize_global_process_group = join_process_group
    verl_distributed.initialize_global_process_group_ray = join_process_group_ray
    verl_distributed.set_numa_affinity = lambda: None
    # Only now: importing the engines asks for the platform.
    from platform_runtime import cpu_engines  # noqa: PLC0415

    cpu_engines.install()


if not torch.cuda.is_available():
    install()
