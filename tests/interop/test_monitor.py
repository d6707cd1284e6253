"""The monitor as zc.zk's tools and telnet use it, beside a real registration."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

from zk import BUILD, ensemble, wait_for  # noqa: F401

REGISTER_ONCE = BUILD / 'tests/tools/register_once'


@pytest.fixture
def start(ensemble, tmp_path):
    """Start a process with a monitor; its output, once it is registered."""
    processes = []
    ensemble.fresh('/databases/demo')

    def start(monitor, connection=None):
        output = tmp_path / f'output{len(processes)}'
        with open(output, 'wb') as f:
            process = subprocess.Popen(
                [REGISTER_ONCE, '-M', monitor, connection or ensemble.connection,
                 '/databases/demo', '127.0.0.1:8100'], stdout=f, stderr=f, cwd=tmp_path)
        processes.append(process)
        wait_for('start', lambda: 'started' in output.read_text())
        return process, output.read_text().splitlines()

    yield start
    for process in processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def connect(address):
    if '/' in address:
        s = socket.socket(socket.AF_UNIX)
        s.connect(address)
        return s
    host, port = address.rsplit(':', 1)
    return socket.create_connection((host.strip('[]'), int(port)), 10)


def ask(address, line):
    with connect(address) as s:
        s.settimeout(20)
        s.sendall(line.encode() + b'\n')
        return s.makefile('rb').read().decode()


def monitor_of(lines):
    return next(line for line in lines if line.startswith('monitor: ')).split(' ')[1]


def test_address_is_in_the_node(ensemble, start):
    process, lines = start('127.0.0.1')
    data, _ = ensemble.client.get('/databases/demo/127.0.0.1:8100')
    assert json.loads(data) == {'pid': process.pid, 'monitor': monitor_of(lines)}
    assert ask(monitor_of(lines), 'quit') == 'Goodbye.\n'


def test_servers(ensemble, start):
    process, lines = start('127.0.0.1:0')
    monitor = monitor_of(lines)
    everything = [{'address': '127.0.0.1:8100', 'path': '/databases/demo', 'monitor': monitor,
                   'pid': process.pid}]
    assert json.loads(ask(monitor, 'servers')) == everything
    assert json.loads(ask(monitor, 'servers --json')) == everything
    assert ask(monitor, 'servers /databases/demo') == '127.0.0.1:8100\n'
    assert ask(monitor, 'servers /other') == '\n'
    assert ask(monitor, 'servers a b') == 'servers: usage: servers [PATH]\n'


def test_servers_when_the_node_is_gone(ensemble, start):
    _, lines = start('127.0.0.1:0')
    ensemble.kill()
    wait_for('the outage is seen',
             lambda: ask(monitor_of(lines), 'servers /databases/demo') == '\n')
    ensemble.start()
    wait_for('the server is back', lambda: ask(monitor_of(lines), 'servers /databases/demo')
             == '127.0.0.1:8100\n')


def test_ipv6(start):
    _, lines = start('[::1]:0')
    assert monitor_of(lines).startswith('[::1]:')
    assert ask(monitor_of(lines), 'help').startswith('Supported commands:\n  help -- ')


def test_unix_socket(ensemble, start, tmp_path):
    """T73: a stale one is replaced; and it is not in the node."""
    path = tmp_path / 'monitor.sock'
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
    process, lines = start('./monitor.sock')
    data, _ = ensemble.client.get('/databases/demo/127.0.0.1:8100')
    assert json.loads(data) == {'pid': process.pid}
    assert ask(str(path), 'servers /databases/demo') == '127.0.0.1:8100\n'


def test_busy_port(start):
    """T73: the server goes on without its monitor."""
    with socket.create_server(('127.0.0.1', 0)) as s:
        address = '127.0.0.1:%d' % s.getsockname()[1]
        _, lines = start(address)
    assert lines[0] == ('monitor: unable to start zc.monitor server because the address '
                        f'{address} is in use.')
    assert lines[-1] == 'started'


def test_without_zookeeper(start):
    """T73: the monitor answers while nothing is registered."""
    _, lines = start('127.0.0.1:0', connection='127.0.0.1:1')
    assert ask(monitor_of(lines), 'servers') == '[]\n'


def test_health_checks_leave_no_trace(start):
    """T40"""
    process, lines = start('127.0.0.1:0')
    descriptors = len(os.listdir(f'/proc/{process.pid}/fd'))
    for _ in range(200):
        connect(monitor_of(lines)).close()
    assert ask(monitor_of(lines), 'quit') == 'Goodbye.\n'
    wait_for('connections are closed',
             lambda: len(os.listdir(f'/proc/{process.pid}/fd')) == descriptors)


def test_a_session_by_hand(start):
    _, lines = start('127.0.0.1:0')
    with connect(monitor_of(lines)) as s:
        s.settimeout(20)
        f = s.makefile('rwb')
        for line, answer in ((b'interactive', b'Interactive mode on.  Use "quit" To exit.'),
                             (b'servers /databases/demo', b'127.0.0.1:8100'),
                             (b'', b'127.0.0.1:8100'),
                             (b'nope', b"Invalid command 'nope'")):
            f.write(line + b'\r\n')
            f.flush()
            assert f.readline() == answer + b'\n'
        assert f.readline() == b'Try "help".\n'
        f.write(b'quit\r\n')
        f.flush()
        assert f.read() == b'Goodbye.\n'


def test_slow_clients_do_not_stop_others(start):
    _, lines = start('127.0.0.1:0')
    slow = [connect(monitor_of(lines)) for _ in range(20)]
    for s in slow:
        s.sendall(b'serv')
    begin = time.monotonic()
    assert ask(monitor_of(lines), 'servers /databases/demo') == '127.0.0.1:8100\n'
    assert time.monotonic() - begin < 5
    for s in slow:
        s.sendall(b'ers /databases/demo\n')
        assert s.makefile('rb').read() == b'127.0.0.1:8100\n'
        s.close()
