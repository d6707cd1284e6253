#include "server/reply.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "server/dispatch.h"
#include "server/server.h"
#include "zeo/exception.h"

static bool begin(struct reply *ret, const struct request *r, enum message_flag flag)
{
	ret->session = r->session;
	ret->b = session_out(r->session, &ret->mark);
	if (!ret->b)
		return false;
	message_reply(&ret->w, ret->b, r->session->encoding, &r->id, flag);
	return true;
}

bool reply_begin(struct reply *ret, const struct request *r)
{
	return !r->async && begin(ret, r, MESSAGE_REPLY);
}

bool reply_begin_error(struct reply *ret, const struct request *r, const char *why)
{
	if (r->async) {
		/* There is no other way to tell the client that what it sent was lost. */
		session_fail(r->session, "%s: %s", r->method->name, why);
		return false;
	}
	return begin(ret, r, MESSAGE_ERROR);
}

void reply_send(struct reply *rep)
{
	message_end(&rep->w);
	session_out_done(rep->session, rep->b, rep->mark);
}

void reply_none(const struct request *r)
{
	struct reply rep;

	if (!reply_begin(&rep, r))
		return;
	enc_none(&rep.w.enc);
	reply_send(&rep);
}

void reply_id(const struct request *r, uint64_t id)
{
	struct reply rep;

	if (!reply_begin(&rep, r))
		return;
	enc_id(&rep.w.enc, id);
	reply_send(&rep);
}

static void error_text(const struct request *r, const char *class_name, const char *text)
{
	struct reply rep;

	if (!reply_begin_error(&rep, r, text))
		return;
	exception_text(&rep.w.enc, class_name, text);
	reply_send(&rep);
}

void reply_error_text(const struct request *r, const char *class_name, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	error_text(r, class_name, text);
}

void reply_read_only(const struct request *r)
{
	struct reply rep;

	if (!reply_begin_error(&rep, r, "the storage is read-only"))
		return;
	exception_read_only(&rep.w.enc);
	reply_send(&rep);
}

static void reply_pos_key(const struct request *r, uint64_t oid)
{
	struct reply rep;

	if (!reply_begin_error(&rep, r, "no such object"))
		return;
	exception_pos_key(&rep.w.enc, oid);
	reply_send(&rep);
}

static void reply_no_space(const struct request *r, const char *text)
{
	struct reply rep;

	if (!reply_begin_error(&rep, r, text))
		return;
	exception_os(&rep.w.enc, ENOSPC, text);
	reply_send(&rep);
}

void reply_failure(const struct request *r, int rc, const struct err *e, uint64_t oid)
{
	const char *text = e->text[0] ? e->text : err_name(rc);

	switch (rc) {
	case ERR_NOKEY:
		reply_pos_key(r, oid);
		return;
	case ERR_READONLY:
		reply_read_only(r);
		return;
	case ERR_STATE:
		error_text(r, EXC_STATE, text);
		return;
	case ERR_UNSUPPORTED:
		error_text(r, EXC_UNSUPPORTED, text);
		return;
	default:
		break;
	}
	log_emit(LOG_ERROR, SERVER_LOGGER, "(%s) %s failed: %s", r->session->label, r->method->name,
		text);
	if (rc == ERR_NOSPC)
		reply_no_space(r, text);
	else if (rc == ERR_QUOTA)
		error_text(r, "ZODB.FileStorage.FileStorage.FileStorageQuotaError", text);
	else if (rc == ERR_LIMIT || rc == ERR_INVAL)
		error_text(r, "ZODB.FileStorage.FileStorage.FileStorageError", text);
	else
		error_text(r, EXC_STORAGE, text);
}

static void reply_raised(const struct request *r, const struct err *e, const struct val *raised)
{
	struct reply rep;

	if (!reply_begin_error(&rep, r, e->text))
		return;
	exception_val(&rep.w.enc, raised);
	reply_send(&rep);
}

void reply_failed(const struct request *r, int rc, const struct err *e, uint64_t oid,
	const struct val *raised)
{
	if (raised)
		reply_raised(r, e, raised);
	else
		reply_failure(r, rc, e, oid);
}
