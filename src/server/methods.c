/* One row a method of the ZEO protocol. */
#include "base/compiler.h"
#include "server/dispatch.h"

const struct method methods[] = {
	[LOAD_BEFORE_ROW] = { "loadBefore", 2, 2, 0, handle_load_before, "loads" },
	{ "storea", 4, 4, METHOD_WRITES, handle_storea, "commit" },
	{ "register", 2, 2, METHOD_BEFORE_REGISTER, handle_register, "register" },
	{ "get_info", 0, 0, 0, handle_get_info, "get_info" },
	{ "lastTransaction", 0, 0, 0, handle_last_transaction, "tids" },
	{ "getInvalidations", 1, 1, 0, handle_get_invalidations, "invalidations" },
	{ "new_oids", 0, 1, METHOD_WRITES, handle_new_oids, "oids" },
	{ "new_oid", 0, 0, METHOD_WRITES, handle_new_oid, "oids" },
	{ "loadSerial", 2, 2, 0, handle_load_serial, "loads" },
	{ "getTid", 1, 1, 0, handle_get_tid, "loads" },
	{ "history", 1, 2, 0, handle_history, "history" },
	{ "checkCurrentSerialInTransaction", 3, 3, METHOD_WRITES, handle_check_current, "commit" },
	{ "undoa", 2, 2, METHOD_WRITES, handle_undoa, "undo" },
	{ "undoLog", 2, 2, 0, handle_undo_log, "undo" },
	{ "undoInfo", 3, 3, 0, handle_undo_log, "undo" },
	{ "restorea", 5, 5, METHOD_WRITES, handle_restorea, "restore" },
	{ "deleteObject", 3, 3, METHOD_WRITES, handle_delete_object, "commit" },
	{ "tpc_begin", 4, 6, METHOD_WRITES, handle_tpc_begin, "commit" },
	{ "vote", 1, 1, METHOD_WRITES, handle_vote, "vote" },
	{ "tpc_finish", 1, 1, METHOD_WRITES, handle_tpc_finish, "finish" },
	{ "tpc_abort", 1, 1, METHOD_WRITES, handle_tpc_abort, "commit" },
	{ "pack", 1, 2, 0, handle_pack, "pack" },
	{ "server_status", 0, 0, 0, handle_server_status, "status" },
	{ "set_client_label", 1, 1, 0, handle_set_client_label, "status" },
	{ "ping", 0, 0, 0, handle_ping, "tids" },

	{ "storeBlobStart", 0, 0, METHOD_WRITES, handle_store_blob_start, "blobs" },
	{ "storeBlobChunk", 1, 1, METHOD_WRITES, handle_store_blob_chunk, "blobs" },
	{ "storeBlobEnd", 4, 4, METHOD_WRITES, handle_store_blob_end, "blobs" },
	{ "storeBlobShared", 5, 5, METHOD_WRITES, handle_store_blob_shared, "blobs" },
	{ "sendBlob", 2, 2, 0, handle_send_blob, "blobs" },
	{ "record_iternext", 0, 1, 0, handle_record_iternext, "iteration" },
	{ "iterator_start", 2, 2, 0, handle_iterator_start, "iteration" },
	{ "iterator_next", 1, 1, 0, handle_iterator_next, "iteration" },
	{ "iterator_record_start", 2, 2, 0, handle_iterator_record_start, "iteration" },
	{ "iterator_record_next", 1, 1, 0, handle_iterator_record_next, "iteration" },
	{ "iterator_gc", 1, 1, 0, handle_iterator_gc, "iteration" },
};

const size_t n_methods = ARRAY_LEN(methods);
