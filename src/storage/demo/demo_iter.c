/* Iteration: the transactions of the base, then those of the changes. */
#include "base/mem.h"
#include "storage/demo/demo_core.h"
#include "storage/pass_on.h"

struct storage_iter {
	struct demo *demo;
	struct storage_iter *base;    /* NULL: of the records of a transaction of the changes */
	struct storage_iter *changes; /* NULL: of the records of a transaction of the base */
	bool base_ended;
	struct storage *gave; /* where the last item came from, NULL: there is none */
	struct iter_req in;
	struct iter_req *out;
};

static struct storage_iter *iter_new(struct demo *d, struct err *e)
{
	struct storage_iter *it = mem_zalloc(1, sizeof(*it));

	if (!it) {
		err_set(e, ERR_NOMEM, "no memory for an iterator");
		return NULL;
	}
	it->demo = d;
	return it;
}

static bool is_in_base(const struct storage_iter *it)
{
	return it->base && !it->base_ended;
}

int demo_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e)
{
	struct demo *d = demo_of(s);
	struct storage_iter *it = iter_new(d, e);
	int rc = it ? OK : ERR_NOMEM;

	if (rc == OK)
		rc = d->base->ops->iter_open(d->base, start, stop, &it->base, e);
	if (rc == OK)
		rc = d->changes->ops->iter_open(d->changes, start, stop, &it->changes, e);
	if (rc == OK)
		*ret = it;
	else
		demo_iter_close(s, it);
	return rc;
}

int demo_iter_records(struct storage_iter *txns, struct storage_iter **ret, struct err *e)
{
	struct demo *d = txns->demo;
	struct storage_iter *it;
	int rc;

	if (!txns->gave)
		return err_set(e, ERR_STATE, "the iterator has given no transaction");
	it = iter_new(d, e);
	if (!it)
		return ERR_NOMEM;
	rc = txns->gave == d->base ? d->base->ops->iter_records(txns->base, &it->base, e)
				   : d->changes->ops->iter_records(txns->changes, &it->changes, e);
	if (rc == OK)
		*ret = it;
	else
		mem_free(it);
	return rc;
}

static void ask(struct storage_iter *it);

static void asked(struct iter_req *in)
{
	struct storage_iter *it = CONTAINER_OF(in, struct storage_iter, in);
	bool was_base = is_in_base(it);

	if (was_base && it->changes && in->rc == OK && in->end) {
		it->base_ended = true;
		ask(it);
		return;
	}
	if (in->rc == OK && !in->end)
		it->gave = was_base ? it->demo->base : it->demo->changes;
	pass_on_iter(it->out, &it->in);
}

static void ask(struct storage_iter *it)
{
	struct demo *d = it->demo;

	it->in = (struct iter_req){
		.exec = it->out->exec,
		.done = asked,
		.it = is_in_base(it) ? it->base : it->changes,
		.applied = is_in_base(it) ? TID_MAX : it->out->applied, /* I1 */
	};
	if (is_in_base(it))
		d->base->ops->iter_next(&it->in);
	else
		d->changes->ops->iter_next(&it->in);
}

void demo_iter_next(struct iter_req *r)
{
	r->it->out = r;
	ask(r->it);
}

void demo_iter_close(struct storage *s, struct storage_iter *it)
{
	struct demo *d = demo_of(s);

	if (!it)
		return;
	if (it->base)
		d->base->ops->iter_close(d->base, it->base);
	if (it->changes)
		d->changes->ops->iter_close(d->changes, it->changes);
	mem_free(it);
}
