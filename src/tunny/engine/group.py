"""The processes that train together: who they are, by what their launcher says, how they meet, and how they end together.

torchrun, accelerate launch and `tunny launch` set RANK, WORLD_SIZE and where to meet. The group meets under a name of its own every
time: torch's store keeps the keys of processes that died, and a group that was started again hangs in it or takes their addresses.
"""

import atexit
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from tunny.core.errors import ConfigError, OtherRankFailed
from tunny.data.process import PLACES

T = TypeVar("T")

PATIENCE = timedelta(hours=2)  # for what only one rank does, such as reading data; a rank that died is noticed at once
GRACE = 2.0  # seconds in which the launcher ends this process, having seen which one failed first


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among the processes of this machine


def world_of(environment: Mapping[str, str]) -> World:
    """Return what the launcher says; raise ConfigError where it says half of it, or started processes that do not know of each other."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    try:
        rank, size, local = (int(environment.get(name) or default) for name, default in zip(names, (0, 1, 0), strict=True))
    except ValueError as error:
        raise ConfigError(f"environment: expected numbers in {', '.join(names)}: {error}") from error
    if not 0 <= rank < size:
        raise ConfigError(f"environment: RANK is {rank} and WORLD_SIZE {size}; a rank is 0 to {size - 1}. Start with tunny launch -n N.")
    launched = "Start with tunny launch -n N or torchrun, or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT."
    started = max((int(environment[name]) for _, name in PLACES[1:] if environment.get(name, "").isdigit()), default=1)
    if started > 1 and size == 1:
        raise ConfigError(
            f"environment: {started} processes were started, but each would train alone, as WORLD_SIZE is not set. {launched}"
        )
    if size > 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= set(environment):
        raise ConfigError(f"environment: WORLD_SIZE is set, MASTER_ADDR and MASTER_PORT are not. {launched}")
    return World(rank, size, local)


def join(world: World, kind: str) -> None:
    """Meet the other processes, once. `kind` is gloo or nccl."""
    if dist.is_initialized():
        return
    agents = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), world.size, is_master=world.rank == 0 and not agents, timeout=PATIENCE
    )
    dist.init_process_group(
        kind, store=PrefixStore(_named_anew(store, world), store), rank=world.rank, world_size=world.size, timeout=PATIENCE
    )
    atexit.register(_leave)


def _leave() -> None:
    """End the group. Gloo's thread lets go of the last exchange by asking Python; where that has ended, the process aborts, and its launcher
    ends all others.
    """
    dist.destroy_process_group()
    time.sleep(0.2)  # in which it may ask


def _named_anew(store: TCPStore, world: World) -> str:
    """Return a name that rank 0 gives to the processes that live now: each asks under one of its own, which no dead process has.

    How often a launcher has started them does not tell: torchrun's agents count each for themselves, by what they saw first.
    """
    own = uuid.uuid4().hex
    if world.rank:
        store.set(f"tunny/asks/{world.rank}", own)
        name = store.get(f"tunny/answer/{own}").decode()
        store.add(f"tunny/heard/{name}", 1)
        return name
    while store.add(f"tunny/heard/{own}", 0) < world.size - 1:
        for question in (f"tunny/asks/{rank}" for rank in range(1, world.size)):
            if store.check([question]):
                store.set(f"tunny/answer/{store.get(question).decode()}", own)
        time.sleep(0.01)
    return own


def agreed(make: Callable[[], T]) -> T:
    """Return what rank 0 makes, on all ranks; where that fails, the others raise OtherRankFailed."""
    if not dist.is_initialized():
        return make()
    told: list[Any] = [False, None]
    if dist.get_rank() == 0:
        try:
            told = [True, make()]
        finally:
            dist.broadcast_object_list(told)
    else:
        dist.broadcast_object_list(told)
        if not told[0]:
            raise _failed("rank 0")
    return told[1]  # type: ignore[no-any-return]


def in_turn(make: Callable[[], T]) -> T:
    """Call a function on the first rank of each machine, then on its others, which find in the cache what it left there."""
    if not dist.is_initialized():
        return make()
    first = world_of(os.environ).local_rank == 0
    found, failure = (None, None)
    if first:
        try:
            found = make()
        except Exception as error:
            failure = error
    told: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(told, failure is None)
    if failure is not None:
        raise failure
    if not all(told):
        raise _failed(f"rank {told.index(False)}")
    return found if first else make()  # type: ignore[return-value]


@contextmanager
def together() -> Iterator[None]:
    """Raise OtherRankFailed where a process is gone that others wait for inside the block."""
    try:
        yield
    except RuntimeError as error:
        if is_left_alone(error):
            raise _failed("another rank") from error
        raise


def is_left_alone(error: BaseException) -> bool:
    """Say whether an error means that another process of the group is gone."""
    told = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and re.search(r"gloo[/:]|NCCL", str(error)))
    return bool(dist.is_initialized() and told)


def _failed(who: str) -> OtherRankFailed:
    time.sleep(GRACE)
    return OtherRankFailed(f"{who} ended before its work was done")


def launch_id() -> str | None:
    """Return a name of the launch that this process belongs to, the same when the launcher starts the group again; None without one."""
    run = os.environ.get("TORCHELASTIC_RUN_ID")
    return None if run is None else f"{run} {os.getppid()}"
