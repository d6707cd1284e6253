#include "zookeeper/links.h"

#include <stdio.h>
#include <string.h>

#include "zookeeper/properties.h"

enum { LINKS_MAX = 40 }; /* as many as a kernel follows symbolic links */

/* Copy @path without ".", ".." and empty parts. */
static int normalize(char *out, const char *path, struct err *e)
{
	size_t len = 0;

	if (path[0] != '/')
		return err_set(e, ERR_INVAL,
			"'%s' is no path in ZooKeeper: expected one that starts with '/'", path);
	while (*path) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n == 2 && memcmp(path, "..", 2) == 0) {
			while (len && out[--len] != '/')
				;
		} else if (n && !(n == 1 && *path == '.')) {
			if (len + n + 2 > ZK_PATH_MAX)
				return err_set(e, ERR_LIMIT,
					"a path in ZooKeeper is too long: %.64s...", path);
			out[len++] = '/';
			memcpy(out + len, path, n);
			len += n;
		}
		path += n;
	}
	if (!len)
		out[len++] = '/';
	out[len] = 0;
	return OK;
}

static void set_properties(struct link_walk *w, json_t *properties)
{
	json_decref(w->properties);
	w->properties = properties;
}

int link_walk_start(struct link_walk *w, const char *path, struct err *e)
{
	int rc;

	memset(w, 0, sizeof(*w));
	if (strlen(path) >= sizeof(w->asked))
		return err_set(e, ERR_LIMIT, "a path in ZooKeeper is too long: %.64s...", path);
	strcpy(w->asked, path);
	rc = normalize(w->path, path, e);
	if (rc)
		return rc;
	strcpy(w->next, w->path);
	return OK;
}

void link_walk_end(struct link_walk *w)
{
	set_properties(w, NULL);
}

/* Make next one part longer: it is a beginning of path, and exists. */
static void next_part(struct link_walk *w)
{
	size_t len = strcmp(w->next, "/") == 0 ? 0 : strlen(w->next);
	size_t part = strcspn(w->path + len + 1, "/");

	memcpy(w->next, w->path, len + 1 + part);
	w->next[len + 1 + part] = 0;
}

static int nowhere(const struct link_walk *w, struct err *e)
{
	if (strcmp(w->asked, w->next) == 0)
		return err_set(e, ERR_NOENT, "the path '%s' does not exist", w->asked);
	return err_set(
		e, ERR_NOENT, "the path '%s' does not exist: there is no '%s'", w->asked, w->next);
}

/* next is missing: its parent may have a link of its name. */
static int follow(struct link_walk *w, struct err *e)
{
	char to[2 * ZK_PATH_MAX];
	char *slash = strrchr(w->next, '/');
	const char *target = properties_link(w->properties, slash + 1, strlen(slash + 1));
	const char *rest = w->path + strlen(w->next);
	int n, rc;

	if (!target)
		return nowhere(w, e);
	if (++w->links > LINKS_MAX)
		return err_set(
			e, ERR_STATE, "the path '%s' leads through a loop of links", w->asked);
	n = target[0] == '/' ? snprintf(to, sizeof(to), "%s%s", target, rest)
			     : snprintf(to, sizeof(to), "%.*s/%s%s", (int)(slash - w->next),
				       w->next, target, rest);
	if (n < 0 || (size_t)n >= sizeof(to))
		return err_set(
			e, ERR_LIMIT, "the path '%s' leads to one that is too long", w->asked);
	rc = normalize(w->path, to, e);
	if (rc)
		return rc;
	strcpy(w->next, w->path);
	w->by_parts = false;
	set_properties(w, NULL);
	return ERR_AGAIN;
}

int link_walk_reply(struct link_walk *w, int rc, struct slice data, struct err *e)
{
	if (rc == OK && !w->by_parts)
		return OK;
	if (rc == OK) {
		set_properties(w, properties_decode(data));
		if (strcmp(w->next, w->path) == 0)
			return OK; /* it came while we looked */
		next_part(w);
		return ERR_AGAIN;
	}
	if (!w->by_parts && strcmp(w->path, "/") != 0) {
		w->by_parts = true;
		strcpy(w->next, "/");
		return ERR_AGAIN;
	}
	if (strcmp(w->next, "/") == 0)
		return err_set(e, ERR_NOENT,
			"the path '%s' does not exist: there is no root, "
			"perhaps because of the path in the connection string",
			w->asked);
	return follow(w, e);
}
