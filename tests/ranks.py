"""Functions called on several processes that meet by gloo, as a launcher would start them."""

import os
import pickle
import socket
import tempfile
from pathlib import Path

import torch.multiprocessing


def on_ranks(size, work, *arguments):
    """Return what a function of a module gives on each rank; it fails where one does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_rank, (size, port, folder, work, arguments), nprocs=size)
        return [pickle.loads(Path(folder, str(rank)).read_bytes()) for rank in range(size)]


def _rank(rank, size, port, folder, work, arguments):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    Path(folder, str(rank)).write_bytes(pickle.dumps(work(*arguments)))
    if torch.distributed.is_initialized():  # what a started program does at its end; else threads of the group may abort the process
        torch.distributed.destroy_process_group()
