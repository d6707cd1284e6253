"""Measure what grows: memory for objects and for clients, and loads from a small and a large file.

  scale.py [--quick] [--build DIR] [--rounds N] [--seconds S] [--only ROW,...] [--json FILE]

memory-dense, memory-random: memory for 1,000,000 objects with consecutive or random oids, less that of
a server of an empty file. clients: 10,000 connections that are registered and idle, each of which then
loads an object. sizes: CPU time per load from 100,000 and from 10,000,000 objects, measured in turn three
times a round. zkrunzeo and Python's runzeo serve the same files in turn.
"""

import argparse
import contextlib
import json
import pathlib
import pickle
import random
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import make_datafs
import run
import targets

TINY = b'\x80\x03cp\nM\n.\x80\x03N.'  # the smallest record that looks like one
STRIDE = make_datafs.DATA_HEADER.size + len(TINY)
TXN = 1000
OWN_OBJECTS = 10  # an empty database
TURNS = 3  # of a small and a large file, in a round
MAX_TID = b'\x7f' + b'\xff' * 7


def put_column(body, offset, values):
    """A number of 8 bytes in each record."""
    columns = zip(*(struct.pack('>Q', v) for v in values))
    for i, column in enumerate(columns):
        body[offset + i::STRIDE] = bytes(column)


def make_tiny(path, oids):
    """A file of one tiny record for each oid, column by column: a million in a second."""
    one = make_datafs.DATA_HEADER.pack(bytes(8), bytes(8), 0, 0, 0, len(TINY)) + TINY
    pos = 4
    with open(path, 'wb') as f:
        f.write(b'FS30')
        for n, first in enumerate(range(0, len(oids), TXN)):
            part = oids[first:first + TXN]
            tid = make_datafs.FIRST_TID + n * 1000
            body = bytearray(one * len(part))
            put_column(body, 0, part)
            put_column(body, 8, [tid] * len(part))
            put_column(body, 24, [pos] * len(part))
            length = make_datafs.TXN_HEADER.size + len(body)
            f.write(make_datafs.TXN_HEADER.pack(struct.pack('>Q', tid), length, b' ', 0, 0, 0))
            f.write(body)
            f.write(struct.pack('>Q', length))
            pos += length + 8


class Data:
    """A data file with its index, in a folder of its own; zkrunzeo writes the index when it stops."""

    def __init__(self, dir, args, oids):
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=dir))
        make_tiny(self.dir / 'Data.fs', oids)
        with run.running(zkrunzeo(args), self.dir):
            pass
        if not (self.dir / 'Data.fs.index').exists():
            raise RuntimeError('zkrunzeo left no index')

    def read(self):
        """Into the page cache."""
        subprocess.run(['cat', self.dir / 'Data.fs'], stdout=subprocess.DEVNULL, check=True)

    def remove(self):
        shutil.rmtree(self.dir)


def zkrunzeo(args):
    return run.Server('zkrunzeo', [str(args.build / 'src' / 'bin' / 'zkrunzeo'),
                                   '-a', '{address}', '-f', 'Data.fs'])


def servers(args):
    return [zkrunzeo(args), run.Server('runzeo', [
        sys.executable, '-m', 'ZEO.runzeo', '-a', '{address}', '-f', 'Data.fs'])]


@contextlib.contextmanager
def serving(server, data):
    data.read()
    with run.running(server, data.dir):
        yield


def memory(server, data):
    with serving(server, data):
        return server.memory_kb()


def measure_memory(args, work, name, oids):
    empty = Data(work, args, list(range(OWN_OBJECTS)))
    full = Data(work, args, oids)
    result = {}
    for server in servers(args):
        kb = memory(server, full) - memory(server, empty)
        result[server.name] = {name: {'mb': kb / 1024, 'bytes_per_object': kb * 1024 / len(oids)}}
    empty.remove()
    full.remove()
    yield result


def measure_dense(args, work):
    return measure_memory(args, work, 'memory-dense', range(args.objects))


def measure_random(args, work):
    oids = random.Random(1).sample(range(1 << 62), args.objects - 1)
    return measure_memory(args, work, 'memory-random', [0, *oids])


def call(id, method, *args):
    return run.frame(pickle.dumps((id, False, method, args), 3))


def answer(client):
    """The whole frame of one reply, from a socket that has nothing else to say."""
    head = client.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        raise ConnectionError('the server closed a connection')
    return client.recv(struct.unpack('>I', head)[0], socket.MSG_WAITALL)


def connect(port):
    client = socket.create_connection(('127.0.0.1', port), 60)
    answer(client)
    client.sendall(run.frame(b'Z5') + run.frame(run.REGISTER))
    answer(client)
    return client


def measure_clients(args, work):
    data = Data(work, args, list(range(OWN_OBJECTS)))
    result = {}
    for server in servers(args):
        with serving(server, data):
            clients = [connect(server.port)]
            before = server.memory_kb()
            for _ in range(args.clients):
                clients.append(connect(server.port))
            kb = server.memory_kb() - before
            start = time.monotonic()
            for client in clients:
                client.sendall(call(7, 'loadBefore', struct.pack('>Q', 1), MAX_TID))
            for client in clients:
                if TINY not in answer(client):
                    raise RuntimeError('a client of many was not served')
            seconds = time.monotonic() - start
            for client in clients:
                client.close()
        result[server.name] = {'clients': {
            'kb_per_client': kb / args.clients, 'loads_per_second': len(clients) / seconds}}
    data.remove()
    yield result


def load(args, server, objects, depth):
    out = subprocess.run(
        [args.build / 'bench' / 'zeoload', '--loaders=8', f'--depth={depth}',
         f'--objects={objects}', f'--seconds={args.seconds}', f'--pid={server.process.pid}',
         f'127.0.0.1:{server.port}'], capture_output=True, text=True, timeout=120)
    if out.returncode:
        raise RuntimeError(f'zeoload: {out.stderr}')
    return json.loads(out.stdout)['server_cpu_us_per_operation']


def measure_sizes(args, work):
    """Both files are served at once, and measured in turn: a machine is not as fast as a moment ago."""
    small = Data(work, args, range(args.small))
    large = Data(work, args, range(args.large))
    for _ in range(args.rounds):
        result = {}
        for few, many in zip(servers(args), servers(args)):
            with serving(few, small), serving(many, large):
                result[few.name] = {f'sizes-8x{depth}': compare_sizes(args, few, many, depth)
                                    for depth in (1, 16)}
        yield result
    small.remove()
    large.remove()


def compare_sizes(args, few, many, depth):
    pairs = []
    for _ in range(1 + TURNS):
        pairs.append((load(args, few, args.small, depth), load(args, many, args.large, depth)))
    del pairs[0]  # warm: pages are mapped, memory is made
    return {'small_us': statistics.median(p[0] for p in pairs),
            'large_us': statistics.median(p[1] for p in pairs),
            'factor': statistics.median(p[1] / p[0] for p in pairs)}


# each yields {server: {row: figures}} for every round; memory is the same in all
ROWS = {
    'memory-dense': measure_dense,
    'memory-random': measure_random,
    'clients': measure_clients,
    'sizes': measure_sizes,
}
TITLES = {
    'memory-dense': ('{objects:,} objects, consecutive oids', ('mb', 'bytes_per_object')),
    'memory-random': ('{objects:,} objects, random oids', ('mb', 'bytes_per_object')),
    'clients': ('{clients:,} idle clients', ('kb_per_client', 'loads_per_second')),
    'sizes-8x1': ('us of CPU per load, 8 x 1: {small:,} and {large:,} objects',
                  ('small_us', 'large_us', 'factor')),
    'sizes-8x16': ('us of CPU per load, 8 x 16: {small:,} and {large:,} objects',
                   ('small_us', 'large_us', 'factor')),
}


def report(results, args):
    lines = []
    for row, (title, keys) in TITLES.items():
        for server in results:
            figures = results[server].get(row)
            if figures:
                lines.append([title.format(**vars(args)), server, ', '.join(
                    f'{key.replace("_", " ")} {run.cell(figures, key)}' for key in keys)])
    run.print_table(['', 'server', 'figures'], lines)

    def ours(row, key):
        return results['zkrunzeo'].get(row, {}).get(key, {}).get('median')
    return run.report_targets([
        targets.Target('memory for the index of consecutive oids', ours('memory-dense', 'mb'),
                       15 * args.objects / 1e6, unit=' MB'),
        targets.Target('memory for the index, an object of random oid',
                       ours('memory-random', 'bytes_per_object'), 32, unit=' bytes'),
        targets.Target('an idle client', ours('clients', 'kb_per_client'), 5, unit=' KB'),
        targets.Target('cost per load, 8 x 1: many objects to few',
                       ours('sizes-8x1', 'factor'), 1.15),
        targets.Target('cost per load, 8 x 16: many objects to few',
                       ours('sizes-8x16', 'factor'), 1.15),
    ])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', type=pathlib.Path, default=run.ROOT / 'build', metavar='DIR')
    parser.add_argument('--quick', action='store_true', help='small files, few clients, one round')
    parser.add_argument('--rounds', type=int, help='of sizes; memory is measured once')
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--only', default=','.join(ROWS), metavar='ROW,...', help=' '.join(ROWS))
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE',
                        help='default: bench/results/scale-TIME.json')
    parser.add_argument('--dir', type=pathlib.Path, help='where the data files are made')
    args = parser.parse_args()
    args.only = args.only.split(',')
    if set(args.only) - set(ROWS):
        parser.error(f'the rows are {" ".join(ROWS)}')
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.seconds = args.seconds or (0.3 if args.quick else 1.5)
    args.objects, args.clients, args.small, args.large = (
        (20_000, 200, 2_000, 20_000) if args.quick else
        (1_000_000, 10_000, 100_000, 10_000_000))
    args.build = args.build.resolve()
    args.dir = args.dir or args.build
    return args


def raise_descriptors(needed):
    """For us, and for the servers that do not do it themselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        sys.exit(f'{needed} descriptors are needed, {hard} is the hard limit')
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main():
    args = arguments()
    raise_descriptors(args.clients + 100)
    raw = {}
    with tempfile.TemporaryDirectory(dir=args.dir, prefix='zkzeo-bench-') as work:
        for name in args.only:
            for round_ in ROWS[name](args, work):
                for server, rows in round_.items():
                    for row, figures in rows.items():
                        raw.setdefault(server, {}).setdefault(row, []).append(figures)
    run.conclude('scale', raw, args, report)


if __name__ == '__main__':
    main()
