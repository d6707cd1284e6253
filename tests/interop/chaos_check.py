"""What the clients of the chaos test have seen, against the history that is in the data file.

  * An acknowledged commit is in the file, under the tid that was told; one that cannot have happened is
    not; one whose outcome nobody knows is there as a whole or not at all; nothing else is there.
  * No update is lost: each state of a group follows the one before.
  * What a snapshot shows is what was committed last before it, all objects of it. A connection's snapshots
    never go back, and show what this process has committed; with server_sync, what anybody has.
  * What was checked to be current was current at the commit.
  * A load of any age gives that revision and its end; one that is called current was so at some moment
    during the load.
"""

import bisect
import collections
import io
import json

from chaos_client import chain_of, digest
from interop_files import fstest
from zodbpickle import pickle
from ZODB.FileStorage import FileStorage

SET_UP = 'set-up'  # the description of the transactions that made it all
NEW = 'initial database creation'
MAX_TID = '7f' + 'ff' * 7
ZERO = '00' * 8


class Ghost:
    """Stands for a class in a record."""


class Unpickler(pickle.Unpickler):
    def persistent_load(self, reference):
        return None

    def find_class(self, module, name):
        return Ghost


def state_of(data):
    """The dict of a PersistentMapping's record."""
    unpickler = Unpickler(io.BytesIO(data))
    unpickler.load()
    return unpickler.load()['data']


Transaction = collections.namedtuple('Transaction', 'tid who records')


class History:
    """The transactions of a data file. oids and tids are hexadecimal, and compare as numbers do."""

    def __init__(self, transactions):
        self.transactions = transactions
        self.tids = [t.tid for t in transactions]
        self.revisions = collections.defaultdict(list)  # oid -> tids
        self.data = {}
        for t in transactions:
            for oid, data in t.records.items():
                self.revisions[oid].append(t.tid)
                self.data[oid, t.tid] = data

    @classmethod
    def read(cls, path):
        fs = FileStorage(str(path), read_only=True)
        try:
            return cls([
                Transaction(t.tid.hex(), t.description.decode(), {r.oid.hex(): r.data for r in t})
                for t in fs.iterator()])
        finally:
            fs.close()

    def before(self, oid, tid):
        """The newest revision before @tid, or None; and the one after it, or None."""
        tids = self.revisions.get(oid, [])
        i = bisect.bisect_left(tids, tid)
        return tids[i - 1] if i else None, tids[i] if i < len(tids) else None


Write = collections.namedtuple('Write', 'oids checks')
Outcome = collections.namedtuple('Outcome', 'kind value time')


class Client:
    """The log of one client, over all its lives."""

    def __init__(self, name, lines, server_sync=False):
        self.name = name
        self.lines = lines
        self.server_sync = server_sync

    @classmethod
    def read(cls, name, path, server_sync=False):
        with open(path) as f:
            return cls(name, [json.loads(line) for line in f], server_sync)


class Checker:
    """Finds what is wrong: .errors has a text for each."""

    def __init__(self, history, clients, group_size):
        self.history = history
        self.clients = clients
        self.group_size = group_size
        self.errors = []
        self.counts = collections.Counter()
        self.writes = {}    # "thread seq" -> Write
        self.outcomes = {}  # "thread seq" -> Outcome
        self.acknowledged = []  # (time, the newest tid told up to then)
        self.states = {}    # parsed records

    def wrong(self, text, *args):
        self.errors.append(text % args)

    def check(self):
        self.collect()
        self.check_transactions()
        self.check_groups()
        self.check_checks()
        for client in self.clients:
            self.check_client(client)
        return self.errors

    def collect(self):
        """Writes and their outcomes; what was written and not told of is doubtful."""
        for client in self.clients:
            for kind, thread, *rest in client.lines:
                who = f'{thread} {rest[0]}'
                if kind == 'write':
                    self.writes[who] = Write(*rest[1:])
                elif kind in ('ok', 'no', '?'):
                    self.outcomes[who] = Outcome(kind, *rest[1:], *([None] * (3 - len(rest))))
        newest = ZERO
        told = sorted((o.time, o.value) for o in self.outcomes.values() if o.kind == 'ok')
        for time, tid in told:
            newest = max(newest, tid)
            self.acknowledged.append((time, newest))

    def check_transactions(self):
        there = {}
        for t in self.history.transactions:
            if t.who in (SET_UP, NEW):
                continue
            there[t.who] = t.tid
            write = self.writes.get(t.who)
            outcome = self.outcomes.get(t.who)
            if write is None:
                self.wrong('%s: a transaction that nobody has committed: %r', t.tid, t.who)
            elif set(write.oids) != set(t.records):
                self.wrong('%s: %r: wrote %s, and not %s', t.tid, t.who, sorted(t.records), write.oids)
            elif outcome and outcome.kind == 'no':
                self.wrong('%s: %r: committed, and the client was told: %s', t.tid, t.who, outcome.value)
            elif outcome and outcome.kind == 'ok' and outcome.value != t.tid:
                self.wrong('%s: %r: the client was told %s', t.tid, t.who, outcome.value)
        for who, outcome in self.outcomes.items():
            self.counts[outcome.kind] += 1
            if outcome.kind == 'ok' and who not in there:
                self.wrong('%r: acknowledged as %s, and lost', who, outcome.value)

    def state(self, oid, tid):
        """(n, chain, group) of an object of a group; None for other objects."""
        key = oid, tid
        if key not in self.states:
            data = self.history.data[key]
            state = None
            if data.startswith(b'\x80'):
                state = state_of(data)
            is_member = state is not None and 'chain' in state
            self.states[key] = (
                state['n'], state['chain'], state['group']) if is_member else None
        return self.states[key]

    def check_groups(self):
        """Each state of a group is made from the one before, and so is each of a raw object."""
        current = {}
        numbers = collections.Counter()
        for t in self.history.transactions:
            found = collections.defaultdict(set)
            for oid, data in t.records.items():
                state = self.state(oid, t.tid)
                if state is not None:
                    found[state[2]].add(state[:2])
                elif data[:1].isdigit():
                    n = int(data.split()[0])
                    if n != numbers[oid] + (t.who != SET_UP):
                        self.wrong('%s: %s goes from %s to %s', t.tid, oid, numbers[oid], n)
                    numbers[oid] = n
            for group, states in found.items():
                n, chain = current.get(group, (-1, None))
                expected = (0, '') if n < 0 else (n + 1, chain_of(chain, t.who))
                if states != {expected}:
                    self.wrong('%s: group %s goes from %s to %s', t.tid, group, (n, chain), states)
                current[group] = expected

    def check_checks(self):
        """What readCurrent named had no newer revision when the transaction was committed."""
        for t in self.history.transactions:
            for oid, serial in (self.writes[t.who].checks if t.who in self.writes else ()):
                self.counts['checks'] += 1
                newest, _ = self.history.before(oid, t.tid)
                if newest != serial:
                    self.wrong('%s: %s was checked to be %s and is %s', t.tid, oid, serial, newest)

    def check_client(self, client):
        snapshots = {}    # of a thread
        connections = {}  # (thread, connection) -> its newest snapshot
        for kind, thread, *rest in client.lines:
            self.counts[kind] += kind not in ('ok', 'no', '?')
            if kind == 'begin':
                connection, floor, start, time = rest
                self.check_snapshot(client, thread, floor, start, time)
                if start < connections.get((thread, connection), ZERO):
                    self.wrong('%s: a snapshot of %s after one of %s', thread, start,
                               connections[thread, connection])
                snapshots[thread] = connections[thread, connection] = start
            elif kind == 'read':
                self.check_read(thread, snapshots[thread], rest[0])
            elif kind == 'load':
                self.check_load(thread, *rest)
            elif kind == 'serial':
                oid, serial, found = rest
                if digest(self.history.data.get((oid, serial), b'')) != found:
                    self.wrong('%s: loadSerial of %s at %s is wrong', thread, oid, serial)
            elif kind == 'fail':
                self.wrong('%s: %s', thread, rest[0])

    def check_snapshot(self, client, thread, floor, start, time):
        if start <= floor:
            self.wrong('%s: a snapshot of %s without the commit %s of this process',
                       thread, start, floor)
        if client.server_sync:
            i = bisect.bisect_left(self.acknowledged, (time, ZERO))
            told = self.acknowledged[i - 1][1] if i else ZERO
            if start <= told:
                self.wrong('%s: a snapshot of %s at %s, when %s was committed',
                           thread, start, time, told)

    def check_read(self, thread, start, members):
        if len(members) != self.group_size:
            self.wrong('%s: a group of %s objects at %s', thread, len(members), start)
        for oid, serial, n, chain, group in members:
            newest, _ = self.history.before(oid, start)
            if serial != newest:
                self.wrong('%s: %s at %s is of %s, and not of %s', thread, oid, start, serial, newest)
            elif self.state(oid, serial) != (n, chain, group):
                self.wrong('%s: %s at %s shows %s, and not %s', thread, oid, start,
                           (n, chain, group), self.state(oid, serial))
        if len({(serial, n, chain, group) for _, serial, n, chain, group in members}) != 1:
            self.wrong('%s: a torn group at %s: %s', thread, start, members)

    def check_load(self, thread, oid, before, last, result, after):
        """The client knew all up to `last` when it was asked, and all up to `after` when it answered."""
        def wrong(text):
            self.wrong('%s: load of %s before %s, between %s and %s: %s: %s',
                       thread, oid, before, last, after, result, text)

        def known(tid):
            """The newest revision for one who knows all up to @tid."""
            return self.history.before(oid, min(before, f'{int(tid, 16) + 1:016x}'))[0]

        oldest, newest = known(last), known(after)
        if result is None:
            if oldest is not None:
                wrong(f'and {oldest} was there')
            return
        found, serial, end = result
        if (oid, serial) not in self.history.data:
            return wrong('there is no such revision')
        if digest(self.history.data[oid, serial]) != found:
            wrong('the data is not that of its revision')
        if not (oldest or ZERO) <= serial <= (newest or ZERO):
            wrong(f'it is {oldest} to {newest}')
        _, following = self.history.before(oid, f'{int(serial, 16) + 1:016x}')
        if end is None:
            if following is not None and following <= last:
                wrong(f'it is called current, and ended at {following}')
        elif end != following:
            wrong(f'it ended at {following}')


def check_file(path, clients, group_size):
    """(errors, counts) of a finished run."""
    sound = fstest(path)
    if sound:
        return sound, {}
    checker = Checker(History.read(path), clients, group_size)
    return checker.check(), dict(checker.counts)
