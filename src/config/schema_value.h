/* One value of a configuration: from its text, by the type of its key, into a field. */
#ifndef CONFIG_SCHEMA_VALUE_H
#define CONFIG_SCHEMA_VALUE_H

#include "base/address.h"
#include "base/logfile.h"
#include "config/schema.h"

union schema_value {
	const char *text;
	bool flag;
	uint32_t count;
	uint64_t bytes;
	double seconds;
	int level;
	struct address address;
	struct logfile_options logfile;
};

/**
 * Convert @text by the type of @k.
 * @mem  takes texts that are not @text itself
 * @ret  meaningless on failure, and for types that fill no field
 * Returns 0, ERR_INVAL (with a text without a place) or ERR_NOMEM.
 */
MUST_CHECK int schema_convert(const struct schema_key *k, const char *text, struct arena *mem,
	union schema_value *ret, struct err *e);

/** Write a value to the field of @k in @target; its type has one (checked). */
void schema_store(const struct schema_key *k, const union schema_value *v, void *target);

#endif
