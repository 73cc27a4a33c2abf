"""Getting the most from the machine there is, and saying what was found."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys
from functools import cache
from pathlib import Path

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt(3)


def best_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def precision_for(wanted: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The number format for matrix work, and a sentence on why.

    bfloat16 on a CPU is only fast with AMX or AVX512-BF16 instructions, so "auto" looks for them.
    """
    if wanted != "auto":
        return getattr(torch, wanted), f"{wanted}, as asked"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "bfloat16, which this GPU has"
        return torch.float16, "float16 with loss scaling: this GPU has no bfloat16"
    if device.type == "cpu" and _cpu_flags() & {"amx_bf16", "avx512_bf16"}:
        return torch.bfloat16, "bfloat16, for which this CPU has instructions"
    return torch.float32, f"float32: no faster format on this {device.type.upper()}"


@cache
def keep_freed_memory() -> str:
    """Tells glibc not to hand memory back to the system between steps, and says whether it agreed.

    Each step frees and asks again for the same gigabyte of activations; faulting its pages in anew costs up to half of
    a training step on a CPU. Results do not change.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return "Allocator left as it is: not glibc."
    libc = ctypes.CDLL(None)
    agreed = libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, sys.maxsize >> 33)
    return "Allocator told to keep freed memory." if agreed else "Allocator refused to keep freed memory."


def reset_peak_memory(device: torch.device) -> None:
    """Starts a new peak for `peak_memory_mb`, where the system lets us (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> tuple[float | None, float | None]:
    """Peak since the last reset, in MB (1e6 bytes): resident memory of this process, and memory of the GPU.

    The first is None where the system does not tell (it is Linux's VmHWM), the second without a CUDA device.
    """
    resident = None
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                resident = float(line.split()[1]) * 1024 / 1e6
    gpu = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return resident, gpu


@cache
def _cpu_flags() -> frozenset[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.split())
    return frozenset()
