import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scrimp.training import hardware
from scrimp.training.hardware import keep_freed_memory

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc and huge pages are of Linux")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
FAULTS = """
import json, resource, sys
import torch
from scrimp.training.hardware import keep_freed_memory

said = keep_freed_memory() if sys.argv[1] == "kept" else ""

def activations():
    return [torch.ones(size, 1_000_000) for size in (3, 17, 40)]

activations()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    activations()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
held = activations()
with open("/proc/self/smaps_rollup") as file:
    huge_kb = next(int(line.split()[1]) for line in file if line.startswith("AnonHugePages"))
torch.manual_seed(0)
layer = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
layer(torch.rand(4, 3, 32, 32)).square().mean().backward()
gradient = layer[0].weight.grad.flatten().tolist()
print(json.dumps({"said": said, "faults": faults, "huge_kb": huge_kb, "gradient": gradient}))
"""


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"LOKY_MAX_CPU_COUNT": "1"}, 1),
        ({"LOKY_MAX_CPU_COUNT": "1", "OMP_NUM_THREADS": "2"}, 2),  # who names threads gets them
    ],
)
def test_no_more_threads_than_cores_that_may_be_used(limits, expected):
    # Stands for the limit of a container, which is read in the same place.
    code = (
        "import torch; from scrimp.training.hardware import best_device; best_device(); print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | limits
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert int(done.stdout) == expected


@pytest.fixture
def afresh(monkeypatch):
    """What it says is remembered for the process."""
    monkeypatch.setattr(hardware, "_agreed", "")


@pytest.fixture(scope="module")
def measured():
    """What a process sees that keeps what it frees, and one that does not."""
    found = {}
    for how in ("kept", "as it comes"):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True)
        found[how] = json.loads(done.stdout)
    return found


@linux
def test_memory_that_was_freed_is_not_mapped_again(measured):
    pages = 5 * 60 * 4_000_000 // resource.getpagesize()  # of 5 times 60 million floats
    assert measured["as it comes"]["faults"] > pages / 2, "the case is one in which the allocator gives memory back"
    assert measured["kept"]["faults"] < pages / 100


@linux
@pytest.mark.skipif(
    not HUGE_PAGES.is_file() or "[madvise]" not in HUGE_PAGES.read_text(), reason="huge pages are not for the asking"
)
def test_it_lies_in_huge_pages(measured):
    assert measured["kept"]["said"] == "Allocator told to keep freed memory, in huge pages."
    assert measured["kept"]["huge_kb"] > 200_000  # of 240 MB that are held
    assert measured["as it comes"]["huge_kb"] < 10_000


@linux
def test_results_do_not_change(measured):
    assert measured["kept"]["gradient"] == measured["as it comes"]["gradient"]


def test_other_systems_are_left_alone(monkeypatch, afresh):
    monkeypatch.setattr(hardware.platform, "system", lambda: "Darwin")
    assert keep_freed_memory() == "Allocator left as it is: not glibc."


class FakeLibc:
    """Its mallopt, malloc and madvise answer as they are told; the last two keep what they were asked."""

    def __init__(self, *, mallopt=1, malloc=10_000_000, madvise=0):
        self.asked = {}
        self.mallopt = lambda *_: mallopt
        self.malloc, self.madvise, self.free = (lambda *_: None for _ in range(3))
        for name, answer in (("malloc", malloc), ("madvise", madvise), ("free", None)):
            setattr(self, name, self._noting(name, answer))

    def _noting(self, name, answer):
        def function(*arguments):
            self.asked[name] = arguments
            return answer

        return function


@pytest.fixture
def glibc(monkeypatch, tmp_path, afresh):
    """A function that puts such a library, and a system that allows huge pages as told, in place of the real ones."""

    def stand_in(allowed="always [madvise] never", **answers):
        libc = FakeLibc(**answers)
        (tmp_path / "enabled").write_text(allowed)
        (tmp_path / "hpage_pmd_size").write_text("2097152\n")
        monkeypatch.setattr(hardware, "_HUGE_PAGES", tmp_path)
        monkeypatch.setattr(hardware.platform, "system", lambda: "Linux")
        monkeypatch.setattr(hardware.platform, "libc_ver", lambda: ("glibc", "2.36"))
        monkeypatch.setattr(hardware.os, "sysconf", {"SC_PHYS_PAGES": 4_000_000, "SC_PAGE_SIZE": 4096}.get)
        monkeypatch.setattr(hardware, "_address", lambda _: 1)
        monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
        return libc

    return stand_in


def test_half_of_the_memory_is_asked_for_whole_huge_pages_and_freed(glibc):
    libc = glibc()
    assert keep_freed_memory() == "Allocator told to keep freed memory, in huge pages."
    assert libc.asked["malloc"] == (8_192_000_000,)
    # 2 MiB pages: the first that begins at or after 10,000,000 does so at 5 * 2,097,152; up to 8,202,000,000, where
    # the memory ends, 3,906 whole ones fit.
    assert libc.asked["madvise"] == (10_485_760, 3_906 * 2_097_152, 14)
    assert libc.asked["free"] == (10_000_000,)


def test_short_work_does_without_huge_pages_and_what_was_agreed_first_holds(glibc):
    libc = glibc()
    assert keep_freed_memory(60) == "Allocator told to keep freed memory."
    assert keep_freed_memory(3600) == "Allocator told to keep freed memory."
    assert "madvise" not in libc.asked


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"mallopt": 0}, "Allocator refused to keep freed memory."),
        ({"madvise": -1}, "Allocator told to keep freed memory; huge pages were refused."),
        (
            {"malloc": None},
            "Allocator told to keep freed memory; no huge pages, as there were no 8 GB of addresses for them.",
        ),
        (
            {"allowed": "always madvise [never]"},
            "Allocator told to keep freed memory; this system allows no huge pages.",
        ),
        (
            {"allowed": "[always] madvise never"},
            "Allocator told to keep freed memory, in huge pages, as all memory here.",
        ),
    ],
)
def test_what_is_refused_is_told(glibc, answers, said):
    glibc(**answers)
    assert keep_freed_memory() == said


def test_another_allocator_in_glibcs_place_is_left_alone(glibc, monkeypatch):
    glibc()
    addresses = iter([1, 2])
    monkeypatch.setattr(hardware, "_address", lambda _: next(addresses))
    assert keep_freed_memory() == "Allocator left as it is: another one stands in for glibc's."


def test_a_tensor_lives_on_after_the_allocator_was_told():
    before = torch.arange(1_000_000)
    keep_freed_memory()
    assert before.sum().item() == 499_999_500_000
