#include "zookeeper/servers.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "zookeeper/properties.h"

static json_t *describe(const char *path, const char *name, const struct zk_event *node)
{
	json_t *server = json_pack("{s:s, s:s}", "address", name, "path", path);
	json_t *properties = properties_decode(slice_of(node->data, node->data_len));

	/* the node's own address and path win over properties of these names */
	json_object_update_missing(server, properties);
	json_decref(properties);
	return server;
}

static int add_server(
	struct reader *r, const char *path, const char *name, json_t *servers, struct err *e)
{
	char full[2 * ZK_PATH_MAX];
	struct zk_event *node = NULL;
	int rc;

	snprintf(full, sizeof(full), "%s/%s", strcmp(path, "/") == 0 ? "" : path, name);
	rc = reader_get(r, full, &node, e);
	if (rc)
		return rc == ERR_NOENT ? OK : rc; /* it went meanwhile */
	if (json_array_append_new(servers, describe(path, name, node)))
		rc = err_set(e, ERR_NOMEM, "no memory for the servers at '%s'", path);
	mem_free(node);
	return rc;
}

int servers_read(struct reader *r, const char *path, json_t **ret, struct err *e)
{
	json_t *servers = json_array();
	struct zk_event *ev = NULL;
	const char **names = NULL;
	int rc = reader_children(r, path, &ev, &names, e);

	for (size_t i = 0; rc == OK && i < ev->n_children; i++)
		rc = add_server(r, path, names[i], servers, e);
	mem_free(names);
	mem_free(ev);
	if (rc) {
		json_decref(servers);
		return rc;
	}
	*ret = servers;
	return OK;
}
