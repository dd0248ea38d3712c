"""A terminal for a program that looks whether it has one."""

import fcntl
import os
import re
import struct
import subprocess
import termios
from pathlib import Path


def on_a_terminal(command: list[str], folder: Path) -> tuple[str, str]:
    """Run a command whose stderr is a terminal of 120 columns; return what that shows, without colours and movements, and stdout."""
    terminal, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=end, env=environment) as process:
        os.close(end)
        shown = b""
        try:
            while part := os.read(terminal, 65536):
                shown += part
        except OSError:  # Linux says so when the other end is closed
            pass
        os.close(terminal)
        printed = process.stdout.read().decode()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert process.returncode == 0, text
    return text.replace("\r\n", "\n").replace("\r", "\n"), printed
