"""The codecs against Python's: what Python writes is read, what we write Python reads the same."""

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import types

import msgpack
import pytest
import zodbpickle
import zodbpickle.pickle
from persistent.mapping import PersistentMapping
from ZODB.utils import get_pickle_metadata

SEED = int(os.environ.get('ZKZEO_TEST_SEED', random.randrange(1 << 32)))


class Refused(Exception):
    pass


class Tool:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, data, source='Z', target='Z'):
        self.process.stdin.write(
            struct.pack('>I', len(data)) + (source + target).encode() + data)
        self.process.stdin.flush()
        length, = struct.unpack('>I', self.process.stdout.read(4))
        answer = self.process.stdout.read(length)
        if answer[:1] == b'-':
            raise Refused(answer[1:].decode())
        return answer[1:]


@pytest.fixture(scope='module')
def tool(build):
    t = Tool(build / 'tests' / 'tools' / 'pickle_roundtrip')
    yield t
    t.process.stdin.close()
    assert t.process.wait() == 0


def zload(data):
    """As ZODB loads."""
    return zodbpickle.pickle.loads(data, encoding='ASCII', errors='bytes')


def same(a, b):
    """Equal and of the same types; bytearray and binary count as bytes, frozenset as set."""
    if isinstance(a, bytearray):
        a = bytes(a)
    if isinstance(a, (bytes, float)):
        return type(a) is type(b) and (a == b or a != a and b != b)
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and len(a) == len(b) and all(
            same(k, l) and same(v, w) for (k, v), (l, w) in zip(a.items(), b.items()))
    if isinstance(a, (set, frozenset)):
        return isinstance(b, set) and a == b
    return type(a) is type(b) and a == b


def random_text(r):
    alphabet = r.choice(['abc', 'a\n\\\'"u\0\x7f', 'aäß\xff', '€漢', '😀\U0010ffff', 'a\\u0041ü€'])
    return ''.join(r.choices(alphabet, k=r.choice([0, 1, 5, 40, 300])))


def random_int(r):
    v = r.choice([0, 1, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**63 - 1,
                  2**63, 2**64, 2**100, 2**2040, r.randrange(1 << r.randrange(1, 80))])
    return r.choice([v, -v, -v - 1])


def random_scalar(r):
    kind = r.randrange(6)
    if kind == 0:
        return r.choice([None, True, False])
    if kind == 1:
        return random_int(r)
    if kind == 2:
        return r.choice([0.0, -0.0, 1.5, -1e300, float('inf'), r.random()])
    if kind == 3:
        return r.randbytes(r.choice([0, 1, 8, 255, 256, 70000] if r.random() < .1 else [0, 8, 20]))
    return random_text(r)


def random_value(r, depth=4):
    """One value; now and then one of its parts stands in it twice, which pickles write by memo."""
    kind = r.randrange(8) if depth else 0
    if kind < 3:
        return random_scalar(r)
    parts = [random_value(r, depth - 1) for _ in range(r.choice([0, 1, 2, 3, 4, 7, 20]))]
    if parts and r.random() < .3:
        parts.append(parts[0])
    if kind < 5:
        return tuple(parts)
    if kind == 5:
        return parts
    if kind == 6:
        return {random_scalar(r): p for p in parts}
    return r.choice([set, frozenset])(random_scalar(r) for _ in parts)


def plain(value):
    """What msgpack can hold."""
    if isinstance(value, (tuple, list, set, frozenset)):
        return tuple(map(plain, value))
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if type(value) is int and not -2**63 <= value < 2**64:
        return float(value % 1000)
    return value


def fast_pickle(value):
    """As ZEO's client pickles a message."""
    f = io.BytesIO()
    p = zodbpickle.pickle.Pickler(f, 3)
    p.fast = 1
    p.dump(value)
    return f.getvalue()


@pytest.mark.parametrize('write', [
    *(lambda v, p=p: pickle.dumps(v, p) for p in range(6)),
    *(lambda v, p=p: zodbpickle.pickle.dumps(v, p) for p in range(4)),
    fast_pickle,
])
def test_random_pickles(tool, write):
    print('ZKZEO_TEST_SEED', SEED)
    r = random.Random(SEED)
    for _ in range(300):
        value = random_value(r)
        assert same(value, zload(tool(write(value))))


def test_random_msgpack(tool):
    print('ZKZEO_TEST_SEED', SEED)
    r = random.Random(SEED)
    for _ in range(500):
        value = plain(random_value(r))
        packed = msgpack.packb(value, use_bin_type=True)
        assert tool(packed, 'M', 'M') == packed
        assert same(value, zload(tool(packed, 'M', 'Z')))
        back = tool(zodbpickle.pickle.dumps(value, 3), 'Z', 'M')
        assert same(value, msgpack.unpackb(back, raw=False, use_list=False))


class Plain:
    pass


class KeywordArguments:
    def __new__(cls, *, k):
        new = super().__new__(cls)
        new.k = k
        return new

    def __getnewargs_ex__(self):
        return (), {'k': self.k}


def test_objects_kept(tool):
    """Objects of any class survive where globals are kept."""
    plain = Plain()
    plain.x = [KeywordArguments(k=5)]
    for protocol in 3, 4, 5:
        back = pickle.loads(tool(pickle.dumps(plain, protocol), 'K', 'Z'))
        assert type(back) is Plain and type(back.x[0]) is KeywordArguments and back.x[0].k == 5


@pytest.mark.parametrize('data', [
    b"S'a\\x41\\n\\101\\'\\q'\n.", b'S"\\\\x41"\n.', b"U\x03abc.", b"U\x03a\xffc.", b"T\3\0\0\0abc.",
    b'V\\u20ac\\\\u0041\\U0001f600\xe4\\x\n.', b'I01\n.', b'I-7\n.', b'I99999999999999999999\n.',
    b'L-123456789012345678901234567890L\n.', b'L0L\n.', b'L-1L\n.', b'F1e5\n.', b'Fnan\n.', b'F-inf\n.',
    b'\x8a\x00.', b'\x8a\x02\xff\x00.', b'\x8a\x03\xff\xff\xff.', b'\x8b\x01\0\0\0\x80.',
    b'(K\x01K\x02K\x03l.', b'(K\x01K\x02d.', b'}(K\x01K\x02u.',
    b'(N1K\x05.', b'K\x01K\x020.', b'(0K\x07\x85.', b'K\x012\x86.',
    b'czodbpickle\nbinary\n(C\x02\x00\xfft\x81.', b'c__builtin__\nbytearray\n(V\xe4\nU\x07latin-1tR.',
    b'c_codecs\nencode\n(V\xe4b\nVlatin1\ntR.', b'c__builtin__\nset\n(lp0\n\x85R.',
    b'\x80\x04\x8f(K\x01K\x02\x90.', b'\x80\x04(K\x01K\x02\x91.', b'\x80\x05\x96\x02\0\0\0\0\0\0\0ab.',
    b'c__builtin__\nbytes\n)R.', b'\x80\x04\x8c\x08builtins\x8c\x03set\x93]K\x01a\x85R.',
    b']\x940]h\x00\x86.', b'I5\n2p7\n0g7\n\x94h\x01\x87.', b'}K\x01K\x02sK\x01K\x03s.',
])
def test_written_by_hand(tool, data):
    def load(data):
        try:
            return zload(data)
        except Exception:
            return pickle.loads(data)  # protocols 4 and 5

    assert same(load(data), load(tool(data)))


@pytest.mark.parametrize('data', [
    b'', b'.', b'N', b'(.', b'N.N', b'\x80\x06N.', b'\xffN.', b'cos\nsystem\n(Vtrue\ntR.', b'cos\nsystem\n.',
    b'c__builtin__\neval\n(V1\ntR.', b'(Vtrue\nios\nsystem\n.', b'h\x00.', b'K\x01K\x02a.', b']K\x01s.',
    b'}](]K\x01u.', b'}]K\x01s.', b'\x8f(]\x90.', b'}(K\x01u.', b']q\x00h\x00a.', b'}q\x00K\x01h\x00s.', b'Nb.',
    b'c__builtin__\nset\n.', b'c__builtin__\nobject\n)R.', b'X\x03\0\0\0\xed\xa0\x80.', b'X\x01\0\0\0\xff.',
    b'\x8b\xff\xff\xff\xff.', b'T\xff\xff\xff\xff.', b'\x82\x01.', b'K\x01Q.', b'P1\n.', b'\x97.', b'Ix\n.',
    b'Lx\n.', b'Fx\n.', b"S'abc\n.", b"S'\\xg0'\n.", b'V\\u00g0\n.', b'gx\n.', b'NNR.', b'N)R.', b'(o.',
    b'c__builtin__\nbytearray\nK\x05\x85R.', b'\x95\xff\0\0\0\0\0\0\0N.', b'r', b'Nr\xff\xff\xff\xff.',
])
def test_refused(tool, data):
    with pytest.raises(Refused, match='byte'):
        tool(data)


def test_prefix(tool, monkeypatch):
    """The one object of messages: undo logs are asked for with it."""
    class Prefix:
        pass

    Prefix.__module__, Prefix.__qualname__ = 'ZopeUndo.Prefix', 'Prefix'
    module = types.ModuleType('ZopeUndo.Prefix')
    module.Prefix = Prefix
    monkeypatch.setitem(sys.modules, 'ZopeUndo', types.ModuleType('ZopeUndo'))
    monkeypatch.setitem(sys.modules, 'ZopeUndo.Prefix', module)
    prefix = Prefix()
    prefix.value = '/a/b'
    for protocol in range(6):
        data = tool(pickle.dumps({'user_name': prefix}, protocol))
        assert b'reconstructor' not in data
        back = pickle.loads(data)['user_name']
        assert type(back) is Prefix and back.value == '/a/b'


def records():
    yield pickle.dumps(PersistentMapping, 3) + pickle.dumps({}, 3)
    for protocol in range(4):
        yield zodbpickle.pickle.dumps(PersistentMapping, protocol) + b'}.'
        yield zodbpickle.pickle.dumps((PersistentMapping, ()), protocol) + b'}.'
        yield zodbpickle.pickle.dumps((('a.b', 'Ü'), None), protocol) + b'}.'
        yield zodbpickle.pickle.dumps(('a.b', 'C'), protocol) + b'}.'
    yield b'(cmod\nName\nq\x01Nt.}.'
    yield b'cmod\nName\nbroken'


@pytest.mark.parametrize('record', list(records()))
def test_class_name(tool, record):
    assert tool(record, 'K', 'C').decode() == '.'.join(get_pickle_metadata(record))


def test_class_name_where_python_imports(tool):
    """Protocols 4 and 5 do not begin with GLOBAL; ZODB shows the class itself, we its name."""
    for protocol in 4, 5:
        assert tool(pickle.dumps(PersistentMapping, protocol), 'K', 'C') == (
            b'persistent.mapping.PersistentMapping')
