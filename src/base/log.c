#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards handlers; docs/threads.md */
static struct log_handler *handlers;
static atomic_int threshold = LOG_INFO;

const char *log_level_name(int level, char scratch[16])
{
	switch (level) {
	case LOG_TRACE:
		return "TRACE";
	case LOG_DEBUG:
		return "DEBUG";
	case LOG_BLATHER:
		return "BLATHER";
	case LOG_INFO:
		return "INFO";
	case LOG_WARNING:
		return "WARNING";
	case LOG_ERROR:
		return "ERROR";
	case LOG_CRITICAL:
		return "CRITICAL";
	default:
		snprintf(scratch, 16, "Level %d", level);
		return scratch;
	}
}

/* runzeo's default: a line of dashes, then time, level, logger, text. */
static void emit_stderr(const struct log_record *r)
{
	time_t t = (time_t)(r->wall_us / 1000000u);
	char when[32];
	char scratch[16];
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(stderr, "------\n%s %s %s %s\n", when, log_level_name(r->level, scratch), r->logger,
		r->text);
}

int log_enabled(int level)
{
	return level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

void log_set_level(int level)
{
	atomic_store(&threshold, level);
}

void log_add(struct log_handler *h)
{
	pthread_mutex_lock(&lock);
	h->next = handlers;
	handlers = h;
	pthread_mutex_unlock(&lock);
}

void log_remove(struct log_handler *h)
{
	struct log_handler **p;

	pthread_mutex_lock(&lock);
	for (p = &handlers; *p; p = &(*p)->next) {
		if (*p == h) {
			*p = h->next;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
}

/* Texts hold what came from networks and files: a line stays one line, and a terminal
 * that shows it obeys nobody. */
static void put_clean(char *out, size_t room, const char *text)
{
	size_t n = 0;

	for (; *text && n + 5 <= room; text++) {
		unsigned char c = (unsigned char)*text;
		/* 0x80 to 0x9f of Unicode are control characters, too */
		bool c1 = c == 0xc2 && (unsigned char)text[1] >= 0x80 &&
			  (unsigned char)text[1] <= 0x9f;

		if (c == '\n')
			n += (size_t)snprintf(out + n, room - n, "\\n");
		else if ((c < 0x20 && c != '\t') || c == 0x7f)
			n += (size_t)snprintf(out + n, room - n, "\\x%02x", c);
		else if (c1)
			n += (size_t)snprintf(out + n, room - n, "\\x%02x", (unsigned char)*++text);
		else
			out[n++] = (char)c;
	}
	out[n] = 0;
}

void log_emit(int level, const char *logger, const char *fmt, ...)
{
	char raw[4096];
	char text[4096];
	struct log_record r = { 0, level, logger, text };
	struct log_handler *h;
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	put_clean(text, sizeof(text), raw);
	r.wall_us = clock_wall_us(&clock_system);
	pthread_mutex_lock(&lock);
	if (!handlers)
		emit_stderr(&r);
	for (h = handlers; h; h = h->next)
		if (level >= h->level)
			h->emit(h, &r);
	pthread_mutex_unlock(&lock);
}
