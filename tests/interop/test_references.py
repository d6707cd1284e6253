"""The references of a record: random object graphs, against ZODB.serialize.referencesf (T53)."""

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import types
import zlib

import pytest
import zodbpickle
import zodbpickle.pickle
from ZODB.serialize import referencesf

SEED = int(os.environ.get('ZKZEO_TEST_SEED', random.randrange(1 << 32)))

module = types.ModuleType('zkzeo_test_references')
module.__file__ = __file__
sys.modules[module.__name__] = module


def make_class(name, **attributes):
    c = type(name, (object,), dict(attributes, __module__=module.__name__))
    setattr(module, name, c)
    return c


Plain = make_class('Plain')
Slots = make_class(
    'Slots', __slots__=('a', 'b'), __getstate__=lambda self: (None, {'a': self.a, 'b': self.b}))
NewArgs = make_class('NewArgs', __new__=lambda cls, *args: object.__new__(cls),
                     __getnewargs__=lambda self: (1, 'two'))


class Tool:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, record):
        """A list of oids, or the error's text."""
        self.process.stdin.write(struct.pack('>I', len(record)) + record)
        self.process.stdin.flush()
        length, = struct.unpack('>I', self.process.stdout.read(4))
        answer = self.process.stdout.read(length)
        if answer[:1] == b'-':
            return answer[1:].decode()
        return [answer[i:i + 8] for i in range(1, length, 8)]


@pytest.fixture(scope='module')
def references(build):
    t = Tool(build / 'tests' / 'tools' / 'references')
    yield t
    t.process.stdin.close()
    assert t.process.wait() == 0


class Ref:
    """Pickled as a persistent id."""

    def __init__(self, pid):
        self.pid = pid


def persistent_id(o):
    return o.pid if type(o) is Ref else None


def random_oid(r):
    return r.choice([
        struct.pack('>Q', r.randrange(1 << r.randrange(1, 65))),
        struct.pack('>Q', r.randrange(100)),
        b'abcdefgh'])


def random_pid(r, protocol):
    oid = random_oid(r)
    strong = zodbpickle.binary(oid) if r.randrange(3) else oid
    if protocol < 3:  # which have no bytes
        strong = bytes(c & 0x7f for c in oid).decode('ascii')
    elif max(oid) < 0x80 and r.randrange(2):
        strong = oid.decode('ascii')
    return r.choice([
        lambda: (strong, Plain), lambda: (strong, NewArgs), lambda: (strong, (Plain, (1,))),
        lambda: strong,
        lambda: ['w', (strong,)], lambda: ['w', (strong, 'db')], lambda: [strong],
        lambda: ['m', ('db', strong, Plain)], lambda: ['n', ('db', strong)]])()


def random_value(r, pids, pool, depth):
    kind = r.randrange(22 if depth else 12)
    if kind < 3:
        return Ref(r.choice(pids))
    if kind == 3 and pool:
        return r.choice(pool)
    if kind < 12:
        return r.choice([
            None, True, False, 0, -1, 255, 65536, 1 << 40, -(1 << 2100), 1.5, '', 'x' * 8, 'ä' * 4,
            'text\n\'"\\u', 'x' * 300, b'', b'12345678', b'\xff' * 8, b'b' * 300, Plain,
            zodbpickle.binary(b'87654321'), struct.pack('>Q', 1), 'line\\u0041\x00\r\n'])
    def more():
        return random_value(r, pids, pool, depth - 1)
    n = r.choice([0, 1, 2, 3, 4, 9, 1100 if depth == 1 else 5])
    if kind < 14:
        v = tuple(more() for _ in range(n))
    elif kind < 16:
        v = [more() for _ in range(n)]
        if not r.randrange(8):
            v.append(v)
    elif kind < 18:
        v = {r.choice([i, str(i), b'%d' % i, (i, 'k')]): more() for i in range(n)}
    elif kind == 18:
        v = r.choice([set, frozenset])(r.choice([i, str(i), 'abcdefgh']) for i in range(n))
    else:
        v = r.choice([Plain, NewArgs, Slots])()
        v.a = more()
        v.b = more()
    pool.append(v)
    return v


def dump(value, protocol, pickler):
    out = io.BytesIO()
    p = pickler(out, protocol)
    p.persistent_id = persistent_id
    p.dump((Plain, (1, 'args')))
    p.dump(value)
    return out.getvalue()


class PythonPickler(pickle._Pickler):
    """The one in Python, also of protocols 4 and 5."""

    def persistent_id(self, o):
        return None

    dispatch = pickle._Pickler.dispatch.copy()

    def save_binary(self, o):
        self.save_bytes(bytes(o))

    dispatch[zodbpickle.binary] = save_binary


def expected(record):
    try:
        return referencesf(record)
    except Exception as e:
        return e


@pytest.mark.parametrize('protocol', range(4))
def test_as_referencesf(references, protocol):
    r = random.Random(SEED + protocol)
    found = 0
    print('seed', SEED)
    for _ in range(400):
        # ids that stand on one line are all that protocol 0 can write
        pids = ([random_pid(r, protocol) for _ in range(8)] if protocol else
                ['abcdefgh', '12345678', '        '])
        record = dump(random_value(r, pids, [], r.randrange(5)), protocol, zodbpickle.pickle.Pickler)
        want = referencesf(record)
        assert references(record) == want
        squeezed = b'.z' + zlib.compress(record)
        assert references(squeezed) == want
        found += len(want)
    assert found > 500


@pytest.mark.parametrize('protocol', (4, 5))
def test_new_protocols(references, protocol):
    """ZODB's unpickler does not know them: Python's own one says which ids there are."""
    r = random.Random(SEED + protocol)
    found = 0
    print('seed', SEED)
    for _ in range(300):
        pids = [random_pid(r, protocol) for _ in range(8)]
        record = dump(random_value(r, pids, [], r.randrange(5)), protocol, PythonPickler)
        ids = []
        u = pickle._Unpickler(io.BytesIO(record))
        u.persistent_load = ids.append
        u.load()
        u.load()
        want = []
        for p in ids:
            oid = p[0] if isinstance(p, tuple) else p
            if not isinstance(p, list):
                want.append(oid.encode('ascii') if isinstance(oid, str) else bytes(oid))
        assert references(record) == want
        found += len(want)
    assert found > 300


HEAD = b'\x80\x02N.'


@pytest.mark.filterwarnings('ignore:invalid escape')
@pytest.mark.parametrize('state', [
    b"S'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x7f'\nQ.",
    b'S"\\000\\0\\n\\ta\\\\\\\'b"\nQ.',
    b"S'abcdef\\q'\nQ.",
    b'V\\u0000\\u0000abcdef\nQ.',
    b'V\\U00000061bcdefgh\nQ.',
    b'P12345678\n.',
    b'(P12345678\nPabcdefgh\nt.',
    b'T\x08\0\0\0\0\0\0\0\0\0\0\x01Q.',
    b'(U\x08\0\0\0\0\0\0\0\x01NtQ.',
    b'U\x08\0\0\0\0\0\0\0\x012Q0Q.',
    b'U\x08\0\0\0\0\0\0\0\x01p300\n0g300\nQ.',
    b'U\x08\0\0\0\0\0\0\0\x01r\x00\x01\x00\x000j\x00\x01\x00\x00Q.',
    b'](U\x01w(U\x08\0\0\0\0\0\0\0\x01teQ.',
    b'(U\x08\0\0\0\0\0\0\0\x01lQ.',
    b'(c__builtin__\nobject\nU\x08\0\0\0\0\0\0\0\x01Qo.',
    b'(U\x08\0\0\0\0\0\0\0\x01Qi__builtin__\nobject\n.',
    b'(U\x08\0\0\0\0\0\0\0\x01Q(1U\x08\0\0\0\0\0\0\0\x02Qt.',
    b'N\x82\x01\x83\x01\x01\x84\x01\x01\x01\x01\x87.garbage behind it',
    b'.', b'', b'Q.', b'K\x01Q.', b')Q.', b'N', b'U\x08abc', b'h\x05Q.', b't.', b'\xff.',
    b'((U\x08\0\0\0\0\0\0\0\x01ttQ.', b'Sabc\nQ.', b"S'abc\nQ.", b"S'\\x0'\nQ.", b'V\\u00\nQ.'])
def test_by_hand(references, state):
    want = expected(HEAD + state)
    got = references(HEAD + state)
    if isinstance(want, Exception):
        assert isinstance(got, str)
    else:
        assert got == want


def test_first_pickle_counts(references):
    """The arguments of a class, and the memo that both pickles share."""
    record = b'\x80\x02(U\x08\0\0\0\0\0\0\0\x01q\x05Qt.\x80\x02h\x05Q.'
    assert references(record) == expected(record) == [b'\0\0\0\0\0\0\0\x01'] * 2


def test_python_2_bytes(references):
    """What Python 2 wrote where an oid has bytes above 127, which ZODB cannot read any more."""
    record = HEAD + b'(U\x08\0\0\0\0\0\0\0\xffNtQ.'
    assert isinstance(expected(record), UnicodeDecodeError)
    assert references(record) == [b'\0\0\0\0\0\0\0\xff']


def test_wrong_length(references):
    assert 'names no object' in references(HEAD + b'U\x07\0\0\0\0\0\0\x01Q.')
