"""Registration against a real ZooKeeper, with kazoo as the independent observer."""

import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import time

import kazoo.security
import pytest

from freezing import freeze
from zk import BUILD, ensemble, read_session, wait_for  # noqa: F401

REGISTER_ONCE = BUILD / 'tests/tools/register_once'
ZKRUNZEO = BUILD / 'src/bin/zkrunzeo'
TIMEOUT_MS = 6000


class Registered:
    """A process that registers, and its lines of output so far."""

    def __init__(self, output, *args, program=REGISTER_ONCE):
        self.output = output
        with open(output, 'wb') as f:
            self.process = subprocess.Popen([program, *map(str, args)], stdout=f, stderr=f)

    @property
    def lines(self):
        return self.output.read_text(errors='replace').splitlines()

    def wait_for(self, text, timeout_s=30):
        def there():
            return any(text in line for line in self.lines)

        wait_for(repr(text), lambda: there() or self.process.poll() is not None, timeout_s)
        assert there(), '\n'.join(self.lines)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.lines
        assert self.lines[-1] == 'stop: 0'

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def register(ensemble, tmp_path):
    """Start a registration at /demo and wait until it is decided."""
    started = []
    ensemble.fresh('/demo')

    def start(address='127.0.0.1:8100', *options, path='/demo', connection=None, wait=True):
        process = Registered(tmp_path / f'output{len(started)}', '-t', TIMEOUT_MS, *options,
                             connection or ensemble.connection, path, address)
        started.append(process)
        if wait:
            process.wait_for('started')
        return process

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()


def test_node(ensemble, register):
    server = register()
    data, meta = ensemble.client.get('/demo/127.0.0.1:8100')
    assert json.loads(data) == {'pid': server.process.pid}
    assert meta.ephemeralOwner
    assert ensemble.client.get_acls('/demo/127.0.0.1:8100')[0] == kazoo.security.READ_ACL_UNSAFE
    assert server.lines == ['INFO Registered zk: /demo/127.0.0.1:8100', 'started']
    server.stop()
    assert ensemble.children('/demo') == []


def test_monitor_property(ensemble, register):
    server = register('127.0.0.1:8100', '-m', '127.0.0.1:9')
    data, _ = ensemble.client.get('/demo/127.0.0.1:8100')
    assert json.loads(data) == {'pid': server.process.pid, 'monitor': '127.0.0.1:9'}


@pytest.mark.parametrize('address,options,name', [
    ('[::1]:8100', [], '[::1]:8100'),  # T39
    ('127.0.0.1:8100', ['-a', 'db.example.com'], 'db.example.com:8100'),  # T72
    (':8100', ['-a', 'db.example.com:99'], 'db.example.com:99'),
])
def test_names(ensemble, register, address, options, name):
    register(address, *options)
    assert ensemble.children('/demo') == [name]


def test_all_interfaces(ensemble, register):
    register(':8100')
    names = ensemble.children('/demo')
    assert names and all(re.fullmatch(r'\d+\.\d+\.\d+\.\d+:8100', name) for name in names)
    assert '0.0.0.0:8100' not in names


def test_links_are_followed(ensemble, register):
    ensemble.fresh('/links', b'{"to ->":"/demo"}')
    register(path='/links/to')
    assert ensemble.children('/demo') == ['127.0.0.1:8100']


def test_chroot(ensemble, register):
    ensemble.fresh('/root/inner')
    server = register(path='/inner', connection=ensemble.connection + '/root')
    assert ensemble.children('/root/inner') == ['127.0.0.1:8100']
    ensemble.client.delete('/root/inner/127.0.0.1:8100')  # watches work below it, too
    server.wait_for('restoring ephemeral /inner/127.0.0.1:8100')
    wait_for('the node is back', lambda: ensemble.children('/root/inner'))


def test_several_servers_in_the_connection_string(ensemble, register):
    register(connection=f'127.0.0.1:1, {ensemble.connection}')
    assert ensemble.children('/demo') == ['127.0.0.1:8100']


@pytest.mark.parametrize('path,text', [
    ('/nothing', "the path '/nothing' does not exist"),
    ('demo', "'demo' is no path in ZooKeeper"),
])
def test_path_that_does_not_exist(ensemble, register, path, text):
    server = register(path=path, wait=False)
    assert server.process.wait(20) == 1
    assert text in server.lines[-1] and server.lines[-1].startswith('error: ')


def test_no_zookeeper_with_a_dynamic_port(register):
    server = register('127.0.0.1:8100', '-d', connection='127.0.0.1:1', wait=False)
    assert server.process.wait(20) == 1
    assert "Can't connect to ZooKeeper at '127.0.0.1:1'" in server.lines[-1]


def test_unknown_host_is_tried_on(register):
    server = register(connection='nobody.invalid:2181')
    assert server.lines == [
        "CRITICAL Can't connect to ZooKeeper at 'nobody.invalid:2181': no host of it is known",
        'started']
    server.stop()


def test_zookeeper_comes_later(ensemble, register):
    ensemble.stop()
    server = register()
    assert server.lines == [
        f"CRITICAL Can't connect to ZooKeeper at '{ensemble.connection}'", 'started']
    ensemble.start()
    server.wait_for('Registered zk: /demo/127.0.0.1:8100')


def test_killed_and_started_again(ensemble, register, tmp_path):
    """T32: within the session timeout, with the session file: at once."""
    session = tmp_path / 'session'
    register('127.0.0.1:8100', '-s', session).kill()
    assert ensemble.children('/demo') == ['127.0.0.1:8100']
    assert stat.S_IMODE(os.stat(session).st_mode) == 0o600
    server = register('127.0.0.1:8100', '-s', session)
    data, _ = ensemble.client.get('/demo/127.0.0.1:8100')
    assert json.loads(data) == {'pid': server.process.pid}
    assert server.lines == ['INFO Registered zk: /demo/127.0.0.1:8100', 'started']
    server.stop()
    assert not session.exists()


def test_killed_and_started_again_without_its_session(ensemble, register):
    """T32: the node of the earlier life is another session's; ours follows when it has run out."""
    register().kill()
    server = register()
    assert 'is registered by another ZooKeeper session' in server.lines[0]
    server.wait_for('Registered zk: /demo/127.0.0.1:8100')


def test_two_servers_with_one_name(ensemble, register):
    """T32: neither removes the other's node."""
    first = register()
    owner = ensemble.client.exists('/demo/127.0.0.1:8100').ephemeralOwner
    second = register()
    second.stop()
    assert ensemble.client.exists('/demo/127.0.0.1:8100').ephemeralOwner == owner
    third = register()
    first.stop()
    third.wait_for('Registered zk: /demo/127.0.0.1:8100')
    assert ensemble.client.exists('/demo/127.0.0.1:8100').ephemeralOwner != owner


def test_expired_session(ensemble, register, tmp_path):
    session = tmp_path / 'session'
    server = register('127.0.0.1:8100', '-s', session)
    old = read_session(session)
    ensemble.expire(*old)
    server.wait_for('WARNING the ZooKeeper session expired')
    server.wait_for('INFO restoring ephemeral /demo/127.0.0.1:8100')
    wait_for('the node is back', lambda: ensemble.children('/demo'))
    assert read_session(session) != old


def test_stopped_for_longer_than_its_session(ensemble, register):
    server = register()
    freeze(server.process)
    wait_for('the session has run out', lambda: ensemble.children('/demo') == [])
    server.process.send_signal(signal.SIGCONT)
    wait_for('the node is back', lambda: ensemble.children('/demo'))


def test_zookeeper_restarts(ensemble, register):
    """T71: the session goes on, the node is not made anew."""
    server = register()
    before = ensemble.client.exists('/demo/127.0.0.1:8100').czxid
    ensemble.restart()
    server.wait_for('INFO connected to ZooKeeper')
    # long enough for a session that was not taken up again to run out
    end = time.monotonic() + TIMEOUT_MS / 1000 + 2
    while time.monotonic() < end:
        assert ensemble.client.exists('/demo/127.0.0.1:8100').czxid == before
        time.sleep(0.2)
    assert server.lines[2:] == [
        f"WARNING lost the connection to ZooKeeper at '{ensemble.connection}'",
        f"INFO connected to ZooKeeper at '{ensemble.connection}'"]


def test_zookeeper_loses_its_data(ensemble, register):
    """T35, T70"""
    for i in range(50):  # our last zxid is larger than the new one's
        ensemble.client.create('/demo/x')
        ensemble.client.delete('/demo/x')
    server = register()
    ensemble.wipe()
    server.wait_for("ERROR cannot register in ZooKeeper: ZooKeeper at "
                    f"'{ensemble.connection}': the path '/demo' does not exist")
    ensemble.client.create('/demo')
    wait_for('the node is back', lambda: ensemble.children('/demo'))


def test_somebody_removes_the_node(ensemble, register):
    server = register()
    ensemble.client.delete('/demo/127.0.0.1:8100')
    server.wait_for('INFO restoring ephemeral /demo/127.0.0.1:8100')
    wait_for('the node is back', lambda: ensemble.children('/demo'))


def test_stop_without_zookeeper(ensemble, register, tmp_path):
    """Bounded; and the next start ends the session that could not be ended."""
    session = tmp_path / 'session'
    server = register('127.0.0.1:8100', '-s', session)
    ensemble.kill()
    server.wait_for('lost the connection')
    start = time.monotonic()
    server.stop()
    assert time.monotonic() - start < 5
    ensemble.start()
    assert session.exists()
    server = register('127.0.0.1:8100', '-s', session)
    assert server.lines[0] == 'INFO Registered zk: /demo/127.0.0.1:8100'


def test_stop_while_zookeeper_hangs(ensemble, register, tmp_path):
    """As without it: bounded, and left to the next start."""
    session = tmp_path / 'session'
    server = register('127.0.0.1:8100', '-s', session)
    with ensemble.frozen():
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 8
    assert session.exists()
    server = register('127.0.0.1:8100', '-s', session)
    assert server.lines[0] == 'INFO Registered zk: /demo/127.0.0.1:8100'


def test_zookeeper_hangs(ensemble, register):
    """For less than the session timeout: nothing happens to the node."""
    server = register()
    before = ensemble.client.exists('/demo/127.0.0.1:8100').czxid
    with ensemble.frozen():
        server.wait_for('lost the connection')
    server.wait_for('INFO connected')
    assert ensemble.client.exists('/demo/127.0.0.1:8100').czxid == before


def test_stop_at_once(ensemble, register, tmp_path):
    """T75: no node is left behind, whenever the signal comes."""
    for i in range(30):
        server = register('127.0.0.1:8100', wait=False)
        time.sleep(i * 0.001)
        server.process.send_signal(signal.SIGTERM)
        # before the program blocks signals it may die of this one
        assert server.process.wait(20) in (0, -signal.SIGTERM)
        assert ensemble.children('/demo') == []


def test_child_process(ensemble, register):
    """T31: a child that stops what its parent started changes nothing."""
    server = register()
    server.process.send_signal(signal.SIGUSR1)
    server.wait_for('child: 0')
    before = ensemble.client.exists('/demo/127.0.0.1:8100').czxid
    end = time.monotonic() + TIMEOUT_MS / 1000 + 1
    while time.monotonic() < end:
        assert ensemble.client.exists('/demo/127.0.0.1:8100').czxid == before
        time.sleep(0.2)
    assert len(server.lines) == 3
    server.stop()


def test_programs_do_not_inherit_the_connection(ensemble, register):
    server = register()
    pid = server.process.pid
    ours = [fd for fd in os.listdir(f'/proc/{pid}/fd')
            if int(fd) > 2 and os.readlink(f'/proc/{pid}/fd/{fd}').startswith(('socket', 'pipe'))]
    assert len(ours) == 3  # the connection, and the library's own pipe
    for fd in ours:
        with open(f'/proc/{pid}/fdinfo/{fd}') as f:
            flags = int(re.search(r'flags:\s+(\d+)', f.read()).group(1), 8)
        assert flags & os.O_CLOEXEC


def test_secrets_stay_secret(ensemble, register, tmp_path):
    session = tmp_path / 'session'
    server = register('127.0.0.1:8100', '-s', session)
    number, password = read_session(session)
    ensemble.expire(number, password)
    server.wait_for('restoring ephemeral')
    server.stop()
    assert password.hex() not in server.output.read_text()
    assert password not in server.output.read_bytes()


def test_damaged_session_file(ensemble, register, tmp_path):
    session = tmp_path / 'session'
    session.write_text('not ours\n')
    server = register('127.0.0.1:8100', '-s', session)
    assert server.lines[0] == f"WARNING '{session}' is not a file with a ZooKeeper session"
    assert ensemble.children('/demo') == ['127.0.0.1:8100']


CONFIGURATION = """
<zeo>
  address {address}
</zeo>
<zookeeper>
  connection {connection}
  path {path}
  session-timeout {timeout}
  {more}
</zookeeper>
<mappingstorage>
</mappingstorage>
"""


@pytest.fixture
def serve(ensemble, tmp_path):
    """Start zkrunzeo, registered at /demo."""
    started = []
    ensemble.fresh('/demo')

    def start(address='127.0.0.1', path='/demo', connection=None, more='', wait=True):
        configuration = tmp_path / f'zeo{len(started)}.conf'
        configuration.write_text(CONFIGURATION.format(
            address=address, path=path, connection=connection or ensemble.connection,
            timeout=TIMEOUT_MS, more=more))
        server = Registered(tmp_path / f'zeo{len(started)}.log',
                            '-C', configuration, program=ZKRUNZEO)
        started.append(server)
        if wait:
            server.wait_for('INFO zkrunzeo zkrunzeo ')  # not the monitor's "listening"
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


def terminate(server):
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0, server.lines


def test_server_with_a_dynamic_port(ensemble, serve):
    """T72: the node is named after the port that was really bound."""
    server = serve()
    [name] = ensemble.children('/demo')
    socket.create_connection(name.split(':'), 10).close()
    assert json.loads(ensemble.client.get(f'/demo/{name}')[0]) == {'pid': server.process.pid}
    terminate(server)
    assert ensemble.children('/demo') == []


def test_server_with_a_monitor(ensemble, serve):
    server = serve(more='monitor-server true\n  monitor-command hello /bin/echo hello')
    [name] = ensemble.children('/demo')
    data = json.loads(ensemble.client.get(f'/demo/{name}')[0])
    assert data['pid'] == server.process.pid
    for line, answer in ((b'servers /demo', name), (b'hello you', 'hello you')):
        with socket.create_connection(data['monitor'].split(':'), 10) as s:
            s.sendall(line + b'\n')
            assert s.makefile().read() == answer + '\n'


def test_server_with_a_dynamic_port_and_no_zookeeper(serve):
    server = serve(connection='127.0.0.1:1', wait=False)
    assert server.process.wait(30) not in (0, None)
    assert any("Can't connect to ZooKeeper at '127.0.0.1:1'" in line for line in server.lines)


def test_server_with_a_fixed_port_and_no_zookeeper(ensemble, serve):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        address = '127.0.0.1:%d' % s.getsockname()[1]
    ensemble.stop()
    server = serve(address)
    socket.create_connection(address.split(':'), 10).close()
    ensemble.start()
    server.wait_for(f'Registered zk: /demo/{address}')
    assert ensemble.children('/demo') == [address]
    terminate(server)


def test_server_whose_path_does_not_exist(serve):
    server = serve(path='/nothing', wait=False)
    assert server.process.wait(30) not in (0, None)
    assert any("the path '/nothing' does not exist" in line for line in server.lines)


def test_server_that_is_ended_at_once(ensemble, serve):
    """T75: exit status 0 and no node, whenever the signal comes."""
    for i in range(20):
        server = serve(wait=False)
        wait_for('it runs', lambda: takes_signals(server))
        time.sleep(i * 0.002)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0, server.lines
        assert ensemble.children('/demo') == []


def takes_signals(server):
    """Signals are blocked: from here on it takes them in its own way. (While the first thread
    waits for one, the system shows it as not blocked there.)"""
    for status in pathlib.Path(f'/proc/{server.process.pid}/task').glob('*/status'):
        blocked = int(re.search(r'SigBlk:\s+(\w+)', status.read_text()).group(1), 16)
        if blocked >> (signal.SIGTERM - 1) & 1:
            return True
    return False
