#include "server/load_op.h"

#include "base/mem.h"
#include "server/hub.h"
#include "server/server.h"

static struct load_op *take(struct hub *h)
{
	struct load_op *op = h->free_loads;

	if (!op)
		return mem_zalloc(1, sizeof(*op));
	h->free_loads = op->next;
	return op;
}

static void put_back(struct hub *h, struct load_op *op)
{
	op->next = h->free_loads;
	h->free_loads = op;
}

void load_op_free_all(struct hub *h)
{
	while (h->free_loads) {
		struct load_op *op = h->free_loads;

		h->free_loads = op->next;
		mem_free(op);
	}
}

static void write_result(struct enc *en, const struct load_req *l)
{
	switch (l->kind) {
	case LOAD_TID:
		enc_id(en, l->serial);
		return;
	case LOAD_SERIAL:
		enc_bytes(en, l->data);
		return;
	case LOAD_NEXT:
		enc_tuple(en, 4);
		enc_id(en, l->found_oid);
		enc_id(en, l->serial);
		enc_bytes(en, l->data);
		if (l->next_oid == OID_NONE)
			enc_none(en);
		else
			enc_id(en, l->next_oid);
		enc_end(en);
		return;
	case LOAD_BEFORE:
		break;
	}
	if (l->none) {
		enc_none(en);
		return;
	}
	enc_tuple(en, 3);
	enc_bytes(en, l->data);
	enc_id(en, l->serial);
	if (l->end_tid == TID_NONE)
		enc_none(en);
	else
		enc_id(en, l->end_tid);
	enc_end(en);
}

static void answer(struct load_op *op)
{
	struct reply rep;

	if (op->load.rc != OK) {
		reply_failed(&op->request, op->load.rc, &op->load.err,
			op->load.kind == LOAD_NEXT ? op->load.found_oid : op->load.oid,
			op->load.raised);
		return;
	}
	if (op->load.kind == LOAD_NEXT && op->load.none) {
		reply_error_text(&op->request, EXC_VALUE_ERROR, "no key satisfies the conditions");
		return;
	}
	if (!reply_begin(&rep, &op->request))
		return;
	write_result(&rep.w.enc, &op->load);
	reply_send(&rep);
}

/* Nothing that is published later changes it: the revision and the one that followed are there. */
static bool is_final(const struct load_req *l)
{
	return l->rc == OK &&
	       (l->kind == LOAD_SERIAL ||
		       (l->kind == LOAD_BEFORE && (l->none || l->end_tid != TID_NONE)));
}

/* On the hub's loop, also when the storage answered from its pool. */
static void load_done(struct load_req *l)
{
	struct load_op *op = CONTAINER_OF(l, struct load_op, load);
	struct session *s = op->request.session;
	struct hub_storage *hs = s->hs;

	if (session_alive(s) && l->applied != hs->applied && !is_final(l)) {
		/* It took so long that invalidations went out meanwhile: ask again, as of now (R1). */
		l->applied = hs->applied;
		hs->ss->storage->ops->load(hs->ss->storage, l);
		return;
	}
	if (session_alive(s))
		answer(op);
	put_back(s->hub, op);
	session_load_ended(s);
}

void load_op_start(const struct request *r, enum load_kind kind, uint64_t oid, uint64_t tid)
{
	struct session *s = r->session;
	struct hub_storage *hs = s->hs;
	struct load_op *op = take(s->hub);

	if (!op) {
		session_fail(s, "no memory for a request");
		return;
	}
	op->request = *r;
	op->load.exec = s->hub->exec;
	op->load.done = load_done;
	op->load.kind = kind;
	op->load.oid = oid;
	op->load.tid = tid;
	op->load.applied = hs->applied;
	op->load.err.code = OK;
	op->load.err.text[0] = 0;
	op->load.raised = NULL;
	session_load_started(s);
	hs->ss->storage->ops->load(hs->ss->storage, &op->load);
}
