/* A histogram of times with a constant relative error. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stdint.h>

/* 64 steps for each power of two: an error of at most 1.6 % */
enum { LATENCY_STEP_BITS = 6, LATENCY_STEPS = 1 << LATENCY_STEP_BITS };

struct latency {
	uint64_t count;
	uint64_t max_ns;
	uint64_t buckets[(64 - LATENCY_STEP_BITS + 1) * LATENCY_STEPS];
};

static inline unsigned latency_bucket(uint64_t ns)
{
	unsigned shift;

	if (ns < LATENCY_STEPS)
		return (unsigned)ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - LATENCY_STEP_BITS;
	return (shift + 1) * LATENCY_STEPS + (unsigned)(ns >> shift) - LATENCY_STEPS;
}

static inline void latency_add(struct latency *l, uint64_t ns)
{
	l->count++;
	l->buckets[latency_bucket(ns)]++;
	if (ns > l->max_ns)
		l->max_ns = ns;
}

/** The time that a share of @quantile (0 to 1) of all took at most. */
static inline uint64_t latency_quantile(const struct latency *l, double quantile)
{
	uint64_t wanted = (uint64_t)((double)l->count * quantile + 0.5);
	uint64_t seen = 0;

	for (unsigned i = 0; i < sizeof(l->buckets) / sizeof(l->buckets[0]); i++) {
		seen += l->buckets[i];
		if (seen >= wanted && seen > 0) {
			unsigned shift = i < LATENCY_STEPS ? 0 : i / LATENCY_STEPS - 1;
			uint64_t first = i < LATENCY_STEPS ? i : i % LATENCY_STEPS + LATENCY_STEPS;
			uint64_t last = ((first + 1) << shift) - 1;
			return last < l->max_ns ? last : l->max_ns;
		}
	}
	return l->max_ns;
}

#endif
