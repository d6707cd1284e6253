/* Methods of blobs: docs/protocol.md#blobs */
#include <limits.h>

#include "base/log.h"
#include "server/blob_stream.h"
#include "server/commit.h"
#include "server/dispatch.h"
#include "server/hub.h"
#include "server/server.h"
#include "server/upload.h"
#include "storage/blob/blob_dir.h"

static bool has_blobs(const struct request *r)
{
	if (r->session->hs->ss->storage->blobs)
		return true;
	reply_error_text(r, EXC_UNSUPPORTED, "%s(): Blobs are not supported", r->method->name);
	return false;
}

static void answer(const struct request *r, int rc, const struct err *e)
{
	if (rc == OK)
		reply_none(r);
	else
		reply_failure(r, rc, e, OID_ROOT);
}

void handle_store_blob_start(const struct request *r, const struct args *a)
{
	struct err e = ERR_INIT;

	(void)a;
	if (has_blobs(r))
		answer(r, upload_start(r->session, &e), &e);
}

/* Arguments: chunk */
void handle_store_blob_chunk(const struct request *r, const struct args *a)
{
	struct err e = ERR_INIT;
	struct slice chunk;

	if (has_blobs(r) && arg_bytes(r, a, 0, &chunk))
		answer(r, upload_chunk(r->session, chunk, &e), &e);
}

/* Arguments: oid, serial, data, id */
void handle_store_blob_end(const struct request *r, const struct args *a)
{
	struct txn_rec rec = { .op = TXN_STORE, .has_data = true };
	struct err e = ERR_INIT;
	struct slice data;

	if (has_blobs(r) && commit_accepts(r, a) && arg_id(r, a, 0, &rec.oid) &&
		arg_serial(r, a, 1, &rec.serial) && arg_bytes(r, a, 2, &data))
		answer(r, upload_end(r->session, &rec, data, &e), &e);
}

/* Arguments: oid, serial, data, filename, id */
void handle_store_blob_shared(const struct request *r, const struct args *a)
{
	struct txn_rec rec = { .op = TXN_STORE, .has_data = true };
	struct session *s = r->session;
	struct err e = ERR_INIT;
	char path[PATH_MAX];
	struct slice data;
	struct slice name;

	if (!has_blobs(r) || !commit_accepts(r, a) || !arg_id(r, a, 0, &rec.oid) ||
		!arg_serial(r, a, 1, &rec.serial) || !arg_bytes(r, a, 2, &data) ||
		!arg_str(r, a, 3, &name))
		return;
	if (blob_dir_shared_path(
		    s->hs->ss->storage->blobs, rec.oid, name, path, sizeof(path), &e) != OK) {
		log_emit(LOG_CRITICAL, SERVER_LOGGER,
			"(%s) We're under attack! (bad filename to storeBlobShared, %s)", s->label,
			e.text);
		reply_error_text(r, EXC_VALUE_ERROR, "%s", e.text);
		return;
	}
	upload_shared(s, &rec, data, path);
	reply_none(r);
}

/* Arguments: oid, serial */
void handle_send_blob(const struct request *r, const struct args *a)
{
	struct err e = ERR_INIT;
	uint64_t oid;
	uint64_t serial;

	if (!has_blobs(r) || !arg_id(r, a, 0, &oid) || !arg_id(r, a, 1, &serial))
		return;
	if (serial > r->session->hs->applied) /* R1: nobody has been told of it yet */
		reply_failure(r, ERR_NOKEY, &e, oid);
	else
		blob_stream_start(r, oid, serial);
}
