"""Starting a command in several processes of this machine that know of one another, through torch's own launcher."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from tunny.core.console import say
from tunny.core.errors import ConfigError, Stopped


def launch(processes: int, command: Sequence[str], max_restarts: int = 0) -> int:
    """Run `tunny COMMAND` in so many processes and return the exit code: 0, or that of the first that failed; then all end.

    With `max_restarts` the group is started again, and a training goes on from its last checkpoint.
    """
    if not command or command[0] == "launch":
        raise ConfigError("launch: expected a command behind the options, such as: tunny launch -n 2 train config.yaml")
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api"):  # the second has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they know is said below
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // processes)))
    config = LaunchConfig(
        1, 1, processes, run_id=uuid.uuid4().hex, max_restarts=max_restarts, monitor_interval=0.1,
        rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", local_addr="127.0.0.1",
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "tunny", *command)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = int(failure.exitcode)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        say(f"rank {rank} of {processes} ended {how}; the others were ended too")
        return 128 - code if code < 0 else code
    except SignalException as error:
        raise Stopped(int(error.sigval)) from error
    return 0
