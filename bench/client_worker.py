"""One measurement of one client, in a process of its own; bench/client.py drives it.

  client_worker.py MODULE HOST:PORT ROW SECONDS OBJECTS SEED [SERVER-PID]

Prints JSON: operations, seconds, the client's CPU time and the server's.
"""

import importlib
import itertools
import json
import os
import random
import resource
import statistics
import struct
import sys
import time

CHUNK = 100        # operations between two looks at the clock
WARM = 200         # operations before it is measured
PREFETCH = 1000    # objects at a time
HIT_OBJECTS = 2000
HIT_LIMIT_S = 50e-6  # an object that takes longer was not in the cache
SERVER_OID = struct.Struct('>Q')


def own_cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def server_cpu(pid):
    """In seconds, of all its threads."""
    total = 0
    for task in os.listdir(f'/proc/{pid}/task') if pid else ():
        with open(f'/proc/{pid}/task/{task}/schedstat') as f:
            total += int(f.read().split()[0])
    return total / 1e9


class Measured:
    """Runs step(), which says how many operations it did, until the time is over."""

    def __init__(self, seconds, pid):
        self.seconds = seconds
        self.pid = pid

    def __call__(self, step):
        n = 0
        while n < WARM:
            n += step()
        operations = 0
        cpu, server, start = own_cpu(), server_cpu(self.pid), time.perf_counter()
        end = start + self.seconds
        try:
            while (now := time.perf_counter()) < end:
                operations += step()
        except StopIteration:  # every object was taken once
            pass
        now = time.perf_counter()
        return {'operations': operations, 'seconds': now - start, 'cpu': own_cpu() - cpu,
                'server_cpu': server_cpu(self.pid) - server}


def each_once(objects, rng):
    """All oids but the root's, in random order."""
    return iter([SERVER_OID.pack(n) for n in rng.sample(range(1, objects), objects - 1)])


def next_tid(storage):
    return SERVER_OID.pack(SERVER_OID.unpack(storage.lastTransaction())[0] + 1)


def cold(storage, measured, objects, rng):
    """Loads of objects that the cache has not got."""
    oids = each_once(objects, rng)
    tid = next_tid(storage)
    load_before = storage.loadBefore

    def step():
        n = 0
        for oid in itertools.islice(oids, CHUNK):
            load_before(oid, tid)
            n += 1
        if not n:
            raise StopIteration
        return n
    return measured(step)


def hit(storage, measured, objects, rng):
    """Loads of objects that the cache has."""
    oids = list(itertools.islice(each_once(objects, rng), HIT_OBJECTS))
    tid = next_tid(storage)
    load_before = storage.loadBefore
    for oid in oids:
        load_before(oid, tid)

    def step():
        for oid in oids:
            load_before(oid, tid)
        return len(oids)
    return measured(step)


def prefetch(storage, measured, objects, rng):
    """Until all of a thousand objects are in the cache; the answer to a ping comes behind theirs."""
    oids = each_once(objects, rng)
    tid = next_tid(storage)
    last = []

    def step():
        some = list(itertools.islice(oids, PREFETCH))
        if not some:
            raise StopIteration
        last[:] = some
        storage.prefetch(some, tid)
        storage.ping()
        return len(some)
    result = measured(step)
    took = []
    for oid in last:
        start = time.perf_counter()
        storage.loadBefore(oid, tid)
        took.append(time.perf_counter() - start)
    if last and statistics.median(took) > HIT_LIMIT_S:
        sys.exit(f'what was prefetched is not in the cache: {statistics.median(took) * 1e6:.0f} us a load')
    return result


def commit(storage, measured, objects, rng):
    """Transactions of one object."""
    from ZODB.Connection import TransactionMetaData
    oid = SERVER_OID.pack(1)
    data, serial, _ = storage.loadBefore(oid, next_tid(storage))

    def step():
        nonlocal serial
        t = TransactionMetaData()
        storage.tpc_begin(t)
        storage.store(oid, serial, data, '', t)
        storage.tpc_vote(t)
        serial = storage.tpc_finish(t)
        return 1
    return measured(step)


def zodb_cold(storage, measured, objects, rng):
    """Objects of a Connection, which come as references do: a ghost of a known class, then its state."""
    import ZODB
    from persistent.mapping import PersistentMapping
    db = ZODB.DB(storage)
    connection = db.open()
    ghost = connection._reader.load_persistent
    oids = each_once(objects, rng)

    def step():
        n = 0
        for oid in itertools.islice(oids, CHUNK):
            ghost(oid, PersistentMapping).data  # noqa: B018
            n += 1
        if not n:
            raise StopIteration
        return n
    return measured(step)


ROWS = {'cold': cold, 'hit': hit, 'prefetch': prefetch, 'commit': commit, 'zodb-cold': zodb_cold}


def main():
    module, address, row, seconds, objects, seed, *pid = sys.argv[1:]
    host, _, port = address.rpartition(':')
    client = importlib.import_module(module).ClientStorage
    storage = client((host, int(port)), wait_timeout=30)
    measured = Measured(float(seconds), int(pid[0]) if pid else None)
    try:
        result = ROWS[row](storage, measured, int(objects), random.Random(seed))
    finally:
        storage.close()
    print(json.dumps(result))


if __name__ == '__main__':
    main()
