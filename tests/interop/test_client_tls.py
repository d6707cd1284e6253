"""The C client over TLS, to zkrunzeo and to Python's runzeo."""

import pytest

from client_tool import CLOSED, ClientTool, ToolError
from test_tls import Pki
from wire import Z64, wait_until

CONFIG = """<zeo>
  address {address}
  <ssl>
    certificate %s
    key %s
    authenticate %s
  </ssl>
</zeo>
<filestorage 1>
  path {dir}/Data.fs
</filestorage>
"""


@pytest.fixture(scope='module')
def pki(tmp_path_factory):
    p = Pki(tmp_path_factory.mktemp('client-pki'))
    p.openssl('req', '-x509', *p.new_key('numbered'), '-days', '2', '-out', 'numbered.pem',
              '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost')
    return p


@pytest.fixture
def served(peer, pki):
    """served(name='server', client='client'): a server that shows the one and lets the other in."""
    def make(name='server', client='client', address=None):
        text = CONFIG % (pki.path(f'{name}.pem'), pki.path(f'{name}.key'),
                         pki.path(f'{client}.pem'))
        return peer(text, address, start=False).start(wait=False)
    return make


@pytest.fixture
def tool(build, tmp_path, opened, pki):
    def make(s, *options, authorities='server', show='client'):
        if show:
            options += '-t', pki.path(f'{show}.pem'), '-k', pki.path(f'{show}.key')
        return opened(ClientTool(
            build / 'tests' / 'tools' / 'client_tool', tmp_path / 'client.log', s.address,
            options=[*options[:1], '-a', pki.path(f'{authorities}.pem'), *options[1:], '-p', 50]))
    return make


NAME = '-hserver.example.org'


def test_commit_and_load(served, tool):
    c = tool(served(), NAME).wait()
    c.ask('begin')
    for i in range(1, 101):
        c.ask('fill', '%x' % i, '0', 100 * i)
    c.ask('fill', '200', '0', 5_000_000)
    c.ask('vote')
    tid = bytes.fromhex(c.ask('finish')[0])
    assert c.load(0x200) == (bytes(5_000_000), tid, None)
    for i in range(1, 101):
        assert c.load(i)[0] == bytes(100 * i)


def test_many_threads(served, tool):
    s = served()
    c = tool(s, NAME, '-n').wait()
    c.commit(*((i, Z64, b'%d' % i * i) for i in range(1, 101)))
    other = tool(s, NAME).wait()
    c.send('loop', 1, 100, 500, 8)
    tid = Z64
    for i in range(1, 31):  # sends and receives cross
        tid = other.commit((500, tid, b'x' * 10000 * i))
    c.answer()
    c.ask('ping')
    assert c.load(500) == (b'x' * 300000, tid, None)


def test_reconnects(served, tool):
    s = served()
    c = tool(s, NAME).wait()
    tid = c.commit((1, Z64, b'x'))
    s.kill()
    c.event('disconnected')
    s.start(wait=False)
    c.event('connected')
    c.wait()
    assert c.commit((1, tid, b'y')) > tid


def test_name(served, tool):
    """The certificate has to be for the host that is connected to, or for the name that was given."""
    s = served('numbered')
    tool(s, '-p50', authorities='numbered').wait()
    tool(s, '-hlocalhost', authorities='numbered').wait()
    c = tool(s, '-helsewhere.example.org', authorities='numbered')
    wait_until('a refusal', lambda: 'certificate is not accepted' in c.text())
    assert 'mismatch' in c.text()
    assert c.state()['connected'] == '0'


def test_number_that_is_not_the_servers(served, tool):
    c = tool(served(), '-p50')
    wait_until('a refusal', lambda: 'certificate is not accepted' in c.text())
    assert 'mismatch' in c.text()


def test_name_not_checked(served, tool):
    tool(served(), '-u').wait().commit((1, Z64, b'x'))


def test_stranger(served, tool):
    """A server whose certificate nobody vouches for gets nothing."""
    c = tool(served(), NAME, authorities='stranger')
    wait_until('a refusal', lambda: "the server's certificate is not accepted" in c.text())
    with pytest.raises(ToolError) as e:
        c.ask('ping')
    assert e.value.code == CLOSED


def test_a_client_that_is_not_let_in(served, tool):
    s = served()
    c = tool(s, NAME, show='stranger')
    # Python's server goes without an alert
    wait_until('a failure', lambda: 'alert' in c.text() or 'closed the connection' in c.text())
    assert c.state()['connected'] == '0'
    assert s.process.poll() is None


def test_a_server_without_tls(peer, tool):
    c = tool(peer('<zeo>\n  address {address}\n</zeo>\n<mappingstorage 1>\n</mappingstorage>\n'),
             NAME)
    wait_until('a failure', lambda: 'the server does not speak it' in c.text())
    assert c.state()['connected'] == '0'
