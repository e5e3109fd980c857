"""Hardware that a run is planned for: memory, peak speed, bandwidth, and our share of the peak.

Figures of GPUs are the vendor's, dense (no sparsity), from NVIDIA's datasheets: T4 (2019; 16 GB, 65 TFLOP/s float16, 8.1
float32, 320 GB/s), L4 (2023; 24 GB, 121, 30.3, 300 GB/s), A100 80GB SXM (2021; 312, 19.5, 2,039 GB/s), H100 SXM (2023; 80 GB,
989, 67, 3,350 GB/s), H200 SXM (2024; 141 GB, as the H100, 4,800 GB/s). A CPU is measured on the spot.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from selfsame.errors import ConfigError

TRAINING_SHARE = 0.4
"""Of the peak of a large matrix product, in passes over many tokens: between the record's stages (see EFFICIENCY_SOURCE)."""
DECODING_SHARE = 0.2
"""The same while sampling, a token of each reply at a time."""
EFFICIENCY_SOURCE = (
    "benchmarks/results/cpu-10m.json (a Llama of 10M parameters, bfloat16, one thread of an AMD EPYC): 40 % of the peak in"
    " training, 20 % in sampling"
)
LAUNCH_SECONDS = 10e-6
"""From Python to the device, per operation: an assumption for GPUs, where it bounds small models."""


@dataclass(frozen=True)
class Hardware:
    """`count` devices of a kind, a process each. `memory`: bytes of one; `peak`: floating-point operations a second by dtype;
    `bandwidth`: bytes a second; `flash`: it has attention kernels for grouped keys; `launch`: seconds an operation at least
    takes; `source`: where the figures come from."""

    name: str
    memory: float
    peak: Mapping[str, float]
    bandwidth: float
    count: int = 1
    flash: bool = True
    launch: float = LAUNCH_SECONDS
    source: str = "the vendor's figures; times are estimates, not measured on a GPU"

    @property
    def is_cpu(self) -> bool:
        return self.name == "cpu"

    @property
    def dtype(self) -> str:
        """What `model.dtype: auto` becomes on it."""
        return max(self.peak, key=lambda name: (self.peak[name], name == "bfloat16"))


def _gpu(name: str, memory: float, half: float, single: float, bandwidth: float, bf16: bool = True) -> Hardware:
    """Memory in GB, peaks in TFLOP/s, bandwidth in GB/s."""
    peak = {"float16": half * 1e12, "float32": single * 1e12} | ({"bfloat16": half * 1e12} if bf16 else {})
    return Hardware(name, memory * 1e9, peak, bandwidth * 1e9, flash=bf16)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("t4", 16, 65, 8.1, 320, bf16=False),
        _gpu("l4", 24, 121, 30.3, 300),
        _gpu("a100", 80, 312, 19.5, 2039),
        _gpu("h100", 80, 989, 67, 3350),
        _gpu("h200", 141, 989, 67, 4800),
    )
}
NAMES = (*GPUS, "cpu")


def hardware(name: str, count: int = 1) -> Hardware:
    """The device of that name, `count` times; a CPU's speed is measured now (a second).

    Raises:
        ConfigError: an unknown name, or no device.
    """
    if name not in NAMES:
        raise ConfigError(f"unknown hardware {name!r}: choose {', '.join(NAMES)}")
    if count < 1 or (name == "cpu" and count > 1):
        raise ConfigError(f"--gpus is {count}: give 1 or more GPUs, or the whole CPU once")
    device = GPUS[name] if name in GPUS else measured_cpu()
    return Hardware(**{**vars(device), "count": count})


def detect() -> str:
    """The GPU of this machine, `cpu` where there is none.

    Raises:
        ConfigError: a GPU that is not in the table, or with another memory.
    """
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    told, memory = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory
    name = next((n for n in GPUS if n in told.lower().replace("-", " ").split()), None)
    if name is None or not 0.85 < memory / GPUS[name].memory < 1.15:
        raise ConfigError(
            f"no plans for this GPU ({told}, {memory / 1e9:.0f} GB): give --gpu, one of {', '.join(NAMES)}"
        )
    return name


def measured_cpu() -> Hardware:
    """This machine's CPU with the threads that PyTorch has. Where bfloat16 is not native it is left out."""
    import torch

    from selfsame.plan.probe import operation_seconds
    from selfsame.run.environment import describe_environment

    peak = gemm_peak(repeats=3)
    memory = describe_environment()["memory_bytes"] or 16e9
    source = f"measured now with {torch.get_num_threads()} thread(s)"
    return Hardware("cpu", memory, peak, copy_bandwidth(), launch=operation_seconds(), source=source)


def gemm_peak(size: int = 2048, repeats: int = 8) -> dict[str, float]:
    """Floating-point operations a second of a large matrix product on the CPU, by dtype: what a share of the peak refers to.
    Of float32, and of the dtype that the CPU computes in natively."""
    import torch

    from selfsame.model.base import choose_dtype

    found = {}
    # Measured without native bfloat16: eight such products in it took twenty minutes, in float32 seven seconds.
    for dtype in dict.fromkeys((torch.float32, choose_dtype("auto", torch.device("cpu")))):
        a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        seconds = min(_seconds(lambda a=a, b=b: a @ b) for _ in range(repeats))
        found[str(dtype).removeprefix("torch.")] = 2 * size**3 / seconds
    return found


def copy_bandwidth(size: int = 2**26) -> float:
    """Bytes a second, read and written, of a large copy on the CPU."""
    import torch

    source, target = torch.ones(size), torch.zeros(size)
    return 2 * 4 * size / min(_seconds(lambda: target.copy_(source)) for _ in range(3))


def _seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
