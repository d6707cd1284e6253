#include "storage/blob/blob_storage.h"

static void open_work(struct job *j)
{
	struct blob_req *r = CONTAINER_OF(j, struct blob_req, job);

	r->rc = blob_dir_open_file(
		r->storage->blobs, r->oid, r->serial, &r->fd, &r->size_bytes, &r->err);
}

static void open_done(struct job *j)
{
	struct blob_req *r = CONTAINER_OF(j, struct blob_req, job);

	r->done(r);
}

void blob_storage_open_blob(struct storage *s, struct blob_req *r)
{
	if (!s->blobs) {
		r->rc = err_set(&r->err, ERR_UNSUPPORTED, "Blobs are not supported");
		r->done(r);
		return;
	}
	r->storage = s;
	r->job.work = open_work;
	r->job.done = open_done;
	r->exec->submit(r->exec, &r->job);
}
