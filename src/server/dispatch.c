#include "server/dispatch.h"

#include "base/bigendian.h"
#include "server/hub.h"
#include "server/load_op.h"
#include "server/server.h"
#include "zeo/load_call.h"

static const struct method *find_method(struct slice name)
{
	for (size_t i = 0; i < n_methods; i++)
		if (slice_is(name, methods[i].name))
			return &methods[i];
	return NULL;
}

/* How much of a name that came over the network is shown. */
static int shown(struct slice s)
{
	return s.len > 60 ? 60 : (int)s.len;
}

static void call(struct request *r, const struct message *m)
{
	const struct method *method = r->method;
	struct args a = { m->args, m->n_args };

	if (a.n < method->min_args || a.n > method->max_args)
		reply_error_text(r, EXC_TYPE_ERROR, "%s() takes %u to %u arguments, %u were given",
			method->name, method->min_args, method->max_args, a.n);
	else if ((method->flags & METHOD_WRITES) && r->session->read_only)
		reply_read_only(r);
	else
		method->handle(r, &a);
}

static void dispatch_message(struct session *s, const struct message *m)
{
	struct request r = { .session = s, .async = m->async };
	bool first = s->state == SESSION_CONNECTED;
	struct err e = ERR_INIT;

	r.method = find_method(m->name);
	if (!r.method || (first && !(r.method->flags & METHOD_BEFORE_REGISTER))) {
		session_fail(s, "invalid method '%.*s'%s", shown(m->name),
			(const char *)m->name.data,
			first ? ": the first call must be register" : "");
		return;
	}
	if (!r.async && reply_id_set(&r.id, m->id, s->encoding, &e) != OK) {
		session_fail(s, "%s", e.text);
		return;
	}
	s->requests++;
	call(&r, m);
}

/* What message_decode() and the table lead to, for the call that is made most. */
static void dispatch_load(struct session *s, const struct load_call *c)
{
	struct request r = { .session = s, .method = &methods[LOAD_BEFORE_ROW] };

	load_call_reply_id(c, &r.id);
	s->requests++;
	load_before(&r, c->oid, c->tid);
}

static void dispatch_any(struct session *s, struct slice content)
{
	struct hub *h = s->hub;
	struct err e = ERR_INIT;
	struct message m;

	if (message_decode(content, s->encoding, &h->arena, &m, &e) != OK)
		session_fail(s, "cannot decode a message of %zu bytes: %s", content.len, e.text);
	else if (!m.keep_alive)
		dispatch_message(s, &m);
	arena_reset(&h->arena);
}

void dispatch(struct session *s, struct slice content)
{
	struct load_call c;

	if (s->state == SESSION_REGISTERED && load_call_take(content, s->encoding, &c))
		dispatch_load(s, &c);
	else
		dispatch_any(s, content);
}

static const char *type_name(const struct val *v)
{
	static const char *const names[] = {
		[VAL_NONE] = "None",
		[VAL_BOOL] = "bool",
		[VAL_INT] = "int",
		[VAL_BIGINT] = "int of more than 64 bits",
		[VAL_FLOAT] = "float",
		[VAL_BYTES] = "bytes",
		[VAL_STR] = "str",
		[VAL_TUPLE] = "tuple",
		[VAL_LIST] = "list",
		[VAL_DICT] = "dict",
		[VAL_SET] = "set",
		[VAL_GLOBAL] = "global",
		[VAL_REDUCE] = "object",
	};

	return names[v->type];
}

static bool wrong(const struct request *r, const struct args *a, uint32_t i, const char *expected)
{
	reply_error_text(r, EXC_TYPE_ERROR, "%s(): argument %u is %s, %s was expected",
		r->method->name, i + 1, type_name(&a->v[i]), expected);
	return false;
}

bool arg_id(const struct request *r, const struct args *a, uint32_t i, uint64_t *ret)
{
	const struct val *v = &a->v[i];

	if (v->type != VAL_BYTES)
		return wrong(r, a, i, "8 bytes");
	if (v->s.len != 8) {
		reply_error_text(r, EXC_VALUE_ERROR,
			"%s(): argument %u has %zu bytes, an id of 8 bytes was expected",
			r->method->name, i + 1, v->s.len);
		return false;
	}
	*ret = get_be64(v->s.data);
	return true;
}

bool arg_bytes(const struct request *r, const struct args *a, uint32_t i, struct slice *ret)
{
	if (a->v[i].type != VAL_BYTES)
		return wrong(r, a, i, "bytes");
	*ret = a->v[i].s;
	return true;
}

bool arg_str(const struct request *r, const struct args *a, uint32_t i, struct slice *ret)
{
	if (a->v[i].type != VAL_STR && a->v[i].type != VAL_BYTES)
		return wrong(r, a, i, "a string");
	*ret = a->v[i].s;
	return true;
}

bool arg_int(const struct request *r, const struct args *a, uint32_t i, int64_t *ret)
{
	if (a->v[i].type != VAL_INT)
		return wrong(r, a, i, "an int");
	*ret = a->v[i].i;
	return true;
}

bool arg_bool(const struct request *r, const struct args *a, uint32_t i, bool *ret)
{
	const struct val *v = &a->v[i];

	if (v->type != VAL_BOOL && v->type != VAL_INT && v->type != VAL_NONE)
		return wrong(r, a, i, "a bool");
	*ret = v->type == VAL_BOOL ? v->b : v->type == VAL_INT && v->i != 0;
	return true;
}
