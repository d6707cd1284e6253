"""A database whose server is killed, stopped, paused and moved, ZooKeeper with it, and clients that go on.

One file has one server at a time: that it moves is the common case. Each thing that is done to it is a method
of Chaos; the seed decides their order and their moments.
"""

import bisect
import contextlib
import dataclasses
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import kazoo.exceptions
import transaction
import ZODB
from chaos_check import SET_UP, Client
from persistent.mapping import PersistentMapping
from sanitized import ENVIRONMENT
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from zk import read_session, wait_for

HERE = pathlib.Path(__file__).resolve().parent
PATH = '/databases/chaos'
SERVER_SESSION_S = 2
GROUPS = 12
GROUP_SIZE = 4
RAW_OBJECTS = 40
READY_S = 60
NOTHING = 'nothing that concerns a client'

CONFIGURATION = """\
<zeo>
  address 127.0.0.1
  invalidation-queue-size 60
  transaction-timeout 10
</zeo>
<zookeeper>
  connection {connection}
  path {path}
  session-timeout {session_ms}
</zookeeper>
<filestorage 1>
  path {folder}/Data.fs
</filestorage>
"""


@dataclasses.dataclass
class Event:
    what: str
    start: float
    there: float = None  # from when on the server is there


def make_file(path):
    """Groups of linked objects, and objects for who reads without ZODB: their oids."""
    fs = FileStorage(str(path))
    db = ZODB.DB(fs)
    with db.transaction(SET_UP) as connection:
        groups = connection.root()['groups'] = PersistentMapping()
        for number in range(GROUPS):
            following = None
            for _ in range(GROUP_SIZE):
                following = PersistentMapping(
                    n=0, chain='', group=number, fill=b'', next=following)
            groups[number] = following
    oids = [fs.new_oid() for _ in range(RAW_OBJECTS)]
    t = TransactionMetaData(description=SET_UP.encode())
    fs.tpc_begin(t)
    for oid in oids:
        fs.store(oid, bytes(8), b'0 set-up', '', t)
    fs.tpc_vote(t)
    fs.tpc_finish(t)
    db.close()
    return [int.from_bytes(oid, 'big') for oid in oids]


def session_password(session_id):
    """ZooKeeper makes a session's password out of its id (SessionTrackerImpl, java.util.Random)."""
    mask = (1 << 48) - 1
    seed = (session_id ^ 0xB3415C00 ^ 0x5DEECE66D) & mask
    out = b''
    for _ in range(4):
        seed = (seed * 0x5DEECE66D + 0xB) & mask
        out += (seed >> 16 & 0xffffffff).to_bytes(4, 'little')
    return out


class Decoy:
    """An address that is registered and serves nobody."""

    def __init__(self, kind):
        self.kind = kind
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.name = '127.0.0.1:%d' % self.socket.getsockname()[1]
        self.thread = None
        if kind == 'refuses':
            self.socket.close()
        elif kind != 'hangs':
            self.thread = threading.Thread(target=self.run)
            self.thread.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection, contextlib.suppress(OSError):
                    if self.kind == 'talks nonsense':
                        connection.sendall(b'HTTP/1.0 400 Bad Request\r\n\r\n')

    def close(self):
        if self.thread:
            self.socket.shutdown(socket.SHUT_RDWR)  # which ends accept()
            self.thread.join()
        self.socket.close()


class ClientProcess:
    """A chaos_client.py, which may be killed and started again."""

    def __init__(self, folder, name, arguments, server_sync=False):
        self.name = name
        self.log = folder / f'{name}.log'
        self.probe = folder / f'{name}.log.probe'
        self.output = folder / f'{name}.out'
        self.server_sync = server_sync
        self.arguments = [*arguments, '--log', self.log]
        if server_sync:
            self.arguments.append('--server-sync')
        self.lives = []  # [start, end or None]
        self.process = None

    def start(self):
        with open(self.output, 'ab') as out:
            self.process = subprocess.Popen(
                [sys.executable, HERE / 'chaos_client.py', '--name', f'{self.name}.{len(self.lives)}',
                 *map(str, self.arguments)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True,
                env=ENVIRONMENT)

    def wait_started(self):
        self.expect('started')
        self.lives.append([time.monotonic(), None])

    def expect(self, word):
        line = self.process.stdout.readline().strip()
        assert line == word, f'{self.name}: {line!r} instead of {word!r}:\n{self.tail()}'

    def tell(self, word):
        self.process.stdin.write(word + '\n')
        self.process.stdin.flush()

    def finish(self):
        self.process.stdin.close()
        assert self.process.wait(READY_S) == 0, self.tail()
        self.process.stdout.close()

    def kill(self):
        if self.process is not None:
            if self.lives:
                self.lives[-1][1] = time.monotonic()
            self.process.kill()
            self.process.wait()
            for f in self.process.stdin, self.process.stdout:
                with contextlib.suppress(OSError):
                    f.close()

    def tail(self):
        return self.output.read_text(errors='replace')[-4000:]

    def probes(self):
        """When requests were answered."""
        return [float(line.split()[1]) for line in self.probe.read_text().splitlines()]

    def alive(self, start, end):
        """It was there at the start, and until when."""
        for born, died in self.lives:
            if born <= start and (died is None or died > start):
                return min(end, died or end)
        return None

    def answered_since(self, moment):
        """A request that began after @moment was answered."""
        assert self.process.poll() is None, f'{self.name} has ended:\n{self.tail()}'
        with contextlib.suppress(FileNotFoundError), open(self.probe, 'rb') as f:
            f.seek(max(f.seek(0, os.SEEK_END) - 100, 0))
            lines = f.read().splitlines()
            return bool(lines) and float(lines[-1].split()[0]) >= moment
        return False


class Chaos:
    """The servers, the clients, and what is done to them."""

    def __init__(self, folder, ensemble, program, seed):
        self.folder = folder
        self.ensemble = ensemble
        self.program = program
        self.seed = seed
        self.rng = random.Random(seed)
        self.server = None
        self.clients = []
        self.decoys = []
        self.events = []  # Event
        self.done = []
        self.end = None
        self.oids = make_file(folder / 'Data.fs')
        ensemble.fresh(PATH)
        self.configuration = folder / 'server.conf'
        self.configuration.write_text(CONFIGURATION.format(
            connection=ensemble.connection, path=PATH, folder=folder,
            session_ms=SERVER_SESSION_S * 1000))

    # the server

    def spawn(self):
        with open(self.folder / 'server.out', 'ab') as out:
            return subprocess.Popen([self.program, '-C', self.configuration],
                                    stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def names(self):
        return set(self.ensemble.children(PATH))

    def registered(self):
        """The node of the server that runs."""
        for name in self.names():
            with contextlib.suppress(kazoo.exceptions.KazooException):
                data, _ = self.ensemble.client.get(f'{PATH}/{name}')
                if b'"pid":%d' % self.server.pid in data.replace(b' ', b''):
                    return name
        return None

    def start_server(self):
        self.server = self.spawn()

        def there():
            assert self.server.poll() is None, (self.folder / 'server.out').read_text()[-4000:]
            return self.registered()
        wait_for('the server is registered', there, READY_S)

    @contextlib.contextmanager
    def event(self, what):
        """Something happens that clients may notice; at its end the server is there."""
        event = Event(what, time.monotonic())
        self.events.append(event)
        yield event
        event.there = event.there or time.monotonic()

    def move(self, what, sig=signal.SIGKILL):
        with self.event(what):
            self.server.send_signal(sig)
            status = self.server.wait(READY_S)
            assert sig == signal.SIGKILL or status == 0, f'the server ended with {status}'
            self.start_server()

    def moment(self, longest):
        """The moment is the test."""
        time.sleep(self.rng.random() * longest)

    @contextlib.contextmanager
    def paused(self, process):
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    # what is done

    def kill(self):
        self.move('killed')

    def kill_twice(self):
        """Once while clients are about to come back."""
        self.move('killed')
        self.moment(0.05)
        self.move('killed')

    def terminate(self):
        self.move('stopped', signal.SIGTERM)

    def kill_leaving_its_node(self):
        """It cannot end its earlier life's session: for a while both addresses are there."""
        (self.folder / 'Data.fs.zksession').unlink(missing_ok=True)
        self.move('killed, its node stays')

    def pause(self):
        with self.event('paused'), self.paused(self.server):
            self.moment(1)

    def pause_until_its_node_goes(self):
        name = wait_for('the server is registered', self.registered)
        with self.event('paused, its node went') as event:
            with self.paused(self.server):
                wait_for('the node goes', lambda: name not in self.names())
                self.moment(0.3)
            event.there = time.monotonic()
            wait_for('it is registered again', self.registered)

    def pause_and_kill(self):
        with self.event('paused and killed'):
            with self.paused(self.server):
                self.moment(0.5)
                self.server.kill()
                self.server.wait()
            self.start_server()

    def kill_without_zookeeper(self):
        with self.event('killed without ZooKeeper'):
            self.ensemble.kill()
            self.server.kill()
            self.server.wait()
            self.ensemble.start()
            self.start_server()

    def rival(self):
        """A second server of the file ends by itself, and nobody sees it."""
        before = self.names()
        with self.event(NOTHING):
            rival = self.spawn()
            try:
                assert rival.wait(READY_S) not in (0, None)
            finally:
                rival.kill()
                rival.wait()
        assert self.names() <= before

    def restart_zookeeper(self):
        with self.event(NOTHING):
            self.ensemble.restart()

    def freeze_zookeeper(self):
        with self.event(NOTHING), self.ensemble.frozen():
            self.moment(1)

    def sessions(self):
        """Those of the clients."""
        own = self.ensemble.client.client_id[0]
        return self.ensemble.sessions() - {own, self.session()[0]}

    def session(self):
        return read_session(self.folder / 'Data.fs.zksession')

    def expire_server(self):
        """Its session ends: it registers anew, and nobody is sent away."""
        with self.event(NOTHING):
            self.ensemble.expire(*self.session())
            wait_for('it is registered again', self.registered)

    def expire_clients(self):
        with self.event(NOTHING):
            for session in self.sessions():
                self.ensemble.expire(session, session_password(session))

    def pause_client(self):
        client = self.rng.choice(self.clients)
        with self.event('a client was paused'), self.paused(client.process):
            self.moment(1.5)

    def kill_client(self):
        client = self.rng.choice(self.clients)
        with self.event('a client was killed'):
            client.kill()
            client.start()
            client.wait_started()

    def toggle_decoys(self):
        """Addresses that lead nowhere come and go."""
        with self.event(NOTHING):
            if self.decoys:
                self.remove_decoys()
            else:
                self.add_decoys()

    def add_decoys(self):
        for kind in 'refuses', 'hangs', 'closes', 'talks nonsense':
            decoy = Decoy(kind)
            self.decoys.append(decoy)
            self.ensemble.client.create(f'{PATH}/{decoy.name}', b'{}')
        self.ensemble.client.create(f'{PATH}/no-address', b'{}')

    def remove_decoys(self):
        for decoy in self.decoys:
            self.ensemble.client.delete(f'{PATH}/{decoy.name}')
            decoy.close()
        if self.decoys:
            self.ensemble.client.delete(f'{PATH}/no-address')
        self.decoys = []

    DONE = (kill, kill_twice, terminate, kill_leaving_its_node, pause, pause_until_its_node_goes,
            pause_and_kill, rival, restart_zookeeper, kill_without_zookeeper, freeze_zookeeper,
            expire_server, expire_clients, pause_client, kill_client, toggle_decoys)

    # the run

    def add_client(self, name, *arguments, kind, server_sync=False):
        self.clients.append(ClientProcess(
            self.folder, name,
            ['--client', kind, '--zookeeper', self.ensemble.connection, '--path', PATH,
             '--seed', self.seed, *arguments], server_sync))

    def start(self):
        self.start_server()
        for client in self.clients:
            client.start()
        for client in self.clients:
            client.wait_started()

    def wait_back(self):
        moment = time.monotonic()
        for client in self.clients:
            wait_for(f'{client.name} is served', lambda c=client: c.answered_since(moment), READY_S)

    def run(self, seconds):
        """All kinds of things in a random order, again and again until the time is over."""
        end = time.monotonic() + seconds
        todo = []
        while time.monotonic() < end:
            todo = todo or self.rng.sample(self.DONE, len(self.DONE))
            what = todo.pop()
            self.done.append(what.__name__)
            what(self)
            if self.rng.random() < 0.7:
                self.wait_back()
            self.moment(0.4)

    def finish(self):
        """Let everybody stop, look at everything once more, and end."""
        self.wait_back()
        self.end = time.monotonic()
        self.remove_decoys()
        for word in 'stop', 'final':
            for client in self.clients:
                client.tell(word)
            for client in self.clients:
                client.expect(word)
        for client in self.clients:
            client.finish()
        self.server.terminate()
        assert self.server.wait(READY_S) == 0
        return [Client.read(c.name, c.log, c.server_sync) for c in self.clients]

    def close(self):
        """Nothing that was started goes on."""
        for client in self.clients:
            client.kill()
        if self.server is not None:
            self.server.kill()
            self.server.wait()
        for decoy in self.decoys:
            decoy.close()

    def absences(self):
        """{what happened: [seconds]}: how long each client was not served although the server was there."""
        found = {}
        ends = [e.start for e in self.events[1:]] + [self.end]
        for client in self.clients:
            probes = client.probes()
            for event, end in zip(self.events, ends):
                end = client.alive(event.start, end)
                start = event.start if event.what is NOTHING else event.there
                if end is None or end < start:
                    continue
                seconds = longest_gap(probes, start, end, event.what is NOTHING)
                found.setdefault(event.what, []).append(seconds)
        return found


def longest_gap(probes, start, end, whole):
    """The time from @start to the first answer, or to @end; the longest without one when @whole."""
    answers = [t for t in probes[bisect.bisect_left(probes, start):] if t < end]
    if not whole:
        return (answers[0] if answers else end) - start
    return max(b - a for a, b in zip([start, *answers], [*answers, end]))
