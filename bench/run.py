"""Measure zkrunzeo, Python's runzeo and a bare responder side by side.

  run.py [--quick] [--build DIR] [--rounds N] [--seconds S] [--only ROW,...] [--json FILE]

Every round starts each server, on copies of one file, and measures each row with all of them in turn, three
short turns each, as a machine that others use changes its speed within seconds. The table has the median of
all turns and, in brackets, the least and the largest. CPU is the server's, per operation.
"""

import argparse
import contextlib
import copy
import json
import os
import pathlib
import platform
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import make_datafs
import targets

ROOT = pathlib.Path(__file__).resolve().parent.parent
BYTES = 500
TURNS = 3  # of each server at a row, in a round
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 5  # Python's server loses a SIGTERM now and then

# name, what it says in the table, options of zeoload, the responder it is held against
ROWS = [
    ('loads-8x16', 'loads, 8 connections x 16 in flight', ['--loaders=8', '--depth=16'], '-g'),
    ('loads-8x1', 'loads, 8 connections x 1', ['--loaders=8'], '-g'),
    ('loads-1x1', 'loads, 1 connection x 1', ['--loaders=1'], '-g'),
    ('commits-1', 'commits, 1 connection, 1 object', ['--committers=1'], '-2'),
    ('commits-8', 'commits, 8 connections, 1 object', ['--committers=8'], '-g'),
    ('commits-32', 'commits, 32 connections, 1 object', ['--committers=32'], '-g'),
    ('commits-32x10', 'commits, 32 connections, 10 objects',
     ['--committers=32', '--txn-objects=10'], '-g'),
    ('mixed', '8 loaders and 2 committers', ['--loaders=8', '--committers=2'], None),
]
# rows: share of the responder's rate, times Python's
RATES = {
    'loads-8x16': (0.5, 20),
    'loads-8x1': (0.8, None),
    'loads-1x1': (0.85, None),
    'commits-1': (0.85, 1.3),
    'commits-8': (0.8, None),
    'commits-32': (0.5, 13),
    'commits-32x10': (0.5, None),
    'mixed': (None, 4),
}
START_S = {'start-index': 0.05, 'start-scan': 0.6}
START_ROWS = [
    ('start-index', 'start to first reply, with index'),
    ('start-scan', 'start to first reply, without index'),
]
NO_UVLOOP = "import sys; sys.modules['uvloop'] = None; from ZEO.runzeo import main; main()"
# compat.py of ZEO looks for ModuleNotFoundError, which a None in sys.modules raises


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def frame(message):
    return struct.pack('>I', len(message)) + message


REGISTER = b'\x80\x03(K\x01\x89X\x08\x00\x00\x00registerX\x01\x00\x00\x001\x89\x86t.'


def receive(f):
    head = f.read(4)
    if len(head) < 4:
        raise ConnectionError('closed')
    return f.read(struct.unpack('>I', head)[0])


def first_reply(port):
    """Register and take the reply: the server knows its storage."""
    with socket.create_connection(('127.0.0.1', port), 60) as s, s.makefile('rb') as f:
        receive(f)
        s.sendall(frame(b'Z5') + frame(REGISTER))
        if b'.reply' not in receive(f):
            raise ConnectionError('no reply to register')


class Server:
    """One of the servers compared; start() returns the seconds to the first reply."""

    def __init__(self, name, command, is_storage=True):
        self.name = name
        self.command = command
        self.is_storage = is_storage
        self.process = None

    def start(self, work):
        self.port = free_port()
        address = f'127.0.0.1:{self.port}'
        words = [w.replace('{address}', address) for w in self.command]
        start = time.monotonic()
        with open(work / f'{self.name}.log'.replace('/', '-'), 'ab') as log:
            self.process = subprocess.Popen(
                words, cwd=work, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while True:
            try:
                first_reply(self.port)
                return time.monotonic() - start
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(
                        f'{self.name} ended with {self.process.returncode}: '
                        f'see {work}/{self.name}.log') from None
                if time.monotonic() - start > START_TIMEOUT_S:
                    raise
                time.sleep(0.001)

    def memory_kb(self):
        """Memory of its own: what is not a mapped file."""
        with open(f'/proc/{self.process.pid}/status') as f:
            for line in f:
                if line.startswith('RssAnon:'):
                    return int(line.split()[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            print(f'{self.name} did not stop at SIGTERM', file=sys.stderr)
            self.process.kill()
            self.process.wait()


def servers(build):
    found = []
    zkrunzeo = build / 'src' / 'bin' / 'zkrunzeo'
    file_options = ['-a', '{address}', '-f', 'Data.fs']
    if zkrunzeo.exists():
        found.append(Server('zkrunzeo', [str(zkrunzeo), *file_options]))
    else:
        print(f'{zkrunzeo} is not built: measured without it', file=sys.stderr)
    found.append(Server('asyncio', [sys.executable, '-c', NO_UVLOOP, *file_options]))
    try:
        import uvloop  # noqa: F401
    except ImportError:
        pass
    else:
        found.append(Server('uvloop', [sys.executable, '-m', 'ZEO.runzeo', *file_options]))
    for mode in ('-1', '-g', '-2'):
        found.append(Server(
            f'responder {mode}',
            [str(build / 'bench' / 'responder'), mode, '-f', f'responder{mode}.log', '{address}'],
            is_storage=False))
    return found


class DataFile:
    """The file that is served, put back to what it was before each start."""

    def __init__(self, work, objects):
        self.path = work / 'Data.fs'
        self.index = work / 'Data.fs.index'
        self.saved_index = work / 'saved.index'
        self.length = make_datafs.make(self.path, objects, BYTES)
        from ZODB.FileStorage import FileStorage
        FileStorage(str(self.path)).close()  # which writes the index
        shutil.copy(self.index, self.saved_index)

    def copy_to(self, folder):
        """The same in another folder."""
        new = copy.copy(self)
        for name in ('path', 'index', 'saved_index'):
            setattr(new, name, folder / getattr(self, name).name)
            shutil.copy(getattr(self, name), getattr(new, name))
        return new

    def read(self):
        """Page cache that was dropped meanwhile would be measured as the server's slowness."""
        with open(self.path, 'rb', buffering=0) as f:
            buffer = bytearray(1 << 20)
            while f.readinto(buffer):
                pass

    def reset(self, index=True):
        os.truncate(self.path, self.length)
        for name in self.path.parent.glob('Data.fs.*'):
            name.unlink()
        if index:
            shutil.copy(self.saved_index, self.index)
        self.read()


def is_limit(server, row, mode):
    """Each responder stands for the rows it is the limit of, -1 for the commits."""
    each = server.name == 'responder -1' and row.startswith('commits')
    return mode is not None and (each or server.name == f'responder {mode}')


def measure_turn(server, row, args, seed):
    name, _, options, _ = row
    run = subprocess.run(
        [str(args.build / 'bench' / 'zeoload'), *options, f'--objects={args.objects}',
         f'--object-bytes={BYTES}', f'--seconds={args.seconds / TURNS}', f'--seed={seed}',
         f'--pid={server.process.pid}', f'127.0.0.1:{server.port}'],
        capture_output=True, text=True, timeout=args.seconds + 120)
    if run.returncode:
        print(f'{server.name}, {name}: {run.stderr.strip()}', file=sys.stderr)
        return {'error': run.stderr.strip()}
    result = json.loads(run.stdout)
    if args.verbose:
        print(f'{server.name}, {name}: {result["rate"]}/s', file=sys.stderr)
    return result


@contextlib.contextmanager
def running(server, work):
    try:
        yield server.start(work)
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def measure_starts(server, data, only):
    """{row: result} of one server."""
    results = {}
    for row, index in (('start-scan', False), ('start-index', True)):
        if row in only:
            data.reset(index)
            with running(server, data.path.parent) as seconds:
                results[row] = {'seconds': seconds, 'memory_kb': server.memory_kb()}
    return results


def measure_round(compared, files, work, rows, args, seed):
    """A {row: result} for each turn, by the server's name. All servers run, and take turns at each row."""
    data = next(iter(files.values()))
    results = {s.name: [{} for _ in range(TURNS)] for s in compared}
    with contextlib.ExitStack() as stack:
        for server in compared:
            if server.is_storage:
                results[server.name][0].update(
                    measure_starts(server, files[server.name], args.only))
                files[server.name].reset()
        for server in compared:
            stack.enter_context(running(
                server, files[server.name].path.parent if server.is_storage else work))
        for row in rows:
            taking_part = [s for s in compared if s.is_storage or is_limit(s, row[0], row[3])]
            random.Random(seed).shuffle(taking_part)
            for turn in range(TURNS):
                for server in taking_part:
                    # a responder has none, but what reading one does to the machine is to fall on all
                    files.get(server.name, data).read()
                    results[server.name][turn][row[0]] = measure_turn(
                        server, row, args, TURNS * seed + turn)
                taking_part.reverse()
    return results


def spread(values):
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def collect(rounds):
    """[{row: result}] to {row: {figure: spread}}"""
    out = {}
    for row in dict.fromkeys(name for r in rounds for name in r):
        results = [r[row] for r in rounds if row in r]
        errors = [r['error'] for r in results if 'error' in r]
        if errors:
            out[row] = {'error': errors[0]}
        elif 'rate' not in results[0]:
            out[row] = {k: spread([r[k] for r in results]) for k in results[0]}
        else:
            kind = 'loads' if results[0]['loads']['count'] else 'commits'
            out[row] = {
                'rate': spread([r['rate'] for r in results]),
                'cpu_us': spread([r['server_cpu_us_per_operation'] for r in results]),
                'p50_us': spread([r[kind]['p50_us'] for r in results]),
                'p99_us': spread([r[kind]['p99_us'] for r in results]),
            }
            # loaders and committers together have nothing to be fair about
            if not (results[0]['loads']['count'] and results[0]['commits']['count']):
                out[row]['fairness'] = spread([
                    r['connections']['min'] / max(r['connections']['max'], 1)
                    for r in results])
    return out


def number(x):
    return f'{x:,.0f}' if x >= 100 else f'{x:.2f}'


def cell(figures, key):
    if figures is None:
        return '-'
    if 'error' in figures:
        return 'failed'
    f = figures.get(key)
    if f is None:
        return '-'
    if f['min'] == f['max']:
        return number(f['median'])
    return f'{number(f["median"])} [{number(f["min"])}-{number(f["max"])}]'


def median(results, server, row, key):
    figures = results.get(server, {}).get(row)
    return None if figures is None or 'error' in figures else figures[key]['median']


def ratio(a, b):
    return '-' if not a or not b else f'{a / b:.2f}'


def print_table(header, lines):
    widths = [max(len(str(c)) for c in column) for column in zip(header, *lines)]
    for i, line in enumerate([header, *lines]):
        print('| ' + ' | '.join(str(c).ljust(w) for c, w in zip(line, widths)) + ' |')
        if i == 0:
            print('|' + '|'.join('-' * (w + 2) for w in widths) + '|')
    print()


def report_targets(found):
    """Print the table of those that were measured; returns them for the JSON file."""
    measured = [t for t in found if t.value is not None]
    if measured:
        print_table(['', 'figure', 'target', 'reached'], [t.line() for t in measured])
    return [t.as_dict() for t in measured]


def best_python(results, row, key, better=max):
    values = [m for s in ('asyncio', 'uvloop') if (m := median(results, s, row, key))]
    return better(values) if values else None


def report(results, rows, wanted):
    lines = []
    for name, title, _, mode in rows:
        limit = f'responder {mode}'
        ours = median(results, 'zkrunzeo', name, 'rate')
        lines.append([
            title,
            *(cell(results.get(s, {}).get(name), 'rate')
              for s in ('zkrunzeo', 'asyncio', 'uvloop', limit)),
            mode or '',
            ratio(ours, median(results, limit, name, 'rate')),
            ratio(ours, best_python(results, name, 'rate'))])
    if lines:
        print_table(['operations/s', 'zkrunzeo', 'asyncio', 'uvloop', 'responder', 'mode',
                     '/responder', '/Python'], lines)
    lines = []
    for name, title, _, mode in rows:
        for server in ('zkrunzeo', 'asyncio', 'uvloop', f'responder {mode}', 'responder -1'):
            figures = results.get(server, {}).get(name)
            if figures is not None:
                lines.append([title, server] + [
                    cell(figures, k) for k in ('cpu_us', 'p50_us', 'p99_us', 'fairness')])
    if lines:
        print_table(['', 'server', 'CPU us', 'p50 us', 'p99 us', 'slowest/fastest'], lines)
    lines = []
    for name, title in START_ROWS:
        if name not in wanted:
            continue
        ours = median(results, 'zkrunzeo', name, 'seconds')
        lines.append([title, *(cell(results.get(s, {}).get(name), 'seconds')
                               for s in ('zkrunzeo', 'asyncio', 'uvloop')),
                      ratio(ours, best_python(results, name, 'seconds', min))])
    if lines:
        print_table(['seconds', 'zkrunzeo', 'asyncio', 'uvloop', '/Python'], lines)


def held(results):
    """The figures that are aimed at, as far as they were measured."""
    def ours(row, key, server='zkrunzeo'):
        return median(results, server, row, key)
    found = []
    for name, title, _, mode in ROWS:
        share, times = RATES[name]
        rate = ours(name, 'rate')
        if share:
            found.append(targets.Target(
                f'{title}: share of the responder', targets.quotient(
                    rate, ours(name, 'rate', f'responder {mode}')), share, at_least=True))
        if times:
            found.append(targets.Target(
                f'{title}: times Python', targets.quotient(
                    rate, best_python(results, name, 'rate')), times, at_least=True))
    found += [
        targets.Target('loads, 8 x 16: CPU', ours('loads-8x16', 'cpu_us'), 1.5, unit=' us'),
        targets.Target('loads, 8 x 1: p99 to that of the responder', targets.quotient(
            ours('loads-8x1', 'p99_us'), ours('loads-8x1', 'p99_us', 'responder -g')), 1.5),
        targets.Target('commits, 32: p99 to p50', targets.quotient(
            ours('commits-32', 'p99_us'), ours('commits-32', 'p50_us')), 10),
        targets.Target('commits, 32: slowest connection to fastest',
                       ours('commits-32', 'fairness'), 0.5, at_least=True),
        targets.Target('loads beside 2 committers: p99 to the one without', targets.quotient(
            ours('mixed', 'p99_us'), ours('loads-8x1', 'p99_us')), 3),
    ]
    found += [targets.Target(title, ours(name, 'seconds'), START_S[name], unit=' s')
              for name, title in START_ROWS]
    return report_targets(found)


def machine():
    with open('/proc/cpuinfo') as f:
        models = {line.partition(':')[2].strip() for line in f if line.startswith('model name')}
    return {'cpus': os.cpu_count(), 'model': ', '.join(sorted(models)),
            'kernel': platform.release(), 'python': platform.python_version()}


def save(path, kind, result):
    """As JSON in @path, or in a new file of bench/results/."""
    path = path or ROOT / 'bench' / 'results' / time.strftime(f'{kind}-%Y%m%d-%H%M%S.json')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'machine': machine(), **result}, indent=1) + '\n')
    print(f'written: {path}')


def summary(rounds):
    """The spread of figures, or of each of dictionaries of figures."""
    if isinstance(rounds[0], dict):
        return {k: spread([r[k] for r in rounds]) for k in rounds[0]}
    return spread(rounds)


def conclude(kind, raw, args, report):
    """The end of a part: @raw is {server: {row: [a round's figures, ...]}}."""
    results = {s: {row: summary(rounds) for row, rounds in rows.items()} for s, rows in raw.items()}
    print(f'{args.rounds} rounds; {machine()["cpus"]} CPUs; median [min-max]\n')
    held = report(results, args)
    save(args.json, kind, {'rounds': args.rounds, 'results': results, 'raw': raw, 'targets': held})


def arguments():
    names = [r[0] for r in ROWS + START_ROWS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build', metavar='DIR')
    parser.add_argument('--quick', action='store_true',
                        help='100,000 objects, one round of half a second: a smoke test')
    parser.add_argument('--rounds', type=int)
    parser.add_argument('--seconds', type=float, help='of a server at a row, in a round')
    parser.add_argument('--objects', type=int)
    parser.add_argument('--only', default=','.join(names), metavar='ROW,...',
                        help=' '.join(names))
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE',
                        help='default: bench/results/TIME.json')
    parser.add_argument('--dir', type=pathlib.Path, help='where the data file is made (default: the build directory, which is on '
                             'a disk where /tmp may be memory)')
    parser.add_argument('--verbose', action='store_true')
    args = parser.parse_args()
    args.only = args.only.split(',')
    if set(args.only) - set(names):
        parser.error(f'the rows are {" ".join(names)}')
    defaults = (1, 0.6, 100_000) if args.quick else (3, 3.0, 1_000_000)
    args.rounds = args.rounds or defaults[0]
    args.seconds = args.seconds or defaults[1]
    args.objects = args.objects or defaults[2]
    args.build = args.build.resolve()
    return args


def main():
    args = arguments()
    rows = [r for r in ROWS if r[0] in args.only]
    rounds = {}
    with tempfile.TemporaryDirectory(dir=args.dir or args.build, prefix='zkzeo-bench-') as work:
        work = pathlib.Path(work)
        data = DataFile(work, args.objects)
        compared = servers(args.build)
        files = {}
        for server in compared:
            if server.is_storage:
                folder = work / server.name
                folder.mkdir()
                files[server.name] = data.copy_to(folder)
        for n in range(args.rounds):
            results = measure_round(compared, files, work, rows, args, n + 1)
            for name, turns in results.items():
                rounds.setdefault(name, []).extend(turns)
    results = {name: collect(r) for name, r in rounds.items()}
    print(f'{args.objects:,} objects of {BYTES} bytes; {args.rounds} rounds of {TURNS} turns of {args.seconds / TURNS:.2g} s; '
          f'{machine()["cpus"]} CPUs; median [min-max]\n')
    report(results, rows, args.only)
    save(args.json, 'run', {'objects': args.objects, 'rounds': args.rounds,
                            'seconds': args.seconds, 'results': results, 'raw': rounds,
                            'targets': held(results)})
    failed = any('error' in figures for r in results.values() for figures in r.values())
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
