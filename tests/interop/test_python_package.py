"""The package zc.zkzeo as it is installed."""

import importlib


def test_the_namespace_is_shared():
    """Neither hides the other, wherever they are installed."""
    assert importlib.import_module('zc.zkzeo').__version__
    assert importlib.import_module('zc.lockfile').LockFile
    assert getattr(importlib.import_module('zc'), '__file__', None) is None
