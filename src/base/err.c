#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return code;
	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return code;
}

/* ": cause" behind the text, cut where the room ends. */
static void append(struct err *e, const char *cause)
{
	size_t used = strlen(e->text);
	size_t room = sizeof(e->text) - used;
	size_t len = strlen(cause);

	if (room < 4)
		return;
	memcpy(e->text + used, ": ", 3);
	if (len > room - 3)
		len = room - 3;
	memcpy(e->text + used + 2, cause, len);
	e->text[used + 2 + len] = 0;
}

static int code_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
		return ERR_NOSPC;
	case ENOENT:
		return ERR_NOENT;
	case EEXIST:
		return ERR_EXISTS;
	case ENOMEM:
		return ERR_NOMEM;
	case EAGAIN:
		return ERR_AGAIN;
	default:
		return ERR_IO;
	}
}

int err_sys(struct err *e, int errnum, const char *fmt, ...)
{
	int code = code_of_errno(errnum);
	char reason[96];
	va_list ap;

	if (!e)
		return code;
	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	append(e, strerror_r(errnum, reason, sizeof(reason)));
	return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char cause[sizeof(e->text)];
	va_list ap;

	if (!e)
		return ERR_IO;
	memcpy(cause, e->text, sizeof(cause));
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	append(e, cause);
	return e->code;
}

const char *err_name(int code)
{
	static const char *const names[] = {
		"ok",
		"no memory",
		"i/o error",
		"no space",
		"invalid",
		"bad format",
		"corrupt",
		"not found",
		"exists",
		"would block",
		"limit",
		"no such key",
		"conflict",
		"read-only",
		"unsupported",
		"busy",
		"closed",
		"timeout",
		"quota",
		"wrong state",
		"undo",
		"remote",
	};
	size_t i = (size_t)-code;

	return i < ARRAY_LEN(names) ? names[i] : "unknown";
}

void check_failed(const char *file, int line, const char *cond)
{
	fprintf(stderr, "%s:%d: internal check failed: %s\n", file, line, cond);
	abort();
}
