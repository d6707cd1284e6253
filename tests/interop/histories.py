"""Random transactions over a database of a few objects, and a model of what they leave.

Objects refer to each other. What is not referred to any more is garbage, and is not referred to
again, except by undo; nothing refers to what does not exist. So packs find what they should, and
fsrefs finds nothing.
"""

import random
import shutil

from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.fspack import PackError
from ZODB.serialize import referencesf

from twins import (Blob, Delete, Restore, Store, Undo, blob_record, foreign, mapping, serial_of,
                   weak)
from wire import MAX_TID, Z64, p64, u64

FOREIGN_OID = p64(0x1234)
KINDS = {'new': 6, 'change': 6, 'unlink': 3, 'undo': 5, 'undo several': 3, 'delete': 1,
         'empty': 1, 'restore': 2, 'blob': 0}


class History:
    """Makes operations, and is told which of them were committed."""

    def __init__(self, seed, blobs=False, extensions=True, twice=True):
        self.rng = random.Random(seed)
        self.weights = {**KINDS, 'blob': 4 if blobs else 0}
        self.extensions = extensions
        self.twice = twice
        self.current = {}   # {oid: data}, of the objects that exist
        self.refs = {}      # {data: strong references in it}
        self.log = []       # [(tid, {oid: (data before, data after)})], None where there is none
        self.contents = {}  # {oid: content of a blob}
        self.blob_log = {}  # {(oid, tid): content of a blob}
        self.last_oid = 0
        self.count = 0

    # what there is

    def reachable(self, current=None):
        current = self.current if current is None else current
        found, todo = set(), [Z64]
        while todo:
            oid = todo.pop()
            if oid not in found and oid in current:
                found.add(oid)
                todo += self.refs[current[oid]]
        return found

    def dangling(self, current):
        return any(r not in current for data in current.values() for r in self.refs[data])

    def data(self, refs, fillers=(0, 10, 300, 3000)):
        self.count += 1
        rng = self.rng
        refs = sorted(set(refs))
        more = []
        if rng.random() < 0.2:
            more.append(weak(FOREIGN_OID))
        if rng.random() < 0.1:
            more.append(foreign(FOREIGN_OID, 'other', rng.random() < 0.5))
        value = self.count, 'x' * rng.choice(fillers)
        data = mapping(value, *refs, *more)
        self.refs[data] = refs
        return data

    def some(self, oids, most):
        oids = sorted(oids)
        return self.rng.sample(oids, min(len(oids), self.rng.randrange(1, most + 1)))

    def mappings(self):
        return {oid for oid in self.reachable() if oid not in self.contents}

    # making operations: lists of (oid, data or None), blobs as (oid, data, content), undos as tids

    def make(self, fs):
        """Operations for the state in `fs`; (operations, given tid or None)."""
        if not self.current:
            data = self.data([])
            return [Store(Z64, Z64, data)], None
        while True:
            kind = self.rng.choices(*zip(*self.weights.items()))[0]
            ops = getattr(self, '_' + kind.replace(' ', '_'))(fs)
            if ops is not None:
                tid = None
                if kind == 'restore':
                    tid = ops[0].tid
                return ops, tid

    def metadata(self):
        rng = self.rng
        meta = {'user': rng.choice(['', 'bob', '/a j\xfcrgen']),
                'description': rng.choice(['', 'd', 'd\xe9j\xe0\n\u20ac' * 10])}
        if self.extensions and rng.random() < 0.3:
            meta['extension'] = {'n': self.count, 'k\xe9y': ['v', b'w', None]}
        return meta

    def _stores(self, fs, changes):
        return [Store(oid, serial_of(fs, oid), data) for oid, data in changes.items()]

    def new_oids(self, n):
        self.last_oid += n
        return [p64(self.last_oid - i) for i in range(n)]

    def _new(self, fs):
        news = self.new_oids(self.rng.randrange(1, 5))
        there = self.reachable()
        changes = {oid: self.data(self.some(there | set(news), 3)) for oid in news}
        parent = self.rng.choice(sorted(self.mappings()))
        changes[parent] = self.data(list(self.refs[self.current[parent]]) + news)
        return self._stores(fs, changes)

    def _change(self, fs):
        there = self.reachable()
        changes = {}
        for oid in self.some(self.mappings(), 4):
            changes[oid] = self.data(list(self.refs[self.current[oid]]) + self.some(there, 1))
        ops = self._stores(fs, changes)
        if self.twice and self.rng.random() < 0.1:  # one object twice in a transaction
            ops.insert(0, ops[-1]._replace(data=self.data([])))
        return ops

    def _unlink(self, fs):
        for oid in self.some(self.mappings(), 5):
            refs = self.refs[self.current[oid]]
            if refs:
                kept = self.rng.sample(refs, self.rng.randrange(len(refs)))
                return self._stores(fs, {oid: self.data(kept)})
        return None

    def _delete(self, fs):
        garbage = sorted(set(self.current) - self.reachable())
        for oid in self.rng.sample(garbage, len(garbage)):
            left = {o: d for o, d in self.current.items() if o != oid}
            if not self.dangling(left):
                return [Delete(oid, serial_of(fs, oid))]
        return None

    def _empty(self, fs):
        return []

    def _undo(self, fs, n=1):
        recent = self.log[-8:]
        chosen = self.rng.sample(recent, min(n, len(recent)))
        if self.rng.random() < 0.8:
            chosen.sort(reverse=True)
        ops = [Undo(tid) for tid, _ in chosen]
        left = self.after(ops)
        if self.dangling(left) or Z64 not in left:
            return None
        return ops

    def _undo_several(self, fs):
        return self._undo(fs, self.rng.randrange(2, 4))

    def _restore(self, fs):
        """As copies do: a tid, and a hint where the data is the same as in another revision."""
        tid = p64(u64(fs.lastTransaction()) + self.rng.randrange(1, 1000))
        ops = []
        for oid in self.some(self.mappings(), 3):
            hints = [(t, d) for t, changes in self.log[-10:]
                     for d in [changes.get(oid, (None, None))[1]] if d]
            hints = [(t, d) for t, d in hints if self._has(fs, oid, t)
                     and set(self.refs[d]) <= self.reachable()]
            if hints and self.rng.random() < 0.7:
                hint, data = self.rng.choice(hints)
            else:
                hint, data = None, self.data(self.some(self.reachable(), 2))
            ops.append(Restore(oid, tid, data, hint))
        return ops

    @staticmethod
    def _has(fs, oid, tid):
        try:
            fs.loadSerial(oid, tid)
        except KeyError:
            return False
        return True

    def _blob(self, fs):
        """A new blob with its parent, or other content for old ones."""
        rng = self.rng
        there = [oid for oid in self.contents if oid in self.reachable()]
        content = rng.randbytes(rng.choice((0, 1, 1000, 70000, 300000)))
        if there and rng.random() < 0.6:
            data = blob_record()
            self.refs[data] = []
            return [Blob(oid, serial_of(fs, oid), data, content + oid)
                    for oid in self.some(there, 3)]
        oid, = self.new_oids(1)
        data = blob_record()
        self.refs[data] = []
        parent = rng.choice(sorted(self.mappings()))
        changed = self.data(list(self.refs[self.current[parent]]) + [oid])
        return [Blob(oid, Z64, data, content), *self._stores(fs, {parent: changed})]

    # what they leave

    def after(self, ops):
        """What there is when they succeed."""
        left = dict(self.current)
        log = dict(self.log)
        for op in ops:
            if isinstance(op, Undo):
                for oid, (before, _) in log[op.tid].items():
                    left[oid] = before
            elif isinstance(op, Delete):
                left[op.oid] = None
            else:
                left[op.oid] = op.data
        return {oid: data for oid, data in left.items() if data is not None}

    def committed(self, ops, tid):
        left = self.after(ops)
        named = {op.oid for op in ops if not isinstance(op, Undo)}
        for op in ops:
            if isinstance(op, Undo):
                named |= set(dict(self.log)[op.tid])
            elif isinstance(op, Blob):
                self.contents[op.oid] = op.content
                self.blob_log[op.oid, tid] = op.content
        self.log.append((tid, {oid: (self.current.get(oid), left.get(oid)) for oid in named}))
        self.current = left

    def packed(self, fs):
        """After a pack: garbage is gone, and with it what an undo would bring back."""
        gone = {oid for oid in self.current if not self._loads(fs, oid, MAX_TID)}
        assert not gone & self.reachable()
        for oid in gone:
            del self.current[oid]
        for tid, changes in self.log:
            for oid, (_, after) in changes.items():
                changes[oid] = self._loads(fs, oid, tid), after

    def can_pack(self, fs, when, path):
        """Whether Python does it well, tried with a copy. Of objects that were garbage at the time
        of the pack and were changed by a later undo it loses what they refer to; where an object was
        stored twice in one transaction it mistakes a back-pointer to the one for the other; and
        without garbage collection it cannot pack in the past of an undo at all."""
        shutil.copy(fs._file_name, path)
        copy = FileStorage(str(path), pack_gc=fs._pack_gc)
        try:
            copy.pack(when, referencesf)
            left = {oid: data for oid in self.current
                    if (data := self._loads(copy, oid, MAX_TID)) is not None}
            return not self.dangling(left) and not self._dangling_then(copy) and all(
                left.get(oid) == self.current[oid] for oid in self.reachable())
        except (PackError, KeyError, AssertionError):
            return False
        finally:
            copy.close()
            copy.cleanup()

    def _dangling_then(self, fs):
        """Does an older revision refer to what is not there at all?"""
        return any(ref not in fs._index for t in fs.iterator() for r in t
                   for ref in self.refs.get(r.data, ()))

    @staticmethod
    def _loads(fs, oid, before):
        """The data before a tid, or None where there is none."""
        try:
            found = fs.loadBefore(oid, before)
        except KeyError:
            return None
        return found and found[0]
