/* The tile instructions that the AMX kernel needs, GFNI that comes with them, and the same in C where LV_EMULATE is
 * defined, so that the kernel is tested on machines without them.
 *
 * A product takes up to 16 rows of activations (signed bytes, a tile of 16 or 32 columns) and the lines of 16 weight
 * rows (signed bytes): exactly the shape of R32, where a line is 16 rows by 4 columns. Four products can be under way.
 *
 * threads   tile registers belong to a thread: lv_amx_begin() .. lv_amx_end() around each kernel call
 * The assembly is ours because the intrinsics of gcc 12 say too little about the memory they touch: the compiler may
 * then drop or move the stores that fill it. */
#ifndef LV_KERN_X86_AMX_TILE_H
#define LV_KERN_X86_AMX_TILE_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LV_AMX_SLOTS 4
#define LV_AMX_INLINE static inline __attribute__((always_inline))

/* Sums of a product: token, row. */
struct lv_amx_sums {
    __attribute__((aligned(64))) int32_t v[16][16];
};

#ifdef LV_EMULATE

/* Bit i of each byte: the parity of byte 7 - i of `rows` and the byte; then the bits of flip turned round. */
LV_AMX_INLINE __m512i lv_amx_affine(__m512i v, uint64_t rows, uint32_t flip)
{
    uint8_t b[64];

    _mm512_storeu_si512(b, v);
    for (uint32_t j = 0; j < 64; j++) {
        uint32_t r = 0;

        for (uint32_t i = 0; i < 8; i++)
            r |= ((uint32_t)__builtin_popcountll(b[j] & (rows >> 8 * (7 - i) & 255)) & 1u) << i;
        b[j] = (uint8_t)(r ^ flip);
    }
    return _mm512_loadu_si512(b);
}

struct lv_amx {
    struct lv_amx_sums tile[LV_AMX_SLOTS];
    uint32_t n_tok, n_col;
};

LV_AMX_INLINE void lv_amx_begin(struct lv_amx *a, uint32_t n_tok, uint32_t n_col)
{
    a->n_tok = n_tok;
    a->n_col = n_col;
}

LV_AMX_INLINE void lv_amx_end(void)
{
}

LV_AMX_INLINE void lv_amx_product(struct lv_amx *a, uint32_t slot, const int8_t *x, size_t stride_x, const int8_t *w)
{
    for (uint32_t t = 0; t < a->n_tok; t++)
        for (uint32_t r = 0; r < 16; r++) {
            int32_t s = 0;

            for (uint32_t k = 0; k < a->n_col; k++)
                s += w[k / 4 * 64 + 4 * r + k % 4] * x[t * stride_x + k];
            a->tile[slot].v[t][r] = s;
        }
}

LV_AMX_INLINE void lv_amx_store(const struct lv_amx *a, uint32_t slot, struct lv_amx_sums *out)
{
    for (uint32_t t = 0; t < a->n_tok; t++)
        for (uint32_t r = 0; r < 16; r++)
            out->v[t][r] = a->tile[slot].v[t][r];
}

#else

/* GFNI. flip must be a constant. */
#define lv_amx_affine(v, rows, flip) _mm512_gf2p8affine_epi64_epi8((v), _mm512_set1_epi64((long long)(rows)), (flip))

/* The configuration as ldtilecfg reads it. */
struct lv_amx {
    uint8_t palette, start_row, zero[14];
    uint16_t row_bytes[16];
    uint8_t n_row[16];
};
_Static_assert(sizeof(struct lv_amx) == 64, "as the instruction reads it");

/* Tiles 0 to 3 are sums, 4 and 5 weights, 6 and 7 activations: n_tok tokens by n_col columns. */
LV_AMX_INLINE void lv_amx_begin(struct lv_amx *a, uint32_t n_tok, uint32_t n_col)
{
    *a = (struct lv_amx){ .palette = 1 };
    for (uint32_t i = 0; i < 8; i++) {
        a->n_row[i] = (uint8_t)(i == 4 || i == 5 ? n_col / 4 : n_tok);
        a->row_bytes[i] = (uint16_t)(i < 6 ? 64 : n_col);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(*a) : "memory");
}

/* Back to the initial state: the system then has no tiles to save. */
LV_AMX_INLINE void lv_amx_end(void)
{
    __asm__ volatile("tilerelease" : : : "memory");
}

/* Begins sums[t][r] = x[t] times weight row r in a slot. */
LV_AMX_INLINE void lv_amx_product(struct lv_amx *a, uint32_t slot, const int8_t *x, size_t stride_x, const int8_t *w)
{
    (void)a;
#define LV_AMX_PRODUCT(s, wt, xt)                                                             \
    __asm__ volatile("tilezero %%" s "\n\ttileloadd (%0,%1,1), %%" xt "\n\t"                  \
                     "tileloadd (%2,%3,1), %%" wt "\n\ttdpbssd %%" wt ", %%" xt ", %%" s      \
                     : : "r"(x), "r"(stride_x), "r"(w), "r"((size_t)64) : "memory")
    switch (slot) {
    case 0: LV_AMX_PRODUCT("tmm0", "tmm4", "tmm6"); break;
    case 1: LV_AMX_PRODUCT("tmm1", "tmm5", "tmm7"); break;
    case 2: LV_AMX_PRODUCT("tmm2", "tmm4", "tmm6"); break;
    default: LV_AMX_PRODUCT("tmm3", "tmm5", "tmm7"); break;
    }
#undef LV_AMX_PRODUCT
}

/* The sums of a slot, when they are ready. */
LV_AMX_INLINE void lv_amx_store(const struct lv_amx *a, uint32_t slot, struct lv_amx_sums *out)
{
    (void)a;
#define LV_AMX_STORE(s) __asm__ volatile("tilestored %%" s ", (%0,%1,1)" : : "r"(out), "r"((size_t)64) : "memory")
    switch (slot) {
    case 0: LV_AMX_STORE("tmm0"); break;
    case 1: LV_AMX_STORE("tmm1"); break;
    case 2: LV_AMX_STORE("tmm2"); break;
    default: LV_AMX_STORE("tmm3"); break;
    }
#undef LV_AMX_STORE
}

#endif
#endif
