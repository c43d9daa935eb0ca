/* SHA-256 (FIPS 180-4) for tests: names the exact bytes a golden was made from.
 *
 * owns nothing; no global state; any thread. */
#ifndef REF_SHA256_H
#define REF_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ref_sha256 {
    uint32_t h[8];
    uint8_t tail[64]; /* bytes of the unfinished block */
    uint64_t n_bytes;
};

void ref_sha256_init(struct ref_sha256 *s);
void ref_sha256_add(struct ref_sha256 *s, const void *data, size_t n);
void ref_sha256_hex(struct ref_sha256 *s, char hex[65]); /* ends the sum; lower case, NUL-terminated */

/* The sum of a file's bytes; false when it cannot be read. */
bool ref_sha256_file(const char *path, char hex[65]);

#endif
