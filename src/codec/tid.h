/* Transaction ids and object ids.
 *
 * Both are 8 bytes, big-endian on the wire and in files, and a uint64_t in host
 * order in this code. A tid is also a time: the upper 4 bytes count minutes since
 * 1900 (every month as 31 days, every year as 12 such months), the lower 4 a
 * fraction of the minute in units of 60 / 2^32 seconds (persistent's TimeStamp). */
#ifndef CODEC_TID_H
#define CODEC_TID_H

#include <stdint.h>

#define TID_NONE UINT64_C(0)
#define TID_MAX  UINT64_MAX
#define OID_ROOT UINT64_C(0)
#define OID_NONE UINT64_MAX

/** The tid of a moment, microseconds since 1970 UTC. */
uint64_t tid_of_time(uint64_t wall_us);

/** The same of seconds since 1970, as TimeStamp(year, month, day, hour, minute, seconds) converts them; TID_NONE
 * for what is before 1900 or behind the year 9999, or no number. */
uint64_t tid_of_seconds(double s);

/** The moment of a tid, in seconds since 1970 UTC, as TimeStamp(tid).timeTime() gives it. */
double tid_to_time(uint64_t tid);

/** A tid for now that is larger than @last also when the clock stepped back: what
 * TimeStamp.laterThan gives (R4). */
uint64_t tid_next(uint64_t wall_us, uint64_t last);

/** 16 hex digits and a NUL. Returns @out. */
const char *tid_hex(uint64_t tid, char out[17]);

#endif
