"""Measure zc.zkzeo's ClientStorage beside ZEO's, on zkrunzeo and on Python's runzeo.

  client.py [--quick] [--build DIR] [--rounds N] [--seconds S] [--only ROW,...] [--json FILE]

Every round starts each server once on the same file and measures all rows with both clients, each in a process of
its own. The limit is bench/zeoload on one connection: a client that does nothing with what it gets; bench/clientload
is our client without Python, through libzkzeo. The tables have the median of the rounds and, in brackets, the least
and the largest; CPU is the client's, per operation.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import run

LIMIT, IN_C = 'zeoload', 'clientload'
OURS, PYTHON = 'zc.zkzeo', 'ZEO.ClientStorage'  # modules with a ClientStorage
# name, what it says in the table, options of zeoload for its limit, whether clientload has it
ROWS = [
    ('cold', 'cold loads, one thread', ['--loaders=1'], True),
    ('hit', 'hits of the cache', None, True),
    ('prefetch', 'prefetch, 1,000 objects at a time', None, False),
    ('commit', 'commits of 1 object', ['--committers=1'], True),
    ('zodb-cold', 'ZODB objects, cold, through a Connection', None, True),
]
SHOOTOUT = ['add', 'update', 'cold']
SHOOTOUT_PYTHON = run.ROOT / '.venv-bench' / 'bin' / 'python'
# row, what is compared, the least that is asked for; all on zkrunzeo
TARGETS = [
    ('cold', 'of the load generator\'s rate', 0.8),
    ('cold', 'of Python\'s CPU time, at most', 1 / 5),
    ('hit', 'times Python\'s rate', 5),
    ('prefetch', 'times Python\'s rate', 10),
    ('commit', 'of the load generator\'s rate', 0.9),
    ('commit', 'of Python\'s CPU time, at most', 1 / 7),
    ('zodb-cold', 'times Python\'s rate', 3),
    *((f'shootout-{name}', 'times as fast as Python\'s', 2.5) for name in SHOOTOUT),
]
SHOOTOUT_CONFIGURATION = """\
%import shootout
<zodb client>
  <client>
    module {module}
    server 127.0.0.1:{port}
  </client>
</zodb>
"""


def environment(build):
    path = [str(build / 'python'), str(run.ROOT / 'bench')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(path)}


def clients(build):
    """The modules that are there."""
    found = [PYTHON]
    probe = subprocess.run([sys.executable, '-c', f'from {OURS} import ClientStorage'],
                           env=environment(build), capture_output=True, text=True)
    if probe.returncode == 0:
        found.insert(0, OURS)
    else:
        print(f'measured without {OURS}: {probe.stderr.strip().splitlines()[-1]}', file=sys.stderr)
    return found


def call(command, args, timeout, **kw):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout, **kw)
    if result.returncode:
        raise RuntimeError(f'{" ".join(map(str, command))}: {result.stderr.strip()[-2000:]}')
    return result.stdout


def figures(out):
    n = out['operations']
    found = {'rate': n / out['seconds'], 'cpu_us': out['cpu'] / n * 1e6}
    if 'server_cpu' in out:
        found['server_cpu_us'] = out['server_cpu'] / n * 1e6
    return found


def measure_client(module, server, row, args, seed):
    return figures(json.loads(call(
        [sys.executable, run.ROOT / 'bench' / 'client_worker.py', module,
         f'127.0.0.1:{server.port}', row, args.seconds, args.objects, seed, server.process.pid],
        args, args.seconds + 120, env=environment(args.build))))


def measure_in_c(server, row, args, seed):
    return figures(json.loads(call(
        [args.build / 'bench' / IN_C, f'--objects={args.objects}', f'--seconds={args.seconds}',
         f'--seed={seed}', row, f'127.0.0.1:{server.port}'], args, args.seconds + 60)))


def measure_limit(server, options, args, seed):
    out = json.loads(call(
        [args.build / 'bench' / 'zeoload', *options, f'--objects={args.objects}',
         f'--object-bytes={run.BYTES}', f'--seconds={args.seconds}', f'--seed={seed}',
         f'--pid={server.process.pid}', f'127.0.0.1:{server.port}'], args, args.seconds + 60))
    return {'rate': out['rate'], 'server_cpu_us': out['server_cpu_us_per_operation']}


def measure_shootout(module, server, args, work):
    """{row: seconds}, the mean of what pyperf has measured."""
    configuration = work / 'shootout.conf'
    configuration.write_text(SHOOTOUT_CONFIGURATION.format(module=module, port=server.port))
    output = work / 'shootout.json'
    output.unlink(missing_ok=True)
    values = 1 if args.quick else 3  # each of ten transactions
    names = [n for n in SHOOTOUT if f'shootout-{n}' in args.only]
    call([SHOOTOUT_PYTHON, '-m', 'zodbshootout', '--concurrency', 1, '--fail-fast', '--include-mapping', 'false',
          '--processes', 1, '--loops', 1, '--values', values, '--warmups', 1, '--output', output,
          configuration, *names], args, 300, env=environment(args.build), cwd=work)
    found = {}
    suite = json.loads(output.read_text())
    for benchmark in suite['benchmarks']:
        values = [v for r in benchmark['runs'] for v in r.get('values', ())]
        name = {**suite['metadata'], **benchmark.get('metadata', {})}['name']  # of one alone, it is the suite's
        row = next(n for n in SHOOTOUT if n in name.replace('read 1000 cold', 'cold').split())
        found[f'shootout-{row}'] = {'seconds': statistics.mean(values)}
    return found


def measure_round(server, modules, data, args, seed):
    """{client: {row: figures}} of one server."""
    found = {name: {} for name in [*modules, IN_C, LIMIT]}
    work = data.path.parent
    data.reset()
    with run.running(server, work):
        for row, _, limit, in_c in ROWS:
            if row not in args.only:
                continue
            for module in modules:
                found[module][row] = measure_client(module, server, row, args, seed)
            if limit:
                found[LIMIT][row] = measure_limit(server, limit, args, seed)
            if in_c:
                found[IN_C][row] = measure_in_c(server, row, args, seed)
            if args.verbose:
                print(server.name, row, {
                    c: round(r[row]['rate']) for c, r in found.items() if row in r}, file=sys.stderr)
    if any(row.startswith('shootout') for row in args.only):
        for module in modules:
            with tempfile.TemporaryDirectory(dir=work) as empty:
                empty = pathlib.Path(empty)
                with run.running(server, empty):
                    found[module].update(measure_shootout(module, server, args, empty))
    return found


def collect(rounds):
    """[{client: {row: figures}}] to {client: {row: {figure: spread}}}"""
    out = {}
    for client in rounds[0]:
        out[client] = {}
        for row in rounds[0][client]:
            each = [r[client][row] for r in rounds]
            out[client][row] = {k: run.spread([e[k] for e in each]) for k in each[0]}
    return out


def value(results, server, client, row, key):
    figures = results[server].get(client, {}).get(row, {}).get(key)
    return figures['median'] if figures else None


def report_rates(results, args):
    for key, what in (('rate', 'operations/s'), ('cpu_us', 'CPU us of the client'),
                      ('server_cpu_us', 'CPU us of the server')):
        lines = []
        for row, title, *_ in ROWS:
            if row not in args.only:
                continue
            for server in results:
                figures = [results[server].get(c, {}).get(row) for c in (OURS, PYTHON, IN_C, LIMIT)]
                lines.append([title, server, *(run.cell(f, key) for f in figures), run.ratio(*(
                    value(results, server, c, row, key) for c in (OURS, PYTHON)))])
        if lines:
            run.print_table([what, 'server', OURS, PYTHON, IN_C, LIMIT, f'{OURS}/{PYTHON}'], lines)


def report_shootout(results, args):
    lines = []
    for name in SHOOTOUT:
        row = f'shootout-{name}'
        if row not in args.only:
            continue
        for server in results:
            times = [results[server].get(c, {}).get(row) for c in (OURS, PYTHON)]
            in_ms = [t and {'x': {k: v * 1000 for k, v in t['seconds'].items()}} for t in times]
            lines.append([f'zodbshootout {name}', server, *(run.cell(t, 'x') for t in in_ms), run.ratio(*(
                value(results, server, c, row, 'seconds') for c in (PYTHON, OURS)))])
    if lines:
        run.print_table(['milliseconds', 'server', OURS, PYTHON, f'{PYTHON}/{OURS}'], lines)


def target_ratio(results, row, what):
    def get(client, key):
        return value(results, 'zkrunzeo', client, row, key)

    if 'generator' in what:
        pair = get(OURS, 'rate'), get(LIMIT, 'rate')
    elif 'CPU' in what:
        pair = get(OURS, 'cpu_us'), get(PYTHON, 'cpu_us')
    elif row.startswith('shootout'):
        pair = get(PYTHON, 'seconds'), get(OURS, 'seconds')
    else:
        pair = get(OURS, 'rate'), get(PYTHON, 'rate')
    return None if None in pair else pair[0] / pair[1]


def report_targets(results, args):
    lines = []
    for row, what, wanted in TARGETS:
        if row in args.only:
            found = target_ratio(results, row, what)
            reached = found is not None and (found <= wanted if 'most' in what else found >= wanted)
            lines.append([row, what, f'{wanted:.2f}', '-' if found is None else f'{found:.2f}',
                          '-' if found is None else 'yes' if reached else 'no'])
    run.print_table(['on zkrunzeo', '', 'target', 'measured', 'reached'], lines)


def arguments():
    names = [r[0] for r in ROWS] + [f'shootout-{n}' for n in SHOOTOUT]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', type=pathlib.Path, default=run.ROOT / 'build', metavar='DIR')
    parser.add_argument('--quick', action='store_true', help='a smoke test')
    parser.add_argument('--rounds', type=int)
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--objects', type=int)
    parser.add_argument('--only', default=','.join(names), metavar='ROW,...', help=' '.join(names))
    parser.add_argument('--server', choices=('zkrunzeo', 'runzeo'), help='only on this one')
    parser.add_argument('--client', choices=(OURS, PYTHON), help='only this one')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE',
                        help='default: bench/results/client-TIME.json')
    parser.add_argument('--dir', type=pathlib.Path, help='where the data file is made')
    parser.add_argument('--verbose', action='store_true')
    args = parser.parse_args()
    args.only = args.only.split(',')
    if set(args.only) - set(names):
        parser.error(f'the rows are {" ".join(names)}')
    defaults = (1, 0.3, 20_000) if args.quick else (3, 2.0, 1_000_000)
    args.rounds = args.rounds or defaults[0]
    args.seconds = args.seconds or defaults[1]
    args.objects = args.objects or defaults[2]
    args.build = args.build.resolve()
    args.dir = args.dir or args.build
    return args


def main():
    args = arguments()
    file_options = ['-a', '{address}', '-f', 'Data.fs']
    servers = [s for s in (
        run.Server('zkrunzeo', [str(args.build / 'src' / 'bin' / 'zkrunzeo'), *file_options]),
        run.Server('runzeo', [sys.executable, '-m', 'ZEO.runzeo', *file_options]),
    ) if args.server in (None, s.name)]
    modules = [c for c in clients(args.build) if args.client in (None, c)]
    rounds = {s.name: [] for s in servers}
    with tempfile.TemporaryDirectory(dir=args.dir, prefix='zkzeo-bench-') as work:
        data = run.DataFile(pathlib.Path(work), args.objects)
        for n in range(args.rounds):
            for server in servers:
                rounds[server.name].append(measure_round(server, modules, data, args, n + 1))
    results = {name: collect(r) for name, r in rounds.items()}
    print(f'{args.objects:,} objects of {run.BYTES} bytes; {args.rounds} rounds of {args.seconds} s; '
          f'{run.machine()["cpus"]} CPUs; median [min-max]\n')
    report_rates(results, args)
    report_shootout(results, args)
    if OURS in modules and 'zkrunzeo' in results:
        report_targets(results, args)
    path = args.json or run.ROOT / 'bench' / 'results' / time.strftime('client-%Y%m%d-%H%M%S.json')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'machine': run.machine(), 'objects': args.objects, 'rounds': args.rounds,
                                'seconds': args.seconds, 'results': results, 'raw': rounds}, indent=1) + '\n')
    print(f'written: {path}')


if __name__ == '__main__':
    main()
