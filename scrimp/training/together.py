"""Several processes that train one model: each learns from its share of every batch, and all take the same step.

A process that is alone goes through all of this unchanged. Gradients are summed over the shares and divided by the
images of the whole batch, so that the step is the one that a single process would take. Batch norm is the exception:
while learning it normalises each share by itself, and its running statistics are averaged before each validation.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from platform import node
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from scrimp.cores import cores
from scrimp.cost import FREE, Cost
from scrimp.errors import ScrimpError, SettingError
from scrimp.training.recipe import Recipe

T = TypeVar("T")
_LEAST = 2  # images of a share: batch norm fails on one


class Team(NamedTuple):
    """Which of how many processes this is; the first one, 0, does what is to be done once."""

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0


def team() -> Team:
    """The processes that train with this one; joins them where torchrun or `run_together` has started it for that."""
    if not dist.is_available():
        return Team(0, 1)
    if not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        gpus = torch.cuda.device_count()
        if gpus:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % gpus)
        one_each = gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # NCCL wants a GPU for each process
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus and one_each else "gloo")
    return Team(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Team(0, 1)


def check_shares(recipe: Recipe, images: int) -> None:
    """Refuses what several processes cannot do as one would."""
    _, size = team()
    if size == 1:
        return
    if recipe.max_seconds is not None:
        raise SettingError(f"max_seconds={recipe.max_seconds} goes by each process' own clock: give epochs instead.")
    if recipe.skip_easy:
        raise SettingError(
            f"skip_easy={recipe.skip_easy} goes by losses that each process keeps for itself: leave it at 0."
        )
    smallest = images // max(1, -(-images // recipe.batch_size))
    if smallest // size < _LEAST:
        raise SettingError(
            f"batch_size={recipe.batch_size} makes batches of {smallest} images, too few for {size} processes: "
            f"take at least {_LEAST * size}, or fewer devices."
        )


# ---------------------------------------------------------------- what they tell each other


def from_first(value: T) -> T:
    """What the first process has, whatever it is."""
    if team().size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def from_all(value: T) -> list[T]:
    """What each of the processes has, whatever it is, in their order."""
    size = team().size
    if size == 1:
        return [value]
    every: list[Any] = [None] * size
    dist.all_gather_object(every, value)
    return every


def start_alike(model: nn.Module) -> None:
    """Gives the model the weights and buffers that it has in the first process."""
    if team().size > 1:
        for value in model.state_dict().values():
            sent = value.contiguous()
            dist.broadcast(sent, 0)
            value.copy_(sent)


def average_gradients(model: nn.Module, images: int) -> None:
    """Makes gradients that are means over the `images` of a share means over the whole batch, in one message."""
    if team().size == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    count = gradients[0].new_tensor([images])
    flat = torch.cat([*(gradient.flatten() * images for gradient in gradients), count])
    dist.all_reduce(flat)
    flat /= flat[-1].clone()
    for gradient, mean in zip(gradients, torch.split(flat[:-1], [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def average_batch_norm(model: nn.Module) -> None:
    """Makes the running statistics of all batch norms the mean over the processes."""
    size = team().size
    if size == 1:
        return
    for layer in model.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None:
            for statistic in (layer.running_mean, layer.running_var):
                dist.all_reduce(statistic)
                statistic /= size


def totals(*sums: Tensor | int) -> list[float]:
    """Each of the sums, added over the processes."""
    numbers = [value.item() if isinstance(value, Tensor) else value for value in sums]
    if team().size == 1:
        return numbers
    together = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(together)
    return list(together.tolist())


def in_shares(work: Callable[[Any], Tensor], rows: Any) -> Tensor:
    """work(rows), float32 on the CPU with a line for each row, where each process does a part of them."""
    rank, size = team()
    if size == 1:
        return work(rows)
    mine = work(rows[rank::size])
    whole = torch.zeros(len(rows), mine.shape[1])
    whole[rank::size] = mine
    dist.all_reduce(whole)
    return whole


def whole_cost(cost: Cost) -> Cost:
    """What all processes together cost, of which each knows its own: the longest time, and the sum of the rest.

    Of energy the sum over machines; within one the sum of estimates by load, which are of each process, or the largest
    of what sensors say, which see the whole machine.
    """
    if team().size == 1:
        return cost
    every = from_all((node(), cost))
    machines: dict[str, list[Cost]] = {}
    for machine, one in every:
        machines.setdefault(machine, []).append(one)
    whole = sum((_of_one_machine(costs) for costs in machines.values()), FREE)
    return Cost(**{**vars(whole), "seconds": max(one.seconds for _, one in every)})


def _of_one_machine(costs: Sequence[Cost]) -> Cost:
    whole = sum(costs, FREE)
    known = [one.wh for one in costs if one.wh is not None]
    wh = max(known) if whole.sees_machine and len(known) == len(costs) else whole.wh
    return Cost(**{**vars(whole), "wh": wh})


# ---------------------------------------------------------------- starting them


def run_together(devices: int, work: Callable[..., T], *arguments: Any) -> T:
    """Runs work(*arguments) in several processes of this machine that train together; what the first one returned.

    devices: how many; one GPU each where there are any. work: a function of a module, since it is sent by name.
    Raises what one of them raised that failed: our own errors before what gloo says of a process that is gone.
    Cost: a few seconds to start them.
    """
    gpus = torch.cuda.device_count()
    if gpus and devices > gpus:
        raise SettingError(
            f"{devices} devices are asked for, but this machine has {gpus} GPUs: ask for as many at most."
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ProcessPoolExecutor(devices, mp_context=get_context("spawn")) as pool:
        members = [pool.submit(_member, rank, devices, port, work, arguments) for rank in range(devices)]
        errors: list[BaseException] = []
        with suppress(KeyboardInterrupt):  # which reached them too: they end their run
            errors += [error for ended in as_completed(members) if (error := ended.exception())]
        if errors:
            raise next((error for error in errors if isinstance(error, ScrimpError)), errors[0])
        return members[0].result()


def _member(rank: int, size: int, port: int, work: Callable[..., T], arguments: Sequence[Any]) -> T:
    facts = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(value) for name, value in facts.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() // size))
    try:
        team()  # now, so that none waits for one that never came because its work had failed
        return work(*arguments)
    except ScrimpError as error:
        raise ScrimpError(str(error)) from None  # of which some cannot be sent from one process to another
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()  # which also wakes those that wait for this one
