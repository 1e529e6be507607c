"""Runs a command that gets SIGTERM when its parent dies, by kill -9 too: `leash.py PARENT_ID COMMAND...`

Linux only; elsewhere the command is simply run. It stands alone, so that it starts in no time.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # from Linux's sys/prctl.h; kept across exec

if __name__ == "__main__":
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit("the process that started this one is gone")
    os.execv(command[0], command)
