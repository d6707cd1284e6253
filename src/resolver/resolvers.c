#include "resolver/resolvers.h"

#include "base/mem.h"
#include "codec/pickle.h"
#include "codec/zrecord.h"
#include "resolver/btrees.h"
#include "resolver/helper.h"

struct resolvers {
	struct resolver base;
	struct helper_pool *pool; /* NULL: none */
};

/* Neither here nor there. */
static int refuse(const struct resolve_req *q, const struct err *why, struct err *e)
{
	char class[200];

	pickle_class_name(q->changed, class, sizeof(class));
	return err_set(e, ERR_CONFLICT, "class %s is not one this server can resolve (%s)", class,
		why->text);
}

static int resolve_plain(
	struct resolvers *all, const struct resolve_req *q, struct buf *ret, struct err *e)
{
	struct err native = ERR_INIT;
	size_t before = ret->len;
	int rc = btrees_resolve(q, ret, &native);

	if (rc == ERR_UNSUPPORTED && all->pool)
		rc = helper_pool_resolve(all->pool, q, ret, e);
	else if (rc == ERR_UNSUPPORTED)
		rc = refuse(q, &native, e);
	else if (rc)
		err_set(e, rc, "%s", native.text);
	if (rc)
		ret->len = before;
	return rc;
}

/* Replace a compressed record by what it stands for, in @room. */
static int see_through(struct slice *record, struct buf *room, struct err *e)
{
	int rc;

	if (!zrecord_is(*record))
		return OK;
	rc = zrecord_inflate(*record, room, e);
	*record = buf_slice(room);
	return rc == OK || rc == ERR_NOMEM
		       ? rc
		       : err_set(e, ERR_CONFLICT, "a compressed record that cannot be read");
}

/* Of compressed records, which a storage around the one that votes has made. */
static int resolve_compressed(
	struct resolvers *all, const struct resolve_req *q, struct buf *ret, struct err *e)
{
	struct buf rooms[3] = { BUF_INIT(HELPER_RECORD_BYTES_MAX),
		BUF_INIT(HELPER_RECORD_BYTES_MAX), BUF_INIT(HELPER_RECORD_BYTES_MAX) };
	struct buf merged = BUF_INIT(0);
	struct resolve_req plain = *q;
	int rc = see_through(&plain.old, &rooms[0], e);

	if (rc == OK)
		rc = see_through(&plain.committed, &rooms[1], e);
	if (rc == OK)
		rc = see_through(&plain.changed, &rooms[2], e);
	if (rc == OK)
		rc = resolve_plain(all, &plain, &merged, e);
	if (rc == OK)
		rc = zrecord_deflate(buf_slice(&merged), ret, e);
	for (size_t i = 0; i < ARRAY_LEN(rooms); i++)
		buf_free(&rooms[i]);
	buf_free(&merged);
	return rc == ERR_LIMIT ? err_set(e, ERR_CONFLICT, "the merged record is too large") : rc;
}

static int resolve(struct resolver *r, const struct resolve_req *q, struct buf *ret, struct err *e)
{
	struct resolvers *all = (struct resolvers *)r;

	if (zrecord_is(q->old) || zrecord_is(q->committed) || zrecord_is(q->changed))
		return resolve_compressed(all, q, ret, e);
	return resolve_plain(all, q, ret, e);
}

int resolvers_open(
	const struct helper_pool_options *processes, struct resolver **ret, struct err *e)
{
	struct resolvers *all = mem_zalloc(1, sizeof(*all));
	int rc = OK;

	if (!all)
		return err_set(e, ERR_NOMEM, "no memory");
	all->base.resolve = resolve;
	if (processes)
		rc = helper_pool_open(processes, &all->pool, e);
	if (rc) {
		mem_free(all);
		return rc;
	}
	*ret = &all->base;
	return OK;
}

void resolvers_close(struct resolver *r)
{
	struct resolvers *all = (struct resolvers *)r;

	if (!all)
		return;
	helper_pool_close(all->pool);
	mem_free(all);
}
