"""One client process of the chaos test: it reads, commits, and writes down what it saw and was told.

Everything goes into a file, one JSON list a line, each written with one system call: what a process
that is killed had seen before is there. chaos_check.py compares it with the committed history.

  ["begin", thread, connection, floor, start, t]  a transaction's snapshot: it shows what is older than
                                          `start`; `floor`: the newest tid this process was told before time t
  ["read", thread, [[oid, serial, n, chain, group], ...]]   of a group, in that snapshot
  ["write", thread, seq, [oid, ...], [[oid, serial], ...]]  about to commit: what is written, what is checked
  ["ok", thread, seq, tid, t]             it was acknowledged
  ["no", thread, seq, why]                it cannot have happened
  ["?", thread, seq, why]                 nobody knows
  ["load", thread, oid, before, last, result, last]   loadBefore between two looks at lastTransaction();
                                          result: null or [digest, serial, end]
  ["serial", thread, oid, serial, digest] loadSerial
  ["lost", thread, why]                   the server went away meanwhile
  ["fail", thread, text]                  what must not happen
"""

import argparse
import faulthandler
import hashlib
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZEO.Exceptions import ClientDisconnected
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError, ReadConflictError
from ZODB.utils import maxtid, p64, u64

STOP_TIMEOUT_S = 60
PROBE_S = 0.01
WAIT_S = 30
TID_WAIT_S = 5
KNOWN_TIDS = 500


class Log:
    """Lines that outlive the process."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def __call__(self, *fields):
        os.write(self.fd, json.dumps(fields).encode() + b'\n')


class Followed:
    """ZEO's ClientStorage, told by kazoo which servers there are: what the checker was tried with."""

    @staticmethod
    def open(zookeeper, path, **kw):
        import kazoo.client
        from ZEO.ClientStorage import ClientStorage
        zk = kazoo.client.KazooClient(zookeeper, timeout=4)
        zk.start(30)
        first = threading.Event()
        storage = None
        addresses = []

        @zk.ChildrenWatch(path)
        def changed(names):
            found = [(h, int(p)) for h, _, p in (n.rpartition(':') for n in names) if p.isdigit()]
            if found:
                addresses[:] = found
                first.set()
                if storage is not None:
                    storage.new_addr(found)

        first.wait(WAIT_S)
        storage = ClientStorage(list(addresses), **kw)
        return storage


def open_storage(args):
    kw = {'wait_timeout': WAIT_S, 'cache_size': args.cache_size, 'server_sync': args.server_sync}
    if args.cache:
        kw['cache'] = args.cache
    if args.client == 'ZEO':
        return Followed.open(args.zookeeper, args.path, **kw)
    import zc.zkzeo
    return zc.zkzeo.client(args.zookeeper, args.path, **kw)


class Process:
    """What the threads of this process share."""

    def __init__(self, args, storage):
        self.args = args
        self.storage = storage
        self.log = Log(args.log)
        self.stopping = threading.Event()
        self.told = p64(0)  # the newest tid that a commit of this process was given
        self.lock = threading.Lock()

    def commit_told(self, tid):
        with self.lock:
            self.told = max(self.told, tid)


class Worker(threading.Thread):
    """Does turn() until it is told to stop; what goes wrong is written down."""

    def __init__(self, process, number):
        args = process.args
        self.id = f'{args.name}.{number}'
        super().__init__(name=self.id, daemon=True)
        self.process = process
        self.storage = process.storage
        self.log = process.log
        self.rng = random.Random(f'{args.seed} {self.id}')
        self.seq = 0

    def run(self):
        try:
            self.set_up()
            while not self.process.stopping.is_set():
                try:
                    self.turn()
                except ClientDisconnected as e:
                    self.log('lost', self.id, str(e))
            self.tear_down()
        except BaseException:
            self.log('fail', self.id, traceback.format_exc())

    def set_up(self):
        pass

    def tear_down(self):
        pass


def chain_of(chain, who):
    return hashlib.sha256(f'{chain} {who}'.encode()).hexdigest()[:16]


def walk(head):
    while head is not None:
        yield head
        head = head['next']


class ObjectWorker(Worker):
    """Through a ZODB connection: groups of linked objects that are always written together."""

    def set_up(self):
        self.tm = transaction.TransactionManager()
        self.connection = None
        self.open()

    def open(self):
        self.connection = self.process.db.open(self.tm)
        storage = self.connection._storage
        if not hasattr(storage, 'chaos'):
            storage.chaos = {}
            finish = storage.tpc_finish

            def tpc_finish(*args, **kw):
                storage.chaos['finishing'] = True
                tid = storage.chaos['tid'] = finish(*args, **kw)
                self.process.commit_told(tid)
                return tid
            storage.tpc_finish = tpc_finish
        self.told = storage.chaos

    def tear_down(self):
        self.tm.abort()
        self.connection.close()

    def turn(self):
        if self.rng.random() < 0.05:
            self.connection.close()
            self.open()
        if self.rng.random() < 0.3:
            self.connection.cacheMinimize()
        floor, t = self.process.told, time.monotonic()
        self.tm.begin()
        try:
            self.log('begin', self.id, id(self.connection), floor.hex(),
                     self.connection._storage._start.hex(), t)
            groups = self.connection.root()['groups']
            chosen = self.rng.sample(range(len(groups)), self.rng.randrange(1, 4))
            if self.rng.random() < 0.1:
                self.connection.prefetch([groups[g]._p_oid for g in chosen])
            read = [self.read(groups[g]) for g in chosen]
            if self.rng.random() < self.process.args.writes:
                self.write(read)
        finally:
            self.tm.abort()

    def read(self, head):
        """The group's objects; what they say is written down."""
        members = list(walk(head))
        self.log('read', self.id, [
            [m._p_oid.hex(), m._p_serial.hex(), m['n'], m['chain'], m['group']] for m in members])
        return members

    def write(self, read):
        """Change all but perhaps one of the groups read, which is checked to be current."""
        self.seq += 1
        who = f'{self.id} {self.seq}'
        checked = read.pop() if len(read) > 1 and self.rng.random() < 0.3 else []
        checks = [[m._p_oid.hex(), m._p_serial.hex()] for m in checked]
        for m in checked:
            self.connection.readCurrent(m)
        for members in read:
            self.change(members, who)
        self.tm.get().note(who)
        self.told.clear()
        self.log('write', self.id, self.seq, [m._p_oid.hex() for g in read for m in g], checks)
        try:
            self.tm.commit()
        except ReadConflictError as e:
            if not checks:
                raise  # nothing is packed: what a snapshot shows is there
            self.log('no', self.id, self.seq, repr(e))
        except ConflictError as e:
            self.log('no', self.id, self.seq, repr(e))
        except ClientDisconnected as e:
            self.log('?' if self.told else 'no', self.id, self.seq, repr(e))
            raise
        else:
            self.log('ok', self.id, self.seq, self.told['tid'].hex(), time.monotonic())

    def change(self, members, who):
        # ZEO's client keeps oids that a server hands out again when it was killed before their use (R10)
        if self.process.args.client != 'ZEO' and self.rng.random() < 0.15:
            self.replace(members, self.rng.randrange(1, len(members)))
        chain = chain_of(members[0]['chain'], who)
        for m in members:
            m['n'] += 1
            m['chain'] = chain
            m['fill'] = self.rng.randbytes(self.rng.choice((10, 300, 3000)))

    def replace(self, members, i):
        """A new object takes the place of one."""
        new = PersistentMapping(members[i])
        self.connection.add(new)
        members[i - 1]['next'] = new
        members[i] = new

    def all_groups(self):
        """At the end: the newest state of everything, by a connection that has waited for it."""
        self.storage.ping()
        floor, t = self.process.told, time.monotonic()
        tm = transaction.TransactionManager()
        connection = self.process.db.open(tm)
        self.log('begin', self.id, id(connection), floor.hex(), connection._storage._start.hex(), t)
        for _, head in sorted(connection.root()['groups'].items()):
            self.read(head)
        tm.abort()
        connection.close()


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


class RawWorker(Worker):
    """Through the storage's own interface: revisions of any age, and commits that are sometimes given up."""

    known = [p64(1), maxtid]  # tids that there are, of all threads

    def set_up(self):
        self.oids = [p64(oid) for oid in self.process.args.oids]

    def learn(self, tid):
        if len(self.known) < KNOWN_TIDS:
            self.known.append(tid)
        else:
            self.known[self.rng.randrange(KNOWN_TIDS)] = tid

    def turn(self):
        self.rng.choice(self.turns)(self)

    def load(self, oid=None, before=None):
        oid = oid or self.rng.choice(self.oids)
        if before is None:
            before = p64(min(u64(self.rng.choice(self.known)) + self.rng.randrange(-1, 2), u64(maxtid)))
        last = self.storage.lastTransaction()
        found = self.storage.loadBefore(oid, before)
        after = self.storage.lastTransaction()
        if found is None:
            result = None
        else:
            data, serial, end = found
            self.learn(serial)
            # a cache may have what is just being committed or invalidated
            after = self.wait_for_tid(max(serial, end or serial))
            result = [digest(data), serial.hex(), end and end.hex()]
        self.log('load', self.id, oid.hex(), before.hex(), last.hex(), result, after.hex())
        return found

    def wait_for_tid(self, tid):
        """What was seen becomes the last transaction; that tid."""
        deadline = time.monotonic() + TID_WAIT_S
        while (last := self.storage.lastTransaction()) < tid:
            assert time.monotonic() < deadline, f'{tid.hex()} was seen, and {last.hex()} is the last one'
            time.sleep(0.001)
        return last

    def load_current(self):
        self.load(before=self.rng.choice((maxtid, p64(u64(self.storage.lastTransaction()) + 1))))

    def load_serial(self):
        oid = self.rng.choice(self.oids)
        serial = self.storage.loadBefore(oid, maxtid)[1]
        data = self.storage.loadSerial(oid, serial)
        self.log('serial', self.id, oid.hex(), serial.hex(), digest(data))

    def prefetch(self):
        oids = self.rng.sample(self.oids, 5)
        self.storage.prefetch(oids, p64(u64(self.storage.lastTransaction()) + 1))

    def write(self):
        self.seq += 1
        t = TransactionMetaData(description=f'{self.id} {self.seq}'.encode())
        oids = self.rng.sample(self.oids, self.rng.randrange(1, 5))
        current = {oid: self.load(oid, maxtid) for oid in oids}
        self.log('write', self.id, self.seq, [oid.hex() for oid in oids], [])
        state = 'no'
        try:
            self.storage.tpc_begin(t)
            for oid, (data, serial, _) in current.items():
                n = int(data.split()[0]) + 1
                fill = self.rng.randbytes(self.rng.choice((10, 500, 5000))).hex()
                self.storage.store(oid, serial, f'{n} {self.id} {self.seq} {fill}'.encode(), '', t)
            if self.rng.random() < 0.1:
                return self.log('no', self.id, self.seq, 'given up before the vote')
            self.storage.tpc_vote(t)
            if self.rng.random() < 0.1:
                return self.log('no', self.id, self.seq, 'given up after the vote')
            state = '?'
            tid = self.finish(t)
            self.log('ok', self.id, self.seq, tid.hex(), time.monotonic())
        except ConflictError as e:
            self.log('no', self.id, self.seq, repr(e))
        except ClientDisconnected as e:
            self.log(state, self.id, self.seq, repr(e))
            raise
        finally:
            self.storage.tpc_abort(t)

    def finish(self, t):
        told = []
        tid = self.storage.tpc_finish(t, told.append)
        assert told == [tid], (told, tid)
        assert self.storage.lastTransaction() >= tid
        self.learn(tid)
        return tid

    turns = [load] * 6 + [load_current] * 3 + [write] * 2 + [load_serial, prefetch]


class Probe(Worker):
    """Asks the server for something all the time: when is it there?"""

    def run(self):
        path = self.process.args.log + '.probe'
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        while not self.process.stopping.wait(PROBE_S):
            start = time.monotonic()
            try:
                self.storage.history(p64(0))
            except ClientDisconnected:
                continue
            except BaseException:
                self.log('fail', self.id, traceback.format_exc())
                return
            os.write(fd, f'{start} {time.monotonic()}\n'.encode())


def stop(process, threads):
    process.stopping.set()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for t in threads:
        t.join(max(deadline - time.monotonic(), 0))
    alive = [t.name for t in threads if t.is_alive()]
    if alive:
        faulthandler.dump_traceback()
        process.log('fail', process.args.name, f'{alive} do not end')
        os._exit(3)


def final(process):
    """Everything once more, when nobody writes any more."""
    try:
        if process.args.raw:
            worker = RawWorker(process, 'final')
            worker.set_up()
            process.storage.ping()
            for oid in worker.oids:
                worker.load(oid, maxtid)
        else:
            ObjectWorker(process, 'final').all_groups()
    except BaseException:
        process.log('fail', process.args.name, traceback.format_exc())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--client', choices=('ZEO', 'zc.zkzeo'), required=True)
    parser.add_argument('--zookeeper', required=True)
    parser.add_argument('--path', required=True)
    parser.add_argument('--log', required=True)
    parser.add_argument('--name', required=True)
    parser.add_argument('--seed', required=True)
    parser.add_argument('--threads', type=int, default=3)
    parser.add_argument('--writes', type=float, default=0.5, help='of an object thread\'s turns')
    parser.add_argument('--cache')
    parser.add_argument('--cache-size', type=int, default=20 << 20)
    parser.add_argument('--server-sync', action='store_true')
    parser.add_argument('--raw', action='store_true')
    parser.add_argument('--oids', type=lambda s: [int(n) for n in s.split(',')], default=[])
    return parser.parse_args()


def main():
    args = arguments()
    faulthandler.register(signal.SIGUSR2)
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(name)s %(message)s')
    storage = open_storage(args)
    process = Process(args, storage)
    if not args.raw:
        process.db = ZODB.DB(storage)
    kind = RawWorker if args.raw else ObjectWorker
    threads = [kind(process, n) for n in range(args.threads)] + [Probe(process, 'probe')]
    for t in threads:
        t.start()
    print('started', flush=True)
    for line in sys.stdin:
        command = line.strip()
        if command == 'stop':
            stop(process, threads)
        elif command == 'final':
            final(process)
        print(command, flush=True)
    (storage if args.raw else process.db).close()


if __name__ == '__main__':
    main()
