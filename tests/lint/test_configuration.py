"""docs/configuration.md has every key of the released ZEO's own schema, and our own; the
examples of the documentation are right."""

import os
import re
import subprocess

import pytest

SECTIONS = ('zeo', 'ssl', 'filestorage', 'mappingstorage', 'demostorage', 'blobstorage',
            'eventlog', 'logfile')
OURS = {
    'zeo': ('worker-threads',),
    'zookeeper': ('connection', 'path', 'session-timeout', 'monitor-server', 'monitor-command',
                  'advertise'),
}


def released_keys():
    import ZConfig
    import ZEO
    schema = ZConfig.loadSchema(os.path.join(os.path.dirname(ZEO.__file__), 'schema.xml'))
    for name in SECTIONS:
        # sections within a section have no key; "+" stands for keys of any name
        yield name, [key for key, _ in schema.gettype(name) if key and key != '+']


def all_keys():
    return [(section, key)
            for section, keys in [*released_keys(), *OURS.items()] for key in keys]


@pytest.mark.parametrize('section, key', all_keys())
def test_key_is_documented(root, section, key):
    text = (root / 'docs' / 'configuration.md').read_text()
    assert f'<{section}>' in text
    assert re.search(rf'(?<![\w-]){re.escape(key)}(?![\w-])', text), f'{key} of <{section}>'


def test_the_schema_was_read():
    keys = all_keys()
    assert ('zeo', 'transaction-timeout') in keys
    assert ('filestorage', 'pack-gc') in keys
    assert ('logfile', 'old-files') in keys


EXAMPLES = ('README.md', 'docs/configuration.md', 'man/zkrunzeo.1')


def examples(text):
    """The whole configurations in a text: fenced, or between .nf and .fi."""
    blocks = re.findall(r'^(?:```|\.nf)\n(.*?)^(?:```|\.fi)$', text, re.M | re.S)
    return [block for block in blocks if '</zeo>' in block]


@pytest.mark.parametrize('name', EXAMPLES)
def test_examples_are_right(root, programs, tmp_path, name):
    found = examples((root / name).read_text())
    assert found
    for text in found:
        path = tmp_path / 'example.conf'
        path.write_text(re.sub(r'/var/(lib|log)/zodb', str(tmp_path), text))
        run = subprocess.run(
            [programs / 'zkrunzeo', '-C', path, '--check'], capture_output=True, text=True,
            timeout=20, env={**os.environ, 'USER': 'zodb'})
        assert run.returncode == 0, run.stderr


def test_demo_configuration_is_right(root, programs, tmp_path):
    run = subprocess.run(
        [programs / 'zkrunzeo', '-C', root / 'etc' / 'demo.conf', '--check'],
        capture_output=True, text=True, timeout=20,
        env={**os.environ, 'ZKZEO_DEMO_DIR': str(tmp_path), 'ZKZEO_DEMO_ZOOKEEPER': 'zk:2181'})
    assert run.returncode == 0, run.stderr
