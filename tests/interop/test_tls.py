"""TLS: the <ssl> section, with stock clients and with clients that do it wrong."""

import contextlib
import os
import re
import signal
import socket
import ssl
import struct
import subprocess

import pytest
import transaction
import ZODB
import ZODB.blob
from freezing import freeze
from wire import Wire, connect, frame, logged_start, p64, wait_until
from ZEO.ClientStorage import ClientStorage

CONFIG = '''
<zeo>
  address {address}
  <ssl>
    certificate %(certificate)s
    authenticate %(authenticate)s
    %(more)s
  </ssl>
</zeo>
<filestorage>
  path {dir}/Data.fs
  blob-dir {dir}/blobs
</filestorage>
'''
PLAIN = '<zeo>\naddress {address}\n</zeo>\n<mappingstorage/>\n'
MB = 1 << 20


class Pki:
    """Certificates for a run of the tests, made by openssl(1)."""

    def __init__(self, folder):
        self.folder = folder
        for name in ('server', 'client', 'stranger', 'ca'):
            usage = ('-addext', 'keyUsage=critical,keyCertSign,cRLSign') if name == 'ca' else ()
            self.openssl('req', '-x509', *self.new_key(name), '-days', '2', '-out', f'{name}.pem',
                         *usage)
        for name in ('member', 'revoked'):
            self.signed_by_ca(name)
        self.openssl('pkcs8', '-topk8', '-in', 'server.key', '-out', 'locked.key',
                     '-passout', 'pass:open sesame')

    def path(self, name):
        return str(self.folder / name)

    def openssl(self, *args):
        run = subprocess.run(['openssl', *args], cwd=self.folder, capture_output=True, text=True,
                             timeout=60)
        assert run.returncode == 0, run.stderr

    def new_key(self, name):
        return ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                '-keyout', f'{name}.key', '-subj', f'/CN={name}.example.org')

    def signed_by_ca(self, name):
        self.openssl('req', *self.new_key(name), '-out', f'{name}.csr')
        (self.folder / 'extensions').write_text(
            'basicConstraints=critical,CA:false\nsubjectKeyIdentifier=hash\n'
            'authorityKeyIdentifier=keyid\n')
        self.openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key',
                     '-days', '2', '-out', f'{name}.pem', '-extfile', 'extensions')

    def revocation_list(self):
        """The PEM of a list of ca's that has `revoked`."""
        (self.folder / 'index.txt').write_text('')
        (self.folder / 'crlnumber').write_text('01\n')
        (self.folder / 'ca.conf').write_text(
            '[ca]\ndefault_ca = c\n[c]\ndatabase = index.txt\ncrlnumber = crlnumber\n'
            'default_md = sha256\ndefault_crl_days = 2\ncrl_extensions = e\n'
            '[e]\nauthorityKeyIdentifier = keyid\n')
        ca = ('ca', '-config', 'ca.conf', '-cert', 'ca.pem', '-keyfile', 'ca.key')
        self.openssl(*ca, '-revoke', 'revoked.pem')
        self.openssl(*ca, '-gencrl', '-out', 'crl.pem')
        return (self.folder / 'crl.pem').read_text()

    def context(self, name='client', version=None):
        """A client's context; without a name it shows no certificate."""
        c = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.path('server.pem'))
        c.check_hostname = False
        if name:
            c.load_cert_chain(self.path(f'{name}.pem'), self.path(f'{name}.key'))
        if version:
            c.minimum_version = c.maximum_version = version
        return c

    def bundle(self, name):
        """A file with certificate and key."""
        path = self.folder / f'{name}.bundle'
        path.write_text((self.folder / f'{name}.pem').read_text() +
                        (self.folder / f'{name}.key').read_text())
        return str(path)


@pytest.fixture(scope='session')
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp('pki'))


@pytest.fixture
def configuration(pki):
    """configuration(...): the text; the server's certificate and key in one file, `client` let in."""
    def make(certificate=None, authenticate=None, more=''):
        return CONFIG % {'certificate': certificate or pki.bundle('server'),
                         'authenticate': authenticate or pki.path('client.pem'), 'more': more}
    return make


@pytest.fixture
def tls_server(server, configuration):
    """tls_server(address=None, ...): a zkrunzeo that listens. At the end it has to stop well."""
    servers = []

    def make(address=None, **kw):
        s = server(configuration(**kw), address, start=False).start(wait=False)

        def listening():
            assert s.process.poll() is None, s.text()
            return 'listening on' in s.text()
        wait_until('the server listens', listening)
        servers.append(s)
        return s
    yield make
    for s in servers:
        assert s.stop() == 0, s.text()


@pytest.fixture
def tls_storage(opened, pki):
    def make(s, context=None, **kw):
        return opened(ClientStorage(s.address, ssl=context or pki.context(), wait_timeout=30, **kw))
    return make


@pytest.fixture
def tls_wire(opened, pki):
    def make(s, context=None, **kw):
        return opened(Wire(s.address, context=context or pki.context(), **kw))
    return make


@pytest.fixture
def raw(opened):
    """raw(server): a connection that has said nothing."""
    return lambda s: opened(connect(s.address))


def problems(s):
    """The log's lines of warnings and errors."""
    return [line for line in s.text().splitlines() if re.search(r'\b(WARNING|ERROR|CRITICAL)\b', line)]


def works(wire, number=1):
    """A commit, seen by the one that made it."""
    oid = wire.call('new_oids', 1)[0]
    wire.commit([(oid, p64(0), b'data %d' % number)])
    assert wire.call('loadBefore', oid, b'\x7f' + b'\xff' * 7)[0] == b'data %d' % number
    return oid


VERSIONS = pytest.mark.parametrize(
    'version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)


@VERSIONS
def test_stock_clients(tls_server, tls_storage, pki, version):
    s = tls_server()
    assert 'with TLS' in s.text()
    one = ZODB.DB(tls_storage(s, pki.context(version=version)))
    with one.transaction() as c:
        c.root()['x'] = 1
    two = ZODB.DB(tls_storage(s))
    with two.transaction() as c:
        assert c.root()['x'] == 1
        c.root()['x'] = 2
    c = one.open()
    wait_until('the invalidation', lambda: c.sync() or c.root()['x'] == 2)
    c.close()
    one.close()
    two.close()
    assert not problems(s)


@VERSIONS
def test_unix_socket(tls_server, tls_wire, pki, tmp_path, version):
    """(The stock client cannot: asyncio asks for a host name that it does not give.)"""
    s = tls_server(str(tmp_path / 'zeo.sock'))
    one, two = tls_wire(s, pki.context(version=version)), tls_wire(s)
    oid = works(one)
    two.call('ping')
    assert [oids for _, oids in two.invalidations()] == [[oid]]
    with pytest.raises(OSError):
        Wire(s.address, context=pki.context('stranger'))
    works(two)
    line, = problems(s)
    assert re.search(r'\(unix:\d+\) closing the connection: TLS: ', line)


def test_large_objects(tls_server, tls_storage):
    """Far more than a record, and than a socket takes at once, both ways."""
    s = tls_server()
    sizes = (20 * MB, 16 << 10, (16 << 10) + 1, 1)
    data = [os.urandom(n) for n in sizes]
    storage = tls_storage(s)
    oids = [storage.new_oid() for _ in data]
    t = transaction.Transaction()
    storage.tpc_begin(t)
    for oid, content in zip(oids, data, strict=True):
        storage.store(oid, p64(0), content, '', t)
    storage.tpc_vote(t)
    storage.tpc_finish(t)
    reader = tls_storage(s, cache_size=1)
    for oid, content in zip(oids, data, strict=True):
        assert reader.load(oid)[0] == content
    assert not problems(s)


def test_large_blobs(tls_server, tls_storage, tmp_path):
    """Files, which no sendfile can encrypt."""
    s = tls_server()
    data = [os.urandom(n) for n in (20 * MB, 16 << 10, (16 << 10) + 1, 1, 0)]
    writer = ZODB.DB(tls_storage(s, blob_dir=str(tmp_path / 'writer')))
    with writer.transaction() as c:
        c.root()['blobs'] = [ZODB.blob.Blob(d) for d in data]
    writer.close()
    reader = ZODB.DB(tls_storage(s, blob_dir=str(tmp_path / 'reader')))
    with reader.transaction() as c:
        for blob, content in zip(c.root()['blobs'], data, strict=True):
            with blob.open('r') as f:
                assert f.read() == content
    reader.close()
    assert not problems(s)


def test_many_connections(tls_server, tls_wire):
    s = tls_server()
    wires = [tls_wire(s) for _ in range(64)]
    oids = [works(w, i) for i, w in enumerate(wires)]
    for w in wires:
        w.call('ping')
        assert len({oid for _, seen in w.invalidations() for oid in seen} | set(oids)) == 64
    assert not problems(s)


def test_many_at_once(tls_server, tls_wire):
    """Of each of several clients with requests little is read in a turn: under TLS, whole records all the same."""
    s = tls_server()
    clients = [tls_wire(s) for _ in range(8)]
    for turn in range(1, 4):
        freeze(s.process)
        for w in clients:
            for i in range(200):
                w.send_raw(w.message(1000 * turn + i, 'ping', ()))
        s.process.send_signal(signal.SIGCONT)
        for w in clients:
            for i in range(200):
                assert w.reply(1000 * turn + i) is None


def test_a_client_that_does_not_read(tls_server, tls_wire):
    """The server stops reading from it (R9), and goes on when it reads again: nothing of what was
    received meanwhile stays behind in the TLS layer."""
    s = tls_server()
    w = tls_wire(s)
    oid = w.call('new_oids', 1)[0]
    content = os.urandom(100_000)
    w.commit([(oid, p64(0), content)])
    other = tls_wire(s)
    ids = [w.send('loadBefore', oid, b'\x7f' + b'\xff' * 7) for _ in range(500)]
    works(other)
    for id in ids:
        assert w.reply(id)[0] == content
    works(w)
    assert not problems(s)


def client_hello(pki):
    """The first bytes of a client's handshake, and what goes on from there."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = pki.context().wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return tls, incoming, outgoing


def finish_handshake(s, tls, incoming, outgoing):
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            if outgoing.pending:
                s.sendall(outgoing.read())
            incoming.write(s.recv(1 << 16))
    s.sendall(outgoing.read())


def test_slow_handshakes(tls_server, tls_wire, raw, pki):
    """Those that take their time keep nobody waiting, and come to their end, too."""
    s = tls_server()
    slow = []
    for i in range(32):
        connection = raw(s)
        tls, incoming, outgoing = client_hello(pki)
        hello = outgoing.read()
        cut = 1 + i * (len(hello) - 2) // 31
        connection.sendall(hello[:cut])
        slow.append((connection, tls, incoming, outgoing, hello[cut:]))
    works(tls_wire(s))
    for connection, tls, incoming, outgoing, rest in slow:
        connection.sendall(rest)
        finish_handshake(connection, tls, incoming, outgoing)
        greeting = b''
        while len(greeting) < 6:
            try:
                greeting += tls.read(6)
            except ssl.SSLWantReadError:
                incoming.write(connection.recv(1 << 16))
        assert greeting == frame(b'Z5')
    assert not problems(s)


def test_stop_during_a_handshake(tls_server, raw, pki):
    s = tls_server()
    raw(s)
    connection = raw(s)
    connection.sendall(client_hello(pki)[2].read()[:50])
    works(Wire(s.address, context=pki.context()))
    assert s.stop() == 0
    assert 'were cut' not in s.text()


def no_certificate(s, pki):
    pki.context(None).wrap_socket(connect(s.address)).recv(1)


def wrong_certificate(s, pki):
    pki.context('stranger').wrap_socket(connect(s.address)).recv(1)


def not_signed(s, pki):
    pki.context('member').wrap_socket(connect(s.address)).recv(1)


def plain_client(s, pki):
    c = connect(s.address)
    c.sendall(frame(b'Z5'))
    c.recv(1)


def http_client(s, pki):
    c = connect(s.address)
    c.sendall(b'GET / HTTP/1.0\r\n\r\n')
    c.recv(1)


def client_that_distrusts_us(s, pki):
    c = connect(s.address)
    kept = c.dup()  # or the alert could be lost: a closed socket resets what comes
    with contextlib.suppress(ssl.SSLError):
        ssl.create_default_context().wrap_socket(c, server_hostname='x.example.org')
    while kept.recv(1000):
        pass
    kept.close()


def end_in_the_middle(s, pki):
    c = connect(s.address)
    c.sendall(client_hello(pki)[2].read()[:100])
    c.shutdown(socket.SHUT_WR)
    c.recv(1)


def broken_hello(s, pki):
    hello = bytearray(client_hello(pki)[2].read())
    hello[5] ^= 0x80  # what message it is
    c = connect(s.address)
    c.sendall(hello)
    c.recv(1)


FAILURES = {
    no_certificate: 'TLS: the client showed no certificate',
    wrong_certificate:
        "TLS: the client's certificate is not accepted: self-signed certificate",
    not_signed:
        "TLS: the client's certificate is not accepted: unable to get local issuer certificate",
    plain_client: 'TLS: the client does not speak it (wrong version number)',
    http_client: 'TLS: the client does not speak it (http request)',
    client_that_distrusts_us: 'TLS: tlsv1 alert unknown ca',
    end_in_the_middle: 'TLS: the client left in the middle',
    broken_hello: 'TLS: unexpected message',
}


@pytest.mark.parametrize('failure', FAILURES, ids=lambda f: f.__name__)
def test_failures(tls_server, tls_wire, pki, failure):
    """Each costs its own connection, and the log says once who and why (R11)."""
    s = tls_server()
    before = tls_wire(s)
    with contextlib.suppress(OSError):
        failure(s, pki)
    wait_until('the log', lambda: problems(s))
    works(before)
    works(tls_wire(s))
    line, = problems(s)
    assert re.search(r'\(127\.0\.0\.1:\d+\) closing the connection: '
                     + re.escape(FAILURES[failure]), line)


def test_tls_client_of_a_plain_server(server, wires, pki):
    s = server(PLAIN)
    before = wires(s)
    c = connect(s.address)
    kept = c.dup()  # or what it said could be lost: a closed socket resets what comes
    with pytest.raises(OSError):
        pki.context().wrap_socket(c)
    while kept.recv(1000):
        pass
    kept.close()
    works(before)
    wait_until('the log', lambda: problems(s))
    line, = problems(s)
    assert 'the client speaks TLS, and this server has no <ssl> section' in line


@pytest.mark.parametrize('how', ['end', 'reset'])
def test_health_checks_leave_no_trace(tls_server, tls_wire, how):
    """T40"""
    s = tls_server()
    w = tls_wire(s)
    before = logged_start(s)
    for _ in range(20):
        c = connect(s.address)
        if how == 'reset':
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        c.close()
    works(w)
    assert s.text() == before


def test_ruok_ends_properly(tls_server, pki, opened):
    s = tls_server()
    c = opened(pki.context().wrap_socket(connect(s.address), suppress_ragged_eofs=False))
    c.sendall(frame(b'ruok'))
    data = b''
    while more := c.recv(1 << 16):  # without a close_notify it is an error
        data += more
    assert b'"1"' in data


def test_an_end_with_the_last_words(tls_server, raw, pki):
    """In one packet: the client waits for the server's end, and nothing more comes from it."""
    s = tls_server()
    connection = raw(s)
    tls, incoming, outgoing = client_hello(pki)
    connection.sendall(outgoing.read())
    finish_handshake(connection, tls, incoming, outgoing)
    tls.write(frame(b'Z5'))
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.unwrap()
    connection.sendall(outgoing.read())
    while data := connection.recv(1 << 16):
        incoming.write(data)
    incoming.write_eof()
    assert tls.read() == frame(b'Z5'), 'the greeting'
    with pytest.raises(ssl.SSLZeroReturnError):  # said, and not only the connection's end
        tls.read()


def test_authority(tls_server, tls_wire, pki):
    s = tls_server(authenticate=pki.path('ca.pem'))
    works(tls_wire(s, pki.context('member')))
    works(tls_wire(s, pki.context('revoked')))
    with pytest.raises(OSError):
        Wire(s.address, context=pki.context('client'))


def test_revocation_list(tls_server, tls_wire, pki, tmp_path):
    path = tmp_path / 'ca-and-crl.pem'
    path.write_text((pki.folder / 'ca.pem').read_text() + pki.revocation_list())
    s = tls_server(authenticate=str(path))
    works(tls_wire(s, pki.context('member')))
    with pytest.raises(OSError):
        Wire(s.address, context=pki.context('revoked'))
    wait_until('the log', lambda: problems(s))
    assert 'certificate revoked' in problems(s)[0]


def test_folder(tls_server, tls_wire, pki, tmp_path):
    folder = tmp_path / 'clients'
    folder.mkdir()

    def let_in(name):
        (folder / f'{name}.pem').write_text((pki.folder / f'{name}.pem').read_text())
        pki.openssl('rehash', str(folder))
    let_in('client')
    s = tls_server(authenticate=str(folder))
    works(tls_wire(s))
    with pytest.raises(OSError):
        Wire(s.address, context=pki.context('stranger'))
    let_in('stranger')
    works(tls_wire(s, pki.context('stranger')))


def test_signed(tls_server, tls_wire, pki):
    """The authorities that the system trusts: OpenSSL's environment can name others."""
    os.environ['SSL_CERT_FILE'] = pki.path('ca.pem')
    try:
        s = tls_server(authenticate='SIGNED')
    finally:
        del os.environ['SSL_CERT_FILE']
    works(tls_wire(s, pki.context('member')))
    with pytest.raises(OSError):
        Wire(s.address, context=pki.context('client'))


@pytest.mark.parametrize('command', [
    "echo 'open sesame'", "printf 'open sesame'", "echo warning >&2; echo 'open sesame'; echo more"])
def test_password_command(tls_server, tls_wire, pki, command):
    s = tls_server(certificate=pki.path('server.pem'),
                   more=f'key {pki.path("locked.key")}\npassword-command {command}')
    works(tls_wire(s))
    assert 'sesame' not in s.text()


START_ERRORS = {
    'no such certificate': (
        dict(certificate='/nowhere.pem'),
        r":5: '/nowhere.pem': cannot use it as a certificate: No such file or directory"),
    'not a certificate': (
        dict(certificate='/dev/null'),
        r":5: '/dev/null': cannot use it as a certificate: no start line"),
    'no key': (
        dict(certificate='{server}'),
        r":5: '.*server.pem': no private key was found in it"),
    'another key': (
        dict(more='key {client_key}'),
        r":7: '.*client.key': cannot use it as a key: key values mismatch"),
    'encrypted key': (
        dict(certificate='{server}', more='key {locked}'),
        r":7: '.*locked.key': the key is encrypted: password-command has to give its pass phrase"),
    'wrong pass phrase': (
        dict(certificate='{server}', more='key {locked}\npassword-command echo wrong'),
        r":7: '.*locked.key': cannot decrypt the key with the pass phrase: "),
    'failing command': (
        dict(certificate='{server}', more='key {locked}\npassword-command echo "open sesame"; exit 3'),
        r":8: password-command: The program ended with status 3"),
    'silent command': (
        dict(certificate='{server}', more='key {locked}\npassword-command true'),
        r":8: password-command: its output does not start with a pass phrase"),
    'no such authority': (
        dict(authenticate='/nowhere.pem'), r":6: '/nowhere.pem': No such file or directory"),
    'not an authority': (
        dict(authenticate='/dev/null'),
        r":6: '/dev/null': no certificates to check those of clients with: "),
    'dynamic': (
        dict(authenticate='DYNAMIC'), r":6: 'authenticate DYNAMIC' in <ssl> is not offered"),
    'function': (
        dict(more='password-function a.b'),
        r":7: 'password-function' in <ssl> is not offered: it names a Python function. "
        r"'password-command' takes a program that prints the pass phrase"),
}


@pytest.mark.parametrize('case', START_ERRORS)
def test_start_errors(server, configuration, pki, case):
    keys, message = START_ERRORS[case]
    names = {'server': pki.path('server.pem'), 'client_key': pki.path('client.key'),
             'locked': pki.path('locked.key')}
    s = server(configuration(**{k: v.format(**names) for k, v in keys.items()}), start=False)
    s.start(wait=False)
    assert s.process.wait(30) == 2
    assert re.fullmatch(rf'zkrunzeo: .*\.conf{message}.*\n', s.text()), s.text()
    assert 'sesame' not in s.text().replace(message, '')
