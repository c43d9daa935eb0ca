/* Kernel table: what the executor calls. Filled once by lv_kern_init(), then read-only.
 *
 * One numeric contract holds for every level and instruction set: integer sums are
 * exact, float steps are the ones written here, in this order, with explicit
 * fused multiply-add; so every level is bitwise equal to the reference kernel, and a result
 * depends only on its own weight row and activation row: never on how many rows, tokens or
 * threads run together.
 *
 * Kernels are stateless, take no locks, allocate nothing. Shapes are row-major, slowest first.
 * "same" = bitwise equal, or both NaN. */
#ifndef LV_KERN_KERN_H
#define LV_KERN_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf/quant.h"

/* ---- R32: the internal weight layout -------------------------------------
 * A group is 32 output rows of a weight matrix, all n_cols of it, and has exactly the
 * bytes of 32 GGUF rows. It is a sequence of k-blocks (256 columns for K-quants, 32 for
 * the other quantized types, 1 for floats); each k-block holds first the scales of the 32
 * rows, then the quants as lines of 64 bytes: 16 rows x 4 consecutive columns. See r32.h.
 * A matrix is a sequence of groups; the last one is padded with zero rows. */
#define LV_GROUP_ROWS 32

/* ---- activations ------------------------------------------------------------
 * n_rows rows of n_cols values, quantized to int8 per 32 columns for the integer types
 * and kept in f32 for the float types. amax = largest magnitude of the 32 values:
 *   d = amax / 127;  id = amax > 0 ? 127 / amax : 0;  q = round_to_even(x * id)
 *   sd = d * (float)(sum of the 32 q);  s16 = sums of q over each 16 columns */
struct lv_act {
    const float *f;     /* [n_rows][stride_f] f32 values; may be NULL if no float-typed weight uses it */
    size_t stride_f;
    int8_t *q;          /* [n_rows][n_cols] */
    float *d, *sd;      /* [n_rows][n_cols / 32] */
    int16_t *s16;       /* [n_rows][n_cols / 16] */
    uint32_t n_cols;    /* multiple of 32 */
};

/* Y[t][0..31] = W[32 rows of one group] . X[t]  for t = 0 .. n_tok - 1 (rows t0 + t of x).
 *   integer types: acc = 0; for each 32-column block b in order:
 *       isum = sum over the block of (w_q - offset) * x_q, exact
 *       acc = fma((float)isum, w_scale * x.d[b], acc)
 *       types with a minimum then: acc = fma(w_min, x.sd[b], acc)
 *     w_scale and w_min are exact products in f32 (for K-quants d * 6-bit scale, -(dmin * 6-bit min);
 *     Q4_1, Q5_1: w_min = m). Q6_K (two scales a block): isum = sc0 * isum0 + sc1 * isum1, which
 *     stays within 2^24 and so is exact, and w_scale = d.
 *   float types: acc = 0; for each column k in order: acc = fma(w, x.f[k], acc)
 * y         [n_tok] rows of stride_y floats, 32 written in each; 64-byte alignment not required
 * group     R32 bytes of one group, any alignment
 * scratch   none. n_tok >= 1, n_cols a multiple of the type's block. */
typedef void lv_gemm_fn(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                        uint32_t t0, uint32_t n_tok);

/* Native GGUF rows (row_bytes apart, any alignment) -> one R32 group. n_rows 1..32; missing rows become
 * zero weights. dst and src do not overlap. */
typedef void lv_pack_fn(uint8_t *group, const uint8_t *src, uint32_t n_rows, uint32_t n_cols);

enum lv_glu { LV_GLU_SILU, LV_GLU_GELU };

#define LV_KV_BLOCK 16 /* positions of a K block */

struct lv_kern {
    const char *level; /* "avx512vnni" */

    lv_gemm_fn *gemm[LV_TYPE_MAX];
    lv_pack_fn *pack[LV_TYPE_MAX];

    /* Quantizes rows t0 .. t0 + n - 1, columns c0 .. c0 + n_c - 1 (multiples of 32) of x.f into x. */
    void (*quantize)(const struct lv_act *x, uint32_t t0, uint32_t n, uint32_t c0, uint32_t n_c);

    /* y[i] = (x[i] * r) * w[i],  r = 1 / sqrtf(s / n + eps),  s = the sum of squares in 16 lanes
     * (lane i % 16: s_l = fma(x, x, s_l)), lanes added as ((l + l+8) + (l+4 + l+12)) ...: see lv_reduce16 in
     * ref/reduce.h. w NULL: no weight (y = x * r). y may be x. Any n >= 1. */
    void (*rms_norm)(float *y, const float *x, const float *w, float eps, uint32_t n);

    /* y[i] = a[i] + b[i]; y may be a or b. */
    void (*add)(float *y, const float *a, const float *b, uint32_t n);
    /* y[i] *= s */
    void (*scale)(float *y, float s, uint32_t n);

    /* Rotates the first n_rot values of one head in place by cs = [n_rot/2] cos, then [n_rot/2] sin.
     * neox: pairs (i, i + n_rot/2); else pairs (2i, 2i+1).
     *   a' = fma(a, cos, -(b * sin)),  b' = fma(a, sin, b * cos) */
    void (*rope)(float *x, const float *cs, uint32_t n_rot, bool neox);

    /* y[i] = act(g[i]) * u[i];  SILU: g / (1 + exp(-g));  GELU (tanh form): g / (1 + exp(-2z)) with
     * z = 0.7978845608f * fma(0.044715f * g * g, g, g).  y may be g. exp is lv_exp of ref/exp.h. */
    void (*glu)(float *y, const float *g, const float *u, uint32_t n, enum lv_glu kind);

    /* dst[i] = f16(src[i]), round to nearest even. */
    void (*f16_from_f32)(uint16_t *dst, const float *src, uint32_t n);

    /* Attention scores of n_q queries against n_blk K blocks [n_blk][n_dim][16] of f16:
     *   acc = 0; for d in order: acc = fma(q[d], (float)k[blk][d][lane], acc);  s = acc * scale
     * s    [n_q] rows of stride_s floats, 16 * n_blk written in each
     * q    [n_q] rows of stride_q floats, n_dim used */
    void (*attn_qk)(float *s, size_t stride_s, const float *q, size_t stride_q, uint32_t n_q,
                    const uint16_t *k, uint32_t n_dim, uint32_t n_blk, float scale);

    /* In place over s[n], n a multiple of 16, masked places hold -INFINITY: m = max; s[i] = exp(s[i] - m);
     * returns 1 / sum, the sum in 16 lanes (i % 16) in order, lanes reduced as in rms_norm. At least one
     * place is not masked. A NaN anywhere may give any NaN. */
    float (*softmax)(float *s, uint32_t n);

    /* out[q][d] = fma(p[q][i], (float)v[i][d], out[q][d]) for i = 0 .. n_pos - 1 in order.
     * out  [n_q] rows of stride_out floats, n_dim used, read and written
     * v    [n_pos] rows of stride_v f16 */
    void (*attn_pv)(float *out, size_t stride_out, const float *p, size_t stride_p, uint32_t n_q,
                    const uint16_t *v, size_t stride_v, uint32_t n_dim, uint32_t n_pos);

    /* Largest value and its lowest index of x[n], n >= 1. NaN never wins unless all are NaN (then 0). */
    uint32_t (*argmax)(const float *x, uint32_t n, float *value);
};

/* Fills *k with the best kernels among the CPU flags given (cpu/cpu.h; already masked). */
void lv_kern_init(struct lv_kern *k, uint32_t cpu_flags);

/* Bytes of a group: those of 32 GGUF rows. */
static inline uint64_t lv_group_bytes(enum lv_type type, uint32_t n_cols)
{
    return LV_GROUP_ROWS * lv_row_bytes(type, n_cols);
}

/* dst[n_cols] = row 0..31 of an R32 group in f32 (tied embeddings, tests). Not tuned. */
void lv_r32_dequant_row(enum lv_type type, const uint8_t *group, uint32_t row, uint32_t n_cols, float *dst);

#endif
