"""A server that is killed, stopped, paused and moved, and ZooKeeper with it, under clients that go on: no wrong
read, no lost commit, and everybody is back soon after a server is there. ZKZEO_CHAOS_SECONDS=120 goes on for
longer, ZKZEO_CHAOS_SEED repeats the order of what is done. How soon they are back is printed (pytest -s), and asserted
only loosely, since a busy machine has stalls of its own: ZKZEO_CHAOS_BACK_S=1 is what is expected of a quiet one."""

import os
import random
import statistics

import pytest

from chaos import GROUP_SIZE, Chaos
from chaos_check import check_file
from zk import ensemble  # noqa: F401

SECONDS = float(os.environ.get('ZKZEO_CHAOS_SECONDS', 18))
BACK_S = float(os.environ.get('ZKZEO_CHAOS_BACK_S', 30))  # after a server is registered, at most


def report(absences):
    lines = []
    for what, seconds in sorted(absences.items()):
        lines.append(f'{what}: {len(seconds)} times, {statistics.median(seconds):.2f} s, '
                     f'at most {max(seconds):.2f} s')
    return '\n'.join(lines)


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize('kind', ['ZEO', 'zc.zkzeo'])
def test_chaos(kind, ensemble, programs, tmp_path):  # noqa: F811
    seed = os.environ.get('ZKZEO_CHAOS_SEED') or random.randrange(1 << 32)
    print('seed', seed)
    chaos = Chaos(tmp_path, ensemble, programs / 'zkrunzeo', seed)
    try:
        chaos.add_client('cached', '--cache', tmp_path / 'cached.zec', '--cache-size', 1 << 20, kind=kind)
        chaos.add_client('synced', kind=kind, server_sync=True)
        chaos.add_client('raw', '--raw', '--oids', ','.join(map(str, chaos.oids)), kind=kind)
        chaos.start()
        chaos.run(SECONDS)
        clients = chaos.finish()
    finally:
        chaos.close()
    absences = chaos.absences()
    print(', '.join(chaos.done), report(absences), sep='\n')
    errors, counts = check_file(tmp_path / 'Data.fs', clients, GROUP_SIZE)
    print(counts)
    assert errors[:10] == []
    for what in 'ok', 'no', 'read', 'load', 'serial', 'checks':
        assert counts[what] > 5 * SECONDS, (what, counts)
    assert max(max(s) for s in absences.values()) < BACK_S, report(absences)
