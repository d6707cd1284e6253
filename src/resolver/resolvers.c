#include "resolver/resolvers.h"

#include "base/mem.h"
#include "codec/pickle.h"
#include "resolver/btrees.h"

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

static int resolve(struct resolver *r, const struct resolve_req *q, struct buf *ret, struct err *e)
{
	struct resolvers *all = (struct resolvers *)r;
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
