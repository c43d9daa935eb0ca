/* Sidecar: the matrices of a model, once more, in kernel layout and execution order.
 *
 * Made by `lever pack`, used wherever it is found: streamed groups then need no repacking. It adds nothing
 * and decides nothing: results are bitwise those without it, and one that is stale or damaged is ignored.
 *
 * All numbers are unsigned and little-endian unless marked. Byte order, sizes and places follow from the model, so a
 * reader builds the header it expects and compares.
 *
 *   offset  bytes
 *        0      4  magic "LVPK"
 *        4      4  version, 1
 *        8      8  layout of the groups: "r32", zero-padded (kern/r32.h)
 *       16      8  bytes of this file
 *       24      8  bytes of this header, all up to the first padding
 *       32      4  n_file: files of the model (parts of a split one)
 *       36      4  n_matrix
 *       40      8  checksum of the header, taken with zeros in this place
 *       48     16  zero
 *       64   32 *  n_file records, in the order of the parts:
 *                    0  8  bytes of the file
 *                    8  8  its time of modification in ns since 1970, signed
 *                   16  8  bytes of its header (up to its first tensor)
 *                   24  8  checksum of these
 *          168 *   n_matrix records, in execution order, the head last:
 *                    0 128 name of the tensor, zero-padded
 *                  128  8  offset of its first group; a multiple of 65536
 *                  136  8  bytes of its groups
 *                  144  8  checksum of these
 *                  152  4  type, as numbered in GGUF files
 *                  156  4  rows
 *                  160  4  columns
 *                  164  4  zero
 *   then the matrices, each at its offset, zeros between them. A matrix is ceil(rows / 32) groups of 32
 *   rows; the last one is padded with zero rows.
 *
 * The checksum of n bytes, taken as words of 8 with zeros behind the last: h = n; for each word
 * h = lv_mix64(h ^ word) + 0x9e3779b97f4a7c15 (base/rng.h). Each step is a bijection: one wrong word always shows.
 *
 * owns     nothing beyond a call, but for the names it returns
 * threads  any, on different programs */
#ifndef LV_ENGINE_SIDECAR_H
#define LV_ENGINE_SIDECAR_H

#include "gguf/gguf.h"
#include "io/reader.h"
#include "model/program.h"

#define LV_SIDECAR_ALIGN 65536u

/* ---- sidecar.c: the format -------------------------------------------------- */

/* Where `lever pack` writes and lever_open looks: beside the model. Owned by the caller (lv_free); NULL = no memory. */
char *lv_sidecar_path(const char *gguf_path);

/* Lets the program's matrices be read from the sidecar at path: as file number lv_gguf_n_files(g), *file_bytes long.
 * Returns LEVER_OK; LEVER_DONE if there is no such file; else the program is untouched and err says why the file
 * cannot be used: stale or damaged (LEVER_E_MODEL), unreadable (LEVER_E_IO). Allocates no more than the header that
 * the model calls for. */
enum lever_status lv_sidecar_attach(struct lv_program *p, const struct lv_gguf *g, const char *path,
                                    uint64_t *file_bytes, struct lever_error *err);

/* The header that the model calls for, with zeros for the matrices' checksums and its own. */
struct lv_sidecar_head {
    uint8_t *bytes; /* [n_bytes], owned */
    uint64_t n_bytes, file_bytes;
    uint32_t n_file, n_matrix;
};

enum lever_status lv_sidecar_expect(struct lv_sidecar_head *out, const struct lv_program *p, const struct lv_gguf *g,
                                    struct lever_error *err);
/* The header of the file at path, if that is the one the model calls for; as lv_sidecar_attach. */
enum lever_status lv_sidecar_read(struct lv_sidecar_head *out, const struct lv_program *p, const struct lv_gguf *g,
                                  const char *path, struct lever_error *err);
void lv_sidecar_head_deinit(struct lv_sidecar_head *h);
uint64_t lv_sidecar_matrix_off(const struct lv_sidecar_head *h, uint32_t i);
uint64_t lv_sidecar_matrix_hash(const struct lv_sidecar_head *h, uint32_t i);
void lv_sidecar_set_hash(struct lv_sidecar_head *h, uint32_t i, uint64_t hash);
void lv_sidecar_seal(struct lv_sidecar_head *h); /* sets the checksum; call last */

/* Checksums: h = lv_sidecar_hash(n, ...) for n bytes in all, then fed with its own result; n_piece is a
 * multiple of 8 but for the last piece. */
uint64_t lv_sidecar_hash(uint64_t h, const uint8_t *piece, uint64_t n_piece);

/* ---- pack.c: the writer -------------------------------------------------------- */

/* The system's calls, so that tests can inject faults. NULL = the system's. Both as the call of that name. */
struct lv_pack_ops {
    int64_t (*pwrite)(void *ctx, int fd, const void *buf, uint64_t len, uint64_t off);
    int (*fsync)(void *ctx, int fd);
    void *ctx;
};

/* lever_pack with the calls replaced. ops may be NULL. */
enum lever_status lv_pack(const struct lever_pack_options *opt, const struct lv_pack_ops *ops, struct lever_error *err);

#endif
