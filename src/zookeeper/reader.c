#include "zookeeper/reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct reader {
	struct live *live;
	bool ours;
	uint32_t timeout_ms;
};

int reader_on(struct live *l, uint32_t timeout_ms, struct reader **ret, struct err *e)
{
	struct reader *r = mem_zalloc(1, sizeof(*r));

	if (!r)
		return err_set(e, ERR_NOMEM, "no memory to read from ZooKeeper");
	r->live = l;
	r->timeout_ms = timeout_ms;
	*ret = r;
	return OK;
}

int reader_open(const char *connection, uint32_t timeout_ms, struct reader **ret, struct err *e)
{
	struct live *l = NULL;
	int rc = live_open(connection, timeout_ms, &l, e);

	if (rc == OK)
		rc = live_connect(l, timeout_ms, e);
	if (rc == OK)
		rc = reader_on(l, timeout_ms, ret, e);
	if (rc)
		live_close(l);
	else
		(*ret)->ours = true;
	return rc;
}

void reader_close(struct reader *r)
{
	if (!r)
		return;
	if (r->ours)
		live_close(r->live);
	mem_free(r);
}

int reader_ask(struct reader *r, const struct live_ask *q, struct zk_event **ret, struct err *e)
{
	return live_ask(r->live, q, r->timeout_ms, ret, e);
}

int reader_get(struct reader *r, const char *path, struct zk_event **ret, struct err *e)
{
	return reader_ask(r, &(struct live_ask){ .what = LIVE_GET, .path = path }, ret, e);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int reader_children(struct reader *r, const char *path, struct zk_event **ret,
	const char ***ret_names, struct err *e)
{
	struct zk_event *ev = NULL;
	const char **names;
	const char *p;
	int rc;

	rc = reader_ask(r, &(struct live_ask){ .what = LIVE_CHILDREN, .path = path }, &ev, e);
	if (rc)
		return rc;
	names = mem_zalloc(ev->n_children + 1, sizeof(*names));
	if (!names) {
		mem_free(ev);
		return err_set(e, ERR_NOMEM, "%s: no memory for the names of its children", path);
	}
	p = ev->data;
	for (size_t i = 0; i < ev->n_children; i++, p += strlen(p) + 1)
		names[i] = p;
	qsort(names, ev->n_children, sizeof(*names), compare);
	*ret = ev;
	*ret_names = names;
	return OK;
}

int reader_resolve(struct reader *r, const char *path, char ret_path[ZK_PATH_MAX], struct err *e)
{
	struct link_walk w;
	int rc = link_walk_start(&w, path, e);

	if (rc)
		return rc;
	do {
		struct zk_event *ev = NULL;

		rc = reader_get(r, w.next, &ev, e);
		if (rc == OK || rc == ERR_NOENT)
			rc = link_walk_reply(&w, rc,
				ev ? slice_of(ev->data, ev->data_len) : slice_of(NULL, 0), e);
		mem_free(ev);
	} while (rc == ERR_AGAIN);
	if (rc == OK)
		strcpy(ret_path, w.path);
	link_walk_end(&w);
	return rc;
}
