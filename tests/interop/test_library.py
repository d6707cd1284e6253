"""libzkzeo as a C program sees it: installed, found by pkg-config, against zkrunzeo and Python's runzeo; Python reads what C
has written, and the reverse."""

import datetime
import json
import os
import random
import re
import shlex
import subprocess
import time

import pytest
import transaction
import ZODB
from BTrees.Length import Length
from persistent import Persistent
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from test_objects import random_int, random_object, random_text, same
from test_tls import CONFIG as TLS, Pki
from wire import wait_until
from ZODB.utils import p64, u64

SEED = int(os.environ.get('ZKZEO_TEST_SEED', random.randrange(1 << 32)))
CONFIG = '''
<zeo>
  address {address}
</zeo>
<filestorage>
  path {dir}/Data.fs
</filestorage>
'''


class Installed:
    """The library as `meson install` leaves it, and programs that are built with it."""

    def __init__(self, root, build, folder):
        self.root = root
        self.folder = folder
        self.prefix = folder / 'installed'
        subprocess.run(['meson', 'install', '-C', build, '--no-rebuild', '--destdir', self.prefix],
                       check=True, capture_output=True)
        self.pc, = self.prefix.rglob('zkzeo.pc')
        self.libdir = self.pc.parent.parent
        options = json.loads((build / 'meson-info' / 'intro-buildoptions.json').read_text())
        sanitize = {o['name']: o['value'] for o in options}['b_sanitize']
        self.flags = [] if sanitize == 'none' else [f'-fsanitize={sanitize}']

    def pkg_config(self, *args):
        env = {**os.environ, 'PKG_CONFIG_PATH': str(self.pc.parent),
               'PKG_CONFIG_SYSROOT_DIR': str(self.prefix)}
        run = subprocess.run(['pkg-config', *args, 'zkzeo'], env=env, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return shlex.split(run.stdout)

    def build(self, source):
        program = self.folder / source.stem
        run = subprocess.run(
            ['cc', '-std=c11', '-Wall', '-Wextra', '-Wpedantic', '-Werror', '-Wno-unused-parameter', '-O1', '-g', '-D_GNU_SOURCE',
             *self.flags, source, '-o', program, *self.pkg_config('--cflags', '--libs'), '-pthread'],
            capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return program

    @property
    def env(self):
        return {**os.environ, 'LD_LIBRARY_PATH': str(self.libdir)}


@pytest.fixture(scope='module')
def installed(root, build, tmp_path_factory):
    return Installed(root, build, tmp_path_factory.mktemp('library'))


@pytest.fixture(scope='module')
def example(installed):
    """example(name): the built program."""
    built = {}

    def make(name):
        if name not in built:
            built[name] = installed.build(installed.root / 'examples' / f'{name}.c')
        return built[name]
    return make


class Failed(Exception):
    pass


class Tool:
    """A C program that does what it is told."""

    def __init__(self, program, env, **options):
        self.process = subprocess.Popen(
            [program, *(f'{k}={v}' for k, v in options.items())], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.greeting = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, f'it ended with {self.process.wait()}'
        word, _, rest = line.rstrip('\n').partition(' ')
        if word not in ('ok', 'ok:'):
            raise Failed(line.rstrip('\n'))
        return rest

    def send(self, *words):
        self.process.stdin.write(' '.join(map(str, words)) + '\n')
        self.process.stdin.flush()

    def __call__(self, *words):
        self.send(*words)
        return self.answer()

    def close(self):
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        status = self.process.wait(60)
        assert status == 0


@pytest.fixture(scope='module')
def tool_program(installed):
    return installed.build(installed.root / 'tests' / 'interop' / 'library' / 'tool.c')


@pytest.fixture
def tool(tool_program, installed, opened):
    def make(server=None, **options):
        if server is not None:
            address = server.address
            options['address'] = address if isinstance(address, str) else '%s:%d' % address
        return opened(Tool(tool_program, installed.env, **options))
    return make


@pytest.fixture
def database(storage, opened):
    def make(server):
        return opened(ZODB.DB(storage(server, server_sync=True)))
    return make


def refresh(conn):
    """What C has committed is seen by Python.

    Twice: Python's server sends invalidations a turn of its loop after the reply to the commit, so that the answer to
    one question can overtake them.
    """
    conn._storage._storage.sync()
    conn.sync()


def update(c):
    """What Python has committed is seen by C, with the next begin."""
    c('sync')
    c('sync')


def run(program, installed, *args):
    return subprocess.run([program, *args], env=installed.env, capture_output=True, text=True, timeout=120)


def address_of(server):
    return '%s:%d' % server.address


# --- what is installed ---

def test_only_its_own_names_are_exported(build):
    lines = subprocess.run(
        ['nm', '-D', '--defined-only', build / 'src' / 'lib' / 'libzkzeo.so'],
        check=True, capture_output=True, text=True).stdout.splitlines()
    names = {line.split()[-1].partition('@')[0] for line in lines}
    assert names - {'ZKZEO_0'} and all(n.startswith('zkzeo_') for n in names - {'ZKZEO_0'}), names


def test_what_is_declared_is_there(root, build):
    text = ''.join(p.read_text() for p in (root / 'include' / 'zkzeo').glob('*.h'))
    declared = set(re.findall(r'\b(zkzeo_\w+)\(', re.sub(r'/\*.*?\*/', '', text, flags=re.S)))
    declared -= {'zkzeo_options_default', 'zkzeo_db_options_default'}  # in the headers
    lines = subprocess.run(
        ['nm', '-D', '--defined-only', build / 'src' / 'lib' / 'libzkzeo.so'],
        check=True, capture_output=True, text=True).stdout.splitlines()
    names = {line.split()[-1].partition('@')[0] for line in lines} - {'ZKZEO_0'}
    assert names == declared


def test_every_header_is_installed(root, installed):
    here = {p.name for p in (root / 'include' / 'zkzeo').glob('*.h')}
    there = {p.name for p in installed.prefix.rglob('include/zkzeo/*.h')}
    assert here == there
    for header in installed.prefix.rglob('include/zkzeo/*.h'):
        assert '#include "base/' not in header.read_text()


@pytest.mark.parametrize('standard', ['c++11', 'c++20'])
def test_the_headers_are_cxx(installed, tmp_path, standard):
    source = tmp_path / 'check.cc'
    source.write_text('''
#include <zkzeo/zkzeo.h>
int main()
{
    zkzeo_options o = zkzeo_options_default();
    zkzeo_error e;
    zkzeo_client *c;
    if (zkzeo_client_open(&o, &c, &e) != ZKZEO_INVAL)
        return 1;
    zkzeo_value *v = zkzeo_str("x");
    zkzeo_value_free(v);
    return zkzeo_version()[0] == 0;
}
''')
    program = tmp_path / 'check'
    build = subprocess.run(
        ['c++', f'-std={standard}', '-Wall', '-Wextra', '-Werror', *installed.flags, source, '-o', program,
         *installed.pkg_config('--cflags', '--libs')], capture_output=True, text=True)
    assert build.returncode == 0, build.stderr
    assert run(program, installed).returncode == 0


def test_the_program_of_the_documentation(root, installed, tmp_path):
    source = tmp_path / 'documentation.c'
    source.write_text(re.search(
        r'^```c\n(.*?)^```', (root / 'docs' / 'library.md').read_text(), re.S | re.M).group(1))
    installed.build(source)


# --- values ---

def random_value(r, depth=4):
    kind = r.randrange(9) if depth else r.randrange(6)
    if kind == 0:
        return r.choice([None, True, False])
    if kind == 1:
        return random_int(r)
    if kind == 2:
        return r.choice([0.0, -0.0, 1.5, -1e300, float('inf'), r.random(), 2.0**70])
    if kind == 3:
        return r.randbytes(r.choice([0, 1, 8, 255, 256]))
    if kind == 4:
        return random_text(r).replace('\ud800', 'x')
    if kind == 5:
        value = random_object(r)
        # what the tests' own modules define cannot be compared, and what is equal by identity neither
        return value if type(value).__eq__ is not object.__eq__ else random_text(r).replace('\ud800', 'x')
    parts = [random_value(r, depth - 1) for _ in range(r.choice([0, 1, 2, 3, 4, 7, 20]))]
    if kind == 6:
        return tuple(parts)
    if kind == 7:
        return parts
    return {random_value(r, 0): p for p in parts}


def test_random_values_go_there_and_back(peer, tool, database):
    print('ZKZEO_TEST_SEED =', SEED)
    r = random.Random(SEED)
    server = peer(CONFIG)
    db = database(server)
    conn = db.open()
    c = tool(server)
    for _ in range(40):
        value = None
        while value is None:
            try:
                value = random_value(r)
            except TypeError:
                pass  # a key that is not hashable
        conn.root()['from'] = value
        transaction.commit()
        update(c)
        c('begin')
        c('copy', 'from', 'to')
        refresh(conn)
        assert same(conn.root()['to'], value), value


def test_python_reads_what_the_example_writes(peer, example, installed, database):
    server = peer(CONFIG)
    done = run(example('write_values'), installed, address_of(server))
    assert done.returncode == 0, done.stderr
    root = database(server).open().root()
    d = root['example']
    assert type(d) is PersistentMapping
    assert same({k: v for k, v in d.items() if k != 'persistent list'}, {
        'none': None, 'yes': True, 'int': 42, 'large': -123456789012345678901234567890, 'float': 1.5,
        'text': 'Grüße 😀', 'list': [-1, ('left', b'\0\1right')]})
    assert type(d['persistent list']) is PersistentList
    assert d['persistent list'][0] is d
    # and Python's changes are shown
    d['new'] = PersistentList(['ä', 2**70])
    transaction.commit()
    shown = run(example('read_root'), installed, address_of(server))
    assert shown.returncode == 0, shown.stderr
    assert "'example': persistent.mapping.PersistentMapping {'data': {'none': None," in shown.stdout


class Unknown(Persistent):
    pass


def test_objects_of_other_classes(peer, tool, database):
    server = peer(CONFIG)
    conn = database(server).open()
    conn.root()['unknown'] = Unknown()
    conn.root()['unknown'].when = datetime.datetime(2026, 1, 2)
    conn.root()['unknown'].mapping = PersistentMapping()
    transaction.commit()
    oid = u64(conn.root()['unknown']._p_oid)
    c = tool(server)
    shown = c('state', hex(oid))
    assert shown.startswith(f"{__name__}.Unknown {{'when': <datetime.datetime, ")
    assert 'persistent.mapping.PersistentMapping oid 0x' in shown
    # a reference that is copied keeps its target
    c('copy', 'unknown', 'same')
    refresh(conn)
    assert conn.root()['same'] is conn.root()['unknown']


def test_references_keep_what_they_refer_to(server, tool, database, example, installed):
    s = server(CONFIG)
    assert run(example('write_values'), installed, address_of(s)).returncode == 0
    c = tool(s)
    c('set', 'x', 1)
    c('commit')
    c('pack', time.time() + 10)
    root = database(s).open().root()
    assert root['example']['persistent list'][0]['int'] == 42


def test_what_values_refuse(installed, tmp_path):
    """Kinds, sizes, ownership; and options of a program that knows fewer of them."""
    source = installed.root / 'tests' / 'interop' / 'library' / 'misuse.c'
    done = run(installed.build(source), installed)
    assert (done.returncode, done.stdout) == (0, 'all right\n'), done.stdout + done.stderr


# --- transactions ---

def test_snapshots_and_conflicts(peer, tool, database):
    server = peer(CONFIG)
    conn = database(server).open()
    conn.root()['x'] = 1
    transaction.commit()
    c = tool(server)
    assert c('show', 'x') == '1'
    conn.root()['x'] = 2
    transaction.commit()
    update(c)
    assert c('show', 'x') == '1'
    c('set', 'x', 3)
    with pytest.raises(Failed, match='conflict: .*'):
        c('commit')
    assert c('show', 'x') == '2'
    c('set', 'x', 4)
    tid = int(c('commit'))
    refresh(conn)
    assert conn.root()['x'] == 4
    entry, = conn.db().history(conn.root()._p_oid, 1)
    assert (u64(entry['tid']), entry['user_name'], entry['description'], entry['key']) == (
        tid, 'user', 'téxt', 7)
    assert c('before', tid, 'x') == '2'


def test_reads_that_must_be_current(peer, tool, database):
    server = peer(CONFIG)
    conn = database(server).open()
    conn.root()['a'] = PersistentMapping(n=1)
    transaction.commit()
    c = tool(server)
    oid = hex(u64(conn.root()['a']._p_oid))
    c('current', oid)
    c('set', 'x', 1)
    c('commit')
    c('current', oid)
    c('set', 'x', 2)
    conn.root()['a']['n'] = 2
    transaction.commit()
    with pytest.raises(Failed, match='conflict'):
        c('commit')


def test_server_sync(server, tool, database):
    s = server(CONFIG)
    conn = database(s).open()
    c = tool(s, server_sync=1)
    for i in range(50):
        conn.root()['x'] = i
        transaction.commit()
        c('begin')
        assert c('show', 'x') == str(i)


def test_threads_count_and_see_whole_transactions(peer, tool, database):
    server = peer(CONFIG)
    c = tool(server)
    c('set', 'n', 0)
    c('commit')
    assert c('threads', 'n', 25) == '0'
    c('begin')
    assert c('show', 'n') == '100'
    root = database(server).open().root()
    assert (root['n'], root['twice']) == (100, 200)


def test_counting_in_two_processes(server, example, installed, database):
    s = server(CONFIG)
    program = example('counter')
    counters = [subprocess.Popen([program, address_of(s), '50'], env=installed.env, stdout=subprocess.PIPE,
                                 text=True) for _ in range(2)]
    results = [int(p.communicate(timeout=120)[0]) for p in counters]
    assert max(results) == 100 and all(p.returncode == 0 for p in counters)
    assert database(s).open().root()['counter'] == 100


def test_two_phase_commit(peer, tool, database):
    server = peer(CONFIG)
    conn = database(server).open()
    c = tool(server)
    oid = int(c('new_oid'))
    first, n = map(int, c('txn', 'store', oid, 0, 10).split())
    assert n == 0
    assert c('load', oid) == f'{first} 0 10'
    assert int(c('last_tid')) == first
    second = int(c('txn', 'store', oid, first, 20).split()[0])
    assert c('load', oid) == f'{second} 0 20'
    assert c('load_before', oid, second) == f'{first} {second} 10'
    assert c('load_serial', oid, first).split()[::2] == [str(first), '10']
    with pytest.raises(Failed, match='not found'):
        c('load_before', oid, first)
    with pytest.raises(Failed, match='no such key'):
        c('load', oid + 1000)
    with pytest.raises(Failed, match='conflict'):
        c('txn', 'store', oid, first, 30)
    with pytest.raises(Failed, match='conflict'):
        c('txn', 'check', oid, first)
    c('txn', 'check', oid, second)
    # a record of nothing is none: servers would keep it, or close the connection
    with pytest.raises(Failed, match='inval.*no data'):
        c('txn', 'nothing', oid, second)
    assert c('load', oid).endswith(' 0 20')
    # undo
    assert "'description'" in c('undo_log')
    third, n = map(int, c('txn', 'undo', second).split())
    assert n == 1
    assert c('load', oid) == f'{third} 0 10'
    c('begin')
    assert c('state', oid).endswith(' 10')
    with pytest.raises(Failed, match='undo'):
        c('txn', 'undo', third + 1)
    assert c('history', oid).count("'tid'") == 3
    refresh(conn)
    assert u64(conn._storage._storage.load(p64(oid))[1]) == third


def test_a_raw_commit_is_seen_by_the_databases_of_the_client(server, tool, database):
    s = server(CONFIG)
    c = tool(s)
    c('set', 'x', 1)
    c('commit')
    oid = int(c('new_oid'))
    first = int(c('txn', 'store', oid, 0, 10).split()[0])
    c('begin')
    assert c('state', oid).endswith(' 10')
    c('txn', 'store', oid, first, 20)
    assert c('state', oid).endswith(' 10')
    c('begin')
    assert c('state', oid).endswith(' 20')


def test_two_databases_on_one_client(peer, tool):
    c = tool(peer(CONFIG))
    c('set', 'x', 1)
    c('commit')
    c('swap')
    assert c('show', 'x') == '1'
    c('swap')
    c('set', 'x', 2)
    tid = c('commit')
    c('swap')
    assert c('show', 'x') == '1'
    c('begin')
    assert c('show', 'x') == '2'
    c('set', 'x', 3)
    assert int(c('commit')) > int(tid)
    c('swap')
    c('begin')
    assert c('show', 'x') == '3'


def test_restore_and_delete(server, tool):
    s = server(CONFIG)
    c = tool(s)
    oid = int(c('new_oid'))
    tid = u64(b'\x03\xff\0\0\0\0\0\0')
    assert int(c('restore', oid, tid, 5)) == tid
    assert c('load', oid) == f'{tid} 0 5'
    deleted = int(c('txn', 'delete', oid, tid).split()[0])
    assert deleted > tid
    with pytest.raises(Failed, match='no such key'):
        c('load', oid)


# --- conflict resolution ---

RESOLVE_AT_CLIENT = CONFIG.replace('address {address}', 'address {address}\n  client-conflict-resolution true')


def changed_length(conn):
    """A Length that was 5 and is 8: its oid and both serials."""
    conn.root()['length'] = length = Length(5)
    transaction.commit()
    oid = u64(length._p_oid)
    first = u64(length._p_serial)
    length.change(3)
    transaction.commit()
    return oid, first, u64(length._p_serial)


def test_btrees_conflicts_are_merged(peer, tool, database):
    """By the library, which the server leaves them to."""
    server = peer(RESOLVE_AT_CLIENT)
    conn = database(server).open()
    oid, first, second = changed_length(conn)
    c = tool(server)
    tid, n = map(int, c('txn', 'store_length', oid, first, 6).split())
    assert n == 1 and tid > second
    assert c('load', oid) == f'{tid} 0 9'
    refresh(conn)
    assert (type(conn.root()['length']), conn.root()['length']()) == (Length, 9)


def test_other_conflicts_are_merged_by_the_program(peer, tool, database):
    server = peer(RESOLVE_AT_CLIENT)
    conn = database(server).open()
    oid, first, second = changed_length(conn)
    # a conflict from the same state, of a class that the library does not know
    c = tool(server)
    with pytest.raises(Failed, match='conflict'):
        c('txn', 'store', oid, first, 6)
    asked = tool(server, resolve=1)
    tid, n = map(int, asked('txn', 'store', oid, first, 6).split())
    assert n == 1 and tid > second
    assert asked('resolved') == '1'
    assert asked('load', oid) == f'{tid} 0 9'
    # what was merged into nothing, and a state that a pack has taken away: conflicts as others
    nothing = tool(server, resolve='nothing')
    with pytest.raises(Failed, match='^conflict: .*of no bytes'):
        nothing('txn', 'store', oid, first, 6)
    asked('pack', time.time() + 10)
    with pytest.raises(Failed, match='^conflict: '):
        asked('txn', 'store', oid, first, 6)
    assert asked('resolved') == '1'


# --- iteration, following, pack ---

def test_walk_over_all_objects(peer, tool, database):
    server = peer(CONFIG)
    db = database(server)
    conn = db.open()
    for i in range(20):
        conn.root()[str(i)] = PersistentMapping(n=i)
        transaction.commit()
    c = tool(server)
    right = []
    next_oid = None
    while True:
        oid, tid, data, next_oid = db.storage.record_iternext(next_oid)
        right.append(f'{u64(oid)}:{u64(tid)}:{len(data)}')
        if next_oid is None:
            break
    assert len(right) == 21
    assert c('walk').split() == right
    c('load_next', u64(oid))
    with pytest.raises(Failed, match='not found: no object from 0x'):
        c('load_next', u64(oid) + 1)


def test_undo_info(peer, tool, database):
    server = peer(CONFIG)
    conn = database(server).open()
    for i, (user, n) in enumerate([('me', 1), ('you', 1), ('me', 2)]):
        conn.root()['x'] = i
        transaction.get().setUser(user)
        transaction.get().setExtendedInfo('n', n)
        transaction.commit()
    c = tool(server)
    found = [c('undo_info', 'n', n).count("'id'") for n in (1, 2, 3)]
    assert found == [2, 1, 0]
    assert c('undo_info', 'user_name', 'me').count("'id'") == len(
        conn.db().storage.undoInfo(0, 20, {'user_name': b'me'}))


def test_iterate(peer, example, installed, database):
    server = peer(CONFIG)
    conn = database(server).open()
    conn.root()['m'] = PersistentMapping()
    transaction.get().note('the first')
    transaction.get().setUser('somebody')
    transaction.commit()
    done = run(example('iterate'), installed, address_of(server))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith(': initial database creation')
    assert lines[1].split()[1:] == ['persistent.mapping.PersistentMapping,', lines[1].split()[2], 'bytes']
    assert lines[2].endswith(' somebody: the first')
    assert sum(line.startswith('    0x') for line in lines) == 3


def test_an_iteration_ends_with_its_connection(server, tool):
    """A server numbers its iterators for each connection: the number may be another one's after it was lost."""
    s = server(CONFIG)
    c = tool(s)
    for i in range(4):
        c('set', 'x', i)
        c('commit')
    for lost_in in 'next', 'change':
        c('iterate')
        c('iterate', 'next')
        c('iterate', 'change')
        s.stop()
        s.start()
        c('sync')
        with pytest.raises(Failed, match='closed'):
            c('iterate', lost_in)
        with pytest.raises(Failed, match='closed'):
            c('iterate', lost_in)
        c('iterate', 'end')


def test_follow(server, example, installed, database):
    s = server(CONFIG)
    conn = database(s).open()
    conn.root()['x'] = 1
    transaction.commit()
    follower = subprocess.Popen([example('follow'), address_of(s)], env=installed.env, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert follower.stdout.readline() == 'connected\n'
    conn.root()['x'] = 2
    transaction.commit()
    tid = u64(conn.root()._p_serial)
    assert follower.stdout.readline() == f'0x{tid:016x}: 0x0\n'
    s.stop()
    assert follower.stdout.readline() == 'disconnected\n'
    s.start()
    assert follower.stdout.readline() == 'connected\n'
    follower.stdin.close()
    assert follower.wait(60) == 0


def test_info_and_sort_key(peer, tool, storage):
    server = peer(CONFIG)
    stock = storage(server)
    c = tool(server)
    assert "'supportsUndo': True" in c('info')
    assert c('sort_key') == stock.sortKey()
    assert c.greeting == address_of(server)
    c('prefetch', 0, 1, 2)


# --- blobs ---

BLOBS = CONFIG.replace('  path {dir}/Data.fs', '  path {dir}/Data.fs\n  blob-dir {dir}/blobs')


def test_blobs(peer, example, installed, storage, opened, tmp_path):
    server = peer(BLOBS)
    program = example('blobs')
    folder = tmp_path / 'c-blobs'
    content = random.Random(SEED).randbytes(200000)
    (tmp_path / 'content').write_bytes(content)
    done = run(program, installed, address_of(server), str(folder), 'put', str(tmp_path / 'content'))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'content').read_bytes() == content  # the example copies it
    conn = opened(ZODB.DB(storage(
        server, blob_dir=str(tmp_path / 'python-blobs'), server_sync=True))).open()
    with conn.root()['blob'].open() as f:
        assert f.read() == content
    with conn.root()['blob'].open('w') as f:
        f.write(b'from Python')
    transaction.commit()
    # the cache of the first one, and an empty one
    for where in folder, tmp_path / 'another':
        done = run(program, installed, address_of(server), str(where), 'get')
        assert (done.returncode, done.stdout) == (0, 'from Python'), done.stderr


def test_a_shared_blob_folder(peer, tool, storage, opened, tmp_path):
    server = peer(BLOBS)
    c = tool(server, blob_dir=tmp_path / 'blobs', shared_blob_dir=1)
    (tmp_path / 'content').write_bytes(b'shared')
    c('blob', 'put', tmp_path / 'content')
    assert not (tmp_path / 'content').exists()
    assert c('blob', 'get') == 'shared'
    conn = opened(ZODB.DB(storage(
        server, blob_dir=str(tmp_path / 'blobs'), shared_blob_dir=True))).open()
    with conn.root()['blob'].open() as f:
        assert f.read() == b'shared'


def test_blobs_of_transactions(peer, tool, tmp_path):
    server = peer(BLOBS)
    c = tool(server, blob_dir=tmp_path / 'c-blobs')
    (tmp_path / 'content').write_bytes(b'one')
    oid, tid = c('blob_txn', tmp_path / 'content').split()
    assert c('blob_read', oid, tid) == 'one'
    with pytest.raises(Failed, match='no such key'):
        c('blob_read', 0, tid)
    with pytest.raises(Failed, match='not found|i/o error'):
        c('blob_txn', tmp_path / 'not there')


@pytest.mark.parametrize('check, most', [(50, 100000), (None, 180000)])
def test_the_blob_cache_is_kept_near_its_size(server, tool, tmp_path, check, most):
    def size():
        return sum(p.stat().st_size for p in folder.rglob('*.blob') if p.exists())

    folder = tmp_path / 'c-blobs'
    options = {} if check is None else {'blob_cache_size_check': check}
    s = server(BLOBS)
    c = tool(s, blob_dir=folder)
    for _ in range(10):
        (tmp_path / 'content').write_bytes(bytes(40000))
        c('blob_txn', tmp_path / 'content')
    assert size() == 400000
    c.close()
    tool(s, blob_dir=folder, blob_cache_size=200000, **options)
    wait_until('a smaller cache', lambda: 0 < size() <= most)
    assert size() == most // 40000 * 40000  # not more than is asked for


def test_no_blobs_without_a_folder(server, tool, tmp_path):
    c = tool(server(BLOBS))
    (tmp_path / 'content').write_bytes(b'x')
    with pytest.raises(Failed, match='unsupported: no blobs'):
        c('blob', 'put', tmp_path / 'content')


# --- servers that are not there ---

def test_by_path(server, example, installed, tool, zookeeper, zk_path):
    s = server(CONFIG + f'<zookeeper>\n connection {zookeeper}\n path {zk_path}\n</zookeeper>\n')
    assert run(example('write_values'), installed, zookeeper + zk_path).returncode == 0
    shown = run(example('read_root'), installed, zookeeper + zk_path)
    assert shown.returncode == 0, shown.stderr
    assert "'example':" in shown.stdout
    c = tool(zookeeper=zookeeper, path=zk_path)
    assert c.greeting == zookeeper + zk_path
    c('set', 'x', 1)
    c('commit')
    s.stop()


def test_errors_at_the_start(server, tool, free_address, zookeeper, tmp_path):
    with pytest.raises(Failed, match='timeout'):
        tool(address='%s:%d' % free_address, wait_timeout_ms=200)
    with pytest.raises(Failed, match="timeout: Can't connect to ZooKeeper at "):
        tool(zookeeper='%s:%d' % free_address, path='/x')
    with pytest.raises(Failed, match='not found'):
        tool(zookeeper=zookeeper, path='/not/there')
    with pytest.raises(Failed, match='invalid: no servers'):
        tool()
    with pytest.raises(Failed, match='invalid'):
        tool(address='[::1')
    s = server(CONFIG)
    c = tool(s, cache=tmp_path / 'cache')
    with pytest.raises(Failed, match='busy'):
        tool(s, cache=tmp_path / 'cache')
    c('set', 'x', 1)
    c('commit')


def test_names_of_cache_files(server, tool, tmp_path):
    s = server(CONFIG.replace('<filestorage>', '<filestorage main>'))
    tool(s, client='mine', var=tmp_path, storage='main')
    assert (tmp_path / 'mine-main.zec').exists()


def test_a_stale_cache(peer, tool, database, tmp_path):
    """What the server cannot tell any more: the cache goes, the program is told, and nothing that is old is shown."""
    server = peer(CONFIG.replace('</zeo>', '  invalidation-queue-size 2\n</zeo>'))
    conn = database(server).open()

    def commit(n):
        conn.root()['x'] = n
        transaction.commit()

    commit(0)
    for times, stale in (1, '0'), (10, '1'):
        c = tool(server, cache=tmp_path / 'cache')
        assert c('show', 'x') == str(conn.root()['x'])
        c.close()
        for i in range(times):
            commit(times + i)
        c = tool(server, cache=tmp_path / 'cache')
        assert c('show', 'x') == str(conn.root()['x'])
        assert c('stale') == stale
        c.close()


def test_fork(server, tool, installed, zookeeper, zk_path):
    if '-fsanitize=thread' in installed.flags:
        pytest.skip('the thread sanitizer ends a child that starts threads')
    s = server(CONFIG + f'<zookeeper>\n connection {zookeeper}\n path {zk_path}\n</zookeeper>\n')
    for by_path in False, True:
        c = tool(zookeeper=zookeeper, path=zk_path) if by_path else tool(s)
        c('set', 'x', 1)
        c('commit')
        assert c('fork') == '0'
        c('set', 'x', 2)
        c('commit')
        assert c('show', 'x') == '2'
    s.stop()


def test_read_only(server, tool):
    s = server(CONFIG)
    first = tool(s)
    first('set', 'x', 1)
    first('commit')
    c = tool(s, read_only=1)
    assert c('show', 'x') == '1'
    c('set', 'x', 2)
    with pytest.raises(Failed, match='read-only'):
        c('commit')
    assert c('show', 'x') == '1'


def test_tls(server, tool, tmp_path):
    pki = Pki(tmp_path)
    s = server(TLS % {'certificate': f'{pki.path("server.pem")}\n    key {pki.path("server.key")}',
                      'authenticate': pki.path('client.pem'), 'more': ''}, start=False)
    s.start(wait=False)
    wait_until('the server listens', lambda: 'listening on' in s.text())
    own = {'ssl_certificate': pki.path('client.pem'), 'ssl_key': pki.path('client.key'),
           'ssl_authorities': pki.path('server.pem')}
    c = tool(s, ssl_server_hostname='server.example.org', **own)
    c('set', 'x', 1)
    c('commit')
    assert c('show', 'x') == '1'
    with pytest.raises(Failed, match='timeout'):
        tool(s, ssl_server_hostname='another.example.org', wait_timeout_ms=500, **own)
    with pytest.raises(Failed, match='cannot use it as a key'):
        tool(s, **{**own, 'ssl_key': pki.path('not there')})


def test_a_commit_waits_for_a_server(server, tool):
    s = server(CONFIG)
    c = tool(s)
    c('set', 'n', 0)
    c('commit')
    short = tool(s, wait_timeout_ms=300)
    short('set', 'twice', 0)
    short('commit')
    c('sync')
    for t in c, short:
        t('begin')
        assert t('show', 'n') == '0'  # it is in the cache
    s.stop()
    wait_until('both know', lambda: c('is_connected') == short('is_connected') == '0')
    with pytest.raises(Failed, match='closed: timed out waiting for connection'):
        short('run', 'n')
    c.send('run', 'n')
    s.start()
    c.answer()
    c('begin')
    assert c('show', 'n') == '1'


def test_a_server_that_comes_back(server, tool):
    s = server(CONFIG)
    c = tool(s)
    c('set', 'x', 1)
    c('commit')
    c('set', 'x', 2)
    s.stop()
    s.start()
    # the transaction has not begun at the server: whatever happens, it is right
    try:
        c('commit')
        expected = '2'
    except Failed:
        expected = '1'
    c('sync')  # it is connected again
    c('begin')
    assert c('show', 'x') == expected
    c('set', 'x', 3)
    c('commit')
