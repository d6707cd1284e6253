"""The package zc.zkzeo as it is installed."""

import importlib
import os
import re
import subprocess
import sys
import textwrap

import pytest

import zc.zkzeo


def test_the_namespace_is_shared():
    """Neither hides the other, wherever they are installed."""
    assert importlib.import_module('zc.zkzeo').__version__
    assert importlib.import_module('zc.lockfile').LockFile
    assert getattr(importlib.import_module('zc'), '__file__', None) is None


def test_signature():
    """Arguments in the order of ZEO's, which programs may rely on."""
    import inspect
    import ZEO.ClientStorage
    stock = list(inspect.signature(ZEO.ClientStorage.ClientStorage.__init__).parameters)
    ours = list(inspect.signature(zc.zkzeo.ClientStorage.__init__).parameters)
    stock.remove('_client_factory')
    assert ours == stock


def test_methods():
    """Everything public that the stock client has, but what only its own server thread calls."""
    import ZEO.ClientStorage
    called_by_its_thread = {'info', 'receiveBlobStart', 'receiveBlobChunk', 'receiveBlobStop',
                            'set_server_addr'}
    not_used_by_zodb = {'tpc_transaction', 'tpc_end'}
    names = {n for n in vars(ZEO.ClientStorage.ClientStorage) if not n.startswith('_')}
    missing = {n for n in names if not hasattr(zc.zkzeo.ClientStorage, n)}
    assert missing <= called_by_its_thread | not_used_by_zodb


INSTALLED = '''
    import os, sys
    assert 'PYTHONPATH' not in os.environ and 'LD_LIBRARY_PATH' not in os.environ
    import importlib.metadata
    import ZODB, zc.lockfile, zc.zk, zc.zkzeo, zc.zkzeo.runzeo
    from zc.zkzeo import _programs
    assert zc.zkzeo.__file__.startswith(sys.prefix), zc.zkzeo.__file__
    assert importlib.metadata.version('zc.zkzeo') == zc.zkzeo.__version__
    assert _programs.program('zkrunzeo') == os.path.join(sys.prefix, 'bin', 'zkrunzeo')
    stop = zc.zkzeo.runzeo.test(
        '<zeo>\\naddress 127.0.0.1\\n</zeo>\\n<mappingstorage>\\n</mappingstorage>\\n')
    db = ZODB.DB(zc.zkzeo.ClientStorage(stop.server.address))
    with db.transaction() as connection:
        connection.root()['x'] = 1
    db.close()
    assert stop().exception is None
    [script] = [e for e in importlib.metadata.entry_points(group='console_scripts')
                if e.name == 'zkzeo-nagios']
    assert script.load()
    import zodburi
    factory, options = zodburi.resolve_uri('zkzeo://127.0.0.1:2181/databases/demo?wait=no')
    assert callable(factory)
    print('good')
'''


@pytest.mark.skipif('asan' in os.environ.get('ZKZEO_BUILD', '')
                    or 'tsan' in os.environ.get('ZKZEO_BUILD', ''),
                    reason='a wheel is built without sanitizers')
@pytest.mark.timeout(900)
def test_wheel(root, tmp_path):
    """T79: built, installed in a fresh environment, and used without the source folder."""
    env = {k: v for k, v in os.environ.items()
           if k not in ('PYTHONPATH', 'LD_LIBRARY_PATH', 'LD_PRELOAD', 'ZKZEO_PROGRAMS')}

    def run(*command, **kw):
        result = subprocess.run(command, capture_output=True, text=True, timeout=400, env=env, **kw)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-build-isolation', '--no-deps',
        '--disable-pip-version-check', '-w', tmp_path, root)
    [wheel] = tmp_path.glob('*.whl')
    assert re.match(r'zc_zkzeo-[\d.]+-cp3\d+-cp3\d+-linux_', wheel.name)
    # what it needs is there already: nothing is downloaded
    venv = tmp_path / 'venv'
    run(sys.executable, '-m', 'venv', '--without-pip', venv)
    run(sys.executable, '-m', 'pip', '--python', venv, 'install', '-q', '--no-deps',
        '--disable-pip-version-check', wheel)
    site = next(p for p in sys.path if p.endswith('site-packages'))
    [own_site] = venv.glob('lib/python*/site-packages')
    (own_site / 'dependencies.pth').write_text(f'{site}\n')
    assert run(venv / 'bin' / 'python', '-c', textwrap.dedent(INSTALLED),
               cwd=tmp_path) == 'good\n'
    assert run(venv / 'bin' / 'zkrunzeo', '--version')
    assert 'zookeeper' in run(venv / 'bin' / 'zkzeo-nagios', '--help')
