"""The C client's folder of blobs against zkrunzeo and Python's runzeo, alone and beside a stock client."""

import functools
import os
import pathlib
import threading

import pytest
import transaction
import zc.lockfile
import ZODB
from ZODB.blob import Blob
from ZODB.utils import u64

from client_tool import NOKEY, ClientTool, ToolError, record
from test_fanout import Cable
from wire import Z64, p64, wait_until

FILE = ('<zeo>\n  address {address}\n</zeo>\n'
        '<filestorage 1>\n  path {dir}/Data.fs\n  blob-dir {dir}/blobs\n</filestorage>\n')
MB = 1 << 20
FORMAT = -5


@pytest.fixture
def tool(build, tmp_path, opened):
    """tool(server, folder, options=()): a client with a folder of blobs."""
    def make(server, folder='cache', options=()):
        return opened(ClientTool(
            build / 'tests' / 'tools' / 'client_tool', tmp_path / f'{folder}.log', server.address,
            options=('-b', tmp_path / folder, *options))).wait()
    return make


@functools.lru_cache
def digest(content):
    h = 14695981039346656037
    for byte in content:
        h = (h ^ byte) * 1099511628211 % (1 << 64)
    return [str(len(content)), '%016x' % h]


def noise(seed, size):
    return (b'%16d' % seed * (size // 16 + 1))[:size]


def store(tool, path, blobs, serial=Z64):
    """Blobs {oid: content} in one transaction; what was not answered is in the caller's hands."""
    tool.ask('begin')
    for oid, content in blobs.items():
        file = path / f'new-{oid}'
        file.write_bytes(content)
        tool.ask('storeblob', '%x' % oid, serial.hex(), record('a blob').hex(), file)
        assert not file.exists()


def commit(tool, path, blobs, serial=Z64):
    store(tool, path, blobs, serial)
    tool.ask('vote')
    return bytes.fromhex(tool.ask('finish')[0])


def fetch(tool, oid, tid, *more):
    return tool.ask('openblob', '%x' % oid, tid.hex(), *more)


def files(folder, pattern='*.blob'):
    return sorted(pathlib.Path(folder).rglob(pattern))


def left_overs(folder):
    return [p for p in pathlib.Path(folder).rglob('*') if p.suffix in ('.tmp-', '.dl', '.tmp')]


def test_round_trip(peer, tool, tmp_path):
    s = peer(FILE)
    one = tool(s, 'one')
    contents = {1: b'', 2: b'x', 3: noise(3, 59000), 4: noise(4, 59001), 997: noise(5, MB + 7)}
    tid = commit(one, tmp_path, contents)
    assert len(files(tmp_path / 'one')) == len(contents)
    assert left_overs(tmp_path / 'one') == []
    assert (tmp_path / 'one' / '.layout').read_text() == 'zeocache'
    two = tool(s, 'two')
    for oid, content in contents.items():
        for client, folder in ((one, 'one'), (two, 'two')):
            assert fetch(client, oid, tid) == digest(content)
            path = tmp_path / folder / str(oid % 997) / f'{oid // 997}.{tid.hex()}.blob'
            assert client.ask('blob', '%x' % oid, tid.hex()) == [str(path)]
            assert path.read_bytes() == content
            assert path.stat().st_mode & 0o222 == 0
    with pytest.raises(ToolError) as e:
        fetch(two, 5, tid)
    assert e.value.code == NOKEY
    assert left_overs(tmp_path / 'two') == []


def test_the_folder_of_a_server(peer, tool, tmp_path):
    s = peer(FILE)
    one = tool(s, 'blobs', options=('-S',))
    tid = commit(one, tmp_path, {1: noise(1, 100000), 2: b''})
    assert fetch(one, 1, tid) == digest(noise(1, 100000))
    assert fetch(tool(s), 1, tid) == digest(noise(1, 100000))
    path = one.ask('blob', '1', tid.hex())[0]
    assert path.startswith(str(tmp_path / 'blobs/0x00/0x00/'))
    assert left_overs(tmp_path / 'blobs') == []
    with pytest.raises(ToolError) as e:
        one.ask('blob', '3', tid.hex())
    assert (e.value.code, 'No blob file at' in e.value.text) == (NOKEY, True)


@pytest.mark.parametrize('count, size', [(2, 8 * MB), (5, 50 * MB)])
def test_large_blobs_in_one_transaction(server, tool, tmp_path, count, size):
    """T14"""
    s = server(FILE)
    contents = {oid: os.urandom(MB) * (size // MB) for oid in range(1, count + 1)}
    tid = commit(tool(s, 'one'), tmp_path, contents)
    two = tool(s, 'two')
    for oid, content in contents.items():
        path = two.ask('blob', '%x' % oid, tid.hex())[0]
        assert pathlib.Path(path).read_bytes() == content


def test_abort_leaves_nothing(peer, tool, tmp_path):
    """T13"""
    s = peer(FILE)
    one = tool(s)
    shared = tool(s, 'blobs', options=('-S',))
    for client in (one, shared):
        for voted in (False, True):
            store(client, tmp_path, {1: noise(1, 200000), 2: noise(2, 5)})
            if voted:
                client.ask('vote')
            client.ask('abort')
    assert files(tmp_path / 'cache') == files(tmp_path / 'blobs') == []
    wait_until('no temporary files', lambda: left_overs(tmp_path / 'cache') + left_overs(tmp_path / 'blobs') == [])
    assert fetch(one, 1, commit(one, tmp_path, {1: b'new'})) == digest(b'new')


def test_a_lost_connection_leaves_nothing(server, tool, tmp_path):
    s = server(FILE)
    one = tool(s)
    store(one, tmp_path, {1: noise(1, 200000)})
    s.kill()
    one.event('disconnected')
    with pytest.raises(ToolError):
        one.ask('vote')
    one.ask('abort', 1)
    assert left_overs(tmp_path / 'cache') == []


def test_many_threads_want_one_blob(peer, tool, tmp_path):
    s = peer(FILE)
    content = noise(1, MB)
    tid = commit(tool(s, 'one'), tmp_path, {1: content})
    assert fetch(tool(s, 'two'), 1, tid, 20) == digest(content)
    assert len(files(tmp_path / 'two')) == 1


def test_another_layout_is_refused(server, tool, tmp_path):
    s = server(FILE)
    (tmp_path / 'cache').mkdir()
    (tmp_path / 'cache' / '.layout').write_text('bushy')
    with pytest.raises(ToolError) as e:
        tool(s)
    assert e.value.code == FORMAT
    assert 'Directory layout `zeocache` selected for blob directory' in e.value.text
    assert 'marker found for layout `bushy`' in e.value.text


def test_what_a_kill_left_is_replaced(server, tool, tmp_path):
    """ZEO's own client trips over a .dl for ever."""
    s = server(FILE)
    tid = commit(tool(s, 'one'), tmp_path, {1: noise(1, 99999)})
    (tmp_path / 'two' / '1').mkdir(parents=True)
    part = tmp_path / 'two' / '1' / f'0.{tid.hex()}.blob.dl'
    part.write_bytes(bytes(200000))
    assert fetch(tool(s, 'two'), 1, tid) == digest(noise(1, 99999))
    assert not part.exists()


class Tap(Cable):
    """Of what the server says only some bytes come through."""

    def __init__(self, target):
        self.bytes_left = 1 << 60
        self.dry = threading.Event()
        super().__init__(target)

    def copy(self, a, b):
        try:
            while data := a.recv(1 << 16):
                if any(b is near for near, _ in self.pairs):
                    n = min(len(data), self.bytes_left)
                    self.bytes_left -= n
                    b.sendall(data[:n])
                    if n < len(data):
                        self.dry.set()
                        return
                else:
                    b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            Cable.end(s)


@pytest.mark.parametrize('came', [0, 5000, MB, 4 * MB - 100])
def test_half_a_blob_has_no_name(server, tool, opened, tmp_path, came):
    """B1: whoever is killed in a download leaves nothing that looks like a blob, and nothing that is in the way."""
    s = server(FILE)
    content = noise(1, 4 * MB)
    tid = commit(tool(s, 'one'), tmp_path, {1: content})
    tap = opened(Tap(s.address))
    two = tool(tap, 'two')
    tap.bytes_left = came
    two.send('openblob', '1', tid.hex())
    assert tap.dry.wait(30)
    wait_until('a part', lambda: files(tmp_path / 'two', '*.dl'))
    two.process.kill()
    two.process.wait()
    assert files(tmp_path / 'two') == []
    assert fetch(tool(s, 'two'), 1, tid) == digest(content)
    assert left_overs(tmp_path / 'two') == []


# --- beside a stock client ---

def put(db, key, content):
    tm = transaction.TransactionManager()
    c = db.open(tm)
    try:
        blob = c.root()[key] = Blob()
        with blob.open('w') as f:
            f.write(content)
        tm.commit()
        return u64(blob._p_oid), c.root()._p_serial
    finally:
        c.close()


def test_one_folder_with_a_stock_client(peer, tool, storage, opened, tmp_path):
    """Both at once, each with what the other has downloaded and what it has not."""
    s = peer(FILE)
    stock = storage(s, blob_dir=str(tmp_path / 'cache'))
    ours = tool(s)
    db = opened(ZODB.DB(storage(s, blob_dir=str(tmp_path / 'writer'))))
    blobs = {put(db, f'k{i}', noise(i, 70000 + i)): noise(i, 70000 + i) for i in range(30)}
    wrong = []

    def stock_loads():
        for (oid, tid), content in reversed(blobs.items()):
            try:
                with stock.openCommittedBlobFile(p64(oid), tid) as f:
                    assert f.read() == content
            except Exception as e:
                wrong.append(e)

    thread = threading.Thread(target=stock_loads)
    thread.start()
    for (oid, tid), content in blobs.items():
        assert fetch(ours, oid, tid) == digest(content)
    thread.join()
    assert not wrong
    assert len(files(tmp_path / 'cache')) == len(blobs)
    # what one has stored the other has without the server
    mine = commit(ours, tmp_path, {77777: b'mine'})
    s.stop()
    with stock.openCommittedBlobFile(p64(77777), mine) as f:
        assert f.read() == b'mine'


# --- the size of the cache ---

def size_of(folder):
    total = 0
    for p in files(folder):
        try:
            total += p.stat().st_size
        except FileNotFoundError:
            pass
    return total


def test_the_cache_is_kept_near_its_size(peer, tool, tmp_path):
    """T29: each can be opened although the cache is full again and again."""
    s = peer(FILE)
    contents = {oid: noise(oid, 40000) for oid in range(1, 41)}
    tid = commit(tool(s, 'one'), tmp_path, contents)
    two = tool(s, 'two', options=('-B', 200000))
    for oid, content in contents.items():
        assert fetch(two, oid, tid) == digest(content)
    wait_until('a smaller cache', lambda: size_of(tmp_path / 'two') <= 180000)
    assert files(tmp_path / 'two', f'*.{tid.hex()}.blob')
    # the path of a file that was given out can be opened for a while, however full it is
    for oid in (5, 6, 7, 8, 9, 10, 11, 12):
        path = two.ask('blob', '%x' % oid, tid.hex())[0]
        assert pathlib.Path(path).read_bytes() == contents[oid]
    wait_until('a smaller cache', lambda: size_of(tmp_path / 'two') <= 180000)
    # the one used last stays
    assert (tmp_path / 'two' / '12' / f'0.{tid.hex()}.blob').exists()


@pytest.mark.filterwarnings('ignore::ResourceWarning')
def test_beside_a_cleaner_that_spares_nothing(server, tool, tmp_path):
    """T29: ZEO's cleaner empties the folder all the time; each blob is opened all the same."""
    s = server(FILE)
    contents = {oid: noise(oid, 3000) for oid in range(1, 20)}
    tid = commit(tool(s, 'one'), tmp_path, contents)
    two = tool(s, 'two')
    stop = threading.Event()
    wrong, passes = [], []

    def clean():
        from ZEO.ClientStorage import _check_blob_cache_size
        while not stop.is_set():
            try:
                _check_blob_cache_size(str(tmp_path / 'two'), 0)
                passes.append(1)
            except FileNotFoundError:
                pass  # between its listing and its look: a download got its name
            except Exception as e:
                wrong.append(e)

    thread = threading.Thread(target=clean)
    thread.start()
    try:
        for _ in range(4):
            for oid, content in contents.items():
                assert fetch(two, oid, tid) == digest(content)
    finally:
        stop.set()
        thread.join()
    assert not wrong
    assert len(passes) > 3


def test_a_cache_is_cleaned_at_the_start(server, tool, tmp_path):
    s = server(FILE)
    tid = commit(tool(s, 'one'), tmp_path, {oid: noise(oid, 10000) for oid in range(1, 11)})
    for oid in range(1, 11):
        os.utime(tmp_path / 'one' / str(oid) / f'0.{tid.hex()}.blob', (oid, oid))
    tool(s, 'one', options=('-B', 50000))
    wait_until('a smaller cache', lambda: size_of(tmp_path / 'one') <= 45000)
    assert [int(p.parent.name) for p in files(tmp_path / 'one')] == [10, 7, 8, 9]  # in the order of names


def test_who_closes_cleans_to_the_end(server, tool, tmp_path):
    """What was given out a moment ago is spared while the client is there only."""
    s = server(FILE)
    tid = commit(tool(s, 'one'), tmp_path, {oid: noise(oid, 10000) for oid in range(1, 21)})
    two = tool(s, 'two', options=('-B', 50000))
    for oid in range(1, 21):
        two.ask('blob', '%x' % oid, tid.hex())
    two.close()
    assert 0 < size_of(tmp_path / 'two') <= 45000


def test_folders_in_use_are_cleaned_a_little_later(server, tool, tmp_path):
    s = server(FILE)
    tid = commit(tool(s, 'one'), tmp_path, {oid: noise(oid, 10000) for oid in range(1, 11)})
    folders = [p.parent for p in files(tmp_path / 'one', f'*.{tid.hex()}.blob')]
    locks = [zc.lockfile.LockFile(str(folder / '.lock')) for folder in folders]
    try:
        tool(s, 'one', options=('-B', 50000))
        assert size_of(tmp_path / 'one') == 100000
    finally:
        for lock in locks:
            lock.close()
    wait_until('a smaller cache', lambda: size_of(tmp_path / 'one') <= 45000)


def test_a_cleaner_elsewhere_is_told_to_clean_again(server, tool, tmp_path):
    """Who cannot clean says so; the next one begins once more because of that."""
    s = server(FILE)
    tid = commit(tool(s, 'one'), tmp_path, {oid: noise(oid, 10000) for oid in range(1, 11)})
    attempt = tmp_path / 'two' / 'check_size.attempt'
    (tmp_path / 'two').mkdir()
    lock = zc.lockfile.LockFile(str(tmp_path / 'two' / 'check_size.lock'))
    two = tool(s, 'two', options=('-B', 50000))
    for oid in range(1, 11):
        two.ask('blob', '%x' % oid, tid.hex())
    two.close()
    assert size_of(tmp_path / 'two') == 100000
    assert attempt.exists()
    lock.close()
    tool(s, 'two', options=('-B', 50000))
    wait_until('a smaller cache', lambda: size_of(tmp_path / 'two') <= 45000)
    wait_until('nobody waits', lambda: not attempt.exists())
