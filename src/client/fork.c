/* A fork finds the clients in order, and its child cannot use them: T31.
 *
 * Before a fork all locks are taken, so that no other thread is in the middle of something; after it they are
 * given back on both sides. */
#include <stdlib.h>
#include <unistd.h>

#include "base/os.h"
#include "client/conn.h"
#include "client/state.h"

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct client *clients;
static atomic_uint generation;

static void prepare(void)
{
	pthread_mutex_lock(&list_lock);
	for (struct client *c = clients; c; c = c->next_client)
		if (c->fork_generation == atomic_load(&generation))
			pthread_mutex_lock(&c->lock);
	io_thread_lock_for_fork();
}

static void release(void)
{
	io_thread_unlock_after_fork();
	for (struct client *c = clients; c; c = c->next_client)
		if (c->fork_generation == atomic_load(&generation))
			pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&list_lock);
}

static void in_child(void)
{
	release();
	atomic_fetch_add(&generation, 1);
	io_thread_forget();
}

static void nothing(uv_work_t *job)
{
	(void)job;
}

/* When a process exits libuv waits for the threads of its pool, also in a child, which has not got them. With a job it
 * makes new ones there. */
static void renew_pool(void)
{
	uv_loop_t loop;
	uv_work_t job;

	if (fork_generation() == 0 || uv_loop_init(&loop) != 0)
		return;
	if (uv_queue_work(&loop, &job, nothing, NULL) == 0)
		uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
}

static void watch_forks(void)
{
	pthread_atfork(prepare, release, in_child);
	atexit(renew_pool);
}

void fork_watch(struct client *c)
{
	pthread_once(&once, watch_forks);
	pthread_mutex_lock(&list_lock);
	c->next_client = clients;
	clients = c;
	pthread_mutex_unlock(&list_lock);
}

void fork_forget(struct client *c)
{
	struct client **at;

	pthread_mutex_lock(&list_lock);
	for (at = &clients; *at; at = &(*at)->next_client)
		if (*at == c) {
			*at = c->next_client;
			break;
		}
	pthread_mutex_unlock(&list_lock);
}

unsigned fork_generation(void)
{
	return atomic_load(&generation);
}

void fork_close(struct client *c)
{
	for (struct conn *conn = c->conns; conn; conn = conn->next) {
		os_close(conn->fd);
		conn->fd = -1;
	}
	/* The connections' memory is the dead loop's, too: it is left. */
	c->conns = NULL;
}
