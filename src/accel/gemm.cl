/* Matrix products on a device: the numeric contract of kern/kern.h over the R32 layout of kern/r32.h, which suits a device as
 * it is: a work-item has one of a group's 32 rows, so 32 neighbours read 128 consecutive bytes.
 *
 * Built once for each weight type, with
 *   FORM     how quants lie: 0 Q4_0 Q4_1 Q5_0 Q5_1, 1 Q8_0, 2 Q4_K Q5_K, 3 Q6_K, 4 F32, 5 F16, 6 BF16
 *   LEN, BYTES     columns of a k-block, and bytes of one of a group
 *   QS, QH         bytes from the start of a k-block to the quants and their high bits; QH 0: none
 *   OFFSET, MIN    subtracted from a quant; 1: the type has a minimum
 * A work-item handles T rows of activations, so a weight is unpacked once for T rows. */
#pragma OPENCL FP_CONTRACT OFF

#define WORDS(off) ((off) / 4)

/* One word of 4 columns, 4i .. 4i + 3 of the 32 of sub-block c: unsigned bytes. kb: the k-block's words, from this row on. */
uint unpack(const __global uint *kb, uint c, uint i)
{
#if FORM == 0
    uint v = (kb[WORDS(QS) + 32 * (i & 3)] >> (i < 4 ? 0 : 4)) & 0x0f0f0f0fu;
#if QH
    v |= ((kb[WORDS(QH)] >> i) & 0x01010101u) << 4;
#endif
    return v;
#elif FORM == 1
    return kb[WORDS(QS) + 32 * i];
#elif FORM == 2
    uint v = (kb[WORDS(QS) + 32 * (c / 2 * 8 + i)] >> ((c & 1) * 4)) & 0x0f0f0f0fu;
#if QH
    v |= ((kb[WORDS(QH) + 32 * i] >> c) & 0x01010101u) << 4;
#endif
    return v;
#elif FORM == 3
    const uint h = c / 4 * 24, m = c & 3; /* a half of 128 columns has 24 words */
    const uint v = (kb[WORDS(QS) + 32 * (h + (m & 1) * 8 + i)] >> (m / 2 * 4)) & 0x0f0f0f0fu;

    return v | ((kb[WORDS(QH) + 32 * (h + i)] >> (2 * m)) & 0x03030303u) << 4;
#else
    return 0;
#endif
}

/* Exact: unsigned bytes of w times signed bytes of x. */
int dot4(int4 w, uint x)
{
    const int4 p = w * convert_int4(as_char4(x));

    return (p.x + p.y) + (p.z + p.w);
}

uint byte_of(uint word, uint i)
{
    return (word >> (8 * i)) & 255u;
}

/* Scale and minimum of sub-block c, both exact. */
float scale_of(const __global uchar *k, const __global uint *kb, uint row, uint c, float *min)
{
    *min = 0.0f;
#if FORM == 2
    const float d = vload_half(0, (const __global half *)(k + 4 * row));
    const float m = vload_half(0, (const __global half *)(k + 4 * row + 2));
    const uint s0 = kb[32], s1 = kb[64], s2 = kb[96], i = c & 3;
    uint sc, mn;

    if (c < 4) {
        sc = byte_of(s0, i) & 63u;
        mn = byte_of(s1, i) & 63u;
    } else {
        sc = (byte_of(s2, i) & 15u) | byte_of(s0, i) >> 6 << 4;
        mn = byte_of(s2, i) >> 4 | byte_of(s1, i) >> 6 << 4;
    }
    *min = -(m * (float)mn);
    return d * (float)sc;
#elif MIN
    *min = vload_half(0, (const __global half *)(k + 4 * row + 2));
    return vload_half(0, (const __global half *)(k + 4 * row));
#else
    return vload_half(0, (const __global half *)(k + 2 * row));
#endif
}

float weight_of(const __global uchar *g, uint i)
{
#if FORM == 4
    return as_float(((const __global uint *)g)[i]);
#elif FORM == 5
    return vload_half(i, (const __global half *)g);
#else
    return as_float((uint)((const __global ushort *)g)[i] << 16);
#endif
}

/* y[t][32 g + row] = W . x[t], then + bias, then + what y held, as asked. Work-items: (32 for each group, tiles of T rows).
 *   w  groups;  q  [rows][n_cols] int8 as words;  d, sd  [rows][n_cols / 32];  s16  [rows][n_cols / 16];  f  [rows][stride_f] */
#define GEMM(T)                                                                                                        \
    __kernel void gemm_##T(__global float *y, uint stride_y, const __global uchar *w, const __global uint *q,          \
                           const __global float *d, const __global float *sd, const __global short *s16,               \
                           const __global float *f, uint stride_f, uint n_cols, const __global float *bias,            \
                           uint has_bias, uint add)                                                                    \
    {                                                                                                                  \
        const uint row = (uint)get_global_id(0) & 31u, g = (uint)get_global_id(0) >> 5, t0 = (uint)get_global_id(1) * T; \
        const __global uchar *group = w + (size_t)g * (n_cols / LEN) * BYTES;                                          \
        float acc[T];                                                                                                  \
                                                                                                                       \
        for (uint t = 0; t < T; t++)                                                                                   \
            acc[t] = 0.0f;                                                                                             \
        BODY(T)                                                                                                        \
        for (uint t = 0; t < T; t++) {                                                                                 \
            __global float *out = y + (size_t)(t0 + t) * stride_y + 32 * g + row;                                      \
            float v = acc[t];                                                                                          \
                                                                                                                       \
            if (has_bias)                                                                                              \
                v = v + bias[32 * g + row];                                                                            \
            if (add)                                                                                                   \
                v = *out + v;                                                                                          \
            *out = v;                                                                                                  \
        }                                                                                                              \
    }

#if FORM >= 4
#define BODY(T)                                                                       \
    for (uint k = 0; k < n_cols; k++) {                                               \
        const float v = weight_of(group, 32 * k + row);                               \
                                                                                      \
        for (uint t = 0; t < T; t++)                                                  \
            acc[t] = fma(v, f[(size_t)(t0 + t) * stride_f + k], acc[t]);              \
    }
#else
#if FORM == 3 /* two scales in a sub-block */
#define SUM(isum, half0, c, t)                                                                      \
    const uint s = kb[16 + 32 * ((c) / 2)] >> (16 * ((c) & 1));                                     \
    const int i0 = half0 - OFFSET * (int)s16[2 * b + (size_t)(t0 + t) * (n_cols / 16)];             \
    const int i1 = isum - half0 - OFFSET * (int)s16[2 * b + 1 + (size_t)(t0 + t) * (n_cols / 16)];  \
    const int total = (int)as_char4(s).x * i0 + (int)as_char4(s).y * i1;
#else
#define SUM(isum, half0, c, t)                                                     \
    const __global short *sums = s16 + 2 * b + (size_t)(t0 + t) * (n_cols / 16);    \
    const int total = isum - OFFSET * ((int)sums[0] + (int)sums[1]);
#endif
#define BODY(T)                                                                               \
    for (uint b = 0; b < n_cols / 32; b++) {                                                  \
        const uint c = b % (LEN / 32);                                                        \
        const __global uchar *k = group + (size_t)(b / (LEN / 32)) * BYTES;                   \
        const __global uint *kb = (const __global uint *)k + row;                             \
        int isum[T], half0[T];                                                                \
        float min;                                                                            \
        const float scale = scale_of(k, kb, row, c, &min);                                    \
                                                                                              \
        for (uint t = 0; t < T; t++)                                                          \
            isum[t] = half0[t] = 0;                                                           \
        for (uint i = 0; i < 8; i++) {                                                        \
            const int4 v = convert_int4(as_uchar4(unpack(kb, c, i)));                         \
                                                                                              \
            for (uint t = 0; t < T; t++) {                                                    \
                if (FORM == 3 && i == 4)                                                      \
                    half0[t] = isum[t];                                                       \
                isum[t] += dot4(v, q[(size_t)(t0 + t) * (n_cols / 4) + 8 * b + i]);           \
            }                                                                                 \
        }                                                                                     \
        for (uint t = 0; t < T; t++) {                                                        \
            const size_t at = (size_t)(t0 + t) * (n_cols / 32) + b;                           \
            SUM(isum[t], half0[t], c, t)                                                      \
                                                                                              \
            acc[t] = fma((float)total, scale * d[at], acc[t]);                                \
            if (MIN)                                                                          \
                acc[t] = fma(min, sd[at], acc[t]);                                            \
        }                                                                                     \
    }
#endif

GEMM(1)
GEMM(4)
GEMM(8)
