"""The process: signals, start, stop, logs and files."""

import contextlib
import errno
import os
import pathlib
import random
import re
import resource
import signal
import time

import pytest

from load import check_file, make_writers, run_all
from wire import MAX_TID, Z64, Wire, p64, wait_until

FILE = ('<zeo>\n  address {address}\n</zeo>\n'
        '<filestorage 1>\n  path {dir}/Data.fs\n</filestorage>\n')
STOP_S = 10  # what a stop may take: five seconds for the clients, three for ZooKeeper


def with_log(text, configuration=FILE):
    return configuration + f'<eventlog>\n{text}\n</eventlog>\n'


@pytest.mark.parametrize('sig,status', [
    (signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGHUP, 1)])
def test_stop(server, tmp_path, sig, status):
    s = server(FILE, str(tmp_path / 'socket'))
    with Wire(s.address) as w:
        tid = w.commit([(p64(1), Z64, b'x'), (p64(5), Z64, b'y')])
        begun = time.monotonic()
        assert s.stop(sig) == status
        assert time.monotonic() - begun < STOP_S
        assert w.closed()
    assert not (tmp_path / 'socket').exists()
    # the index is saved, and covers the file
    from ZODB.fsIndex import fsIndex
    info = fsIndex.load(str(tmp_path / 'Data.fs.index'))
    assert info['pos'] == (tmp_path / 'Data.fs').stat().st_size
    assert list(info['index']) == [p64(1), p64(5)]
    assert not list(tmp_path.glob('Data.fs.tr*'))
    s.start()
    assert 'Ignoring index' not in s.text()
    with Wire(s.address) as w:
        assert w.tid == tid
    expected = {signal.SIGTERM: 'terminated by SIGTERM', signal.SIGINT: 'terminated by SIGINT',
                signal.SIGHUP: 'restarted by SIGHUP'}
    assert expected[sig] in s.text()


def test_stop_lets_the_voted_finish(server, tmp_path):
    """T42: who has voted may finish; nobody is told that the storage is closed."""
    s = server(FILE)
    with Wire(s.address) as voted, Wire(s.address) as idle, Wire(s.address) as begun:
        voted.begin(1, [(p64(1), Z64, b'x')])
        voted.call('vote', 1)
        begun.begin(1, [(p64(2), Z64, b'x')])
        s.process.send_signal(signal.SIGTERM)
        assert idle.closed()
        tid = voted.call('tpc_finish', 1)
        assert voted.closed()
        assert begun.closed()
        assert s.process.wait(STOP_S) == 0
        s.start()
        with Wire(s.address) as w:
            assert w.call('loadBefore', p64(1), MAX_TID) == (b'x', tid, None)


def test_stop_does_not_wait_for_ever(server, tmp_path):
    """A client that has voted and does not finish is cut, and its transaction with it."""
    s = server(FILE)
    with Wire(s.address) as w:
        w.begin(1, [(p64(1), Z64, b'x')])
        w.call('vote', 1)
        begun = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        assert s.process.wait(STOP_S + 5) == 0
        assert time.monotonic() - begun < STOP_S
    assert 'connections were cut' in s.text()
    s.start()
    with Wire(s.address) as w:
        assert w.tid == Z64


def takes_signals(pid):
    """Does it block SIGTERM, to take it in its own way? While a thread waits for signals the
    system shows them as not blocked there: any thread counts."""
    for status in pathlib.Path(f'/proc/{pid}/task').glob('*/status'):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            blocked = int(re.search(r'SigBlk:\s+(\w+)', status.read_text()).group(1), 16)
            if blocked >> (signal.SIGTERM - 1) & 1:
                return True
    return False


def test_sigterm_in_the_first_milliseconds(server, tmp_path):
    """T75: 50 times, from before its first instruction to when it serves."""
    s = server(FILE, start=False)
    for i in range(20):
        s.start(wait=False)
        time.sleep(i * 0.0002)
        ready = takes_signals(s.pid)
        # before the program has blocked its signals the system ends it
        assert s.stop() in ((0,) if ready else (0, -signal.SIGTERM)), (i, s.text())
    for i in range(30):
        s.start(wait=False)
        wait_until('it takes signals', lambda: takes_signals(s.pid))
        time.sleep(i * 0.0005)
        assert s.stop() == 0, (i, s.text())
    s.start()
    with Wire(s.address) as w:
        w.commit([(p64(1), Z64, b'x')])
    assert s.stop() == 0


def test_sigterm_under_load(server, tmp_path):
    """T41: always stops within its time, with status 0, and loses nothing it has acknowledged."""
    seed = random.randrange(1 << 32)
    print('seed', seed)
    rng = random.Random(seed)
    writers = make_writers(4, seed)
    s = server(FILE, start=False)
    for _ in range(20):
        s.start()
        with Wire(s.address) as w:
            for x in writers:
                x.verify(w)
        threads = run_all(writers, s.address)
        time.sleep(0.02 + rng.random() * 0.15)  # the moment is the test
        begun = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        assert s.process.wait(STOP_S + 5) == 0
        assert time.monotonic() - begun < STOP_S
        for t in threads:
            t.join()
    s.start()
    with Wire(s.address) as w:
        for x in writers:
            x.verify(w)
    assert s.stop() == 0
    assert 'Ignoring index' not in s.text()
    assert not list(tmp_path.glob('Data.fs.tr*'))
    check_file(tmp_path / 'Data.fs', writers)


def test_second_sigterm(server):
    """While it waits for a client, another signal changes nothing."""
    s = server(FILE)
    with Wire(s.address) as w:
        w.begin(1, [(p64(1), Z64, b'x')])
        w.call('vote', 1)
        s.process.send_signal(signal.SIGTERM)
        wait_until('it stops', lambda: 'terminated by SIGTERM' in s.text())
        s.process.send_signal(signal.SIGTERM)
        s.process.send_signal(signal.SIGINT)
        assert w.call('tpc_finish', 1) > Z64
    assert s.process.wait(STOP_S) == 0


def test_other_signals(server):
    s = server(FILE)
    with Wire(s.address) as w:
        s.process.send_signal(signal.SIGPIPE)
        s.process.send_signal(signal.SIGUSR2)
        wait_until('the log is reopened', lambda: 'Log files reopened' in s.text())
        assert w.call('ping') is None


def test_quick_restarts(server):
    """T61: the same port at once, while clients of the earlier life linger."""
    s = server(FILE)
    opened = []
    for _ in range(5):
        opened.append(Wire(s.address))
        assert s.stop() == 0
        s.start()
    for w in opened:
        assert w.closed()
        w.close()


# --- start ---

def ends(s, status):
    """Its exit status is this one; what it printed."""
    assert s.process.wait(20) == status, s.text()
    return s.text()


def test_port_in_use(server, tmp_path):
    s = server(FILE)
    other = server(FILE.replace('Data.fs', 'Other.fs'), s.address, start=False)
    other.start(wait=False)
    assert "the address '127.0.0.1:%d' is already in use" % s.address[1] in ends(other, 1)
    with Wire(s.address) as w:
        assert w.call('ping') is None


def test_unix_socket_in_use(server, tmp_path):
    """A server that lives keeps its socket; a stale one is replaced."""
    path = str(tmp_path / 'socket')
    s = server(FILE, path)
    other = server(FILE.replace('Data.fs', 'Other.fs'), path, start=False)
    other.start(wait=False)
    assert path in ends(other, 1)
    with Wire(path) as w:
        assert w.call('ping') is None
    s.kill()
    assert os.path.exists(path)
    s.start()
    with Wire(path) as w:
        assert w.call('ping') is None


def test_unix_path_that_is_no_socket(server, tmp_path):
    path = tmp_path / 'important'
    path.write_text('data')
    s = server(FILE, str(path), start=False).start(wait=False)
    assert str(path) in ends(s, 1)
    assert path.read_text() == 'data'


def test_file_in_use(server, tmp_path):
    """T22"""
    s = server(FILE)
    other = server(FILE, start=False).start(wait=False)
    text = ends(other, 1)
    assert 'Data.fs.lock' in text and str(s.pid) in text
    with Wire(s.address) as w:
        w.commit([(p64(1), Z64, b'x')])


@pytest.mark.parametrize('content,expected', [
    (b'FS20' + bytes(100), 'FS20'),
    (b'nothing of the kind', 'noth'),
])
def test_file_of_another_kind(server, tmp_path, content, expected):
    path = tmp_path / 'Data.fs'
    path.write_bytes(content)
    s = server(FILE, start=False).start(wait=False)
    text = ends(s, 1)
    assert str(path) in text and expected in text
    assert path.read_bytes() == content


def test_file_that_cannot_be_read(server, tmp_path):
    (tmp_path / 'Data.fs').mkdir()
    s = server(FILE, start=False).start(wait=False)
    text = ends(s, 1)
    assert str(tmp_path / 'Data.fs') in text and os.strerror(errno.EISDIR) in text


def test_folder_that_is_missing(server, tmp_path):
    s = server(FILE.replace('{dir}', '{dir}/nothing'), start=False).start(wait=False)
    assert str(tmp_path / 'nothing') in ends(s, 2)


def test_damage_is_refused(server, tmp_path):
    """Damage in front of whole transactions names its offset; nothing is cut."""
    s = server(FILE)
    path = tmp_path / 'Data.fs'
    with Wire(s.address) as w:
        positions = []
        for i in range(1, 20):
            positions.append(path.stat().st_size)
            w.commit([(p64(i), Z64, b'x' * 100)])
    assert s.stop() == 0
    data = bytearray(path.read_bytes())
    at = positions[8]
    data[at + 10] ^= 0xff  # the transaction's length
    path.write_bytes(data)
    (tmp_path / 'Data.fs.index').unlink()
    s.start(wait=False)
    text = ends(s, 1)
    assert str(at) in text and str(path) in text
    assert path.read_bytes() == data
    assert not list(tmp_path.glob('*.tr*'))


def test_pid_file(server, tmp_path):
    path = tmp_path / 'the.pid'
    s = server(FILE.replace('{address}', f'{{address}}\n  pid-filename {path}'))
    assert path.read_text().strip() == str(s.pid)
    assert s.stop() == 0
    assert not path.exists()
    s.start()
    s.kill()
    assert path.exists()
    s.start()  # a stale one is replaced
    assert path.read_text().strip() == str(s.pid)


def test_descriptor_limit_is_raised(programs, server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    s = server(FILE)
    limits = pathlib.Path(f'/proc/{s.pid}/limits').read_text()
    assert re.search(r'Max open files +(\d+) +(\d+)', limits).group(1, 2) == (str(hard), str(hard))


# --- logs ---

def test_log_file(server, tmp_path):
    """The default format is ZConfig's: a line of dashes, then the record."""
    log = tmp_path / 'zeo.log'
    s = server(with_log(f'<logfile>\n path {log}\n</logfile>'))
    assert s.stop() == 0
    text = log.read_text()
    assert re.search(r'^------\n\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d INFO \S+ .*listening on '
                     rf'127\.0\.0\.1:{s.address[1]}$', text, re.M)
    assert re.search(r'INFO \S+ stopped$', text, re.M)
    assert 'listening' not in s.text()


def test_log_formats(server, tmp_path):
    """Two files with a format and a level each; the format is as Python's logging writes it."""
    one, two = tmp_path / 'one', tmp_path / 'two'
    s = server(with_log(
        f'<logfile>\n path {one}\n format [%(process)d] %(levelname)-9s|%(levelno)03d|%(message)s\n'
        f'</logfile>\n<logfile>\n path {two}\n level error\n dateformat %Y\n'
        f' format %(asctime)s %(name)s %(message)s\\n..\n</logfile>'))
    with Wire(s.address, register=False, handshake=False) as w:
        w.send_raw(b'\0\0\0\3bad')
        assert w.closed()
    wait_until('the line', lambda: 'bad handshake' in two.read_text())
    assert s.stop() == 0
    lines = one.read_text().splitlines()
    levels = r'(INFO     \|020|ERROR    \|040|WARNING  \|030)'
    assert all(re.fullmatch(rf'\[{s.pid}\] {levels}\|.+', line) for line in lines), lines
    assert any('listening on' in line for line in lines)
    assert re.fullmatch(rf'{time.localtime().tm_year} \S+ \(.*\) closing the connection: '
                        r'bad handshake[^\n]*\n\.\.\n', two.read_text())


def test_log_level(server, tmp_path):
    log = tmp_path / 'zeo.log'
    s = server(with_log(f'level warning\n<logfile>\n path {log}\n</logfile>'))
    with Wire(s.address) as w:
        w.call('ping')
    assert s.stop() == 0
    assert log.read_text() == ''


def test_log_to_stdout(server):
    s = server(with_log('<logfile>\n path STDOUT\n format OUT %(message)s\n</logfile>'))
    assert s.stop() == 0
    assert re.search(r'^OUT .*listening on', s.text(), re.M)


def test_no_log(server):
    s = server(with_log(''))
    assert s.stop() == 0
    assert s.text() == ''


def test_reopen_logs(server, tmp_path):
    """SIGUSR2, after logrotate has moved the file away."""
    log = tmp_path / 'zeo.log'
    s = server(with_log(f'<logfile>\n path {log}\n format %(message)s\n</logfile>'))
    old = tmp_path / 'zeo.log.1'
    log.rename(old)
    with Wire(s.address) as w:
        w.call('ping')
    wait_until('still the old file', lambda: 'disconnected' in old.read_text())
    s.process.send_signal(signal.SIGUSR2)
    wait_until('the new file', lambda: log.exists() and log.read_text())
    before = old.read_text()
    assert log.read_text() == 'Log files reopened successfully\n'
    assert s.stop() == 0
    assert old.read_text() == before
    assert 'terminated by SIGTERM' in log.read_text()


def test_rotated_logs(server, tmp_path):
    log = tmp_path / 'zeo.log'
    s = server(with_log(f'<logfile>\n path {log}\n max-size 1KB\n old-files 2\n'
                        ' format %(message)s\n</logfile>'))
    for _ in range(60):
        with Wire(s.address) as w:
            w.call('ping')
    wait_until('two rotated files', lambda: (tmp_path / 'zeo.log.2').exists())
    assert s.stop() == 0
    names = sorted(p.name for p in tmp_path.glob('zeo.log*'))
    assert names == ['zeo.log', 'zeo.log.1', 'zeo.log.2']
    assert all(p.stat().st_size <= 1024 for p in tmp_path.glob('zeo.log*'))


def test_log_file_that_cannot_be_opened(server, tmp_path):
    s = server(with_log(f'<logfile>\n path {tmp_path}/nothing/zeo.log\n</logfile>'), start=False)
    s.start(wait=False)
    assert f'{tmp_path}/nothing/zeo.log' in ends(s, 2)


def test_full_disk_of_the_log(server, tmp_path):
    """A log that cannot be written stops nothing."""
    s = server(with_log('<logfile>\n path /dev/full\n</logfile>'))
    with Wire(s.address) as w:
        w.commit([(p64(1), Z64, b'x')])
    assert s.stop() == 0
