"""zkrunzeo in the place of the server that ZEO.tests.forker starts."""

import contextlib
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from unittest import mock

import ZEO._forker
import ZEO.tests.forker
import ZEO.tests.testConfig
from ZEO._forker import ZEOConfig
from ZEO.tests import testssl

START_TIMEOUT_S = 60  # under a sanitizer on a busy machine
STOP_TIMEOUT_S = 30

# What a storage's cleanup() removes in Python.
FILESTORAGE_FILES = ('', '.old', '.tmp', '.lock', '.index', '.pack')


class ServerError(AssertionError):
    pass


def _free_port():
    """A port outside the range of outgoing connections: a server that is stopped and started
    again finds it free, and a client that polls it meanwhile does not connect to itself."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as s:
            try:
                s.bind(('127.0.0.1', port))
            except OSError:
                continue
            return port


def _tls_client():
    """Lets any server be itself: the tests have several certificates."""
    context = testssl.client_ssl()
    context.verify_mode = ssl.CERT_NONE
    return context


def _answers(address, tls):
    unix = isinstance(address, str)
    with socket.socket(socket.AF_UNIX if unix else
                       socket.AF_INET6 if ':' in address[0] else socket.AF_INET) as s:
        s.settimeout(5)
        try:
            s.connect(address)
            with _tls_client().wrap_socket(s) if tls else s as connection:
                return len(connection.recv(4)) == 4
        except OSError:
            return False


def _with_blobs(storage_conf, blob_dir):
    return (f'<blobstorage>\nblob-dir {blob_dir}\n{storage_conf}\n</blobstorage>'
            if blob_dir else storage_conf)


def _with_password_command(zeo_conf):
    """A password-function has to run in Python: in one that prints what it returns."""
    match = re.search(r'password-function (.*)\.(\w+)', zeo_conf)
    if not match:
        return zeo_conf
    code = f'from {match.group(1)} import {match.group(2)} as f; print(f())'
    return zeo_conf.replace(match.group(), f"password-command '{sys.executable}' -c '{code}'")


def _listening_address(zeo_conf):
    """(the address that the configuration names, the configuration with a port in it)."""
    text = re.search(r'^\s*address\s+(.*?)\s*$', zeo_conf, re.M).group(1)
    host, colon, port = text.rpartition(':')
    if not colon:
        return text, zeo_conf
    port = int(port) or _free_port()
    line = f'address {f"[{host}]" if ":" in host else host}:{port}'
    return ((host.strip('[]'), port),
            re.sub(r'^\s*address\s.*$', line, zeo_conf, count=1, flags=re.M))


class Forker:
    """Starts servers and knows those that run."""

    def __init__(self, program, folder):
        self.program = program
        self.resolves = False  # the tests' own classes, in a process that imports them
        self.folder = folder  # where the servers' output goes
        self.processes = []

    def start_zeo_server(self, storage_conf=None, zeo_conf=None, port=None, keep=False,
                         path='Data.fs', protocol=None, blob_dir=None, suicide=True, debug=False,
                         threaded=False, start_timeout=None, name=None, log=None,
                         show_config=False):
        """(address, stop), as the original. What only steers Python's process is not used:
        suicide, debug, threaded and name."""
        if protocol:
            raise ServerError(f'no server speaks only {protocol}')
        storage_conf = _with_blobs(
            storage_conf or f'<filestorage>\npath {path}\n</filestorage>', blob_dir)
        if zeo_conf is None or isinstance(zeo_conf, dict):
            config = ZEOConfig(port if isinstance(port, str) else ('127.0.0.1', port or 0),
                               log=log)
            config.__dict__.update(zeo_conf or {})
            zeo_conf = config
        address, text = _listening_address(str(zeo_conf))
        text = _with_password_command(text)
        if self.resolves:
            text += f'\n<conflict-resolver>\npython {sys.executable}\n</conflict-resolver>'
        process, output = self._start(address, f'{text}\n\n{storage_conf}\n')
        folder = os.getcwd()  # a test may leave it before it stops the server

        def stop(stop_timeout=None):
            self._stop(process, output)
            if not keep:
                _clean(folder, storage_conf)

        return address, stop

    def _start(self, address, text):
        fd, config = tempfile.mkstemp('.conf', 'ZEO_forker', os.getcwd())
        with os.fdopen(fd, 'w') as f:
            f.write(text)
        output = pathlib.Path(self.folder) / f'server{len(self.processes)}.out'
        with open(output, 'ab') as out:
            out.write(text.encode() + b'\n')
            out.flush()
            # a sanitizer's library, which Python needs first, would be in each program that the server starts
            environment = {k: v for k, v in os.environ.items() if k != 'LD_PRELOAD'}
            process = subprocess.Popen([str(self.program), '-C', config], stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out, env=environment)
        self.processes.append(process)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(address, '<ssl>' in text):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f'the server does not answer at {address}:\n'
                                  f'{output.read_text(errors="replace")}')
            time.sleep(0.01)  # a port that opens tells nobody
        os.remove(config)
        return process, output

    def _stop(self, process, output):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = None
        if status != 0:
            raise ServerError(f'the server ended with {status}:\n'
                              f'{output.read_text(errors="replace")}')

    def close(self):
        """End the servers that tests left running; tells what the others ended with."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        late = []
        for process in self.processes:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                late.append(process.pid)
        statuses = {p.returncode for p in self.processes}
        if late or statuses - {0}:
            raise ServerError(f'servers ended with {sorted(statuses)}\n{self.output()}')

    def output(self):
        """What the servers printed, each behind its configuration."""
        return '\n'.join(f'== {p.name}\n{p.read_text(errors="replace")}'
                         for p in sorted(pathlib.Path(self.folder).glob('server*.out')))

    @contextlib.contextmanager
    def installed(self):
        """In the places where the package's tests look for their servers."""
        with contextlib.ExitStack() as stack:
            for module in (ZEO._forker, ZEO.tests.forker, ZEO.tests.testConfig):
                stack.enter_context(
                    mock.patch.object(module, 'start_zeo_server', self.start_zeo_server))
            yield self


def _clean(folder, storage_conf):
    """What the storages' cleanup() does."""
    for path in re.findall(r'^\s*path\s+(.*?)\s*$', storage_conf, re.M):
        for ending in FILESTORAGE_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, path + ending))
