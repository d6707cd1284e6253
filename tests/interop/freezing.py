"""A process that hangs."""

import os
import signal


def freeze(process):
    """Until SIGCONT. It is a child of this process; its threads go on for a moment after the signal, and have stopped here."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
