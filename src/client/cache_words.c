/* Reading and writing the words of a cache's file, whose pages may be gone. */
#include <string.h>

#include "base/guarded.h"
#include "client/cache_file_core.h"

struct copy {
	word *words;
	void *bytes;
	size_t n;
};

/* Word by word: another thread may overwrite them, which is noticed afterwards. */
static void copy_out(void *arg)
{
	struct copy *c = arg;
	uint8_t *to = c->bytes;
	size_t i = 0;
	uint64_t v;

	for (; i + 1 <= c->n / sizeof(v); i++) {
		v = get(&c->words[i]);
		memcpy(to + i * sizeof(v), &v, sizeof(v));
	}
	if (c->n % sizeof(v)) {
		v = get(&c->words[i]);
		memcpy(to + i * sizeof(v), &v, c->n % sizeof(v));
	}
}

static void copy_in(void *arg)
{
	struct copy *c = arg;
	const uint8_t *from = c->bytes;
	size_t i = 0;
	uint64_t v;

	for (; i + 1 <= c->n / sizeof(v); i++) {
		memcpy(&v, from + i * sizeof(v), sizeof(v));
		set(&c->words[i], v);
	}
	if (c->n % sizeof(v)) {
		v = 0;
		memcpy(&v, from + i * sizeof(v), c->n % sizeof(v));
		set(&c->words[i], v);
	}
}

bool cache_words_read(struct cache_file *f, word *from, void *to, size_t n)
{
	struct copy c = { from, to, n };

	return guarded_run(copy_out, &c);
}

static void forget_step(void *arg)
{
	word *map = arg;

	set(&map[HEAD_TAIL], get(&map[HEAD_HEAD]));
}

void cache_file_fail(struct cache_file *f)
{
	atomic_store(&f->failed, true);
	/* what could not be written must not be missed at the next start */
	(void)!guarded_run(forget_step, f->map);
}

bool cache_words_write(struct cache_file *f, word *to, const void *from, size_t n)
{
	struct copy c = { to, (void *)from, n };

	if (cache_file_failed(f))
		return false;
	if (guarded_run(copy_in, &c))
		return true;
	cache_file_fail(f);
	return false;
}

bool cache_word_write(struct cache_file *f, word *to, uint64_t v)
{
	return cache_words_write(f, to, &v, sizeof(v));
}
