/* A disk for the simulation: what was not synced may be lost, page by page, and calls fail when
 * the seed says so. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/disk.h"

enum { SIM_PAGE = 512 }; /* small, so that transactions span several */

struct sim_disk {
	struct disk_file file;
	uint8_t *now; /* what the page cache has */
	size_t now_len;
	uint8_t *durable; /* what a power cut leaves for sure */
	size_t durable_len;
	uint64_t *random;    /* the seed's state */
	unsigned fail_write; /* one of so many writes fails; 0: none */
	unsigned fail_sync;  /* the same for syncs */
	unsigned cold;       /* one of so many reads that may not wait has to; 0: none */
	unsigned n_writes_failed, n_syncs_failed;
};

struct sim_disk *sim_disk_new(uint64_t *random);
void sim_disk_free(struct sim_disk *d);
/** Another disk with the same content, synced and not. */
struct sim_disk *sim_disk_copy(const struct sim_disk *d);
/** The power goes: each page not synced is back at its last synced content, or is not. */
void sim_disk_crash(struct sim_disk *d);

/** The next random number. */
uint64_t sim_random(uint64_t *state);
/** True once in @n times; never for 0. */
bool sim_once_in(uint64_t *state, unsigned n);

#endif
