"""Getting the most from the machine there is, and saying what was found."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from functools import cache
from pathlib import Path

import torch
from torch import nn

from scrimp.cores import cores

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _NEVER = -1, -4, -1  # of glibc's mallopt(3)
_MADV_HUGEPAGE = 14  # of Linux' madvise(2)
_WORTH_HUGE_PAGES_S = 300.0
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")


def best_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU, with a thread for each core that is this process's to use."""
    _no_more_threads_than_cores()
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@cache
def _no_more_threads_than_cores() -> None:
    """PyTorch knows nothing of a container's limit, under which threads too many wait for one another."""
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores():
        torch.set_num_threads(cores())


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


def keep_freed_memory(seconds: float | None = None) -> str:
    """Has glibc keep freed memory, in huge pages where the system has them, and says what was agreed.

    Each step frees and asks again for the same gigabytes of activations; having them cleared and mapped anew, page by
    page of 4 kB, costs up to half of a training step on a CPU. Results do not change. From now on memory that this
    process has once used stays its own.
    seconds: of the work to come, None if nobody knows. Steps are a tenth faster in huge pages, but where memory is in
    pieces the system takes seconds to put a gigabyte of them together: short work does without. What was agreed first
    holds for the process.
    """
    global _agreed
    _agreed = _agreed or _keep(huge_pages=seconds is None or seconds >= _WORTH_HUGE_PAGES_S)
    return _agreed


_agreed = ""


def _keep(*, huge_pages: bool) -> str:
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return "Allocator left as it is: not glibc."
    libc = ctypes.CDLL("libc.so.6")
    if _address(libc.malloc) != _address(ctypes.CDLL(None).malloc):
        return "Allocator left as it is: another one stands in for glibc's."
    if not (libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)):
        return "Allocator refused to keep freed memory."
    return f"Allocator told to keep freed memory{_in_huge_pages(libc) if huge_pages else ''}."


def _in_huge_pages(libc: ctypes.CDLL) -> str:
    """Asks for huge pages where memory will be taken from, and says how that went, to end a sentence.

    The setting belongs to addresses, so the heap first grows by half the machine's memory; by its addresses alone, for
    memory is only taken once it is written to. They are freed at once; glibc, which gives none back, will use them.
    """
    try:
        allowed = (_HUGE_PAGES / "enabled").read_text()
        page = int((_HUGE_PAGES / "hpage_pmd_size").read_text())
    except OSError:
        return ""
    if "[always]" in allowed:
        return ", in huge pages, as all memory here"
    if "[madvise]" not in allowed:
        return "; this system allows no huge pages"
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    start = libc.malloc(size)
    if start is None:
        return f"; no huge pages, as there were no {size / 1e9:.0f} GB of addresses for them"
    first = -(-start // page) * page
    refused = libc.madvise(first, (start + size - first) // page * page, _MADV_HUGEPAGE)
    libc.free(start)
    return "; huge pages were refused" if refused else ", in huge pages"


def _address(function: object) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]


def work_out_of_place(model: nn.Module, device: torch.device, precision: torch.dtype) -> None:
    """Has activations give new tensors on a CPU in bfloat16, where PyTorch takes about four times as long in place."""
    if device.type != "cpu" or precision != torch.bfloat16:
        return
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]


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
