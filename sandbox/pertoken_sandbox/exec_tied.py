"""Run a command that the kernel kills when the process that started it dies.

Started as ``python -I -S exec_tied.py PARENT_PID COMMAND…``. It asks for the death signal in the child itself, after
the fork: doing that in a ``preexec_fn`` is unsafe once the parent has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the signal was armed
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  # becoming the command is the purpose


if __name__ == "__main__":
    main()
