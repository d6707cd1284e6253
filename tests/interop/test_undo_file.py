"""What undo, restore and deletion leave in the file, byte by byte as Python's FileStorage."""

import random

import pytest
from ZODB.FileStorage import FileStorage

from interop_files import fstest
from twins import Delete, Restore, Store, Twin, Undo, mapping, oids, serial_of
from wire import Z64, p64, u64

CONFIGURATION = ('<zeo>\n  address {address}\n</zeo>\n'
                 '<filestorage 1>\n  path {dir}/Data.fs\n</filestorage>\n')
# A tid of 2020; those of the tests follow it.
FIRST_TID = u64(bytes.fromhex('03d6800000000000'))
OIDS = oids(6)


@pytest.fixture
def files(server, storage, tmp_path):
    """files(): a twin whose tids are given; at the end the files are the same bytes."""
    twins = []

    def make():
        s = server(CONFIGURATION)
        fs = FileStorage(str(tmp_path / 'Python.fs'))
        t = Twin(storage(s), fs)
        t.server = s
        twins.append(t)
        return t

    yield make
    for t in twins:
        t.client.close()
        assert t.server.stop() == 0
        t.fs.close()
        assert (tmp_path / 'Data.fs').read_bytes() == (tmp_path / 'Python.fs').read_bytes()
        assert fstest(tmp_path / 'Data.fs') == []


def _operation(rng, fs, log, tid):
    kind = rng.random()
    oid = rng.choice(OIDS)
    if kind < 0.4 or not log:
        return Store(oid, serial_of(fs, oid), mapping(rng.randrange(4)))
    if kind < 0.8:
        return Undo(rng.choice(log[-8:]))
    if kind < 0.85:
        return Delete(oid, serial_of(fs, oid))
    hint = rng.choice((None, *log[-8:]))
    return Restore(oid, tid, rng.choice((mapping(rng.randrange(4)), None if not hint else
                                         mapping(1))), hint)


@pytest.mark.parametrize('round', range(3))
def test_any_sequence(files, round):
    """Stores, undos, undos of undos, restores and deletions, several in a transaction, in any order: each
    transaction ends as in Python, and the file is the same, whatever failed."""
    seed = random.randrange(1 << 32)
    print('seed', seed)
    rng = random.Random(seed)
    t = files()
    tid = FIRST_TID
    log = []
    failed = 0
    for _ in range(250):
        tid += rng.randrange(1, 1 << 32)
        ops = [_operation(rng, t.fs, log, p64(tid))
               for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 5)))]
        result = t.commit(*ops, tid=p64(tid), user='u' * rng.randrange(3),
                          status=rng.choice('    ' * 8 + 'p'))
        if isinstance(result, bytes):
            log.append(result)
        failed += not isinstance(result, bytes)
    assert 20 < failed < 200


EXTENSIONS = [
    {'path': '/a', 'n': 1, 'l': [1], 'd': {'x': b'b', 'y': (1, 2)}, 'e': '', 't': (1, 2, 3, 4)},
    {'l': [1, 2], 'big': 1 << 70, 'f': 1.5, 'neg': -5, 'int': 1 << 31, 'none': None, 'yes': True,
     'no': False, 'et': (), 'el': [], 'ed': {}, 'long': 'x' * 300, 'b': b'y' * 300, 'l3': [[1], []]},
    {'a': 'a', 'b': 'b', 'c': ['\xe9', '\xe9', '\xff', '', ''], 'u': '\u20ac\u20ac'},
    {'bytes': [b'', b'', b'a', b'a', b'\xff', b'\xff', b'ab']},
    {'thousand': list(range(1000)), 'more': list(range(1001)), 'many': list(range(2500))},
    {'dict': {f'key{n}': n for n in range(1001)}, 'memo': [str(n) * 2 for n in range(100, 400)]},
]


@pytest.mark.parametrize('extension', EXTENSIONS, ids=range(len(EXTENSIONS)))
def test_extensions(files, extension):
    """A client's extension is pickled as Python's server would."""
    t = files()
    t.commit(Store(OIDS[0], Z64, mapping(1)), extension=extension, tid=p64(FIRST_TID))
    assert t.client.undoLog() == t.fs.undoLog()
