"""Run a command of Tunny in this process and print the seconds it took, importing left out, and its peak memory in MiB."""

import json
import resource
import sys
import time

import tunny.run  # noqa: F401
from tunny.cli import main

before = time.perf_counter()
try:
    main(sys.argv[1:])
except SystemExit as ended:
    if ended.code:
        raise
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": time.perf_counter() - before, "memory": peak}))
