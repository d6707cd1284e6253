"""A Zope whose database is a zkrunzeo that it finds in ZooKeeper."""

import base64
import contextlib
import http.client
import re
import signal
import socket
import subprocess
import urllib.parse

import pytest
from sanitized import ENVIRONMENT
from zk import ensemble, wait_for  # noqa: F401

PATH = '/databases/zope'
USER = 'admin', 'secret'
START_S = 60
SERVER = """\
<zeo>
  address 127.0.0.1
</zeo>
<zookeeper>
  connection {connection}
  path {path}
</zookeeper>
<filestorage>
  path {folder}/Data.fs
</filestorage>
"""
DATABASE = """\
%import zc.zkzeo
<zodb_db main>
  <zkzeoclient>
    zookeeper {connection}
    server {path}
    cache-size 20MB
  </zkzeoclient>
  mount-point /
</zodb_db>
"""


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Zope:
    """An instance, as Zope's own script makes it, with our database section."""

    def __init__(self, bin, folder, database):
        self.folder = folder
        self.port = free_port()
        self.output = folder.with_suffix('.out')
        self.process = None
        self.program = bin / 'runwsgi'
        subprocess.run([bin / 'mkwsgiinstance', '-d', folder, '-u', ':'.join(USER)],
                       check=True, capture_output=True, timeout=60)
        self.edit('zope.conf', r'(?s)<zodb_db main>.*?</zodb_db>\n', database)
        self.edit('zope.ini', r'(?m)^    translogger\n', '')  # which wants one more package
        self.edit('zope.ini', r'(?m)^port = \d+$', f'port = {self.port}')

    def edit(self, name, pattern, text):
        path = self.folder / 'etc' / name
        edited, n = re.subn(pattern, lambda _: text, path.read_text())
        assert n == 1, f'{path} has no {pattern}'
        path.write_text(edited)

    def start(self):
        with open(self.output, 'ab') as out:
            self.process = subprocess.Popen(
                [self.program, self.folder / 'etc' / 'zope.ini'],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=ENVIRONMENT)
        wait_for('Zope answers', self.answers, START_S)

    def answers(self):
        assert self.process.poll() is None, self.text()
        with contextlib.suppress(OSError):
            return self.get('/')
        return None

    def text(self):
        return self.output.read_text(errors='replace')[-5000:]

    def request(self, method, path, form=None):
        """(status, body)"""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        headers = {'Authorization': 'Basic ' + base64.b64encode(':'.join(USER).encode()).decode()}
        if form is not None:
            headers['Content-Type'] = 'application/x-www-form-urlencoded'
        try:
            connection.request(method, path, form and urllib.parse.urlencode(form), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def get(self, path):
        status, body = self.request('GET', path)
        assert status == 200, f'{path}: {status}\n{body}\n{self.text()}'
        return body

    def post(self, path, **form):
        status, body = self.request('POST', path, form)
        assert status < 400, f'{path}: {status}\n{body}\n{self.text()}'

    def add_page(self, name, text):
        self.post('/manage_addProduct/PageTemplates/manage_addPageTemplate', id=name, text=text)

    def edit_page(self, name, title, text):
        self.post(f'/{name}/pt_editAction', title=title, text=text, content_type='text/html')

    def stop(self):
        self.process.send_signal(signal.SIGINT)  # waitress ends at this one
        assert self.process.wait(START_S) == 0, self.text()

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def zope(root, tmp_path, ensemble):  # noqa: F811
    """zope(): an instance that runs."""
    started = []

    def make():
        database = DATABASE.format(connection=ensemble.connection, path=PATH)
        instance = Zope(root / '.venv-zope/bin', tmp_path / f'zope{len(started)}', database)
        started.append(instance)
        instance.start()
        return instance

    yield make
    for instance in started:
        instance.kill()


@pytest.fixture
def database(programs, tmp_path, ensemble):  # noqa: F811
    """A server on a port of the system's choice, which is another one at each start."""
    ensemble.fresh(PATH)
    configuration = tmp_path / 'server.conf'
    configuration.write_text(SERVER.format(
        connection=ensemble.connection, path=PATH, folder=tmp_path))

    class Database:
        process = None

        def start(self):
            before = ensemble.children(PATH)
            with open(tmp_path / 'server.out', 'ab') as out:
                self.process = subprocess.Popen([programs / 'zkrunzeo', '-C', configuration],
                                                stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            [name] = wait_for('the server is registered', lambda: [
                n for n in ensemble.children(PATH) if n not in before])
            return name

        def kill(self):
            self.process.kill()
            self.process.wait()

    found = Database()
    yield found
    if found.process is not None:
        found.kill()


def page_text(n):
    return f'<html><body><i>text {n}</i><b tal:content="template/title">?</b></body></html>'


def wait_for_page(instance, path):
    """Zope answers an error to who asks just when the connection is lost; not for long."""
    def page():
        status, body = instance.request('GET', path)
        return body if status == 200 else None
    return wait_for(f'Zope serves {path}', page)


def test_zope_survives_its_server(database, zope):
    """Pages are served, and what was changed through the web is there, after the server was killed and moved."""
    first_address = database.start()
    first = zope()
    first.add_page('page', page_text(0))
    for n in range(3):
        first.edit_page('page', f'edited {n}', page_text(n))
        assert f'<i>text {n}</i><b>edited {n}</b>' in first.get('/page')
    database.kill()
    assert database.start() != first_address
    assert 'edited 2' in wait_for_page(first, '/page')
    first.add_page('after', '<p>written after the server has moved</p>')
    assert 'has moved' in first.get('/after')
    # another process has nothing in a cache
    second = zope()
    assert '<i>text 2</i><b>edited 2</b>' in second.get('/page')
    assert 'has moved' in second.get('/after')
    second.edit_page('page', 'edited by another', page_text(7))
    wait_for('the other one sees it', lambda: 'edited by another' in first.get('/page'))
    first.stop()
    second.stop()
