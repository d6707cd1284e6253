"""Watched nodes against a real ZooKeeper, with kazoo as who changes them."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from freezing import freeze
from zk import BUILD, ensemble, wait_for  # noqa: F401

PATIENCE_S = 20
WATCH_PATH = BUILD / 'tests/tools/watch_path'


class Watching:
    """A process that watches paths, and its lines of output so far."""

    def __init__(self, output, *args):
        self.output = output
        with open(output, 'wb') as f:
            self.process = subprocess.Popen(
                [WATCH_PATH, *map(str, args)], stdin=subprocess.PIPE, stdout=f, stderr=f)

    @property
    def lines(self):
        return self.output.read_text(errors='replace').splitlines()

    def say(self, command):
        self.process.stdin.write(command.encode() + b'\n')
        self.process.stdin.flush()
        return self

    def wait_for(self, text, count=1):
        """Until there are so many lines of this text."""
        def there():
            return self.lines.count(text) >= count

        wait_for(repr(text), lambda: there() or self.process.poll() is not None, PATIENCE_S)
        assert there(), '\n'.join(self.lines)
        return self

    def told(self):
        """The lines about nodes."""
        return [line for line in self.lines if ': ' in line or line.endswith((':', ' deleted'))]

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0, self.lines


@pytest.fixture
def watch(ensemble, tmp_path):
    """watch([option...,] path...): a process that watches them."""
    started = []
    ensemble.fresh('/demo')

    def start(*args, opened=True, connection=None):
        options = [a for a in args if not str(a).startswith('/')]
        paths = [a for a in args if str(a).startswith('/')]
        process = Watching(tmp_path / f'output{len(started)}', *options,
                           connection or ensemble.connection, *paths)
        started.append(process)
        process.say('open')
        return process.wait_for('opened') if opened else process

    yield start
    for process in started:
        process.process.kill()
        process.process.wait()
        process.process.stdin.close()


def sockets(pid):
    folder = f'/proc/{pid}/fd'
    return [fd for fd in os.listdir(folder)
            if os.readlink(f'{folder}/{fd}').startswith('socket')]


def test_children(ensemble, watch):
    ensemble.client.create('/demo/b')
    w = watch('/demo').wait_for('/demo: b')
    assert w.lines == ['/demo connected', '/demo: b', 'opened']
    ensemble.client.create('/demo/a')
    w.wait_for('/demo: a b')
    ensemble.client.delete('/demo/b')
    w.wait_for('/demo: a')
    ensemble.client.delete('/demo/a')
    w.wait_for('/demo: ')
    w.say('close').wait_for('closed')
    ensemble.client.create('/demo/c')
    w.stop()
    assert w.told() == ['/demo: b', '/demo: a b', '/demo: a', '/demo: ']


def test_data(ensemble, watch):
    ensemble.fresh('/demo', b'{"a":1}')
    w = watch('-d', '/demo').wait_for('/demo: {"a":1}')
    ensemble.client.set('/demo', b'')
    w.wait_for('/demo: ')
    ensemble.client.set('/demo', b'text')
    w.wait_for('/demo: text')


def test_every_change_arrives(ensemble, watch):
    """The last state is always told, however fast changes come."""
    w = watch('-d', '/demo')
    for i in range(300):
        ensemble.client.set_async('/demo', b'%d' % i)
    w.wait_for('/demo: 299')
    numbers = [int(line.split()[1]) for line in w.told()[1:]]
    assert numbers == sorted(set(numbers))


def test_one_session_serves_all(ensemble, watch):
    """T78"""
    for name in 'a', 'b', 'c':
        ensemble.client.create('/demo/' + name)
    w = watch('/demo', '/demo/a', '/demo/b', '/demo/c')
    assert len(sockets(w.process.pid)) == 1
    ensemble.client.create('/demo/b/x')
    w.wait_for('/demo/b: x')
    w.say('close').wait_for('closed')
    assert sockets(w.process.pid) == []
    w.say('open').wait_for('opened', 2)
    assert len(sockets(w.process.pid)) == 1


def test_many_threads_open_and_close(ensemble, watch):
    w = watch('/demo')
    w.say('threads').wait_for('threads: done')
    assert not [line for line in w.lines if line.startswith('error')]
    ensemble.client.create('/demo/a')
    w.wait_for('/demo: a')
    assert len(sockets(w.process.pid)) == 1


def test_links(ensemble, watch):
    ensemble.fresh('/links', b'{"to ->":"/demo"}')
    w = watch('/links/to')
    ensemble.client.create('/demo/a')
    w.wait_for('/links/to: a')
    ensemble.client.create('/demo2')  # the target moves, the link follows
    ensemble.client.create('/demo2/b')
    ensemble.client.set('/links', b'{"to ->":"/demo2"}')
    ensemble.client.delete('/demo', recursive=True)
    w.wait_for('/links/to: b')
    ensemble.client.delete('/demo2', recursive=True)


def test_chroot(ensemble, watch):
    ensemble.fresh('/root/inner')
    w = watch('/inner', connection=ensemble.connection + '/root')
    ensemble.client.create('/root/inner/a')
    w.wait_for('/inner: a')


@pytest.mark.parametrize('kind', [[], ['-d']])
def test_deleted_and_created_again(ensemble, watch, kind):
    ensemble.client.create('/demo/n', b'x')
    w = watch(*kind, '/demo/n')
    ensemble.client.delete('/demo/n')
    w.wait_for('/demo/n deleted')
    ensemble.client.create('/demo/n', b'x')
    first = '/demo/n: x' if kind else '/demo/n: '
    w.wait_for(first, 2)
    ensemble.client.create('/demo/n/a')
    ensemble.client.set('/demo/n', b'y')
    w.wait_for('/demo/n: y' if kind else '/demo/n: a')
    assert w.told()[:3] == [first, '/demo/n deleted', first]


def test_expired_session(ensemble, watch):
    """Stopped for longer than its session lives: a new one, and what changed meanwhile."""
    w = watch('-s', 600, '/demo')
    freeze(w.process)
    ensemble.client.create('/demo/a')
    time.sleep(2)  # the session's time has to run out
    w.process.send_signal(signal.SIGCONT)
    w.wait_for('/demo: a')
    ensemble.client.create('/demo/b')
    w.wait_for('/demo: a b')
    assert w.told() == ['/demo: ', '/demo: a', '/demo: a b']


def test_zookeeper_restarts(ensemble, watch):
    """T38, T71: nothing is told while it is away."""
    ensemble.client.create('/demo/a')
    w = watch('/demo')
    ensemble.kill()
    w.wait_for('/demo disconnected')
    ensemble.start()
    w.wait_for('/demo connected', 2)
    ensemble.client.create('/demo/b')
    w.wait_for('/demo: a b')
    assert w.told() == ['/demo: a', '/demo: a b']


def test_zookeeper_is_away_for_longer_than_the_session(ensemble, watch):
    w = watch('-s', 600, '/demo')
    ensemble.client.create('/demo/a')
    w.wait_for('/demo: a')
    ensemble.kill()
    w.wait_for('/demo disconnected')
    time.sleep(3)  # several handles in vain
    ensemble.start()
    ensemble.client.create('/demo/b')
    w.wait_for('/demo: a b')
    assert w.told() == ['/demo: ', '/demo: a', '/demo: a b']


def test_zookeeper_loses_its_data(ensemble, watch):
    """T35, T70"""
    for i in range(50):  # our last zxid is larger than the new one's
        ensemble.client.create('/demo/x')
        ensemble.client.delete('/demo/x')
    ensemble.client.create('/demo/a')
    w = watch('/demo').wait_for('/demo: a')
    ensemble.wipe()
    w.wait_for('/demo deleted')
    ensemble.client.create('/demo')
    ensemble.client.create('/demo/b')
    w.wait_for('/demo: b')


def test_zookeeper_hangs(ensemble, watch):
    w = watch('/demo')
    with ensemble.frozen():
        w.wait_for('/demo disconnected')
    w.wait_for('/demo connected', 2)
    ensemble.client.create('/demo/a')
    w.wait_for('/demo: a')


class Proxy:
    """Between a client and a server; what it was told to lose, it loses, and keeps the connection."""

    def __init__(self, connection):
        self.server = connection.split(':')
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.connection = '127.0.0.1:%d' % self.socket.getsockname()[1]
        self.pairs = []
        self.lost = set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                server = socket.create_connection(self.server, 10)
                pair = (client, server)
                self.pairs.append(pair)
                for source, to in pair, pair[::-1]:
                    threading.Thread(target=self.copy, args=(pair, source, to), daemon=True).start()

    def copy(self, pair, source, to):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if pair not in self.lost:
                    to.sendall(data)
            to.shutdown(socket.SHUT_WR)

    def lose(self):
        """What goes through the connections that there are now."""
        self.lost.update(self.pairs)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for s in (s for pair in self.pairs for s in pair):
            s.close()


def test_hurry_on_a_connection_that_only_looks_alive(ensemble, watch):
    """The library would notice after two thirds of 40 s. The session is kept."""
    with contextlib.closing(Proxy(ensemble.connection)) as proxy:
        w = watch('-s', 40000, '/demo', connection=proxy.connection)
        own = {ensemble.client.client_id[0]}
        sessions = ensemble.sessions() - own
        proxy.lose()
        ensemble.client.create('/demo/a')
        w.say('hurry').wait_for('/demo: a')
        assert len(proxy.pairs) == 2
        assert ensemble.sessions() - own == sessions


@pytest.mark.parametrize('options,paths,error', [
    ([], ['/nothing'], "error: not found: ZooKeeper at '{}': the path '/nothing' does not exist"),
    ([], ['/demo', '/demo/x/y'], "error: not found: ZooKeeper at '{}': "
                                 "the path '/demo/x/y' does not exist: there is no '/demo/x'"),
])
def test_no_such_path(ensemble, watch, options, paths, error):
    w = watch(*options, *paths, opened=False)
    w.wait_for(error.format(ensemble.connection))


def test_no_zookeeper(watch):
    start = time.monotonic()
    w = watch('-w', 1000, '/demo', opened=False, connection='127.0.0.1:1')
    w.wait_for("error: timeout: Can't connect to ZooKeeper at '127.0.0.1:1'")
    w.say('close').wait_for('closed')
    assert time.monotonic() - start < 5
    w.stop()


def test_unknown_host(watch):
    w = watch('/demo', opened=False, connection='nobody.invalid:2181')
    w.wait_for("error: timeout: Can't connect to ZooKeeper at 'nobody.invalid:2181': "
               'no host of it is known')


def test_zookeeper_hangs_at_the_start(ensemble, watch):
    with ensemble.frozen():
        w = watch('-w', 1000, '/demo', opened=False)
        w.wait_for(f"error: timeout: Can't connect to ZooKeeper at '{ensemble.connection}'")
        w.stop()


def test_bad_connection_string(watch):
    w = watch('/demo', opened=False, connection='a:b')
    w.wait_for("error: invalid: 'a:b' is no ZooKeeper address: expected HOST or HOST:PORT")


def test_child_process(ensemble, watch):
    """T31: it closes what its parent opened, and the parent's goes on."""
    w = watch('-s', 2000, '/demo')
    w.say('fork').wait_for('child: 0')
    w.stop_at = time.monotonic() + 3
    ensemble.client.create('/demo/a')
    w.wait_for('/demo: a')
    wait_for('longer than the session lives', lambda: time.monotonic() > w.stop_at)
    ensemble.client.create('/demo/b')
    w.wait_for('/demo: a b')
    assert '/demo disconnected' not in w.lines


def test_child_process_watches_on_its_own(ensemble, watch):
    if b'__tsan_init' in WATCH_PATH.read_bytes():
        pytest.skip('the thread sanitizer lets a forked process start no thread')
    w = watch('/demo', '/')
    for i in range(5):
        w.say('fork and open').wait_for('child: 0', i + 1)
    assert w.lines.count('opened') == 6
    ensemble.client.create('/demo/a')
    w.wait_for('/demo: a')
    assert '/demo disconnected' not in w.lines
    assert len(sockets(w.process.pid)) == 1


def test_programs_do_not_inherit_the_connection(ensemble, watch):
    w = watch('/demo')
    pid = w.process.pid
    for fd in pathlib.Path(f'/proc/{pid}/fd').iterdir():
        if int(fd.name) > 2 and os.readlink(fd).startswith(('socket', 'pipe')):
            flags = pathlib.Path(f'/proc/{pid}/fdinfo/{fd.name}').read_text()
            flags = int(re.search(r'flags:\s+(\d+)', flags).group(1), 8)
            assert flags & os.O_CLOEXEC, os.readlink(fd)


def test_closed_at_once(ensemble, watch):
    """T34: whatever is under way when it is closed."""
    w = watch('/demo')
    for i in range(20):
        w.say('close').say('open').wait_for('opened', i + 2)
    ensemble.kill()
    w.say('close').wait_for('closed', 21)
    w.stop()
    ensemble.start()
