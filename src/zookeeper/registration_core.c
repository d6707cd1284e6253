#include "zookeeper/registration_core.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

enum {
	PAUSE_US = 1000000,       /* after a request that failed */
	GIVE_UP_MIN_US = 1000000, /* without a connection for so long: a new handle (T70) */
	GIVE_UP_MAX_US = 4000000,
	REOPENS_LONGER = 3, /* so often the time doubles */
	FULL_PATH_MAX = ZK_PATH_MAX + 300,
};

static void advance(struct registration_core *c, uint64_t now_us);

static void say(struct registration_core *c, int level, const char *fmt, ...) PRINTF(3, 4);

static void say(struct registration_core *c, int level, const char *fmt, ...)
{
	char text[FULL_PATH_MAX + 200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->ops->log(c, level, text);
}

static const char *full_path(const struct registration_core *c, size_t i, char out[FULL_PATH_MAX])
{
	const char *base = strcmp(c->walk.path, "/") == 0 ? "" : c->walk.path;

	snprintf(out, FULL_PATH_MAX, "%s/%s", base, c->names.text[i]);
	return out;
}

size_t core_count(const struct registration_core *c, enum name_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < c->names.n; i++)
		n += c->name_states[i] == state;
	return n;
}

bool core_is_settled(const struct registration_core *c)
{
	return c->state == CORE_CONNECTED && c->resolved &&
	       core_count(c, NAME_TODO) + core_count(c, NAME_CHECK) == 0;
}

/* A third of the session's life leaves time to come back within it (T71); later handles get longer,
 * so that the library can try all servers of its list. */
static uint64_t patience_us(const struct registration_core *c)
{
	uint64_t us = c->timeout_us / 3;

	if (us < GIVE_UP_MIN_US)
		us = GIVE_UP_MIN_US;
	if (us > GIVE_UP_MAX_US)
		us = GIVE_UP_MAX_US;
	return us << (c->reopens < REOPENS_LONGER ? c->reopens : REOPENS_LONGER);
}

static void reopen(struct registration_core *c, uint64_t now_us)
{
	struct err e = ERR_INIT;

	c->asked = ASK_NOTHING;
	if (c->state == CORE_CONNECTED)
		c->state = CORE_CONNECTING;
	c->give_up_us = now_us + patience_us(c);
	if (c->ops->open(c, c->session.id ? &c->session : NULL, &e)) /* I4 */
		c->failure = e;
}

static void open_new(struct registration_core *c, uint64_t now_us)
{
	memset(&c->session, 0, sizeof(c->session));
	c->state = CORE_CONNECTING;
	reopen(c, now_us);
}

void core_start(struct registration_core *c, const struct session_id *earlier, uint64_t now_us)
{
	if (!earlier) {
		open_new(c, now_us);
		return;
	}
	c->session = *earlier;
	c->state = CORE_CLEARING;
	reopen(c, now_us);
}

static void walk_again(struct registration_core *c)
{
	c->resolved = c->walking = false;
}

static void start_over(struct registration_core *c)
{
	walk_again(c);
	for (size_t i = 0; i < c->names.n; i++)
		c->name_states[i] = NAME_TODO;
}

static void check_names(struct registration_core *c)
{
	for (size_t i = 0; i < c->names.n; i++)
		if (c->name_states[i] != NAME_TODO)
			c->name_states[i] = NAME_CHECK;
}

void core_connected(struct registration_core *c, const struct session_id *id, uint64_t now_us)
{
	if (c->state == CORE_CLEARING) {
		c->ops->close(c); /* ends exactly the session we attached to */
		open_new(c, now_us);
		return;
	}
	if (c->told_away)
		say(c, LOG_INFO, "connected to ZooKeeper at '%s'", c->connection);
	c->told_away = false;
	c->failure.code = OK;
	c->reopens = 0;
	c->state = CORE_CONNECTED;
	c->pause_us = 0;
	if (c->session.id == id->id) {
		check_names(c);
	} else { /* T36: whatever we were told, this is another session */
		c->session = *id;
		c->ops->keep(c, id);
		start_over(c);
	}
	advance(c, now_us);
}

void core_disconnected(struct registration_core *c, uint64_t now_us)
{
	if (c->state != CORE_CONNECTED)
		return;
	c->state = CORE_CONNECTING;
	c->give_up_us = now_us + patience_us(c);
	c->told_away = true;
	say(c, LOG_WARNING, "lost the connection to ZooKeeper at '%s'", c->connection);
}

void core_expired(struct registration_core *c, uint64_t now_us)
{
	if (c->state != CORE_CLEARING)
		say(c, LOG_WARNING, "the ZooKeeper session expired");
	open_new(c, now_us);
}

static void fail(struct registration_core *c, const struct err *why, uint64_t now_us)
{
	walk_again(c);
	c->failure = *why;
	c->pause_us = now_us + PAUSE_US;
	if (c->told_failed || !c->serving)
		return;
	c->told_failed = true;
	say(c, LOG_ERROR, "cannot register in ZooKeeper: %s", why->text);
}

static void path_reply(struct registration_core *c, int rc, struct slice data, uint64_t now_us)
{
	struct err e = ERR_INIT;

	rc = link_walk_reply(&c->walk, rc, data, &e);
	if (rc == OK) {
		c->resolved = true;
		c->walking = false;
		c->told_failed = false;
		c->failure.code = OK;
	} else if (rc != ERR_AGAIN) {
		err_wrap(&e, "ZooKeeper at '%s'", c->connection);
		fail(c, &e, now_us);
	}
}

static void now_ours(struct registration_core *c, size_t i)
{
	char path[FULL_PATH_MAX];

	if (!c->created[i])
		say(c, LOG_INFO, "Registered zk: %s", full_path(c, i, path));
	c->created[i] = true;
}

static void create_reply(struct registration_core *c, size_t i, int rc)
{
	if (rc == ERR_NOENT)
		walk_again(c); /* the path went: the walk says why */
	else
		c->name_states[i] = NAME_CHECK; /* it is to be watched, and whose is it? */
	if (rc == OK)
		now_ours(c, i);
}

static void node_reply(struct registration_core *c, size_t i, int rc, int64_t owner)
{
	char path[FULL_PATH_MAX];

	if (rc == ERR_NOENT) {
		c->name_states[i] = NAME_TODO;
	} else if (owner && owner == c->session.id) { /* I2 */
		c->name_states[i] = NAME_OURS;
		now_ours(c, i); /* the reply to its creation was lost */
	} else {
		c->name_states[i] = NAME_FOREIGN; /* I1 */
		if (c->told_owner[i] == owner)
			return;
		c->told_owner[i] = owner;
		say(c, LOG_WARNING,
			"%s is registered by another ZooKeeper session (0x%" PRIx64
			"): waiting until it goes",
			full_path(c, i, path), (uint64_t)owner);
	}
}

/* Nothing is known about what was asked for. */
static void lost_reply(struct registration_core *c, enum core_request asked, uint64_t now_us)
{
	if (asked == ASK_CREATE)
		c->name_states[c->asked_name] = NAME_CHECK;
	if (asked == ASK_PATH)
		walk_again(c);
	c->pause_us = now_us + PAUSE_US; /* a new connection ends the pause */
}

static void refused(struct registration_core *c, enum core_request asked, uint64_t now_us)
{
	char path[FULL_PATH_MAX];
	struct err e = ERR_INIT;

	err_set(&e, ERR_IO, "ZooKeeper at '%s' refused to %s '%s'", c->connection,
		asked == ASK_CREATE ? "create" : "read",
		asked == ASK_PATH ? c->walk.next : full_path(c, c->asked_name, path));
	fail(c, &e, now_us);
}

void core_reply(
	struct registration_core *c, int rc, int64_t owner, struct slice data, uint64_t now_us)
{
	enum core_request asked = c->asked;

	c->asked = ASK_NOTHING;
	if (rc == ERR_CLOSED)
		lost_reply(c, asked, now_us);
	else if (rc == ERR_IO || rc == ERR_READONLY)
		refused(c, asked, now_us);
	else if (asked == ASK_PATH)
		path_reply(c, rc, data, now_us);
	else if (asked == ASK_CREATE)
		create_reply(c, c->asked_name, rc);
	else if (asked == ASK_NODE)
		node_reply(c, c->asked_name, rc, owner);
	advance(c, now_us);
}

void core_watch(struct registration_core *c, const char *path, uint64_t now_us)
{
	char ours[FULL_PATH_MAX];

	for (size_t i = 0; c->resolved && i < c->names.n; i++)
		if (c->name_states[i] != NAME_TODO && strcmp(full_path(c, i, ours), path) == 0)
			c->name_states[i] = NAME_CHECK;
	advance(c, now_us);
}

static void ask_path(struct registration_core *c, uint64_t now_us)
{
	struct err e = ERR_INIT;

	if (!c->walking) {
		link_walk_end(&c->walk);
		if (link_walk_start(&c->walk, c->path, &e)) {
			fail(c, &e, now_us);
			return;
		}
		c->walking = true;
	}
	c->asked = ASK_PATH;
	c->ops->get(c, c->walk.next);
}

static void ask_name(struct registration_core *c, size_t i)
{
	char path[FULL_PATH_MAX];

	full_path(c, i, path);
	c->asked_name = i;
	if (c->name_states[i] == NAME_CHECK) {
		c->asked = ASK_NODE;
		c->ops->get(c, path);
		return;
	}
	if (c->created[i])
		say(c, LOG_INFO, "restoring ephemeral %s", path);
	c->asked = ASK_CREATE;
	c->ops->create(c, path, c->data);
}

/* Ask for the next thing, when it is time to (I3). */
static void advance(struct registration_core *c, uint64_t now_us)
{
	size_t i = 0;

	if (c->state != CORE_CONNECTED || c->asked != ASK_NOTHING || now_us < c->pause_us)
		return;
	while (i < c->names.n &&
		(c->name_states[i] == NAME_OURS || c->name_states[i] == NAME_FOREIGN))
		i++;
	if (c->resolved && i == c->names.n)
		return;
	c->pause_us = 0;
	c->give_up_us = now_us + 2 * c->timeout_us;
	if (!c->resolved)
		ask_path(c, now_us);
	else
		ask_name(c, i);
}

void core_tick(struct registration_core *c, uint64_t now_us)
{
	if (c->state == CORE_IDLE || c->state == CORE_STOPPED)
		return;
	if (c->state == CORE_CONNECTED && c->asked == ASK_NOTHING) {
		advance(c, now_us);
		return;
	}
	if (now_us < c->give_up_us)
		return;
	if (!c->told_away)
		say(c, LOG_CRITICAL, "Can't connect to ZooKeeper at '%s'%s%s", c->connection,
			c->failure.code ? ": " : "", c->failure.code ? c->failure.text : "");
	c->told_away = true;
	c->reopens++;
	reopen(c, now_us);
}

uint64_t core_deadline(const struct registration_core *c)
{
	if (c->state == CORE_IDLE || c->state == CORE_STOPPED)
		return UINT64_MAX;
	if (c->state != CORE_CONNECTED || c->asked != ASK_NOTHING)
		return c->give_up_us;
	return c->pause_us ? c->pause_us : UINT64_MAX;
}

void core_stop(struct registration_core *c)
{
	c->state = CORE_STOPPED;
	/* a session that may go on is left to the next start (I4) */
	if (c->ops->close(c))
		c->ops->keep(c, NULL);
}

void core_end(struct registration_core *c)
{
	link_walk_end(&c->walk);
}
