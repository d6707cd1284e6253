"""Servers for the tests: zkrunzeo, Python's runzeo, and a private ZooKeeper."""

import contextlib
import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
from ports import free_port

START_TIMEOUT_S = 60  # under a sanitizer on a busy machine
STOP_TIMEOUT_S = 30
PYTHON_STOP_TIMEOUT_S = 3
CLIENT_WAIT_S = 30


def greeting(address, timeout=5.0):
    """The protocol a server announces, or an OSError."""
    family = (socket.AF_UNIX if isinstance(address, str)
              else socket.AF_INET6 if ':' in address[0] else socket.AF_INET)
    with socket.socket(family) as s:
        s.settimeout(timeout)
        s.connect(address)
        with s.makefile('rb') as f:
            head = f.read(4)
            if len(head) < 4:
                raise ConnectionError('closed before its greeting')
            return f.read(struct.unpack('>I', head)[0])


class Server:
    """A server process. What it prints is in the file .output."""

    def __init__(self, command, address, output, env=None):
        self.command = [str(c) for c in command]
        self.address = address
        self.output = output
        self.env = {**os.environ, **(env or {})}
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def start(self, wait=True):
        with open(self.output, 'ab') as out:
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self.env)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if self.process.poll() is not None:
                raise AssertionError(
                    f'{self.command} ended with {self.process.returncode}:\n{self.text()}')
            try:
                return greeting(self.address)
            except OSError:
                if time.monotonic() > deadline:
                    raise AssertionError(f'{self.command} does not answer:\n{self.text()}')
                time.sleep(0.02)  # a port that opens tells nobody

    def stop(self, sig=signal.SIGTERM):
        """Exit status; a server that does not stop in time fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        python = 'ZEO.runzeo' in self.command
        try:
            return self.process.wait(PYTHON_STOP_TIMEOUT_S if python else STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            if python:
                return 0  # it loses a SIGTERM now and then (T41)
            raise AssertionError(f'{self.command} did not stop:\n{self.text()}') from None

    def kill(self):
        self.process.kill()
        return self.process.wait()

    def text(self):
        with open(self.output, errors='replace') as f:
            return f.read()


def _cleanup(servers):
    for server in servers:
        if server.process is not None and server.process.poll() is None:
            server.kill()


@pytest.fixture
def free_address():
    """A free port of 127.0.0.1."""
    return ('127.0.0.1', free_port())


@pytest.fixture
def start_server(tmp_path):
    """start_server(command, address): any program that greets as a ZEO server does."""
    servers = []

    def make(command, address, start=True, env=None):
        s = Server(command, address, tmp_path / f'process{len(servers)}.out', env)
        servers.append(s)
        return s.start() if start else s

    yield make
    _cleanup(servers)


def _configured(folder, name, configuration, address):
    """Write a configuration with its {address}, {port} and {dir}; returns its path."""
    unix = isinstance(address, str)
    inet = '' if unix else ('[%s]:%d' if ':' in address[0] else '%s:%d') % address
    for key, value in (('address', address if unix else inet),
                       ('port', '' if unix else str(address[1])),
                       ('dir', str(folder))):
        configuration = configuration.replace('{%s}' % key, value)
    path = folder / name
    path.write_text(configuration)
    return path


@pytest.fixture
def server(programs, tmp_path, start_server):
    """server(configuration, address=None, start=True): a zkrunzeo.

    {address}, {port} and {dir} in the configuration are replaced; the address is a free
    port of 127.0.0.1, or a Unix path when one is given.
    """
    numbers = itertools.count()

    def make(configuration, address=None, start=True, env=None):
        address = address or ('127.0.0.1', free_port())
        path = _configured(tmp_path, f'server{next(numbers)}.conf', configuration, address)
        return start_server([programs / 'zkrunzeo', '-C', path], address, start, env)
    return make


@pytest.fixture
def python_server(tmp_path, start_server):
    """python_server(configuration, address=None, start=True): Python's runzeo, as `server`."""
    numbers = itertools.count()

    def make(configuration, address=None, start=True, env=None):
        address = address or ('127.0.0.1', free_port())
        path = _configured(tmp_path, f'python{next(numbers)}.conf', configuration, address)
        return start_server(
            [sys.executable, '-m', 'ZEO.runzeo', '-C', path], address, start, env)
    return make


@pytest.fixture(params=['zkrunzeo', 'python'])
def peer(request, server, python_server):
    """The server under test, and the one that says what is right."""
    return server if request.param == 'zkrunzeo' else python_server


@pytest.fixture
def opened():
    """opened(x): x is closed at the end of the test."""
    with contextlib.ExitStack() as stack:
        def f(x):
            stack.callback(x.close)
            return x
        yield f


@pytest.fixture
def storage(opened):
    """storage(server, ...): a stock ClientStorage."""
    from ZEO.ClientStorage import ClientStorage

    def make(server, **kw):
        kw.setdefault('wait_timeout', CLIENT_WAIT_S)
        return opened(ClientStorage(getattr(server, 'address', server), **kw))
    return make


@pytest.fixture
def wires(opened):
    """wires(server, ...): a connection that shows every byte."""
    from wire import Wire

    def make(server, **kw):
        return opened(Wire(server.address, **kw))
    return make


@pytest.fixture
def twin(opened, storage, tmp_path):
    """twin(server): a client of it beside a FileStorage of Python's, see twins.Twin.

    The server's file is Data.fs in the test's folder, the other one Python.fs; keywords are
    FileStorage's, those that begin with client_ ClientStorage's.
    """
    from ZODB.FileStorage import FileStorage
    from twins import Twin

    def make(server, **kw):
        client = {k[7:]: kw.pop(k) for k in list(kw) if k.startswith('client_')}
        fs = opened(FileStorage(str(tmp_path / 'Python.fs'), **kw))
        return Twin(storage(server, **client), fs)
    return make


@pytest.fixture(scope='session')
def zookeeper(root, tmp_path_factory):
    """host:port of a ZooKeeper of our own."""
    folder = tmp_path_factory.mktemp('zookeeper')
    tool = root / 'scripts' / 'zookeeper-test'
    run = subprocess.run([tool, 'start', folder], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    yield run.stdout.split()[-1]
    subprocess.run([tool, 'stop', folder], check=True, capture_output=True, timeout=60)


@pytest.fixture
def kazoo(zookeeper):
    """A started kazoo client."""
    from kazoo.client import KazooClient
    client = KazooClient(hosts=zookeeper, timeout=10)
    client.start(timeout=30)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def zk_path(kazoo, request):
    """A fresh, existing path, named after the test. It is left behind, as its ZooKeeper is thrown
    away: a server that is still to be stopped may register here at any time."""
    path = f'/test/{request.module.__name__}-{request.node.name}-{os.getpid()}'
    path = path.replace('[', '-').replace(']', '')
    kazoo.ensure_path(path)
    return path
