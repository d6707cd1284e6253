#include "codec/tid.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#define MINUTE_US           UINT64_C(60000000)
#define FROM_1900_TO_1970_S 2208988800.0
#define END_OF_9999_S       253402300800.0

static uint64_t minutes_of(const struct tm *tm)
{
	uint64_t days = ((uint64_t)tm->tm_year * 12 + (uint64_t)tm->tm_mon) * 31 +
			(uint64_t)tm->tm_mday - 1;

	return (days * 24 + (uint64_t)tm->tm_hour) * 60 + (uint64_t)tm->tm_min;
}

uint64_t tid_of_time(uint64_t wall_us)
{
	time_t t = (time_t)(wall_us / 1000000);
	struct tm tm;
	double fraction;

	gmtime_r(&t, &tm);
	fraction = (double)(wall_us % MINUTE_US) / (double)MINUTE_US;
	return minutes_of(&tm) << 32 | (uint32_t)(fraction * 4294967296.0);
}

uint64_t tid_of_seconds(double s)
{
	const double unit = 60.0 / 65536 / 65536;
	double minute = floor(s / 60);
	time_t t = 0;
	struct tm tm;

	if (!(s >= -FROM_1900_TO_1970_S && s < END_OF_9999_S))
		return TID_NONE;
	t = (time_t)(minute * 60);
	gmtime_r(&t, &tm);
	return minutes_of(&tm) << 32 | (uint32_t)((s - minute * 60) / unit);
}

double tid_to_time(uint64_t tid)
{
	uint64_t v = tid >> 32;
	double seconds = (double)(uint32_t)tid * 60.0 / 4294967296.0;
	struct tm tm = { 0 };

	tm.tm_min = (int)(v % 60);
	v /= 60;
	tm.tm_hour = (int)(v % 24);
	v /= 24;
	tm.tm_mday = (int)(v % 31) + 1;
	v /= 31;
	tm.tm_mon = (int)(v % 12);
	tm.tm_year = (int)(v / 12);
	/* TimeStamp counts from 1900, and loses a bit or two of the fraction by it. */
	return ((double)timegm(&tm) + FROM_1900_TO_1970_S + seconds) - FROM_1900_TO_1970_S;
}

/* The first moment of the minute after @tid's: months differ in length, so this is no addition. */
static uint64_t next_minute(uint64_t tid)
{
	double start = tid_to_time(tid & ~UINT64_C(0xffffffff));

	return tid_of_time(((uint64_t)start + 60) * 1000000);
}

uint64_t tid_next(uint64_t wall_us, uint64_t last)
{
	uint64_t now = tid_of_time(wall_us);

	if (now > last)
		return now;
	return (uint32_t)last == UINT32_MAX ? next_minute(last) : last + 1;
}

const char *tid_hex(uint64_t tid, char out[17])
{
	snprintf(out, 17, "%016llx", (unsigned long long)tid);
	return out;
}
