/* pack: docs/protocol.md#pack */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/dispatch.h"
#include "server/hub.h"
#include "server/server.h"
#include "zeo/exception.h"

#define EXC_FILESTORAGE "ZODB.FileStorage.FileStorage.FileStorageError"

enum { REPR_ROOM = 32 };

/* A pack under way. Its client may wait for the end, or not. */
struct pack_op {
	struct pack_req req;
	struct hub_msg msg;
	struct request request;
	struct hub *hub; /* NULL: nobody waits */
	const char *storage;
	char label[sizeof(((struct session *)0)->label)];
	char time[REPR_ROOM];
};

/* Seconds since 1970 as Python shows them. False: no number. */
static bool time_of(const struct val *v, double *ret, char *text)
{
	if (v->type == VAL_INT) {
		*ret = (double)v->i;
		snprintf(text, REPR_ROOM, "%lld", (long long)v->i);
		return true;
	}
	if (v->type != VAL_FLOAT)
		return false;
	*ret = v->f;
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, REPR_ROOM, "%.*g", digits, v->f);
		if (strtod(text, NULL) == v->f)
			break;
	}
	return true;
}

static bool is_true(const struct val *v)
{
	if (v->type == VAL_BOOL)
		return v->b;
	return v->type == VAL_INT ? v->i != 0 : v->type != VAL_NONE;
}

static void reply_key_error(const struct request *r, uint64_t oid)
{
	struct reply rep;

	if (!reply_begin_error(&rep, r, "a reference to an object that is not there"))
		return;
	exception_key(&rep.w.enc, oid);
	reply_send(&rep);
}

static void answer(struct pack_op *op)
{
	const struct pack_req *req = &op->req;

	if (req->rc == OK)
		reply_none(&op->request);
	else if (req->raised)
		reply_failed(&op->request, req->rc, &req->err, OID_ROOT, req->raised);
	else if (req->rc == ERR_NOKEY)
		reply_key_error(&op->request, req->oid);
	else if (req->rc == ERR_STATE)
		reply_error_text(&op->request, EXC_VALUE_ERROR, "%s", req->err.text);
	else if (req->rc == ERR_BUSY)
		reply_error_text(&op->request, EXC_FILESTORAGE, "%s", req->err.text);
	else
		reply_failure(&op->request, req->rc, &req->err, OID_ROOT);
}

static void op_free(struct pack_op *op)
{
	if (op->req.kept)
		op->req.free_kept(op->req.kept);
	mem_free(op);
}

static void on_done(struct hub *h, struct hub_msg *m)
{
	struct pack_op *op = CONTAINER_OF(m, struct pack_op, msg);
	struct session *s = op->request.session;

	(void)h;
	if (session_alive(s))
		answer(op);
	op_free(op);
	session_load_ended(s);
}

/* On any thread. */
static void pack_done(struct pack_req *req)
{
	struct pack_op *op = CONTAINER_OF(req, struct pack_op, req);

	if (req->rc == OK)
		log_emit(LOG_INFO, SERVER_LOGGER, "(%s) ('%s') pack(time=%s) complete", op->label,
			op->storage, op->time);
	else
		log_emit(LOG_ERROR, SERVER_LOGGER, "(%s) ('%s') pack(time=%s) failed: %s",
			op->label, op->storage, op->time, req->err.text);
	if (!op->hub) {
		op_free(op);
		return;
	}
	op->msg.run = on_done;
	hub_post(op->hub, &op->msg);
}

static void start(const struct request *r, struct pack_op *op, bool wait)
{
	struct session *s = r->session;
	struct storage *st = s->hs->ss->storage;

	op->request = *r;
	op->storage = s->hs->ss->id;
	memcpy(op->label, s->label, sizeof(op->label));
	op->req.exec = s->hub->exec;
	op->req.done = pack_done;
	log_emit(LOG_INFO, SERVER_LOGGER, "(%s) ('%s') pack(time=%s) started...", op->label,
		op->storage, op->time);
	if (wait) {
		op->hub = s->hub;
		session_load_started(s);
	}
	st->ops->pack(st, &op->req);
	if (!wait)
		reply_none(r);
}

/* Also of a read-only server: a pack is not one of the client's changes. */
void handle_pack(const struct request *r, const struct args *a)
{
	struct storage *st = r->session->hs->ss->storage;
	struct pack_op *op;

	if (!st->ops->pack) {
		reply_error_text(r, EXC_UNSUPPORTED, "this storage cannot be packed");
		return;
	}
	op = mem_zalloc(1, sizeof(*op));
	if (!op) {
		reply_error_text(r, EXC_STORAGE, "no memory");
		return;
	}
	if (!time_of(&a->v[0], &op->req.time_s, op->time)) {
		mem_free(op);
		reply_error_text(r, EXC_TYPE_ERROR, "pack: a time in seconds was expected");
		return;
	}
	start(r, op, a->n < 2 || is_true(&a->v[1]));
}
