#include "base/clock.h"

#include <time.h>

static uint64_t now_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static uint64_t system_wall_us(const struct clock *c)
{
	(void)c;
	return now_us(CLOCK_REALTIME);
}

static uint64_t system_mono_us(const struct clock *c)
{
	(void)c;
	return now_us(CLOCK_MONOTONIC);
}

const struct clock clock_system = { system_wall_us, system_mono_us };
