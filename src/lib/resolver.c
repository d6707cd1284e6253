/* Conflicts: what the library cannot merge, the program may. */
#include <stdlib.h>

#include "lib/api.h"
#include "resolver/resolvers.h"

static int ask_program(
	struct api_resolver *r, const struct resolve_req *q, struct buf *ret, struct err *e)
{
	struct zkzeo_conflict conflict = {
		.oid = q->oid,
		.committed_serial = q->committed_serial,
		.old_serial = q->old_serial,
		.old_data = q->old.data,
		.committed_data = q->committed.data,
		.new_data = q->changed.data,
		.old_len = q->old.len,
		.committed_len = q->committed.len,
		.new_len = q->changed.len,
	};
	void *merged = NULL;
	size_t len = 0;
	int rc = r->events->resolve(r->events->arg, &conflict, &merged, &len);

	if (rc)
		return err_set(e, ERR_CONFLICT, "the program does not merge it");
	buf_put(ret, merged, len);
	free(merged);
	return buf_ok(ret) ? OK : err_set(e, ERR_NOMEM, "no memory for the merged record");
}

static int resolve(
	struct resolver *base, const struct resolve_req *q, struct buf *ret, struct err *e)
{
	struct api_resolver *r = CONTAINER_OF(base, struct api_resolver, base);
	size_t before = ret->len;
	int rc = r->native->resolve(r->native, q, ret, e);

	if (rc == ERR_CONFLICT && r->events->resolve) {
		ret->len = before;
		rc = ask_program(r, q, ret, e);
	}
	return rc;
}

int api_resolver_open(struct api_resolver *r, const struct zkzeo_events *events, struct err *e)
{
	r->base.resolve = resolve;
	r->events = events;
	return resolvers_open(NULL, &r->native, e);
}

void api_resolver_close(struct api_resolver *r)
{
	resolvers_close(r->native);
	r->native = NULL;
}
