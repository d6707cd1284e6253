/* The servers at a path, for programs. */
#include "zookeeper/watch.h"
#include "base/mem.h"
#include "lib/api.h"
#include <zkzeo/zookeeper.h>

struct zkzeo_watch {
	struct watch *watch;
	void (*changed)(void *arg, const char *const *names, size_t n);
	void *arg;
};

static void on_changed(void *arg, const char *data, size_t len, size_t n)
{
	const struct zkzeo_watch *w = arg;
	const char **names = mem_zalloc(n, sizeof(char *));

	if (!names)
		return; /* the next change will be told */
	for (size_t i = 0; i < n; i++) {
		names[i] = data;
		data += strlen(data) + 1;
	}
	w->changed(w->arg, names, n);
	mem_free(names);
}

static void on_deleted(void *arg)
{
	const struct zkzeo_watch *w = arg;

	w->changed(w->arg, NULL, 0);
}

int zkzeo_watch_open(const char *connection, const char *path, uint32_t timeout_ms,
	void (*changed)(void *arg, const char *const *names, size_t n), void *arg,
	struct zkzeo_watch **ret, struct zkzeo_error *e)
{
	struct watch_events events = { .changed = on_changed, .deleted = on_deleted };
	struct zkzeo_watch *w = mem_zalloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_set(err_of(e), ERR_NOMEM, "no memory for a watch");
	w->changed = changed;
	w->arg = arg;
	events.arg = w;
	rc = watch_open(
		connection, path, WATCH_CHILDREN, timeout_ms, &events, &w->watch, err_of(e));
	if (rc)
		mem_free(w);
	else
		*ret = w;
	return rc;
}

void zkzeo_watch_close(struct zkzeo_watch *w)
{
	if (!w)
		return;
	watch_close(w->watch);
	mem_free(w);
}
