/* Any bytes as a configuration: what is found right can be filled into structures, and what is
 * wrong has a text that begins with its place. */
#include <string.h>

#include "base/check.h"
#include "config/schema.h"
#include "config/server_config.h"
#include "config/zconfig.h"
#include "fuzz.h"

static void fill(const struct zconfig_node *node, struct arena *mem)
{
	union {
		struct server_config server;
		struct config_zookeeper zookeeper;
		struct config_storage storage;
		struct config_ssl ssl;
		struct config_eventlog eventlog;
		struct logfile_options logfile;
	} target;
	const struct schema_section *s = schema_find(node->name);
	struct err e = ERR_INIT;

	memset(&target, 0, sizeof(target));
	if (s)
		CHECK(schema_fill(s, node, &target, mem, &e) == OK || e.code == ERR_NOMEM);
	for (node = node->children; node; node = node->next)
		if (node->kind == ZCONFIG_SECTION)
			fill(node, mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena mem = ARENA_INIT(16 << 20);
	struct zconfig_node *file = NULL;
	struct err e = ERR_INIT;
	int rc;

	if (memmem(data, n, "%include", 8))
		return 0; /* other files than the one at hand */
	rc = zconfig_parse("f", slice_of(data, n), &mem, &file, &e);
	if (rc == OK)
		rc = schema_check(file, &mem, &e);
	if (rc == OK) {
		fill(file, &mem);
		rc = schema_check_offered(file, false, &e);
	}
	CHECK(rc == e.code);
	CHECK(rc == OK || rc == ERR_NOMEM || strncmp(e.text, "f:", 2) == 0);
	arena_free(&mem);
	return 0;
}
