"""What comes over the wire, byte by byte, from clients that are no stock clients."""

import json
import os
import pickle
import resource
import signal
import socket
import struct
import threading
import time

import pytest

from freezing import freeze
from wire import (MAX_TID, Z64, Closed, Wire, WireError, connect, frame, is_sanitized, logged_start, n_sockets,
                  p64, resident_kib, wait_until)

MAPPING = '<zeo>\n  address {address}\n</zeo>\n<mappingstorage 1>\n</mappingstorage>\n'
FILE = ('<zeo>\n  address {address}\n</zeo>\n'
        '<filestorage 1>\n  path {dir}/Data.fs\n</filestorage>\n')
EARLY_MAX = 64 << 10
FRAME_MAX = 256 << 20


@pytest.fixture
def mapping(server):
    return server(MAPPING)


@pytest.fixture
def wires():
    """wires(server, ...): connections that are closed at the end."""
    opened = []

    def make(server, **kw):
        opened.append(Wire(server.address, **kw))
        return opened[-1]
    yield make
    for w in opened:
        w.close()


def quiet(server):
    """How many sockets a server without connections has: the one that listens."""
    return wait_until('nobody is connected', lambda: n_sockets(server.pid) == 1)


def memory_limit_kib(programs, kib):
    return kib * 20 if is_sanitized(programs / 'zkrunzeo') else kib


def complaint(server, text):
    """Wait for a line of the log."""
    return wait_until(f'{text!r} in the log', lambda: text in server.text())


# --- handshake ---

@pytest.mark.parametrize('said', [
    b'', b'Z', b'Z4', b'Z50', b'M4', b'z5', b'5', b'GET / HTTP/1.1', b'\x80\x03N.', bytes(1000)])
def test_bad_handshake(mapping, wires, said):
    good = wires(mapping)
    w = wires(mapping, handshake=False)
    assert w.greeting == b'Z5'
    w.send_raw(frame(said))
    assert w.closed()
    complaint(mapping, 'bad handshake')
    assert good.call('ping') is None


def test_handshake_that_is_no_frame(mapping, wires):
    """Its first four bytes are a length that nobody may have here."""
    w = wires(mapping, handshake=False)
    w.send_raw(b'GET / HTTP/1.1\r\n\r\n')
    assert w.closed()
    complaint(mapping, 'closing the connection')


def test_msgpack_announced(server, wires):
    s = server(MAPPING.replace('{address}', '{address}\n  msgpack true'))
    assert wires(s, encoding='M').greeting == b'M5'
    # the client decides
    assert wires(s, encoding='Z').call('lastTransaction') == Z64


def test_ruok(mapping, wires):
    """T60: keys and values of ZEO's."""
    wires(mapping)
    w = wires(mapping, handshake=False)
    w.send_raw(frame(b'ruok'))
    status = json.loads(w.read_frame())
    assert w.closed()
    assert list(status) == ['1']
    start = status['1'].pop('start')
    assert abs(time.mktime(time.strptime(start)) - time.time()) < 60
    assert status['1'] == {
        'connections': 1, 'loads': 0, 'stores': 0, 'commits': 0, 'aborts': 0, 'active_txns': 0,
        'lock_time': None, 'conflicts': 0, 'conflicts_resolved': 0, 'waiting': 0,
        'timeout-thread-is-alive': 'stub', 'last-transaction': '0' * 16}


def test_connect_and_leave(mapping, wires):
    """T40: a health check leaves no line in the log."""
    before = logged_start(mapping)
    quiet(mapping)
    for how in (b'', b'\x00', frame(b'Z5'), frame(b'M5') + b'\x00\x00'):
        for hard in False, True:
            w = Wire(mapping.address, handshake=False)
            w.send_raw(how)
            w.abort_hard() if hard else w.close()
            connect(mapping.address).close()
    quiet(mapping)
    with Wire(mapping.address, handshake=False) as w:
        w.send_raw(frame(b'ruok'))
        assert w.closed()
    wires(mapping).call('ping')
    lines = mapping.text()[len(before):].splitlines()
    assert len([line for line in lines if 'connected to storage' in line]) == 1
    assert [line for line in lines if line.strip('-') and 'connected to storage' not in line] == []


# --- frames ---

@pytest.mark.parametrize('handshake', [False, True])
def test_oversized_before_register(mapping, wires, handshake):
    w = wires(mapping, handshake=handshake, register=False)
    w.send_raw(struct.pack('>I', EARLY_MAX + 1))
    assert w.closed()
    complaint(mapping, f'a message of {EARLY_MAX + 1} bytes: at most {EARLY_MAX} are allowed')


def test_largest_message_before_register(mapping, wires):
    w = wires(mapping, register=False)
    rest = EARLY_MAX - len(w.message(1, 'register', ('', False))) + 4
    # a longer text has a longer header in a pickle
    name = next('x' * n for n in range(rest, rest - 16, -1)
                if len(w.message(1, 'register', ('x' * n, False))) <= EARLY_MAX + 4)
    assert EARLY_MAX - 16 < len(w.message(1, 'register', (name, False)))
    with pytest.raises(WireError) as e:
        w.call('register', name, False)
    assert e.value.name == 'builtins.ValueError'
    assert w.call('register', '1', False) == Z64  # it may try again


def test_oversized_after_register(mapping, wires):
    good = wires(mapping)
    w = wires(mapping)
    w.send_raw(struct.pack('>I', FRAME_MAX + 1) + b'x' * 100)
    assert w.closed()
    complaint(mapping, f'a message of {FRAME_MAX + 1} bytes')
    w = wires(mapping)
    w.send_raw(b'\xff' * 4)
    assert w.closed()
    assert good.call('ping') is None


def test_a_length_reserves_nothing(programs, mapping, wires):
    before = resident_kib(mapping.pid)
    opened = [wires(mapping) for _ in range(20)]
    for w in opened:
        w.send_raw(struct.pack('>I', FRAME_MAX) + b'x' * 1000)
    for w in opened:  # read already: a later connection of each worker was served
        assert wires(mapping).call('ping') is None
    assert resident_kib(mapping.pid) - before < memory_limit_kib(programs, 64 << 10)


@pytest.mark.parametrize('encoding', 'ZM')
def test_byte_by_byte(mapping, wires, encoding):
    w = wires(mapping, handshake=False)
    w.encoding = encoding
    data = (frame(encoding.encode() + b'5') + w.message(1, 'register', ('1', False))
            + w.message(2, 'new_oids', (3,)) + w.message(3, 'lastTransaction', ()))
    for i in range(len(data)):
        w.send_raw(data[i:i + 1])
    assert w.reply(1) == Z64
    assert len(w.reply(2)) == 3
    assert w.reply(3) == Z64
    assert w.events == []


def test_everything_in_one_piece(mapping, wires):
    """A client that waits for nothing, not even for the greeting's answer."""
    w = wires(mapping, handshake=False)
    oid = p64(1)
    w.send_raw(
        frame(b'Z5') + w.message(1, 'register', ('1', False))
        + w.message(0, 'tpc_begin', (7, 'u', 'd', {}), 1)
        + w.message(0, 'storea', (oid, Z64, b'data', 7), 1)
        + w.message(2, 'vote', (7,)))
    assert w.reply(1) == Z64
    assert w.reply(2) in ((), [])
    w.send_raw(w.message(3, 'tpc_finish', (7,)) + w.message(4, 'ping', ()))
    tid = w.reply(3)
    assert w.call('loadBefore', oid, MAX_TID) == (b'data', tid, None)
    assert [id for id, _, name, _ in w.events if name == '.reply'] in ([], [4])


def test_everybody_in_one_turn(server, wires):
    """A server that was stopped finds requests of more clients than it reads from in one go, whole and in parts, beside
    some that have left, that make no sense, or that send a lot."""
    s = server(FILE.replace('</zeo>', '  worker-threads 1\n</zeo>'))
    first = wires(s)
    oids = [p64(i) for i in range(1, 200)]
    tid = first.commit([(oid, Z64, b'data of ' + oid) for oid in oids])
    clients = [wires(s, encoding='ZM'[i % 2]) for i in range(180)]
    large = b'x' * 300_000
    freeze(s.process)
    for i, w in enumerate(clients):
        load = w.message(1000, 'loadBefore', (oids[i], MAX_TID))
        if i % 9 == 3:
            w.send_raw(load + w.message(1001, 'ping', ()) + load[:-5])
        elif i % 9 == 5:
            w.send_raw(load)
            w.abort_hard()
        elif i % 9 == 7:
            w.send_raw(load + frame(b'nonsense') + load)
        elif i == 8:
            w.send_raw(w.message(0, 'tpc_begin', (1, '', '', {}), 1)
                       + w.message(0, 'storea', (p64(1000), Z64, large, 1), 1)
                       + w.message(1000, 'vote', (1,)))
        else:
            w.send_raw(load)
    s.process.send_signal(signal.SIGCONT)
    for i, w in enumerate(clients):
        if i % 9 == 5:
            continue
        if i == 8:
            assert not w.reply(1000)
            large_tid = w.call('tpc_finish', 1)
            continue
        if i % 9 == 7:
            assert w.closed()
            continue
        assert w.reply(1000) == (b'data of ' + oids[i], tid, None)
        if i % 9 == 3:
            assert w.reply(1001) is None
            w.send_raw(w.message(1000, 'loadBefore', (oids[i], MAX_TID))[-5:])
            assert w.reply(1000) == (b'data of ' + oids[i], tid, None)
    assert first.call('loadBefore', p64(1000), MAX_TID) == (large, large_tid, None)
    assert s.stop() == 0


def test_last_words_of_many(server, wires):
    """More clients than the kernel tells of at once have sent their tpc_finish and nothing more will come: all are committed."""
    n = 1300
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * n)), hard))
    s = server(MAPPING.replace('</zeo>', '  worker-threads 1\n</zeo>'))
    clients = [wires(s) for _ in range(n)]
    for i, w in enumerate(clients, 1):
        w.begin(i, [(p64(i), Z64, b'x')])
    for i, w in enumerate(clients, 1):
        w.call('vote', i)
    freeze(s.process)
    for i, w in enumerate(clients, 1):
        w.send('tpc_finish', i)
        w.socket.shutdown(socket.SHUT_WR)
    s.process.send_signal(signal.SIGCONT)
    for w in clients:
        assert w.closed()
    reader = wires(s)
    for i in range(1, n + 1):
        assert reader.call('loadBefore', p64(i), MAX_TID)[0] == b'x'


@pytest.mark.parametrize('encoding', 'ZM')
def test_a_thousand_requests_at_once(server, wires, encoding):
    s = server(FILE)
    w = wires(s, encoding=encoding)
    oids = [p64(i) for i in range(1000)]
    tid = w.commit([(oid, Z64, b'data of ' + oid) for oid in oids])
    w.send_raw(b''.join(w.message(i + 5000, 'loadBefore', (oid, MAX_TID))
                        for i, oid in enumerate(oids)))
    got = {}
    while len(got) < 1000:
        id, flag, name, args = w.receive()
        assert (flag, name) == (0, '.reply') and id not in got
        got[id] = tuple(args)
    assert got == {i + 5000: (b'data of ' + oid, tid, None) for i, oid in enumerate(oids)}


@pytest.mark.parametrize('encoding,ids', [
    ('Z', [0, 1, -2, 255, 65536, 2**31, 2**40, 2**63, 2**100, -2**70, 'name', 'n\xe4me', b'bytes',
           1.5, True, None, (), (b'\0' * 8, MAX_TID), ((1, ('a', b'b')), None), [1, 'x']]),
    ('M', [0, 1, -2, 255, 65536, 2**31, 2**40, 2**64 - 1, -2**63, 'name', 'n\xe4me', b'bytes', 1.5,
           True, None, (), (b'\0' * 8, MAX_TID), ((1, ('a', b'b')), None)])])
def test_ids_are_echoed(mapping, wires, encoding, ids):
    """T63"""
    w = wires(mapping, encoding=encoding)
    for id in ids:
        w.send_raw(w.message(id, 'lastTransaction', ()))
        got, flag, name, args = w.receive()
        assert (flag, name, args) == (0, '.reply', Z64)
        assert got == id and type(got) is type(id)


@pytest.mark.parametrize('encoding', 'ZM')
def test_heartbeats(mapping, wires, encoding):
    w = wires(mapping, encoding=encoding)
    for message in ((-1, 0, '.reply', None), (-1, 1, 'nothing', ()), (-1, 0, 'ping', ())):
        w.send_raw(frame(w.encode(message)) * 3)
    assert w.call('ping') is None
    assert w.events == []


# --- requests ---

@pytest.mark.parametrize('encoding', 'ZM')
@pytest.mark.parametrize('name', ['nothing', '', '_vote', 'vote\0', '__class__', 'x' * 10000])
def test_unknown_method(mapping, wires, encoding, name):
    good = wires(mapping)
    w = wires(mapping, encoding=encoding)
    w.send(name)
    assert w.closed()
    complaint(mapping, 'invalid method')
    assert good.call('ping') is None


@pytest.mark.parametrize('name', ['ping', 'lastTransaction', 'get_info', 'vote', 'nothing'])
def test_calls_before_register(mapping, wires, name):
    w = wires(mapping, register=False)
    w.send(name, *((1,) if name == 'vote' else ()))
    assert w.closed()
    complaint(mapping, 'the first call must be register')


def test_register_twice(mapping, wires):
    w = wires(mapping)
    with pytest.raises(WireError) as e:
        w.call('register', '1', False)
    assert (e.value.name, e.value.data) == ('builtins.ValueError', ('duplicate register() call',))
    assert w.call('ping') is None


def test_register_unknown_storage(mapping, wires):
    w = wires(mapping, register=False)
    with pytest.raises(WireError) as e:
        w.call('register', 'other', False)
    assert (e.value.name, e.value.data) == ('builtins.ValueError', ('unknown storage: other',))


NOT_OFFERED = {
    'storeBlobStart': (), 'storeBlobChunk': (b'',), 'storeBlobEnd': (Z64, Z64, b'', 1),
    'storeBlobShared': (Z64, Z64, b'', 'x', 1), 'sendBlob': (Z64, Z64),
    'record_iternext': (None,),
}


@pytest.mark.parametrize('name', NOT_OFFERED)
def test_what_a_storage_does_not_offer(mapping, wires, name):
    w = wires(mapping)
    with pytest.raises(WireError) as e:
        w.call(name, *NOT_OFFERED[name])
    assert e.value.name == 'ZODB.POSException.Unsupported'
    assert name in e.value.data[0]
    assert w.call('ping') is None
    # without a reply there is no other way to say it
    w.send_async((name, *NOT_OFFERED[name]))
    assert w.closed()


def test_every_method_of_zeo_is_known(mapping, wires):
    from ZEO.StorageServer import registered_methods
    for name in sorted(registered_methods):
        w = wires(mapping)
        try:
            w.call(name, *range(9))  # too many arguments for any
        except WireError as e:
            assert e.name == 'builtins.TypeError', (name, e)
        assert w.call('ping') is None


# --- hostile messages ---

BAD_MESSAGES = {
    'nothing': b'', 'no stop': b'\x80\x03N', 'only a stop': b'.', 'no tuple': b'\x80\x03K\x01.',
    'three': pickle.dumps((1, 0, 'ping'), 3), 'five': pickle.dumps((1, 0, 'ping', (), 5), 3),
    'name is a number': pickle.dumps((1, 0, 5, ()), 3),
    'arguments are a number': pickle.dumps((1, 0, 'ping', 5), 3),
    'nested': b'\x80\x03' + b'(' * 100000 + b't' * 100000 + b'.',
    'deep': b'\x80\x03' + b'N' + b'\x85' * 100000 + b'.',
    'memo far away': b'\x80\x03Nr\xff\xff\xff\xff.',
    'no such memo': b'\x80\x03h\x05.',
    'pops too much': b'\x80\x03000.',
    'huge text': b'\x80\x04\x8d' + b'\xff' * 7 + b'\x7f' + b'x.',
    'huge long': b'\x80\x03\x8b\xff\xff\xff\x7f.',
    'negative long': b'\x80\x03\x8b\xff\xff\xff\xff.',
    'bad utf-8': b'\x80\x03(K\x01K\x00X\x02\x00\x00\x00\xff\xfe)t.',
    'unknown opcode': b'\x80\x03\xff.',
    'persistent id': b'\x80\x03K\x01Q.',
    'extension code': b'\x80\x03\x82\x01.',
    'future protocol': b'\x80\x7fN.',
    'holds itself': b'\x80\x03]q\x00h\x00a.',
    # each level has the one before twice: 2**60 values in 200 bytes
    'doubling': b'\x80\x03N' + b''.join(
        b'q' + bytes([i]) + b'0h' + bytes([i]) + b'h' + bytes([i]) + b'\x86' for i in range(40))
        + b'.',
    'not hashable': b'\x80\x03}]Ns.',
}


@pytest.mark.parametrize('what', BAD_MESSAGES)
def test_bad_pickles(mapping, wires, what):
    """T44, R11: it costs the connection, and a line in the log."""
    good = wires(mapping)
    for register in True, False:
        w = wires(mapping, register=register)
        content = BAD_MESSAGES[what]
        w.send_raw(frame(content if register else content[:EARLY_MAX]))
        assert w.closed()
    complaint(mapping, 'cannot decode a message')
    assert good.call('ping') is None
    assert mapping.process.poll() is None


@pytest.mark.parametrize('content', [
    b'', b'\xc1', b'\x94\x01\x00\xa4ping', b'\xdd\xff\xff\xff\xff', b'\xdf\xff\xff\xff\xff',
    b'\x91' * 100000, b'\xc6\xff\xff\xff\xffx', b'\x94\x01\x00\xa4ping\xc0', b'\xd4\x01x',
    b'\x94\x01\x00\xa4ping\x90\x00', b'\x94\x01\x00\xa2\xff\xfe\x90'])
def test_bad_msgpack(mapping, wires, content):
    good = wires(mapping)
    w = wires(mapping, encoding='M')
    w.send_raw(frame(content))
    assert w.closed()
    complaint(mapping, 'cannot decode a message')
    assert good.call('ping') is None


def _executing(command):
    """Pickles that run a command where they are loaded."""
    text = command.encode()
    short = b'U' + bytes([len(text)]) + text
    string = b'X' + struct.pack('<I', len(text)) + text
    for module, name in (('os', 'system'), ('posix', 'system'), ('builtins', 'eval'),
                         ('builtins', 'exec'), ('__builtin__', 'eval'), ('builtins', 'getattr'),
                         ('subprocess', 'check_call'), ('zodbpickle', 'system'),
                         ('copy_reg', '_reconstructor')):
        g = f'{module}\n{name}\n'.encode()
        yield b'c' + g + b'(' + string + b'tR.'
        yield b'\x80\x03c' + g + string + b'\x85R.'
        yield b'\x80\x03c' + g + string + b'\x85\x81.'
        yield b'(' + short + b'i' + g + b'.'
        yield b'(c' + g + short + b'o.'
        yield (b'\x80\x04\x8c' + bytes([len(module)]) + module.encode() + b'\x8c'
               + bytes([len(name)]) + name.encode() + b'\x93' + string + b'\x85R.')
    # as an argument of a real call, and as a state
    yield b'(K\x01K\x00U\x04pingcos\nsystem\n(' + string + b'tRt.'
    yield b'(K\x01K\x00U\x04ping(ccollections\nOrderedDict\n)R}Sb'


@pytest.mark.parametrize('register', [False, True])
def test_pickles_that_execute(mapping, wires, tmp_path, register):
    """T43: nothing is executed, the connection is closed, others do not notice."""
    good = wires(mapping)
    evidence = tmp_path / 'executed'
    for number, content in enumerate(_executing(f'touch {evidence}')):
        w = wires(mapping, register=register)
        w.send_raw(frame(content))
        assert w.closed(), number
        w.close()
    assert good.call('ping') is None
    assert not evidence.exists()
    # the patterns do what they say
    pickle.loads(next(_executing(f'touch {evidence}')))
    assert evidence.exists()


WRONG = [None, 5, -1, 2**70, 1.5, True, '8 bytes.', b'', b'7 bytes', b'nine byte', (), [Z64],
         {}, {'a': 1}]
WITH_IDS = {
    'loadBefore': (Z64, MAX_TID), 'loadSerial': (Z64, Z64), 'getTid': (Z64,),
    'history': (Z64, 1), 'getInvalidations': (Z64,), 'storea': (Z64, Z64, b'', 1),
    'checkCurrentSerialInTransaction': (Z64, Z64, 1),
}


def test_wrong_arguments(server, wires):
    """T44: no method keeps what it cannot use, and each says what is wrong."""
    s = server(FILE)
    w = wires(s)
    good = wires(s)
    tid = good.commit([(Z64, Z64, b'root')])
    w.call('tpc_begin', 1, 'u', 'd', {})
    for name, args in WITH_IDS.items():
        for i, right in enumerate(args):
            if not isinstance(right, bytes) or right == b'':
                continue
            for wrong in WRONG:
                if (name, i) == ('storea', 1) and (wrong is None or isinstance(wrong, str)):
                    continue  # test_serials_of_new_objects
                with pytest.raises(WireError) as e:
                    w.call(name, *args[:i], wrong, *args[i + 1:])
                expected = ('builtins.TypeError', 'builtins.ValueError')
                if (name, wrong) == ('history', None):
                    expected = ('ZODB.POSException.POSKeyError',)  # ZODB's own tests ask so
                assert e.value.name in expected, (name, wrong)
    for data in [x for x in WRONG if not isinstance(x, bytes)]:
        with pytest.raises(WireError):
            w.call('storea', p64(1), Z64, data, 1)
    w.call('vote', 1)
    assert w.call('tpc_finish', 1) > tid
    for args in ((1, 5, '', {}), (1, '', None, {}), (1, '', '', 5), (1, '', '', 'x'),
                 (1, '', '', {}, b'short'), (1, '', '', {}, None, 'x'), (1, '', '', {}, 5, ' ')):
        with pytest.raises(WireError) as e:
            w.call('tpc_begin', *args)
        assert e.value.name in ('builtins.TypeError', 'builtins.ValueError'), args
    for name in ('get_info', 'ping', 'lastTransaction'):
        with pytest.raises(WireError):
            w.call(name, 1)
    with pytest.raises(WireError):
        w.call('new_oids', 'many')
    for args, expected in ((), 100), ((-5,), 1), ((0,), 1), ((1,), 1), ((500,), 500), ((10**6,), 1000):
        assert len(w.call('new_oids', *args)) == expected
    assert w.call('loadBefore', Z64, MAX_TID) == (b'root', tid, None)
    assert s.stop() == 0
    from interop_files import fstest
    assert fstest(s.output.parent / 'Data.fs') == []


@pytest.mark.parametrize('serial', [None, '', '8 bytes.', Z64])
def test_serials_of_new_objects(mapping, wires, serial):
    """Whatever callers of ZODB's storages have for them; it is wrong for an object there is."""
    w = wires(mapping)
    tid = w.commit([(p64(1), serial, b'x')])
    w.begin(1, [(p64(1), serial, b'y')])
    with pytest.raises(WireError) as e:
        w.call('vote', 1)
    assert e.value.name == 'ZODB.POSException.ConflictError'
    assert tuple(e.value.data['serials']) == (tid, Z64)


def test_wrong_arguments_without_a_reply(mapping, wires):
    """They cost the connection: what was sent is lost, and the client could not know."""
    good = wires(mapping)
    for args in ((b'7 bytes', Z64, b'', 1), (p64(1), Z64, None, 1), (p64(1), Z64, b'', 2)):
        w = wires(mapping)
        w.call('tpc_begin', 1, 'u', 'd', {})
        w.send_async(('storea', *args))
        assert w.closed()
    assert good.call('server_status')['active_txns'] == 0


def test_thousands_of_short_bad_pickles(programs, mapping, wires):
    """T44: each costs its sender one connection, and the server nothing that stays."""
    quiet(mapping)
    good = wires(mapping)
    before = resident_kib(mapping.pid)
    bomb = frame(BAD_MESSAGES['doubling'])
    memo = frame(b'\x80\x03' + b''.join(b'Nr' + struct.pack('<I', i << 20) for i in range(200))
                 + b'.')
    for i in range(1000):
        w = Wire(mapping.address)
        w.send_raw((bomb if i % 2 else memo) * 5)
        assert w.closed()
        w.close()
    assert good.call('ping') is None
    wait_until('all are closed', lambda: n_sockets(mapping.pid) == 2)
    assert resident_kib(mapping.pid) - before < memory_limit_kib(programs, 32 << 10)


def test_thousands_of_short_good_pickles(programs, mapping, wires):
    """Requests that say much with few bytes are answered, and held to what they are."""
    w = wires(mapping)
    before = resident_kib(mapping.pid)
    # 60,000 empty lists in one message, many times
    content = b'\x80\x03(K\x05K\x00X\x04\x00\x00\x00ping(' + b']' * 60000 + b'tt.'
    for _ in range(20):
        w.send_raw(frame(content))
        id, flag, name, args = w.receive()
        assert (id, flag) == (5, 2) and args[0] == 'builtins.TypeError'
    assert resident_kib(mapping.pid) - before < memory_limit_kib(programs, 64 << 10)


@pytest.mark.parametrize('configuration', [MAPPING, FILE])
def test_a_client_that_never_reads(programs, server, wires, configuration):
    """R9, T44: what waits for it is bounded, others are served, and it loses nothing."""
    s = server(configuration)
    good = wires(s)
    oid = p64(1)
    data = os.urandom(1 << 20)
    tid = good.commit([(oid, Z64, data)])
    slow = wires(s)
    before = resident_kib(s.pid)
    requests = b''.join(slow.message(i, 'loadBefore', (oid, MAX_TID)) for i in range(1, 201))
    sender = threading.Thread(target=slow.send_raw, args=(requests,))
    sender.start()
    for _ in range(50):
        assert good.call('loadBefore', oid, MAX_TID) == (data, tid, None)
    assert resident_kib(s.pid) - before < memory_limit_kib(programs, 32 << 10)
    got = set()
    while len(got) < 200:
        id, _, _, args = slow.receive()
        assert args == (data, tid, None)
        got.add(id)
    sender.join()
    assert got == set(range(1, 201))


def test_clients_that_never_read_while_another_commits(programs, server, wires):
    """Invalidations wait for them, one copy for all; when they read they are all there."""
    s = server(FILE)
    writer = wires(s)
    oids = [p64(i) for i in range(1, 10001)]
    stores = b''.join(writer.message(0, 'storea', (oid, b'<serial>', b'x', 1), 1) for oid in oids)
    serial = Z64
    tids = []
    for i in range(60):
        if i == 1:
            slow = [wires(s, encoding='ZM'[n % 2]) for n in range(10)]
            before = resident_kib(s.pid)
        writer.begin(1)
        writer.send_raw(stores.replace(b'<serial>', serial))
        writer.call('vote', 1)
        serial = writer.call('tpc_finish', 1)
        tids.append(serial)
    # unshared it would be 60 MB and more
    assert resident_kib(s.pid) - before < memory_limit_kib(programs, 32 << 10)
    assert wires(s).call('getTid', oids[0]) == serial
    for w in slow[:3]:
        assert w.call('lastTransaction') == serial
        got = w.invalidations()
        assert [tid for tid, _ in got] == tids[1:]
        assert all(sorted(changed) == oids for _, changed in got)


@pytest.mark.parametrize('voted', [False, True])
def test_half_open(mapping, wires, voted):
    """A client that says no more is gone; what it held passes on."""
    quiet(mapping)
    good = wires(mapping)
    w = wires(mapping)
    w.begin(1, [(p64(1), Z64, b'x')])
    if voted:
        w.call('vote', 1)
    w.send_raw(b'\x00\x00\x00')  # a part of a frame
    w.socket.shutdown(socket.SHUT_WR)
    assert w.closed()
    good.commit([(p64(1), Z64, b'y')])
    assert good.call('server_status')['active_txns'] == 0
    wait_until('it is closed', lambda: n_sockets(mapping.pid) == 2)


def test_reset_in_every_state(mapping, wires):
    quiet(mapping)
    good = wires(mapping)
    for state in range(7):
        w = Wire(mapping.address, handshake=state > 0, register=state > 1)
        if state > 2:
            w.call('tpc_begin', 1, '', '', {})
        if state > 3:
            w.call('storea', p64(1), Z64, b'x', 1)
        if state > 4:
            w.call('vote', 1)
        if state > 5:
            w.send_raw(b'\x00\x10\x00\x00' + b'x' * 1000)
        w.abort_hard()
    wait_until('all are closed', lambda: n_sockets(mapping.pid) == 2)
    good.commit([(p64(1), Z64, b'y')])
    status = good.call('server_status')
    assert (status['active_txns'], status['connections'], status['waiting']) == (0, 1, 0)


def test_requests_behind_a_waiting_vote(mapping, wires):
    """A vote that waits blocks nobody, not even its own connection."""
    holder, w = wires(mapping), wires(mapping)
    holder.begin(1, [(p64(1), Z64, b'x')])
    holder.call('vote', 1)
    w.begin(1, [(p64(1), Z64, b'y')])
    vote = w.send('vote', 1)
    for _ in range(10):
        assert w.call('lastTransaction') == Z64
    with pytest.raises(WireError) as e:
        w.call('vote', 1)
    assert (e.value.name, e.value.data) == (
        'ZODB.POSException.StorageTransactionError', ('Already voting (waiting)',))
    assert w.events == []
    holder.call('tpc_abort', 1)
    assert w.reply(vote) in ((), [])
    with pytest.raises(WireError) as e:
        w.call('vote', 1)
    assert e.value.data == ('Already voting (locked)',)
    assert w.call('tpc_finish', 1) > Z64


def test_a_closed_connection_answers_no_more(mapping, wires):
    w = wires(mapping)
    w.send_raw(w.message(1, 'nothing', ()) + w.message(2, 'ping', ()) * 100)
    with pytest.raises(Closed):
        w.receive()


def test_a_large_object_while_another_commits(mapping, wires):
    """R9: a reply of any size is no invalidation: its client is not cut off for it."""
    writer = wires(mapping)
    slow = wires(mapping)
    large, small = p64(1), p64(2)
    data = bytes(70 << 20)
    serial = writer.commit([(large, Z64, data)])
    tid = writer.commit([(small, Z64, b'0')])
    id = slow.send('loadBefore', large, MAX_TID)
    # the server has taken the request when it answers on: it reads no further, so others tell
    wait_until('the load is counted', lambda: writer.call('server_status')['loads'] == 1)
    for i in range(3):
        tid = writer.commit([(small, tid, b'%d' % i)])
    assert slow.reply(id) == (data, serial, None)
    slow.call('ping')
    assert slow.invalidations()[-1] == (tid, [small])


def test_refused_begin_behind_a_finish(mapping, wires):
    """R3: the reply to tpc_finish does not depend on what its client sends next."""
    w = wires(mapping)
    w.begin(7, [(p64(1), Z64, b'x')])
    w.call('vote', 7)
    finish, begin = next(w.ids), next(w.ids)
    w.send_raw(w.message(finish, 'tpc_finish', (7,)) +
               w.message(begin, 'tpc_begin', (8, '', '', {}, None, 'X')))
    replies = {}
    while len(replies) < 2:
        id, flag, name, args = w.receive()
        if name == '.reply':
            replies[id] = flag, args
        else:
            assert name == 'info', 'told of its own transaction'
    assert replies[finish][0] == 0
    assert replies[begin] == (2, ('builtins.ValueError', (
        "tpc_begin(): a status that is none of ' ', 'p' and 'u'",)))
    assert w.call('loadBefore', p64(1), MAX_TID) == (b'x', replies[finish][1], None)


def test_many_loads_without_a_reply(server, wires, tmp_path):
    """Requests that want no reply, and have to wait for the disk, end like others do."""
    s = server(FILE)
    w = wires(s)
    oids = [p64(i) for i in range(1, 1001)]
    w.commit([(oid, Z64, oid * 2000) for oid in oids])
    with open(tmp_path / 'Data.fs', 'rb') as f:  # out of the page cache: the pool has to read it
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    w.send_async(*(('loadBefore', oid, MAX_TID) for oid in oids))
    assert w.call('ping') is None
    w.close()
    wait_until('it is closed', lambda: n_sockets(s.pid) == 1)
