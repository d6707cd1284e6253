#include "zookeeper/tree_edit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "zookeeper/properties.h"
#include "zookeeper/tree.h"
#include "zookeeper/tree_text.h"

enum { DEPTH_MAX = 200 };

static void say(const struct tree_edit *t, int level, const char *fmt, ...) PRINTF(3, 4);

static void say(const struct tree_edit *t, int level, const char *fmt, ...)
{
	char text[4 * ZK_PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	t->say(t->arg, level, text);
}

static int join(const char *path, const char *name, char out[ZK_PATH_MAX], struct err *e)
{
	int n = snprintf(out, ZK_PATH_MAX, "%s/%s", strcmp(path, "/") == 0 ? "" : path, name);

	if (n >= ZK_PATH_MAX)
		return err_set(e, ERR_LIMIT, "a path in ZooKeeper is too long: %.64s...", out);
	return OK;
}

/* ---- deleting ---- */

static int delete_tree(const struct tree_edit *t, const char *path, bool quiet, unsigned depth,
	bool *ret_ephemeral, struct err *e);

static int delete_below(const struct tree_edit *t, const char *path, unsigned depth,
	bool *ret_ephemeral, struct err *e)
{
	struct zk_event *ev = NULL;
	const char **names = NULL;
	char child[ZK_PATH_MAX];
	int rc = reader_children(t->reader, path, &ev, &names, e);

	for (size_t i = 0; rc == OK && i < ev->n_children; i++) {
		bool ephemeral = false;

		rc = join(path, names[i], child, e);
		if (rc == OK)
			rc = delete_tree(t, child, false, depth + 1, &ephemeral, e);
		*ret_ephemeral |= ephemeral;
		if (rc == ERR_NOENT)
			rc = OK; /* it went meanwhile */
	}
	mem_free(names);
	mem_free(ev);
	return rc;
}

static int is_ephemeral(const struct tree_edit *t, const char *path, bool *ret, struct err *e)
{
	struct zk_event *ev = NULL;
	int rc = reader_get(t->reader, path, &ev, e);

	if (rc == OK)
		*ret = ev->stat.owner != 0;
	mem_free(ev);
	return rc;
}

/* @path has nothing below it any more. */
static int delete_node(const struct tree_edit *t, const char *path, bool ephemeral, struct err *e)
{
	if (t->dry_run && ephemeral)
		say(t, 0, "wouldn't delete %s because it's ephemeral.", path);
	else if (t->dry_run)
		say(t, 0, "would delete %s.", path);
	else if (ephemeral)
		say(t, 0, "Not deleting %s because it's ephemeral.", path);
	if (t->dry_run || ephemeral)
		return OK;
	say(t, LOG_INFO, "deleting %s", path);
	return reader_ask(t->reader,
		&(struct live_ask){ .what = LIVE_DELETE, .path = path, .version = -1 }, NULL, e);
}

static int delete_tree(const struct tree_edit *t, const char *path, bool quiet, unsigned depth,
	bool *ret_ephemeral, struct err *e)
{
	bool below = false, ephemeral = false;
	int rc;

	if (depth > DEPTH_MAX)
		return err_set(e, ERR_LIMIT, "%s: nested deeper than %d nodes", path, DEPTH_MAX);
	rc = delete_below(t, path, depth, &below, e);
	if (rc == OK && below) {
		say(t, 0, "%s not deleted due to ephemeral descendent.", path);
		*ret_ephemeral = true;
		return OK;
	}
	if (rc == OK)
		rc = is_ephemeral(t, path, &ephemeral, e);
	ephemeral = ephemeral && !t->force;
	*ret_ephemeral = ephemeral;
	if (rc || (ephemeral && quiet))
		return rc;
	return delete_node(t, path, ephemeral, e);
}

int tree_delete(const struct tree_edit *t, const char *path, struct err *e)
{
	bool ephemeral = false;

	return delete_tree(t, path, t->ignore_if_ephemeral, 0, &ephemeral, e);
}

/* ---- saying what an import would change ---- */

static bool is_link(const char *name)
{
	size_t n = strlen(name);

	return n > 3 && strcmp(name + n - 3, " ->") == 0;
}

/* A value as Python 2 prints it: a text as it is. */
static char *text_of(const json_t *value)
{
	struct buf out = BUF_INIT(0);

	if (json_is_string(value))
		buf_put_str(&out, json_string_value(value));
	else
		tree_print_value(&out, value);
	buf_put_u8(&out, 0);
	if (buf_ok(&out))
		return (char *)out.data;
	buf_free(&out);
	return NULL;
}

static void say_change(const struct tree_edit *t, const char *path, const char *name,
	const json_t *old, const json_t *new)
{
	char *from = old ? text_of(old) : NULL;
	char *to = new ? text_of(new) : NULL;
	bool link = is_link(name);

	if (from && to)
		say(t, 0, "%s %.*s %schange from %s to %s", path,
			(int)(strlen(name) - (link ? 3 : 0)), name, link ? "link " : "", from, to);
	else if (link)
		say(t, 0, "%s %s link %s %s", path, from ? "remove" : "add", name,
			from ? from : to);
	else
		say(t, 0, "%s %s property %s = %s", path, from ? "remove" : "add", name,
			from ? from : to);
	mem_free(from);
	mem_free(to);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of an object, sorted, with a NULL at the end; freed with mem_free(). */
static int sorted_names(const json_t *object, const char ***ret, struct err *e)
{
	const char **names = mem_zalloc(json_object_size(object) + 1, sizeof(*names));
	size_t n = 0;
	void *it = json_object_iter((json_t *)object);

	if (!names)
		return err_set(e, ERR_NOMEM, "no memory for a tree");
	for (; it; it = json_object_iter_next((json_t *)object, it))
		names[n++] = json_object_iter_key(it);
	qsort(names, n, sizeof(*names), compare);
	*ret = names;
	return OK;
}

static int say_changes(const struct tree_edit *t, const char *path, const json_t *old,
	const json_t *new, struct err *e)
{
	const char **names = NULL;
	int rc = sorted_names(old, &names, e);

	for (size_t i = 0; rc == OK && names[i]; i++) {
		const json_t *is = json_object_get(old, names[i]);
		const json_t *shall = json_object_get(new, names[i]);

		if (!json_equal(is, shall))
			say_change(t, path, names[i], is, shall);
	}
	mem_free(names);
	names = NULL;
	if (rc == OK)
		rc = sorted_names(new, &names, e);
	for (size_t i = 0; rc == OK && names[i]; i++)
		if (!json_object_get(old, names[i]))
			say_change(t, path, names[i], NULL, json_object_get(new, names[i]));
	mem_free(names);
	return rc;
}

/* What a node holds as properties; what is no JSON is one of them. */
static json_t *decode(const struct zk_event *node)
{
	json_t *properties = properties_decode(slice_of(node->data, node->data_len));

	if (properties)
		return properties;
	properties = json_pack("{s:s%}", "string_value", node->data, node->data_len);
	return properties ? properties : json_object();
}

/* ---- importing ---- */

static const struct zk_acl open_to_all = { ZK_PERM_ALL, "world", "anyone" };

static bool same_acl(const struct tree_edit *t, const struct zk_event *is)
{
	const struct zk_acl *acl = t->n_acl ? t->acl : &open_to_all;
	size_t n = t->n_acl ? t->n_acl : 1;
	const char *p = is->data;
	char text[1024];

	for (size_t i = 0; i < n && n == is->n_children; i++, p += strlen(p) + 1) {
		snprintf(text, sizeof(text), "%d %s %s", acl[i].perms, acl[i].scheme, acl[i].id);
		if (strcmp(text, p) != 0)
			return false;
	}
	return n == is->n_children;
}

static int update_acl(const struct tree_edit *t, const char *path, struct err *e)
{
	struct live_ask q = { .what = LIVE_GET_ACL, .path = path };
	struct zk_event *is = NULL;
	int rc = reader_ask(t->reader, &q, &is, e);

	if (rc == OK && !same_acl(t, is)) {
		q.what = LIVE_SET_ACL;
		q.acl = t->acl;
		q.n_acl = t->n_acl;
		q.version = is->stat.aversion;
		rc = reader_ask(t->reader, &q, NULL, e);
	}
	mem_free(is);
	return rc;
}

static int update_node(const struct tree_edit *t, const char *path, const char *data,
	const struct zk_event *is, struct err *e)
{
	struct live_ask q = {
		.what = LIVE_SET, .path = path, .data = slice_str(data), .version = -1
	};
	int rc = OK;

	/* who watches it is told of changes only */
	if (!slice_eq(q.data, slice_of(is->data, is->data_len)))
		rc = reader_ask(t->reader, &q, NULL, e);
	return rc ? rc : update_acl(t, path, e);
}

static int create_node(const struct tree_edit *t, const char *path, const char *data, struct err *e)
{
	struct live_ask q = { .what = LIVE_CREATE,
		.path = path,
		.data = slice_str(data),
		.acl = t->acl,
		.n_acl = t->n_acl };

	return reader_ask(t->reader, &q, NULL, e);
}

/* Bring one node into its form. *ret_below: go on with what is below it. */
static int import_node(const struct tree_edit *t, const char *path, const json_t *node,
	bool *ret_below, struct err *e)
{
	const json_t *properties = json_object_get(node, "properties");
	struct zk_event *is = NULL;
	json_t *old = NULL;
	char *data = tree_encode(properties);
	int rc = reader_get(t->reader, path, &is, e);

	*ret_below = true;
	if (!data) {
		rc = err_set(e, ERR_NOMEM, "no memory for a tree");
	} else if (rc == ERR_NOENT && t->dry_run) {
		say(t, 0, "add %s", path);
		*ret_below = false;
		rc = OK;
	} else if (rc == ERR_NOENT) {
		rc = create_node(t, path, data, e);
	} else if (rc == OK && t->dry_run) {
		old = decode(is);
		rc = say_changes(t, path, old, properties, e);
	} else if (rc == OK) {
		rc = update_node(t, path, data, is, e);
	}
	json_decref(old);
	mem_free(is);
	free(data); /* json's */
	return rc;
}

static int trim(const struct tree_edit *t, const char *path, struct err *e)
{
	struct tree_edit d = *t;

	if (t->others == TREE_KEEP_AND_SAY)
		say(t, 0, "extra path not trimmed: %s", path);
	if (t->others != TREE_TRIM)
		return OK;
	d.force = false;
	d.ignore_if_ephemeral = true;
	return tree_delete(&d, path, e);
}

/* What is below @path and not in @children. */
static int trim_others(
	const struct tree_edit *t, const char *path, const json_t *children, struct err *e)
{
	struct zk_event *ev = NULL;
	const char **names = NULL;
	char child[ZK_PATH_MAX];
	int rc = reader_children(t->reader, path, &ev, &names, e);

	for (size_t i = 0; rc == OK && i < ev->n_children; i++) {
		if (json_object_get(children, names[i]))
			continue;
		rc = join(path, names[i], child, e);
		if (rc == OK)
			rc = trim(t, child, e);
	}
	mem_free(names);
	mem_free(ev);
	return rc;
}

static int import_below(
	const struct tree_edit *t, const char *path, const json_t *node, bool top, struct err *e)
{
	const json_t *children = json_object_get(node, "children");
	const char **names = NULL;
	char child[ZK_PATH_MAX];
	int rc = top ? OK : trim_others(t, path, children, e);

	if (rc == OK)
		rc = sorted_names(children, &names, e);
	for (size_t i = 0; rc == OK && names[i]; i++) {
		const json_t *n = json_object_get(children, names[i]);
		bool below = false;

		rc = join(path, names[i], child, e);
		if (rc == OK)
			rc = import_node(t, child, n, &below, e);
		if (rc == OK && below)
			rc = import_below(t, child, n, false, e);
	}
	mem_free(names);
	return rc;
}

int tree_import(const struct tree_edit *t, const char *path, const json_t *tree, struct err *e)
{
	char base[ZK_PATH_MAX];
	size_t n = strlen(path);

	while (n && path[n - 1] == '/')
		n--;
	if (n >= sizeof(base) || (n && path[0] != '/'))
		return err_set(e, ERR_INVAL,
			"'%.64s' is no path in ZooKeeper: expected one that starts with '/'", path);
	memcpy(base, path, n);
	base[n] = 0;
	return import_below(t, n ? base : "/", tree, true, e);
}
