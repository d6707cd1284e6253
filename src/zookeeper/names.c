#include "zookeeper/names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_wildcard(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (!host[0])
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return v4.s_addr == htonl(INADDR_ANY);
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6);
}

static void add(struct node_names *names, const char *host, uint16_t port)
{
	struct address a = { .family = ADDRESS_INET, .port = port };
	char *text = names->text[names->n];

	snprintf(a.host, sizeof(a.host), "%s", host);
	address_format(&a, text, sizeof(names->text[0]));
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->text[i], text) == 0)
			return;
	names->n++;
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void add_interfaces(
	struct node_names *names, const struct ifaddrs *ifs, bool loopback, uint16_t port)
{
	for (; ifs && names->n < NAMES_MAX; ifs = ifs->ifa_next) {
		const struct sockaddr_in *in = (const void *)ifs->ifa_addr;
		char host[INET_ADDRSTRLEN];

		if (!in || in->sin_family != AF_INET || !(ifs->ifa_flags & IFF_UP))
			continue;
		if (((ntohl(in->sin_addr.s_addr) >> 24) == 127) != loopback)
			continue;
		add(names, inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)), port);
	}
	qsort(names->text, names->n, sizeof(names->text[0]), compare);
}

static int add_advertised(
	struct node_names *names, const struct address *bound, const char *advertise, struct err *e)
{
	struct address a;
	char text[300];
	struct in6_addr v6;
	bool bare_v6 = inet_pton(AF_INET6, advertise, &v6) == 1;

	snprintf(text, sizeof(text), bare_v6 ? "[%s]" : "%s", advertise);
	if (address_parse(text, "", &a, e))
		return err_wrap(e, "advertise");
	if (a.family == ADDRESS_UNIX || is_wildcard(a.host))
		return err_set(e, ERR_INVAL,
			"advertise: '%s' is no address others can connect to: expected HOST or "
			"HOST:PORT",
			advertise);
	if (!a.port && bound->family == ADDRESS_UNIX)
		return err_set(e, ERR_INVAL,
			"advertise: '%s' needs a port, since the server is at a Unix socket",
			advertise);
	add(names, a.host, a.port ? a.port : bound->port);
	return OK;
}

int names_of(const struct address *bound, const char *advertise, const struct ifaddrs *interfaces,
	struct node_names *ret, struct err *e)
{
	ret->n = 0;
	if (advertise)
		return add_advertised(ret, bound, advertise, e);
	if (bound->family == ADDRESS_UNIX)
		return err_set(e, ERR_INVAL,
			"a server at the Unix socket '%s' cannot register: it has no address "
			"others can "
			"connect to (advertise HOST:PORT names one)",
			bound->path);
	if (!is_wildcard(bound->host)) {
		add(ret, bound->host, bound->port);
		return OK;
	}
	add_interfaces(ret, interfaces, false, bound->port);
	if (!ret->n)
		add_interfaces(ret, interfaces, true, bound->port);
	if (!ret->n)
		return err_set(e, ERR_INVAL,
			"no interface of this machine has an IPv4 address: advertise one");
	return OK;
}

int names_find(
	const struct address *bound, const char *advertise, struct node_names *ret, struct err *e)
{
	struct ifaddrs *interfaces = NULL;
	int rc;

	if (getifaddrs(&interfaces) != 0)
		return err_sys(e, errno, "cannot list the interfaces of this machine");
	rc = names_of(bound, advertise, interfaces, ret, e);
	freeifaddrs(interfaces);
	return rc;
}
