"""Becomes a command that its starter's signals reach: `leash.py PARENT_ID COMMAND...`

Signals that the starter ignores or holds back would be so in the command as well, since a new program inherits that:
IPython ignores SIGINT between two cells. They are as usual here. SIGHUP is left alone: `nohup` is meant to reach far.

On Linux the command also gets SIGTERM when the parent ends, by kill -9 too; a PARENT_ID of 0 means that it outlives it.
This file stands alone, so that it starts in no time.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # from Linux's sys/prctl.h; kept across exec

if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    parent, *command = sys.argv[1:]
    if sys.platform == "linux" and parent != "0":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit("the process that started this one is gone")
    os.execv(command[0], command)
