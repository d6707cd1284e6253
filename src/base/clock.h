/* Time, through a table of functions so that a simulation can own it. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock {
	/** Microseconds since 1970, UTC; may step back. */
	uint64_t (*wall_us)(const struct clock *c);
	/** Microseconds since some start; never steps back. */
	uint64_t (*mono_us)(const struct clock *c);
};

/** The system's clock. Threads: any. */
extern const struct clock clock_system;

static inline uint64_t clock_wall_us(const struct clock *c)
{
	return c->wall_us(c);
}

static inline uint64_t clock_mono_us(const struct clock *c)
{
	return c->mono_us(c);
}

#endif
