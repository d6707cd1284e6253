"""The resolver process: merges what only the classes of the application can merge.

Started by the server with one socket as its standard input and output. Frames are 4 bytes of length
(big-endian), then a letter and the rest:

    H                                     from here, once: ready
    ?  oid committed old (8 bytes each), lengths of three records (4 bytes each), the records
    +  the merged record                  from here
    -  the reason as text                 from here: it cannot be merged
"""

import logging
import os
import select
import socket
import struct
import sys
import threading

REASON_BYTES_MAX = 400


class Reason(logging.Handler):
    """What ZODB logs of the conflict, which is not in the exception it raises."""

    text = ''

    def emit(self, record):
        error = record.exc_info and record.exc_info[1]
        self.text = record.getMessage() + (f': {error!r}' if error else '')


def exit_with(server):
    """The server went away: nothing may keep this process, not even a class that hangs."""
    poll = select.poll()
    poll.register(server, select.POLLRDHUP | select.POLLHUP)
    poll.poll()
    os._exit(0)


def receive(server, n):
    data = bytearray()
    while len(data) < n:
        more = server.recv(min(n - len(data), 1 << 20))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def send(server, letter, data=b''):
    server.sendall(struct.pack('>I', 1 + len(data)) + letter + data)


def serve(server, storage_class, conflict_error, reason):
    while True:
        length, = struct.unpack('>I', receive(server, 4))
        request = receive(server, length)
        oid, committed_serial, old_serial = request[1:9], request[9:17], request[17:25]
        old_len, committed_len, _ = struct.unpack('>III', request[25:37])
        committed_at = 37 + old_len
        new_at = committed_at + committed_len
        storage = storage_class(
            {old_serial: request[37:committed_at],
             committed_serial: request[committed_at:new_at]})
        reason.text = ''
        try:
            merged = storage.tryToResolveConflict(
                oid, committed_serial, old_serial, request[new_at:],
                request[committed_at:new_at])
        except conflict_error:
            text = reason.text or 'it cannot be resolved'
            send(server, b'-', text.encode('utf-8', 'replace')[:REASON_BYTES_MAX])
        else:
            send(server, b'+', merged)


def main():
    server = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a class prints is for the log
    sys.path[:] = sys.argv[1:] + [p for p in sys.path if p]
    try:
        from ZODB.ConflictResolution import ConflictResolvingStorage
        from ZODB.POSException import ConflictError
    except BaseException as error:
        send(server, b'-', f'{type(error).__name__}: {error}'.encode()[:REASON_BYTES_MAX])
        raise

    class Storage(ConflictResolvingStorage):
        """As much of a storage as a conflict needs."""

        def __init__(self, records):
            self.records = records

        def loadSerial(self, oid, serial):
            return self.records[serial]

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    reason = Reason(logging.DEBUG)
    logger = logging.getLogger('ZODB.ConflictResolution')
    logger.addHandler(reason)
    logger.setLevel(logging.DEBUG)
    logging.getLogger().handlers[0].setLevel(logging.WARNING)
    threading.Thread(target=exit_with, args=(server,), daemon=True).start()
    send(server, b'H')
    try:
        serve(server, Storage, ConflictError, reason)
    except (EOFError, ConnectionError):
        pass


main()
