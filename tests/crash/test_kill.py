"""kill -9 in the middle of commits: what was acknowledged stays, nothing is torn (R7)."""

import random
import time

import pytest

from load import check_file, make_writers, run_all
from wire import Wire

CONFIGURATION = ('<zeo>\n  address {address}\n</zeo>\n'
                 '<filestorage 1>\n  path {dir}/Data.fs\n</filestorage>\n')
ROUNDS = 50


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
