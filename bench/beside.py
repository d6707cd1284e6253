"""Measure loads beside what could stop them: a pack, and commits of one large transaction.

  beside.py [--quick] [--build DIR] [--rounds N] [--seconds S] [--only ROW,...] [--json FILE]

Eight connections load one object at a time, first alone, then while another client packs
300,000 objects of which two revisions each are there, or commits transactions of 20,000 objects one
after the other. zkrunzeo and Python's runzeo serve the same file in turn.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import features
import make_datafs
import run
import targets

LOADERS = 8


class Load:
    """A zeoload that begins and ends when it is told to."""

    def __init__(self, build, server, objects, *options):
        self.process = subprocess.Popen(
            [build / 'bench' / 'zeoload', f'--objects={objects}', '--driven', '--seconds=600',
             f'--pid={server.process.pid}', *options, f'127.0.0.1:{server.port}'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.expect('ready')

    def expect(self, word):
        line = self.process.stderr.readline().strip()
        if line != word:
            raise RuntimeError(f'zeoload: {line} {self.process.stderr.read()}')

    def begin(self):
        self.process.stdin.write('go\n')
        self.process.stdin.flush()
        self.expect('measuring')

    def end(self):
        out, error = self.process.communicate(timeout=120)
        if self.process.returncode:
            raise RuntimeError(f'zeoload: {error}')
        return json.loads(out)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def loads(build, server, objects, disturb):
    load = Load(build, server, objects, f'--loaders={LOADERS}')
    try:
        load.begin()
        disturb()
        return load.end()
    finally:
        load.kill()


def disturb_pack(build, server, args):
    client = features.Client(server.port)
    try:
        client.call('pack', time.time(), True)
    finally:
        client.close()


class Commits:
    """Transactions of many objects, one after the other, for a while."""

    def __init__(self, build, server, args):
        self.seconds = args.seconds
        self.load = Load(build, server, args.objects, '--committers=1', '--warmup=0',
                         f'--txn-objects={args.txn_objects}')

    def __call__(self):
        self.load.begin()
        time.sleep(self.seconds)  # the measured time, no event
        result = self.load.end()
        if result['commits']['count'] == 0:
            raise RuntimeError('no large transaction was committed in time: raise --seconds')


def make_plain(path, args):
    make_datafs.make(path, args.objects, 500)


def row_of(alone, beside):
    return {
        'alone_rate': alone['loads']['rate'], 'rate': beside['loads']['rate'],
        'alone_p99_ms': alone['loads']['p99_us'] / 1e3, 'p99_ms': beside['loads']['p99_us'] / 1e3,
        'alone_max_ms': alone['loads']['max_us'] / 1e3, 'max_ms': beside['loads']['max_us'] / 1e3,
        'seconds': beside['seconds'],
        'rate_share': beside['loads']['rate'] / alone['loads']['rate'],
        'p99_factor': beside['loads']['p99_us'] / alone['loads']['p99_us'],
    }


ROWS = {
    'beside-pack': (features.make_pack, lambda b, s, a: lambda: disturb_pack(b, s, a)),
    'beside-commit': (make_plain, Commits),
}
TITLES = {
    'beside-pack': 'while another client packs {objects:,} objects',
    'beside-commit': 'while transactions of {txn_objects:,} objects commit',
}


def measure(server, row, saved, args):
    disturbance = ROWS[row][1]
    with tempfile.TemporaryDirectory(dir=args.dir, prefix='zkzeo-bench-') as name:
        work = pathlib.Path(name)
        shutil.copy(saved, work / 'Data.fs')
        with run.running(server, work):
            loads(args.build, server, args.objects, lambda: time.sleep(args.seconds / 4))
            alone = loads(args.build, server, args.objects, lambda: time.sleep(args.seconds))
            disturb = disturbance(args.build, server, args)
            return row_of(alone, loads(args.build, server, args.objects, disturb))


def report(results, args):
    lines = []
    for row in args.only:
        for server in results:
            f = results[server][row]
            lines.append([f'loads {TITLES[row].format(**vars(args))}', server, *(
                run.cell(f, key) for key in (
                    'alone_rate', 'rate', 'rate_share', 'alone_p99_ms', 'p99_ms', 'p99_factor',
                    'alone_max_ms', 'max_ms', 'seconds'))])
    run.print_table(['', 'server', 'loads/s alone', 'loads/s', 'share', 'p99 ms alone', 'p99 ms',
                     'factor', 'max ms alone', 'max ms', 'for s'], lines)

    def ours(row, key):
        return results['zkrunzeo'][row][key]['median'] if row in args.only else None
    return run.report_targets([
        targets.Target('loads beside a pack: share of the rate alone',
                       ours('beside-pack', 'rate_share'), 0.8, at_least=True),
        targets.Target('loads beside a pack: p99 to the one alone',
                       ours('beside-pack', 'p99_factor'), 2),
        targets.Target('loads beside a pack: max', ours('beside-pack', 'max_ms'), 20, unit=' ms'),
        targets.Target('loads beside large commits: p99 to the one alone',
                       ours('beside-commit', 'p99_factor'), 2),
        targets.Target('loads beside large commits: max',
                       ours('beside-commit', 'max_ms'), 20, unit=' ms'),
    ])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', type=pathlib.Path, default=run.ROOT / 'build', metavar='DIR')
    parser.add_argument('--quick', action='store_true', help='small files, one round')
    parser.add_argument('--rounds', type=int)
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--only', default=','.join(ROWS), metavar='ROW,...', help=' '.join(ROWS))
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE',
                        help='default: bench/results/beside-TIME.json')
    parser.add_argument('--dir', type=pathlib.Path, help='where the data files are made')
    args = parser.parse_args()
    args.only = args.only.split(',')
    if set(args.only) - set(ROWS):
        parser.error(f'the rows are {" ".join(ROWS)}')
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.seconds = args.seconds or (0.5 if args.quick else 3)
    args.objects = 6_000 if args.quick else 300_000
    args.txn_objects = 400 if args.quick else 20_000
    args.build = args.build.resolve()
    args.dir = args.dir or args.build
    return args


def main():
    args = arguments()
    compared = [
        features.Server('zkrunzeo', [str(args.build / 'src' / 'bin' / 'zkrunzeo')]),
        features.Server('runzeo', [sys.executable, '-m', 'ZEO.runzeo']),
    ]
    raw = {s.name: {} for s in compared}
    with tempfile.TemporaryDirectory(dir=args.dir, prefix='zkzeo-bench-') as name:
        for row in args.only:
            saved = pathlib.Path(name) / row
            ROWS[row][0](saved, args)
            for _ in range(args.rounds):
                for server in compared:
                    raw[server.name].setdefault(row, []).append(
                        measure(server, row, saved, args))
            saved.unlink()
    run.conclude('beside', raw, args, report)


if __name__ == '__main__':
    main()
