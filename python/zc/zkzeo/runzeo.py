"""Run zkrunzeo, the ZEO server in C.

As a program (python -m zc.zkzeo.runzeo ...) it becomes that server. test() runs one for tests.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

from ._programs import program

START_TIMEOUT_S = 30
REGISTER_TIMEOUT_S = 5
STOP_TIMEOUT_S = 30
LINES_KEPT = 200

logger = logging.getLogger(__name__)


def main(args=None):
    """Become zkrunzeo, with its own arguments or those of the command line."""
    path = program('zkrunzeo')
    os.execv(path, [path, *(sys.argv[1:] if args is None else args)])


class ServerFailed(Exception):
    """The server ended before it served, or with an error; the text is what it has printed."""


def _address(text):
    host, colon, port = text.rpartition(':')
    if not colon or '/' in text:
        return text
    return host.strip('[]'), int(port)


def _with_log(config):
    """The log has to come here, too."""
    return re.sub(r'^(\s*<eventlog>[^\S\n]*)$',
                  r'\1\n<logfile>\npath STDERR\n</logfile>', config, count=1, flags=re.M)


class Server(threading.Thread):
    """A server's process, and the thread that reads what it prints.

    `address` is the one it listens on, `process` the subprocess.Popen; `exception` is a
    ServerFailed when it ended with an error, else None.
    """

    def __init__(self, config):
        super().__init__(name='zkrunzeo', daemon=True)
        self.address = None
        self.exception = None
        self._lines = []
        self._serving = threading.Event()
        self._registered = threading.Event()
        fd, self._config = tempfile.mkstemp('.conf', 'zkrunzeo')
        with os.fdopen(fd, 'w') as f:
            f.write(_with_log(config))
        try:
            self.process = subprocess.Popen(
                [program('zkrunzeo'), '-C', self._config], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except BaseException:
            os.remove(self._config)
            raise
        self.start()

    def run(self):
        with self.process.stdout as output:
            for line in output:
                self._read(line.decode(errors='replace').rstrip('\n'))
        status = self.process.wait()
        os.remove(self._config)
        if status:
            self.exception = ServerFailed(
                f'zkrunzeo ended with status {status}:\n' + '\n'.join(self._lines))
        self._serving.set()
        self._registered.set()

    def _read(self, line):
        self._lines.append(line)
        del self._lines[:-LINES_KEPT]
        logger.debug('%s', line)
        match = re.search(r'zkrunzeo \S+ listening on (.*?)(, with TLS)?$', line)
        if match:
            self.address = _address(match.group(1))
            self._serving.set()
        if 'Registered zk: ' in line or "Can't connect to ZooKeeper" in line:
            self._registered.set()

    def wait_serving(self):
        """Until it listens; raises ServerFailed when it does not."""
        self._serving.wait(START_TIMEOUT_S)
        if self.address is None:
            self.close()
            raise self.exception or ServerFailed(
                f'zkrunzeo does not listen after {START_TIMEOUT_S} s:\n' + '\n'.join(self._lines))

    def wait_registered(self):
        """Until it is registered in ZooKeeper, or has said that it cannot be; not for ever."""
        self._registered.wait(REGISTER_TIMEOUT_S)

    def close(self):
        """End it as a signal does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.join(STOP_TIMEOUT_S)
        if self.is_alive():
            self.process.kill()
            self.join()


def _config_of(path, storage, zookeeper):
    if storage is None:
        storage = '<mappingstorage>\n</mappingstorage>'
    elif storage.endswith('.fs'):
        storage = f'<filestorage>\npath {storage}\n</filestorage>'
    return (f'<zeo>\naddress 127.0.0.1\n</zeo>\n'
            f'<zookeeper>\nconnection {zookeeper}\npath {path}\n</zookeeper>\n{storage}\n')


def test(config, storage=None, zookeeper=None, threaded=True):
    """Run a server for tests; returns a function that stops it.

    config
        the text of a configuration; or, in one line, a path in ZooKeeper
    storage
        with a path: the text of a storage's section, the name of a .fs file, or None for
        a MappingStorage
    zookeeper
        with a path: ZooKeeper's connection string
    threaded
        false: return when the server has ended, by a signal; ServerFailed when that was an error

    What is returned is called without arguments. It returns the Server, which has ended then;
    before, that is its attribute `server`.
    """
    if '\n' not in config:
        config = _config_of(config, storage, zookeeper)
    server = Server(config)
    if not threaded:
        try:
            server.join()
        except BaseException:
            server.close()
            raise
        if server.exception:
            raise server.exception
        return None
    server.wait_serving()
    section = re.search(r'^\s*<zookeeper>(.*?)^\s*</zookeeper>', config, re.M | re.S)
    if section and re.search(r'^\s*path\s', section.group(1), re.M):
        server.wait_registered()

    def stop():
        server.close()
        return server
    stop.server = server
    return stop


# a test runner that collects by name is not meant
test.__test__ = False

if __name__ == '__main__':
    main()
