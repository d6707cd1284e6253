"""Clients that come back: which transactions a server tells them of, also after a restart."""

import pytest
from twins import mapping, oids, store
from wire import Z64, Wire, p64, u64

CONFIGURATION = ('<zeo>\n  address {address}\n  invalidation-queue-size 3\n  %s\n</zeo>\n'
                 '<filestorage 1>\n  path {dir}/Data.fs\n</filestorage>\n')
OIDS = oids(8)


def fill(server, wires):
    """Eight transactions, each of an object of its own; their tids."""
    w = wires(server)
    return [w.commit([(oid, Z64, mapping(n))]) for n, oid in enumerate(OIDS)]


def invalidations(wires, server, tid):
    found = wires(server).call('getInvalidations', tid)
    return found and (found[0], sorted(found[1]))


@pytest.mark.parametrize('age', ['', 'invalidation-age 1000', 'invalidation-age 0.000001'])
def test_boundary(peer, wires, age):
    """The queue is filled anew at a start; what is older comes from the file, or not at all (T55)."""
    s = peer(CONFIGURATION % age)
    tids = fill(s, wires)
    s.kill()  # Python loses a SIGTERM now and then (T41)
    s.start()
    for n, tid in enumerate(tids):
        expected = (tids[-1], sorted(OIDS[n + 1:]))
        if n < 5 and age != 'invalidation-age 1000':
            expected = None
        assert invalidations(wires, s, tid) == expected, n
    between = p64(u64(tids[2]) + 1)
    assert invalidations(wires, s, between) == invalidations(wires, s, tids[2])
    assert invalidations(wires, s, Z64) is None


def test_both_agree_with_commits(server, wires):
    """The file is read while others commit: nothing is told twice, nothing is lost (R2)."""
    s = server(CONFIGURATION % 'invalidation-age 1000')
    tids = fill(s, wires)
    with Wire(s.address) as reader, Wire(s.address) as writer:
        for n in range(30):
            reader.send('getInvalidations', tids[0])
            committed = writer.commit([(p64(1000 + n), Z64, mapping(n))])
            tid, found = reader.call('getInvalidations', tids[0])
            assert tid == committed
            assert sorted(found) == sorted(OIDS[1:] + [p64(1000 + k) for k in range(n + 1)])


@pytest.mark.parametrize('age', ['', 'invalidation-age 1000'])
def test_a_cache_on_disk(peer, storage, tmp_path, age):
    """A client's cache is brought up to date after a restart, from the queue, the file, or not at all."""
    s = peer(CONFIGURATION % age)
    writer = storage(s)
    for n, oid in enumerate(OIDS):
        store(writer, (oid, mapping(n)))

    def cached():
        return storage(s, client='cache', var=str(tmp_path))

    c = cached()
    for oid in OIDS:
        c.load(oid)
    c.close()
    for changes, kept in ((2, True), (5, bool(age))):
        for oid in OIDS[:changes]:
            last = store(writer, (oid, mapping(changes)))
        writer.close()
        s.kill()  # Python loses a SIGTERM now and then (T41)
        s.start()
        writer = storage(s)
        c = cached()
        assert c.lastTransaction() == last
        in_cache = [oid for oid in OIDS if c._cache.load(oid)]
        assert in_cache == (OIDS[changes:] if kept else [])
        for oid in OIDS:
            assert c.load(oid) == writer.load(oid)
        c.close()
