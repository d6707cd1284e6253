"""A private ZooKeeper for tests, with kazoo as the independent observer."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import time

import kazoo.client
import kazoo.exceptions
import pytest

from freezing import states

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get('ZKZEO_BUILD', ROOT / 'build'))
ZKZEO = BUILD / 'src/bin/zkzeo'
SCRIPT = ROOT / 'scripts/zookeeper-test'


def wait_for(what, condition, timeout_s=20):
    """Poll for what another process is about to do; its value, or a failure that names it."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f'waited {timeout_s} s for: {what}'
        time.sleep(0.02)


def read_session(path):
    """What attaches to the session of a registration."""
    _, _, _, number, password = path.read_text().split()
    return int(number, 16), bytes.fromhex(password)


def _is_stopped(pid):
    """All of a process's threads."""
    try:
        return set(states(pid)) == {'T'}
    except OSError:  # a thread has ended meanwhile
        return False


class ZooKeeper:
    """One server in one folder. `connection` is HOST:PORT and stays the same."""

    def __init__(self, folder):
        self.folder = folder
        self.connection = None
        self._client = None

    def _run(self, command):
        return subprocess.run([SCRIPT, command, self.folder], check=True, text=True,
                              stdout=subprocess.PIPE, timeout=90).stdout.strip()

    def start(self):
        self.connection = self._run('start')

    def stop(self):
        self._run('stop')

    def kill(self):
        self._run('kill')

    def restart(self):
        self.kill()
        self.start()

    def wipe(self):
        """The ensemble comes back without its data (T35, T70)."""
        self.close_client()
        self._run('wipe')
        self.start()

    @contextlib.contextmanager
    def frozen(self):
        """It accepts connections, and says nothing."""
        pid = int((self.folder / 'pid').read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            # its threads may go on for a moment
            wait_for('all threads of ZooKeeper to stop', lambda: _is_stopped(pid))
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @property
    def client(self):
        """A kazoo client that is connected."""
        if self._client is None:
            self._client = kazoo.client.KazooClient(
                self.connection, timeout=10,
                connection_retry={'max_tries': -1, 'delay': 0.02, 'max_delay': 0.1})
            self._client.start(20)
        else:
            wait_for('kazoo is connected', lambda: self._client.connected)
        return self._client

    def close_client(self):
        if self._client is not None:
            self._client.stop()
            self._client.close()
            self._client = None

    def sessions(self):
        """The ids of the sessions that are connected."""
        with socket.create_connection(self.connection.split(':'), 10) as s:
            s.sendall(b'cons')
            with s.makefile('r') as f:
                return {int(sid, 16) for sid in re.findall(r'sid=0x([0-9a-f]+)', f.read())} - {0}

    def expire(self, session_id, password):
        """End a session of another process, as its expiry does: attach to it and close it, in
        one packet, before its owner has missed its connection and attaches again."""
        wait_for('the session ends', lambda: self._close_session(session_id, password))

    def _close_session(self, session_id, password):
        """True when there is no such session any more."""
        connect = struct.pack('>iqiqi16sb', 0, 0, 10000, session_id, 16, password, 0)
        close = struct.pack('>ii', 1, -11)
        with socket.create_connection(self.connection.split(':'), 10) as s:
            s.sendall(b''.join(struct.pack('>i', len(p)) + p for p in (connect, close)))
            with s.makefile('rb') as f:
                answer = f.read()
        # length, version, and the session's timeout: 0 when it was not found
        return len(answer) >= 12 and struct.unpack_from('>i', answer, 8)[0] == 0

    def fresh(self, path, data=b''):
        """Make @path anew, without children."""
        with contextlib.suppress(kazoo.exceptions.NoNodeError):
            self.client.delete(path, recursive=True)
        self.client.create(path, data, makepath=True)
        return path

    def children(self, path):
        try:
            return sorted(self.client.get_children(path))
        except (kazoo.exceptions.ConnectionLoss, kazoo.exceptions.SessionExpiredError,
                kazoo.exceptions.NoNodeError):
            return []


@pytest.fixture(scope='module')
def ensemble(tmp_path_factory):
    """A ZooKeeper that a module's tests may stop and wipe: they leave it running."""
    server = ZooKeeper(tmp_path_factory.mktemp('ensemble'))
    server.start()
    yield server
    server.close_client()
    server.kill()
