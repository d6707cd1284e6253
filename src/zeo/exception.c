#include "zeo/exception.h"

#include "base/buf.h"

static void str(struct enc *en, const char *s)
{
	enc_str(en, slice_str(s));
}

static void str_or_none(struct enc *en, const char *s)
{
	if (s)
		str(en, s);
	else
		enc_none(en);
}

static void begin(struct enc *en, const char *class_name)
{
	enc_tuple(en, 2);
	str(en, class_name);
}

void exception_pos_key(struct enc *en, uint64_t oid)
{
	begin(en, "ZODB.POSException.POSKeyError");
	enc_tuple(en, 1);
	enc_id(en, oid);
	enc_end(en);
	enc_end(en);
}

/* The instance dictionary of ConflictError, in the order its constructor fills it. */
static void conflict_dict(struct enc *en, const char *message, const struct exception_conflict *c)
{
	enc_dict(en, 4);
	str(en, "message");
	str(en, message);
	str(en, "oid");
	enc_id(en, c->oid);
	str(en, "class_name");
	str_or_none(en, c->class_name);
	str(en, "serials");
	enc_tuple(en, 2);
	enc_id(en, c->committed_serial);
	enc_id(en, c->old_serial);
	enc_end(en);
	enc_end(en);
}

void exception_conflict(struct enc *en, const struct exception_conflict *c)
{
	begin(en, "ZODB.POSException.ConflictError");
	conflict_dict(en, "database conflict error", c);
	enc_end(en);
}

void exception_read_conflict(struct enc *en, const struct exception_conflict *c)
{
	begin(en, "ZODB.POSException.ReadConflictError");
	conflict_dict(en, "database read conflict error", c);
	enc_end(en);
}

void exception_read_only(struct enc *en)
{
	begin(en, "ZODB.POSException.ReadOnlyError");
	enc_tuple(en, 0);
	enc_end(en);
	enc_end(en);
}

void exception_text(struct enc *en, const char *class_name, const char *text)
{
	begin(en, class_name);
	enc_tuple(en, 1);
	str(en, text);
	enc_end(en);
	enc_end(en);
}

void exception_os(struct enc *en, int errnum, const char *text)
{
	begin(en, "builtins.OSError");
	enc_tuple(en, 2);
	enc_int(en, errnum);
	str(en, text);
	enc_end(en);
	enc_end(en);
}
