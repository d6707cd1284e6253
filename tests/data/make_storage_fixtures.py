"""Make the fixtures of the storage tests with ZODB, beside this file:

python.fs, python.fs.index   a data file with undo, un-creation, empty and packed transactions
python.fs.txt                what ZODB's FileStorage answers about it, one question a line
index.bin                    an index of dense and scattered objects (tests/unit/test_index_file.c knows them)
"""

import base64
import pathlib
import shutil
import tempfile

from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.fsIndex import fsIndex
from ZODB.POSException import POSKeyError
from ZODB.serialize import referencesf
from ZODB.utils import p64

here = pathlib.Path(__file__).parent
FIRST_TID = 0x0400000000000000


class Maker:
    def __init__(self, path):
        self.fs = FileStorage(str(path))
        self.tids = []

    def commit(self, stores, undo=None, delete=None, user='', description='', **extension):
        t = TransactionMetaData(user, description, extension)
        tid = p64(FIRST_TID + (len(self.tids) << 32))
        self.fs.tpc_begin(t, tid)
        for oid, data in stores:
            try:
                old = self.fs.getTid(p64(oid))
            except POSKeyError:
                old = p64(0)
            self.fs.store(p64(oid), old, data, '', t)
        if undo is not None:
            self.fs.undo(base64.encodebytes(self.tids[undo]).rstrip(), t)
        if delete is not None:
            self.fs.deleteObject(p64(delete), self.fs.getTid(p64(delete)), t)
        self.fs.tpc_vote(t)
        self.fs.tpc_finish(t)
        self.tids.append(tid)


def pickle(text):
    """A data record without references, so that pack can read it."""
    data = text.encode()
    return (b'\x80\x03cpersistent\nPersistent\nq\x00.\x80\x03B' + len(data).to_bytes(4, 'little')
            + data + b'.')


def fill(m):
    m.commit([(0, pickle('root'))], description='initial database creation')
    m.commit([(1, pickle('a' * 10)), (2, pickle('b' * 5000))], user=' bob', description='two')
    m.commit([(1, pickle('a2'))], user=' j\xfcrgen', description='\u20ac', note='extension')
    m.commit([(1, pickle('a3')), (0x123456789abc, pickle('far'))])
    m.commit([], description='empty')
    m.commit([(3, pickle('created, then undone'))])
    m.commit([], undo=5, description='undo creation')
    m.commit([], undo=3, description='undo to a2')
    m.commit([(4, pickle('large' * 15000))])
    m.commit([], undo=7, description='undo of undo')
    m.commit([(5, pickle('first')), (5, pickle('second'))])
    m.commit([], delete=2)
    m.commit([(1, pickle('a4'))])


def fill_more(m):
    """After a pack: 'p' transactions, and back-pointers across them."""
    m.commit([(1, pickle('a5'))])
    m.commit([], undo=len(m.tids) - 1)


def before(fs, oid, tid):
    try:
        answer = fs.loadBefore(oid, tid)
    except POSKeyError:
        return 'nokey'
    if answer is None:
        return 'none'
    data, serial, end = answer
    return f'{len(data)} {sum(data)} {serial.hex()} {(end or p64(0)).hex()}'


def questions(fs, tids):
    oids = [p64(i) for i in (0, 1, 2, 3, 4, 5, 6, 0x123456789abc)]
    moments = sorted({p64(int.from_bytes(t, 'big') + d) for t in tids for d in (0, 1)}) + [b'\xff' * 8]
    for oid in oids:
        for tid in moments:
            yield f'before {oid.hex()} {tid.hex()} {before(fs, oid, tid)}'
        for tid in tids:
            try:
                data = fs.loadSerial(oid, tid)
                yield f'serial {oid.hex()} {tid.hex()} {len(data)} {sum(data)}'
            except POSKeyError:
                yield f'serial {oid.hex()} {tid.hex()} nokey'
        try:
            yield f'tid {oid.hex()} {fs.getTid(oid).hex()}'
        except POSKeyError:
            yield f'tid {oid.hex()} nokey'
        try:
            for n, h in enumerate(fs.history(oid, size=100)):
                yield (f'history {oid.hex()} {n} {h["tid"].hex()} {h["size"]} '
                       f'{h["user_name"].hex() or "-"} {h["description"].hex() or "-"}')
        except POSKeyError:
            yield f'history {oid.hex()} nokey'
    yield f'last {fs.lastTransaction().hex()}'
    yield f'info {len(fs)} {fs.getSize()}'
    for tid, changed in fs.lastInvalidations(1000):
        yield f'changed {tid.hex()} ' + ' '.join(sorted({o.hex() for o in changed}))


def make_data(tmp):
    m = Maker(tmp / 'python.fs')
    fill(m)
    m.fs.pack(TimeStamp(m.tids[2]).timeTime() + 1, referencesf, gc=False)
    fill_more(m)
    (here / 'python.fs.txt').write_text('\n'.join(questions(m.fs, m.tids)) + '\n')
    m.fs.close()
    for name in 'python.fs', 'python.fs.index':
        shutil.copy(tmp / name, here / name)


def make_index():
    index = fsIndex()
    for i in range(300):
        index[p64(i)] = i * 1000 + 4
    for i in range(50):
        index[p64(65536 + i * 7)] = 1 << 32 | i
    index[p64(1 << 40)] = (1 << 48) - 1
    index[p64((1 << 64) - 1)] = 5
    index.save(12345678901, str(here / 'index.bin'))


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        make_data(pathlib.Path(folder))
    make_index()
