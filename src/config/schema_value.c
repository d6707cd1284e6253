#include "config/schema_value.h"

#include <string.h>

#include "base/check.h"
#include "config/datatype.h"

static int convert_integer(const char *text, union schema_value *v, struct err *e)
{
	int64_t number;
	int rc = datatype_integer(text, 0, UINT32_MAX, &number, e);

	if (rc == OK)
		v->count = (uint32_t)number;
	return rc;
}

static int convert_seconds(const char *text, union schema_value *v, struct err *e)
{
	int64_t number;
	int rc = datatype_integer(text, 0, UINT32_MAX, &number, e);

	if (rc == OK)
		v->seconds = (double)number;
	return rc;
}

static int check_style(const char *text, struct err *e)
{
	static const char *const styles[] = { "classic", "format", "template", "safe-template" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(styles); i++)
		if (strcasecmp(text, styles[i]) == 0)
			return OK;
	return err_set(e, ERR_INVAL,
		"'%s' was found: classic, format, template or safe-template was expected", text);
}

static int check_command(const char *text, struct arena *mem, struct err *e)
{
	const char *name;
	const char *program;

	return datatype_command(text, mem, &name, &program, e);
}

static int check_monitor_server(const char *text, struct err *e)
{
	struct address address;
	bool flag;

	if (datatype_boolean(text, &flag, NULL) == OK)
		return OK;
	return address_parse(text, "", &address, e);
}

int schema_convert(const struct schema_key *k, const char *text, struct arena *mem,
	union schema_value *v, struct err *e)
{
	v->text = NULL;
	switch (k->type) {
	case TYPE_STRING:
		v->text = *text ? text : NULL;
		return OK;
	case TYPE_TEXT:
		v->text = text;
		return OK;
	case TYPE_BOOLEAN:
		return datatype_boolean(text, &v->flag, e);
	case TYPE_INTEGER:
		return convert_integer(text, v, e);
	case TYPE_SECONDS:
		return convert_seconds(text, v, e);
	case TYPE_FLOAT:
		return datatype_float(text, &v->seconds, e);
	case TYPE_BYTES:
		return datatype_bytes(text, &v->bytes, e);
	case TYPE_INTERVAL:
		return datatype_interval(text, &v->bytes, e);
	case TYPE_LEVEL:
		return datatype_level(text, &v->level, e);
	case TYPE_DIRPATH:
		return *text ? datatype_dirpath(text, mem, &v->text, e) : OK;
	case TYPE_EXISTING_PATH:
		return *text ? datatype_existing_path(text, mem, &v->text, e) : OK;
	case TYPE_BIND_ADDRESS:
		return address_parse(text, "", &v->address, e);
	case TYPE_CONNECT_ADDRESS:
		return address_parse(text, "127.0.0.1", &v->address, e);
	case TYPE_LOG_FORMAT:
		return datatype_log_format(text, mem, &v->text, e);
	case TYPE_LOG_WHEN:
		return logfile_parse_when(text, &v->logfile, e);
	case TYPE_DOTTED_NAME:
		return datatype_dotted_name(text, e);
	case TYPE_ENCODING:
		return datatype_encoding(text, e);
	case TYPE_LOG_STYLE:
		return check_style(text, e);
	case TYPE_COMMAND:
		return check_command(text, mem, e);
	case TYPE_MONITOR_SERVER:
		return check_monitor_server(text, e);
	}
	return OK;
}

void schema_store(const struct schema_key *k, const union schema_value *v, void *target)
{
	static const size_t sizes[] = {
		[TYPE_STRING] = sizeof(v->text),
		[TYPE_TEXT] = sizeof(v->text),
		[TYPE_BOOLEAN] = sizeof(v->flag),
		[TYPE_INTEGER] = sizeof(v->count),
		[TYPE_SECONDS] = sizeof(v->seconds),
		[TYPE_FLOAT] = sizeof(v->seconds),
		[TYPE_BYTES] = sizeof(v->bytes),
		[TYPE_INTERVAL] = sizeof(v->bytes),
		[TYPE_LEVEL] = sizeof(v->level),
		[TYPE_DIRPATH] = sizeof(v->text),
		[TYPE_EXISTING_PATH] = sizeof(v->text),
		[TYPE_BIND_ADDRESS] = sizeof(v->address),
		[TYPE_CONNECT_ADDRESS] = sizeof(v->address),
		[TYPE_LOG_FORMAT] = sizeof(v->text),
	};

	if (k->type == TYPE_LOG_WHEN) {
		struct logfile_options *o = target;

		o->when = v->logfile.when;
		o->weekday = v->logfile.weekday;
		return;
	}
	CHECK(k->type < ARRAY_LEN(sizes));
	memcpy((char *)target + k->offset, v, sizes[k->type]);
}
