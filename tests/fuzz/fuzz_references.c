/* Any bytes as a data record: an answer or an error, and the same again with the memory of the first time. */
#include "base/check.h"
#include "base/mem.h"
#include "codec/references.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct references *r = references_new();
	struct err e = ERR_INIT;
	const uint64_t *oids = NULL;
	size_t n_oids = 0;
	int rc[2];

	CHECK(r);
	for (int i = 0; i < 2; i++) {
		uint64_t sum = 0;

		rc[i] = references_scan(r, slice_of(data, n), &oids, &n_oids, &e);
		CHECK(rc[i] == OK || (e.code == rc[i] && e.text[0]));
		for (size_t k = 0; rc[i] == OK && k < n_oids; k++)
			sum += oids[k];
		CHECK(rc[i] != OK || n_oids || !sum);
	}
	CHECK(rc[0] == rc[1]);
	references_free(r);
	return 0;
}
