#include "zookeeper/properties.h"

#include <ctype.h>
#include <stdio.h>

static struct slice strip(struct slice s)
{
	while (s.len && isspace(s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len && isspace(s.data[s.len - 1]))
		s.len--;
	return s;
}

json_t *properties_decode(struct slice data)
{
	struct slice s = strip(data);

	if (!s.len)
		return json_object();
	if (s.data[0] != '{')
		return NULL;
	return json_loadb((const char *)s.data, s.len, JSON_ALLOW_NUL, NULL);
}

const char *properties_link(const json_t *properties, const char *name, size_t n)
{
	char key[512];
	const char *target;

	if (n + sizeof(" ->") > sizeof(key))
		return NULL;
	snprintf(key, sizeof(key), "%.*s ->", (int)n, name);
	target = json_string_value(json_object_get(properties, key));
	return target && target[0] ? target : NULL;
}
