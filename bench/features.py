"""Measure what is not loads and commits: pack, undoLog, iteration, long histories, blobs.

  features.py [--quick] [--build DIR] [--rounds N] [--only ROW,...] [--json FILE]

zkrunzeo and Python's runzeo serve the same files in turn; the driver is one connection that
speaks the protocol bare, so that a client's own work does not hide the server's. The table has
the median of the rounds and, in brackets, the least and the largest.
"""

import argparse
import json
import os
import pathlib
import pickle
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time

import make_datafs
import run
import targets

CLASS = b'cpersistent.mapping\nPersistentMapping\n'
FAN = 10  # objects that each object refers to


def oid_of(n):
    return struct.pack('>Q', n)


class Writer:
    """A data file, transaction by transaction, with right pointers to the revision before."""

    def __init__(self, path):
        self.file = open(path, 'wb')
        self.file.write(b'FS30')
        self.pos = 4
        self.tid = make_datafs.FIRST_TID
        self.last = {}

    def write(self, records, user=b'', description=b''):
        self.tid += 1 << 20
        p_tid = struct.pack('>Q', self.tid)
        at = self.pos + make_datafs.TXN_HEADER.size + len(user) + len(description)
        parts = []
        for oid, data in records:
            parts.append(make_datafs.DATA_HEADER.pack(
                oid_of(oid), p_tid, self.last.get(oid, 0), self.pos, 0, len(data)))
            parts.append(data)
            self.last[oid] = at
            at += make_datafs.DATA_HEADER.size + len(data)
        length = at - self.pos
        self.file.write(make_datafs.TXN_HEADER.pack(
            p_tid, length, b' ', len(user), len(description), 0))
        self.file.write(user + description)
        for part in parts:
            self.file.write(part)
        self.file.write(struct.pack('>Q', length))
        self.pos = at + 8
        return self.tid

    def close(self):
        self.file.close()


def node(oid, objects, size=300):
    """The record of an object that refers to its children in a tree."""
    first = oid * FAN + 1
    refs = b''.join(b'C\x08' + oid_of(child) + CLASS + b'\x86Q'
                    for child in range(first, min(first + FAN, objects)))
    state = b'\x80\x03}X\x04\x00\x00\x00data](' + refs + b'C' + bytes([200]) + bytes(200) + b'es.'
    return b'\x80\x03' + CLASS + b'.' + state


def make_pack(path, args):
    """Every object twice: the older half of the file goes."""
    w = Writer(path)
    for _ in range(2):
        for first in range(0, args.objects, 1000):
            last = min(first + 1000, args.objects)
            w.write((oid, node(oid, args.objects)) for oid in range(first, last))
    w.close()


def make_transactions(path, args):
    w = Writer(path)
    data = make_datafs.record(300)
    w.write([(0, make_datafs.ROOT)])
    for n in range(args.transactions):
        w.write([(1 + (n * 3 + i) % 1000, data) for i in range(3)],
                b'user%d' % (n % 10), b'change %d' % n)
    w.close()


def make_history(path, args):
    w = Writer(path)
    data = make_datafs.record(120)
    w.write([(0, make_datafs.ROOT)])
    for n in range(args.revisions):
        w.write([(1, data)])
    w.close()


class Client:
    """The protocol, bare."""

    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port), 600)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile('rb', 1 << 20)
        self.id = 0
        run.receive(self.file)
        self.send_raw(b'Z5')
        self.call('register', '1', False)

    def send_raw(self, *messages):
        self.socket.sendall(b''.join(run.frame(m) for m in messages))

    def reply(self):
        """The next reply; what the server says by itself is passed over."""
        while True:
            message = run.receive(self.file)
            if b'.reply' in message[:64]:
                _, flags, _, value = pickle.loads(message)
                if flags & 2:
                    raise RuntimeError(value)
                return value
            self.passed(message)

    def passed(self, message):
        pass

    def call(self, method, *args):
        self.id += 1
        self.send_raw(pickle.dumps((self.id, False, method, args), 3))
        return self.reply()

    def cast(self, method, *args):
        self.id += 1
        self.send_raw(pickle.dumps((self.id, True, method, args), 3))

    def close(self):
        self.file.close()
        self.socket.close()


def timed(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def measure_pack(client, args):
    seconds = timed(client.call, 'pack', time.time(), True)
    return {'pack': seconds}


def measure_undo_log(client, args):
    def newest():
        for _ in range(20):
            if len(client.call('undoLog', 0, -20)) != 20:
                raise RuntimeError('undoLog gave less than it was asked for')

    def search():
        if client.call('undoInfo', 0, -20, {'user_name': b'nobody'}):
            raise RuntimeError('undoInfo found what is not there')
    return {'undolog-newest': timed(newest) / 20, 'undolog-search': timed(search)}


def iterate(client, transactions):
    start = client.call('iterator_start', None, None)
    for _ in range(transactions):
        info = client.call('iterator_next', start)
        records = client.call('iterator_record_start', start, info[0])
        while client.call('iterator_record_next', records) is not None:
            pass
    client.call('iterator_gc', [start])


def measure_iteration(client, args):
    n = min(args.transactions, 2000)
    return {'iteration': timed(iterate, client, n) / n}


def measure_history(client, args):
    first = struct.pack('>Q', make_datafs.FIRST_TID + (3 << 20))

    def oldest():
        if client.call('loadBefore', oid_of(1), first) is None:
            raise RuntimeError('loadBefore did not find the oldest revision')

    def history():
        if len(client.call('history', oid_of(1), args.revisions)) != args.revisions:
            raise RuntimeError('history is not whole')
    return {'history-oldest': timed(oldest), 'history-all': timed(history)}


def upload(client, size):
    tid = 7
    oid = client.call('new_oids', 1)[0]
    chunk = os.urandom(59000)
    client.call('tpc_begin', tid, b'', b'', {}, None, ' ')
    client.cast('storeBlobStart')
    for _ in range(size // len(chunk)):
        client.cast('storeBlobChunk', chunk)
    client.cast('storeBlobEnd', oid, bytes(8), b'\x80\x03cZODB.blob\nBlob\n.\x80\x03N.', tid)
    client.call('vote', tid)
    return oid, client.call('tpc_finish', tid)


def measure_blobs(client, args):
    start = time.perf_counter()
    oid, serial = upload(client, args.blob_bytes)
    up = time.perf_counter() - start
    got = []
    client.passed = lambda message: got.append(len(message))
    down = timed(client.call, 'sendBlob', oid, serial)
    if sum(got) < args.blob_bytes * 0.99:
        raise RuntimeError(f'{sum(got)} bytes of a blob of {args.blob_bytes}')
    return {'blob-store': up, 'blob-load': down}


# name of the file: who makes it, who measures with it
FILES = {
    'pack': (make_pack, measure_pack),
    'undolog': (make_transactions, measure_undo_log),
    'iteration': (make_transactions, measure_iteration),
    'history': (make_history, measure_history),
    'blobs': (make_transactions, measure_blobs),
}
TITLES = {
    'pack': 'pack: {objects:,} objects, two revisions of each, with garbage collection',
    'undolog-newest': 'undoLog: the newest 20',
    'undolog-search': 'undoInfo: search through {transactions:,} transactions',
    'iteration': 'iterator: one transaction with its three records',
    'history-oldest': 'loadBefore: the oldest of {revisions:,} revisions',
    'history-all': 'history: all of {revisions:,} revisions',
    'blob-store': 'store a blob of {blob_bytes:,} bytes',
    'blob-load': 'load a blob of {blob_bytes:,} bytes',
}

CONFIG = """
<zeo>
  address {address}
</zeo>
<filestorage 1>
  path {work}/Data.fs
  blob-dir {work}/blobs
</filestorage>
"""


class Server(run.Server):
    """Started with a configuration file, which has a blob folder."""

    def start(self, work):
        self.port = run.free_port()
        (work / 'server.conf').write_text(
            CONFIG.format(address=f'127.0.0.1:{self.port}', work=work))
        command = self.command
        try:
            self.command = [*command, '-C', str(work / 'server.conf')]
            free_port, run.free_port = run.free_port, lambda: self.port
            try:
                return super().start(work)
            finally:
                run.free_port = free_port
        finally:
            self.command = command


def measure(server, measure_file, saved, args):
    with tempfile.TemporaryDirectory(dir=args.dir, prefix='zkzeo-bench-') as name:
        work = pathlib.Path(name)
        shutil.copy(saved, work / 'Data.fs')
        with run.running(server, work):
            client = Client(server.port)
            try:
                return measure_file(client, args)
            finally:
                client.close()


def report(results, args):
    lines = []
    for row, title in TITLES.items():
        figures = [results[s].get(row) for s in results]
        if not any(figures):
            continue
        ours, python = (f and f['median'] for f in figures)
        lines.append([title.format(**vars(args)), *(run.cell(
            {'x': {k: v * 1000 for k, v in f.items()}} if f else None, 'x') for f in figures),
            run.ratio(python, ours)])
    run.print_table(['milliseconds', *results, 'Python/zkrunzeo'], lines)
    ours, python = (results[s].get('pack', {}).get('median') for s in results)
    return run.report_targets([targets.Target('pack: time to that of Python',
                                          targets.quotient(ours, python), 0.12)])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', type=pathlib.Path, default=run.ROOT / 'build', metavar='DIR')
    parser.add_argument('--quick', action='store_true', help='small files, one round')
    parser.add_argument('--rounds', type=int)
    parser.add_argument('--only', default=','.join(FILES), metavar='ROW,...',
                        help=' '.join(FILES))
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE',
                        help='default: bench/results/features-TIME.json')
    parser.add_argument('--dir', type=pathlib.Path, help='where the data files are made')
    args = parser.parse_args()
    args.only = args.only.split(',')
    if set(args.only) - set(FILES):
        parser.error(f'the rows are {" ".join(FILES)}')
    args.rounds = args.rounds or (1 if args.quick else 3)
    small = 100 if args.quick else 1
    args.objects = 300_000 // small
    args.transactions = 200_000 // small
    args.revisions = 1_000_000 // small
    args.blob_bytes = 100 * 59000 * (20 if small == 1 else 1)
    args.build = args.build.resolve()
    args.dir = args.dir or args.build
    return args


def main():
    args = arguments()
    compared = [
        Server('zkrunzeo', [str(args.build / 'src' / 'bin' / 'zkrunzeo')]),
        Server('Python', [sys.executable, '-m', 'ZEO.runzeo']),
    ]
    raw = {s.name: {} for s in compared}
    with tempfile.TemporaryDirectory(dir=args.dir, prefix='zkzeo-bench-') as name:
        for file in args.only:
            make, measure_file = FILES[file]
            saved = pathlib.Path(name) / make.__name__
            if not saved.exists():
                make(saved, args)
            for _ in range(args.rounds):
                for server in compared:
                    for row, seconds in measure(server, measure_file, saved, args).items():
                        raw[server.name].setdefault(row, []).append(seconds)
    run.conclude('features', raw, args, report)


if __name__ == '__main__':
    main()
