/* A storage around another one answers with what that one has said. The request may be gone afterwards, or
 * under way again. */
#ifndef STORAGE_PASS_ON_H
#define STORAGE_PASS_ON_H

#include "storage/storage.h"

static inline void pass_on_load(struct load_req *out, const struct load_req *in)
{
	out->rc = in->rc;
	out->none = in->none;
	out->data = in->data;
	out->serial = in->serial;
	out->end_tid = in->end_tid;
	out->found_oid = in->found_oid;
	out->next_oid = in->next_oid;
	out->raised = in->raised;
	if (out->rc != OK)
		out->err = in->err;
	out->done(out);
}

/** The iterator may be gone afterwards, too. */
static inline void pass_on_iter(struct iter_req *out, const struct iter_req *in)
{
	out->rc = in->rc;
	out->end = in->end;
	out->txn = in->txn;
	out->oid = in->oid;
	out->tid = in->tid;
	out->data_txn = in->data_txn;
	out->has_data = in->has_data;
	out->data = in->data;
	out->raised = in->raised;
	if (out->rc != OK)
		out->err = in->err;
	out->done(out);
}

#endif
