"""A process that hangs."""

import os
import pathlib
import signal


def states(pid):
    """Of its threads, the first one first: 'S' waits in the kernel, 'T' is stopped."""
    threads = sorted(map(int, os.listdir(f'/proc/{pid}/task')))
    return [pathlib.Path(f'/proc/{pid}/task/{t}/stat').read_text().rpartition(')')[2].split()[0]
            for t in threads]


def freeze(process):
    """Until SIGCONT. It is a child of this process; its threads go on for a moment after the signal, and have stopped here."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
