"""kill -9 in the middle of commits, undos, blobs and packs: what was acknowledged stays, nothing is torn, and
nothing is left that asks for a person (R7). ZKZEO_KILL_ROUNDS=200 kills more often than usual."""

import os
import random
import time

import everything
import pytest

from load import check_file, make_writers, run_all
from interop_files import fstest
from wire import Wire

CONFIGURATION = ('<zeo>\n  address {address}\n</zeo>\n'
                 '<filestorage 1>\n  path {dir}/Data.fs\n</filestorage>\n')
ROUNDS = 50
WITH_BLOBS = CONFIGURATION.replace(
    'Data.fs\n', 'Data.fs\n  blob-dir {dir}/blobs\n  pack-gc false\n')
MIXED_ROUNDS = int(os.environ.get('ZKZEO_KILL_ROUNDS', 40))


def kill_at_start(server, rng):
    """Also a start that recovers may be killed."""
    for _ in range(rng.randrange(3)):
        server.start(wait=False)
        time.sleep(rng.random() * 0.02)
        server.kill()


@pytest.mark.timeout(480)
def test_kill_rounds(server, tmp_path):
    seed = random.randrange(1 << 32)
    print('seed', seed)
    rng = random.Random(seed)
    s = server(CONFIGURATION, start=False)
    writers = make_writers(4, seed)
    for number in range(ROUNDS):
        kill_at_start(s, rng)
        s.start()
        with Wire(s.address) as w:
            last = max((max(x.acknowledged, default=w.tid) for x in writers))
            assert w.tid >= last, 'the server went back'
            for x in writers:
                x.verify(w)
        threads = run_all(writers, s.address)
        time.sleep(0.02 + rng.random() * 0.3)  # the moment is the test
        s.kill()
        for t in threads:
            t.join()
    s.start()
    with Wire(s.address) as w:
        for x in writers:
            x.verify(w)
    assert s.stop() == 0
    assert sum(len(w.acknowledged) for w in writers) > ROUNDS * 5
    check_file(tmp_path / 'Data.fs', writers)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())


@pytest.mark.timeout(1800)
def test_kill_while_all_is_done(server, tmp_path):
    """Commits, undos, blobs and packs at once."""
    seed = random.randrange(1 << 32)
    print('seed', seed)
    rng = random.Random(seed)
    s = server(WITH_BLOBS, start=False)
    clients = [everything.Client(n, random.Random(f'{seed} {n}')) for n in range(3)]
    packer = everything.Packer()
    for number in range(MIXED_ROUNDS + 1):
        kill_at_start(s, rng)
        s.start()
        assert not (tmp_path / 'Data.fs.pack').exists()
        with Wire(s.address) as w:
            for c in clients:
                c.verify(w)
        if number == MIXED_ROUNDS:
            break
        threads = everything.run_all([*clients, packer], s.address)
        time.sleep(0.02 + rng.random() * 0.4)  # the moment is the test
        s.kill()
        for t in threads:
            t.join()
        assert [c.failures for c in [*clients, packer]] == [[]] * 4
    with Wire(s.address) as w:
        w.call('pack', time.time(), True)
        for c in clients:
            c.verify(w)
    assert s.stop() == 0
    for kind in 'commit', 'undo', 'blob':
        assert sum(c.done[kind] for c in clients) > MIXED_ROUNDS, kind
    assert packer.packs > MIXED_ROUNDS / 4
    assert fstest(tmp_path / 'Data.fs') == []
    blobs = [f for f in files(tmp_path / 'blobs') if f != '.layout']
    current = [c for c in clients if c.content is not None]
    assert len([f for f in blobs if f.endswith('.blob')]) == len(current)
    assert [f for f in blobs if not f.endswith('.blob')] == []
