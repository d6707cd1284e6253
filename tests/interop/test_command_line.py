"""zkrunzeo's command line: options, help, what --check says, and exit statuses."""

import os
import pathlib
import re
import subprocess
import time

import pytest

from wire import Z64, Wire, p64, wait_until

GOOD = """\
%define where 127.0.0.1
<zeo>
  address $where:0
  transaction-timeout 30
</zeo>
<filestorage Main>
  path {dir}/Data.fs
</filestorage>
<mappingstorage temporary>
</mappingstorage>
"""


@pytest.fixture
def run(programs, tmp_path):
    """run(arguments): zkrunzeo, to its end, in the test's folder."""
    def f(*args, env=None):
        return subprocess.run(
            [programs / 'zkrunzeo', *map(str, args)], cwd=tmp_path, text=True,
            capture_output=True, timeout=60, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})})
    return f


@pytest.fixture
def configuration(tmp_path):
    def write(text):
        path = tmp_path / 'zeo.conf'
        path.write_text(text.replace('{dir}', str(tmp_path)))
        return path
    return write


@pytest.fixture
def launch(programs, tmp_path, start_server, free_address):
    """launch(options): a server with these options at a free port."""
    def f(*args, address=None, env=None):
        at = address or free_address
        text = at if isinstance(at, str) else '%s:%d' % at
        return start_server([programs / 'zkrunzeo', '-a', text, *args], at, env=env)
    return f


# --- help and version ---

@pytest.mark.parametrize('option', ['-h', '--help'])
def test_help(run, option):
    result = run(option)
    assert (result.returncode, result.stderr) == (0, '')
    for name in ('-C', '--configure', '-a', '--address', '-f', '--filename', '-t', '--timeout',
                 '--pid-file', '--check', '-h', '--help', '--version'):
        assert re.search(rf'(?<![\w-]){name}\b', result.stdout), name


def test_version(run, root):
    result = run('--version')
    version = re.search(r"version: *'([^']+)'", (root / 'meson.build').read_text()).group(1)
    assert (result.returncode, result.stdout, result.stderr) == (0, f'zkrunzeo {version}\n', '')


@pytest.mark.parametrize('option', ['-h', '--help', '--version'])
def test_a_full_disk_of_the_output(programs, option):
    """Nothing to be done about it; but no crash."""
    with open('/dev/full', 'w') as full:
        status = subprocess.run([programs / 'zkrunzeo', option], stdout=full, timeout=60).returncode
    assert status in (0, 1)


# --- wrong usage ---

@pytest.mark.parametrize('args,expected', [
    ([], r"-C|configuration"),
    (['--nothing'], 'nothing'),
    (['-x'], 'x'),
    (['-C'], 'C'),
    (['-a', '127.0.0.1:0'], '-f|filename|storage'),
    (['-f', 'Data.fs'], '-a|address'),
    (['-a', '127.0.0.1:0', '-f', 'Data.fs', 'more'], "'more'"),
    (['-a', '127.0.0.1:0', '-f', 'Data.fs', '-t', 'soon'], "'soon'"),
    (['-a', '127.0.0.1:0', '-f', 'Data.fs', '-t', '-1'], "'-1'"),
    (['-a', '127.0.0.1:99999', '-f', 'Data.fs'], '99999'),
    (['-a', '127.0.0.1:http', '-f', 'Data.fs'], 'http'),
    (['-a', '', '-f', 'Data.fs'], 'address'),
    (['-C', 'nothing.conf'], 'nothing.conf'),
    (['-C', '.'], r"'?\.'?"),
    (['--check'], '-C|configuration'),
])
def test_wrong_usage(run, tmp_path, args, expected):
    result = run(*args)
    assert (result.returncode, result.stdout) == (2, '')
    assert result.stderr.startswith('zkrunzeo: ') or '\nzkrunzeo: ' in result.stderr
    assert re.search(expected, result.stderr), result.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was opened


# --- --check ---

def test_check_good(run, configuration, tmp_path):
    path = configuration(GOOD)
    result = run('-C', path, '--check')
    assert (result.returncode, result.stderr) == (0, '')
    assert result.stdout == f'{path}: the configuration is right\n'
    assert [p.name for p in tmp_path.iterdir()] == ['zeo.conf']  # it starts nothing


def test_check_beside_a_server(run, configuration, server, tmp_path):
    """What is in use can be checked."""
    s = server(GOOD.replace('$where:0', '{address}'))
    result = run('-C', tmp_path / 'server0.conf', '--check')
    assert result.returncode == 0
    with Wire(s.address, storage='main') as w:
        assert w.call('ping') is None


def test_check_url(run, configuration):
    path = configuration(GOOD)
    assert run('--configure', f'file://{path}', '--check').returncode == 0


@pytest.mark.parametrize('line,broken,expected', [
    (3, '  address $nothing:0', 'nothing'),
    (4, '  transaction-timeout soon', 'soon'),
    (4, '  no-such-key 5', 'no-such-key'),
    (4, '  read-only maybe', 'maybe'),
    (5, '</filestorage>', 'filestorage'),
    (6, '<nostorage Main>', 'nostorage'),
    (6, '<filestorage Main', r'<filestorage Main'),
    (7, '  path {dir}/nothing/Data.fs', 'nothing'),
    (7, '%import nothing', 'nothing'),
    (7, '%include nothing.conf', 'nothing.conf'),
    (7, '  path {dir}/Data.fs\n  packer x:y', 'packer'),
    (7, '  quota 5 apples', 'apples'),
    (9, '<mappingstorage main>', 'main'),
    (9, '<demostorage temporary>', 'demostorage|temporary'),
])
def test_check_bad(run, configuration, tmp_path, line, broken, expected):
    """FILE:LINE: what was found and what was expected."""
    lines = GOOD.splitlines()
    lines[line - 1] = broken
    path = configuration('\n'.join(lines) + '\n')
    for option in (['--check'], []):
        result = run('-C', path, *option)
        assert (result.returncode, result.stdout) == (2, '')
        match = re.match(r'zkrunzeo: (.*):(\d+): (.+)\n', result.stderr)
        assert match, result.stderr
        assert match.group(1) == str(path)
        # what is missing at the end is found at the end
        assert line - 3 <= int(match.group(2)) <= line + 3, result.stderr
        if broken.startswith('  '):
            assert int(match.group(2)) == line + broken.count('\n')
        assert re.search(expected, match.group(3)), result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ['zeo.conf']


def test_an_empty_file(run, configuration):
    path = configuration('')
    result = run('-C', path)
    assert result.returncode == 2
    assert re.match(rf'zkrunzeo: {path}:\d+: .*zeo', result.stderr), result.stderr


def test_a_file_that_is_not_text(run, tmp_path, programs):
    path = tmp_path / 'zeo.conf'
    path.write_bytes((programs / 'zkrunzeo').read_bytes()[:10000])
    result = run('-C', path)
    assert result.returncode == 2
    assert result.stderr.startswith(f'zkrunzeo: {path}:')


def test_python_reads_the_same_file(run, configuration, python_server, server):
    """One configuration for both servers."""
    text = GOOD.replace('$where:0', '{address}').replace('%define where 127.0.0.1', '')
    for make in python_server, server:
        s = make(text)
        with Wire(s.address, storage='main') as w, Wire(s.address, storage='temporary') as t:
            assert w.call('get_info')['name'].endswith('/Data.fs')
            assert t.call('get_info')['name'] == 'Mapping Storage'
        if make is python_server:
            s.kill()


# --- options ---

def test_address_and_file(launch, tmp_path):
    s = launch('-f', tmp_path / 'Data.fs')
    with Wire(s.address) as w:
        tid = w.commit([(p64(0), Z64, b'root')])
    assert s.stop() == 0
    assert (tmp_path / 'Data.fs').read_bytes()[:4] == b'FS30'
    from ZODB.FileStorage import FileStorage
    fs = FileStorage(str(tmp_path / 'Data.fs'), read_only=True)
    assert fs.load(p64(0)) == (b'root', tid)
    fs.close()


def test_several_files(launch, tmp_path):
    """They are called 1, 2, ..."""
    s = launch('-f', tmp_path / 'a.fs', '--filename', tmp_path / 'b.fs')
    for name, path in ('1', 'a.fs'), ('2', 'b.fs'):
        with Wire(s.address, storage=name) as w:
            assert w.call('get_info')['name'] == str(tmp_path / path)


def test_unix_address(launch, tmp_path):
    s = launch('-f', tmp_path / 'Data.fs', address=str(tmp_path / 'socket'))
    with Wire(s.address) as w:
        assert w.call('ping') is None


def test_port_alone(programs, start_server, free_address, tmp_path):
    """A port without a host, as runzeo takes it."""
    s = start_server(
        [programs / 'zkrunzeo', '-a', free_address[1], '-f', tmp_path / 'Data.fs'], free_address)
    with Wire(s.address) as w:
        assert w.call('ping') is None


def test_dynamic_port(programs, start_server, tmp_path):
    """Port 0: the log says which one it is."""
    s = start_server([programs / 'zkrunzeo', '-a', '127.0.0.1:0', '-f', tmp_path / 'Data.fs'],
                     ('127.0.0.1', 0), start=False)
    s.start(wait=False)
    match = wait_until(
        'the address', lambda: re.search(r'listening on 127\.0\.0\.1:(\d+)', s.text()))
    with Wire(('127.0.0.1', int(match.group(1)))) as w:
        assert w.call('ping') is None


def test_options_win(programs, configuration, start_server, tmp_path, free_address):
    """Over the file: address, storages, timeout and pid file."""
    path = configuration(
        '<zeo>\n  address 127.0.0.1:1\n  transaction-timeout 1000\n  pid-filename {dir}/a.pid\n'
        '</zeo>\n<mappingstorage x>\n</mappingstorage>\n')
    s = start_server(
        [programs / 'zkrunzeo', '-C', path, '-a', '127.0.0.1:%d' % free_address[1],
         '-f', tmp_path / 'Data.fs', '-t', '0.3', '--pid-file', tmp_path / 'b.pid'], free_address)
    assert (tmp_path / 'b.pid').read_text().strip() == str(s.pid)
    assert not (tmp_path / 'a.pid').exists()
    with Wire(s.address) as w:
        assert w.call('get_info')['name'] == str(tmp_path / 'Data.fs')
        w.begin(1)
        w.call('vote', 1)
        begun = time.monotonic()
        assert w.closed()
        assert 0.1 < time.monotonic() - begun < 10
    assert 'Transaction timeout after 0.3 seconds' in s.text()
    assert s.stop() == 0
    assert not (tmp_path / 'b.pid').exists()


def test_msgpack_from_the_environment(launch, tmp_path):
    for value, greeting in ('', b'Z5'), ('1', b'M5'):
        s = launch('-f', tmp_path / 'Data.fs', env={'ZEO_MSGPACK': value})
        with Wire(s.address, handshake=False) as w:
            assert w.greeting == greeting
        assert s.stop() == 0


def test_relative_path(programs, tmp_path, start_server, free_address):
    """T61: relative paths start at the working directory."""
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'zeo.conf').write_text(
        '<zeo>\n  address 127.0.0.1:%d\n</zeo>\n<filestorage>\n  path Data.fs\n</filestorage>\n'
        % free_address[1])
    s = start_server(['/bin/sh', '-c', 'cd "$0" && exec "$1" -C sub/zeo.conf', tmp_path,
                      programs / 'zkrunzeo'], free_address)
    assert (tmp_path / 'Data.fs').exists()
    assert pathlib.Path(f'/proc/{s.pid}/cwd').resolve() == tmp_path


@pytest.mark.parametrize('text', [
    '127.0.0.1:{port}', '127.0.0.1: {port}', 'localhost:{port}', '[127.0.0.1]:{port}'])
def test_address_in_a_file(server, text):
    """T61"""
    s = server(f'<zeo>\n  address {text}\n</zeo>\n<mappingstorage>\n</mappingstorage>\n')
    with Wire(s.address) as w:
        assert w.call('ping') is None


def test_create(server, tmp_path):
    """`create` begins anew, also where there is a file."""
    text = ('<zeo>\n  address {address}\n</zeo>\n'
            '<filestorage>\n  path {dir}/Data.fs\n%s</filestorage>\n')
    s = server(text % '')
    with Wire(s.address) as w:
        w.commit([(p64(0), Z64, b'root')])
    assert s.stop() == 0
    s = server(text % '  create true\n')
    with Wire(s.address) as w:
        assert w.tid == Z64
    assert s.stop() == 0
