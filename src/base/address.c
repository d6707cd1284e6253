#include "base/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void trim(const char **start, const char **end)
{
	while (*start < *end && isspace((unsigned char)**start))
		++*start;
	while (*end > *start && isspace((unsigned char)(*end)[-1]))
		--*end;
}

static int copy(
	char *out, size_t room, const char *start, const char *end, const char *text, struct err *e)
{
	size_t n = (size_t)(end - start);

	if (n >= room)
		return err_set(e, ERR_INVAL,
			"the address '%.64s...' is too long: at most %zu characters are possible",
			text, room - 1);
	memcpy(out, start, n);
	out[n] = 0;
	return OK;
}

/* The port in [start, end): empty means 0, chosen by the system. */
static int parse_port(
	const char *start, const char *end, const char *text, uint16_t *ret, struct err *e)
{
	unsigned long port = 0;
	const char *p;

	trim(&start, &end);
	for (p = start; p < end; p++) {
		if (!isdigit((unsigned char)*p) || port > 65535)
			break;
		port = port * 10 + (unsigned long)(*p - '0');
	}
	if (p < end || port > 65535)
		return err_set(e, ERR_INVAL,
			"'%.*s' in the address '%s' is not a port: a number from 0 to 65535 was "
			"expected",
			(int)(end - start), start, text);
	*ret = (uint16_t)port;
	return OK;
}

static int all_digits(const char *start, const char *end)
{
	if (start == end)
		return 0;
	for (; start < end; start++)
		if (!isdigit((unsigned char)*start))
			return 0;
	return 1;
}

static int has_space(const char *start, const char *end)
{
	for (; start < end; start++)
		if (isspace((unsigned char)*start))
			return 1;
	return 0;
}

static int parse_inet(const char *text, const char *start, const char *end,
	const char *default_host, struct address *a, struct err *e)
{
	const char *colon = memrchr(start, ':', (size_t)(end - start));
	const char *host_end = end;
	struct in6_addr v6;
	int rc;

	if (all_digits(start, end)) {
		host_end = start;
		rc = parse_port(start, end, text, &a->port, e);
	} else if (*start == '[') {
		const char *close = memchr(start, ']', (size_t)(end - start));

		if (!close || (close + 1 < end && close[1] != ':'))
			return err_set(e, ERR_INVAL,
				"the address '%s' has no ']' before its port: "
				"[IPV6]:PORT was expected",
				text);
		rc = parse_port(close + 1 < end ? close + 2 : end, end, text, &a->port, e);
		start++;
		host_end = close;
	} else if (colon && inet_pton(AF_INET6, text, &v6) != 1) {
		host_end = colon;
		rc = parse_port(colon + 1, end, text, &a->port, e);
	} else {
		a->port = 0;
		rc = OK;
	}
	trim(&start, &host_end);
	if (rc != OK)
		return rc;
	if (has_space(start, host_end))
		return err_set(e, ERR_INVAL,
			"'%.*s' in the address '%s' is not a host: a name or a number was expected",
			(int)(host_end - start), start, text);
	if (start == host_end)
		return copy(a->host, sizeof(a->host), default_host,
			default_host + strlen(default_host), text, e);
	return copy(a->host, sizeof(a->host), start, host_end, text, e);
}

int address_parse(const char *text, const char *default_host, struct address *ret, struct err *e)
{
	struct address a = { .family = ADDRESS_INET };
	const char *start = text;
	const char *end = text + strlen(text);
	int rc;

	trim(&start, &end);
	if (start == end)
		return err_set(e, ERR_INVAL,
			"an empty address was found: PORT, HOST:PORT or a path "
			"was expected");
	if (memchr(start, '/', (size_t)(end - start))) {
		a.family = ADDRESS_UNIX;
		rc = copy(a.path, sizeof(a.path), start, end, text, e);
	} else {
		rc = parse_inet(text, start, end, default_host, &a, e);
	}
	if (rc == OK)
		*ret = a;
	return rc;
}

const char *address_format(const struct address *a, char *out, size_t room)
{
	if (a->family == ADDRESS_UNIX)
		snprintf(out, room, "%s", a->path);
	else if (strchr(a->host, ':'))
		snprintf(out, room, "[%s]:%u", a->host, a->port);
	else
		snprintf(out, room, "%s:%u", a->host, a->port);
	return out;
}
