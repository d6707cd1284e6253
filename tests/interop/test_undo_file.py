"""What undo, restore and deletion leave in the file, byte by byte as Python's FileStorage."""

import random

import pytest
from ZODB.FileStorage import FileStorage

from interop_files import fstest
from twins import Delete, Restore, Store, Twin, Undo, mapping, oids, serial_of, undo_id
from wire import Wire, WireError, Z64, p64, u64

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


# --- what is sent ---

def _plain(x):
    """Comparable: exceptions are their class and state."""
    if isinstance(x, Exception):
        return type(x), _plain(x.__dict__), _plain(x.args)
    if isinstance(x, (list, tuple)):
        return type(x), [_plain(i) for i in x]
    if isinstance(x, dict):
        return [(k, _plain(v)) for k, v in x.items()]
    return x


def _answer(w, name, *args):
    try:
        return _plain(w.call(name, *args))
    except WireError as e:
        return e.name, _plain(e.data)


def _vote(w, n, *calls, finish=False):
    """What the vote of a transaction answers; its tid is the n-th."""
    w.call('tpc_begin', n, '', '', {}, p64(FIRST_TID + n), ' ')
    w.send_async(*[(*call, n) for call in calls])
    answer = _answer(w, 'vote', n)
    assert w.call('tpc_finish' if finish else 'tpc_abort', n) == (
        p64(FIRST_TID + n) if finish else None)
    return answer


def _say_everything(w):
    a, b, c = OIDS[:3]
    tids = [p64(FIRST_TID + n) for n in range(20)]
    ids = [undo_id(tid) for tid in tids]
    for n in 1, 2, 3:
        serial = tids[n - 1] if n > 1 else Z64
        yield _vote(w, n, ('storea', a, serial, mapping(n)), ('storea', b, serial, mapping(n)),
                    finish=True)
    yield _vote(w, 4, ('undoa', ids[1]))
    yield _vote(w, 4, ('undoa', ids[2]))
    yield _vote(w, 4, ('undoa', ids[7]))
    yield _vote(w, 4, ('storea', c, Z64, mapping(0)), ('undoa', ids[2]), ('undoa', ids[1]))
    yield _vote(w, 4, ('undoa', ids[3]), ('undoa', ids[2]), finish=True)
    yield _vote(w, 5, ('deleteObject', a, tids[3]))
    yield _vote(w, 5, ('deleteObject', c, Z64))
    yield _vote(w, 5, ('deleteObject', a, tids[4]), finish=True)
    yield _vote(w, 6, ('restorea', a, tids[6], mapping(1), tids[1]), finish=True)
    yield _vote(w, 7, ('restorea', a, tids[7], mapping(1), tids[0]))
    yield _vote(w, 7, ('restorea', a, tids[7], None, None), finish=True)
    yield _answer(w, 'undoLog', 0, 20)
    yield _answer(w, 'undoInfo', 1, -2, {'user_name': b''})
    yield _answer(w, 'undoInfo', 0, 10, {'user_name': b'nobody'})


@pytest.mark.parametrize('encoding', 'ZM')
def test_answers(server, python_server, tmp_path, encoding):
    """Votes and logs say what Python's server says, in both encodings."""
    said = []
    for n, make in enumerate((server, python_server)):
        s = make(CONFIGURATION.replace('{address}', '{address}\n  msgpack %s' % (
            'true' if encoding == 'M' else 'false')).replace('Data.fs', f'{n}.fs'))
        with Wire(s.address, encoding) as w:
            said.append(list(_say_everything(w)))
        s.kill()
    for ours, theirs in zip(*said):
        assert ours == theirs
    assert len(said[0]) == len(said[1]) == 17
