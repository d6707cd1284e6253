"""What is not run of the ZEO package's tests, and why.

A name is a class (for a doctest: its file or its module), `Class.method`, or `*.method` where
every class is meant that inherits the method.
"""

SERVER_OBJECT = "calls Python's server object inside the test's process"
PYTHON_STORAGE = 'needs a Python storage class in the server'
LOG_LAYOUT = "reads the layout of the log of Python's runzeo"
ROOT = 'cannot run as root, who can open a read-only file for writing'

EXCLUDED = {
    SERVER_OBJECT: (
        'ClientAuthTests',
        'ClientSideConflictResolutionTests.test_server_side',
        'SyncTests',
        'dynamic_server_ports_test',
        'protocols_test',  # makes Python's server speak an older protocol
        'testConversionSupport.test_server_record_iternext',
        'testZEO.getInvalidationsAfterServerRestart',
        'testZEO.multiple_storages_invalidation_queue_is_not_insane',
        'testZEO2',
    ),
    PYTHON_STORAGE: (
        'FileStorageClientHexTests',
        'FileStorageHexTests',
        'FileStorageLoadDelayedTests',
    ),
    LOG_LAYOUT: (
        'testZEO.runzeo_logrotate_on_sigusr2',
        'testZEO.runzeo_without_configfile',
    ),
    ROOT: (
        'blob_transaction_txt',
    ),
}

# Examples of a doctest that are not run: a part of one, and why.
EXAMPLES = {
    # Of a server that comes back with nothing new the fan-out's clients notice nothing; with Python's they are sent
    # away all the same. What changed meanwhile is shown by test_fanout.py, test_changed_while_away.
    'zeo-fan-out_test': 'c1.sync()',
}

# Tests of the package that need no server: they say nothing about one and are left out.
NO_SERVER = (
    'AAAA_Test_Runner_Hack',
    'Test_convenience_functions',
    'testConversionSupport.test_client_record_iternext',
    'testZEO.ClientDisconnected_errors_are_TransientErrors',
    'testblob.gc_blob_removes_uncommitted_data',
    'testblob.lp440234_Setting__p_changed_of_a_Blob_w_no_uncomitted_changes_is_noop',
    'zdoptions_test',
)

# With our client in place of the package's.

INSIDE = "looks into what Python's client is made of: its loop, its thread, its buffer, its cache"
NEWER = ('T30: a cache that is newer than the server is dropped, and the client goes on; '
         "Python's stays away from the server")
SIZE = 'a cache of a few hundred bytes is made as large as is needed'
REPLACES = 'replaces functions of ZODB.blob that the client in C has no use for'
BYTES = 'stores a record that is no bytes object'

CLIENT_EXCLUDED = {
    INSIDE: (
        '*.checkBadMessage1',
        '*.checkBadMessage2',
        'IExternalGC_test',
        'ZRPCConnectionTests.checkCatastrophicClientLoopFailure',
        'ZRPCConnectionTests.checkConnectionInvalidationOnReconnect',
        'testZEO.client_asyncore_thread_has_name',
        'testZEO.invalidate_client_cache_entry_on_server_commit_error',
        'testZEO.tpc_finish_error',
        'zeo-fan-out_test',
    ),
    NEWER: (
        '*.checkCheckForOutOfDateServer',
        'testZEO.client_has_newer_data_than_server',
    ),
    SIZE: (
        '*.checkDisconnectedCacheFails',
    ),
    REPLACES: (
        'testblob.commit_from_wrong_partition',
    ),
    BYTES: (
        '*.checkTransactionBufferCleanup',
    ),
}

PYTHON_SERVER_EXCLUDED = {
    ROOT: EXCLUDED[ROOT],
}
