/* Everything but matrix products: each row, or a head of a row, by itself. The operations and their order are those of
 * kern/ref, so that results have the same bits. LANES = 16 work-items share a row where the contract sums in 16 lanes:
 * element i belongs to lane i % 16. */
#pragma OPENCL FP_CONTRACT OFF

#define LANES 16

float reduce16(const __local float *l)
{
    float a[8], b[4];

    for (int i = 0; i < 8; i++)
        a[i] = l[i] + l[i + 8];
    for (int i = 0; i < 4; i++)
        b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

/* kern/ref/exp.h */
float exp_of(float x)
{
    float c = -87.5f > x ? -87.5f : x;

    c = 89.0f < c ? 89.0f : c;
    const float t = fma(c, 0x1.715476p+0f, 12583038.0f);
    const float k = t - 12583038.0f;
    float r = fma(k, -0x1.62e43p-1f, c);

    r = fma(k, 0x1.05c61p-29f, r);
    float p = fma(0x1.6a5132p-9f, r, 0x1.12397cp-6f);

    p = fma(p, r, 0x1.5558acp-4f);
    p = fma(p, r, 0x1.555492p-2f);
    p = fma(p, r, 0x1.fffffcp-1f);
    p = fma(p, r, 2.0f);
    p = fma(p, r, 2.0f);
    return p * as_float(as_uint(t) << 23);
}

/* kern/ref/quantize.c: 32 values of f to block i_blk. */
void quantize_32(const __global float *f, size_t i_blk, __global char *q, __global float *d, __global float *sd,
                 __global short *s16)
{
    uint amax_bits = 0;
    int sum[2] = { 0, 0 };

    for (int i = 0; i < 32; i++)
        amax_bits = max(amax_bits, as_uint(f[i]) & 0x7fffffffu);
    const int finite = amax_bits < 0x7f800000u;
    const float amax = as_float(amax_bits);
    float id = finite && amax > 0.0f ? 127.0f / amax : 0.0f;

    if (id > 0x1.fffffep127f)
        id = 0.0f;
    for (int i = 0; i < 32; i++) {
        const int v = finite ? (int)rint(f[i] * id) : 0;

        q[i_blk * 32 + i] = (char)v;
        sum[i / 16] += v;
    }
    const float scale = finite ? amax / 127.0f : as_float(0x7fc00000u);

    d[i_blk] = scale;
    sd[i_blk] = scale * (float)(sum[0] + sum[1]);
    s16[i_blk * 2] = (short)sum[0];
    s16[i_blk * 2 + 1] = (short)sum[1];
}

/* A group of LANES: y = norm(x) * w over n values. Each lane writes the elements that it reads. */
void rms_norm(__global float *y, const __global float *x, const __global float *w, float eps, uint n, __local float *sum)
{
    const uint l = (uint)get_local_id(0);
    float s = 0.0f;

    for (uint i = l; i < n; i += LANES)
        s = fma(x[i], x[i], s);
    barrier(CLK_LOCAL_MEM_FENCE);
    sum[l] = s;
    barrier(CLK_LOCAL_MEM_FENCE);
    const float r = 1.0f / sqrt(reduce16(sum) / (float)n + eps);

    for (uint i = l; i < n; i += LANES)
        y[i] = (x[i] * r) * w[i];
}

/* LV_OP_NORM, a group of LANES for each row; row r is row pick[at + r] of x if at >= 0. */
__kernel void norm(__global float *x, __global float *t, uint stride, const __global float *post, uint has_post,
                   const __global float *pre, uint has_pre, float eps, uint n, __global float *out, __global char *q,
                   __global float *d, __global float *sd, __global short *s16, const __global int *pick, int at)
{
    __local float sum[LANES];
    const uint l = (uint)get_local_id(0), r = (uint)get_group_id(0);
    const size_t from = (size_t)(at >= 0 ? (uint)pick[at + (int)r] : r) * stride;

    if (has_post) {
        rms_norm(t + from, t + from, post, eps, n, sum);
        for (uint i = l; i < n; i += LANES)
            x[from + i] = x[from + i] + t[from + i];
    }
    if (has_pre) {
        rms_norm(out + (size_t)r * n, x + from, pre, eps, n, sum);
        barrier(CLK_GLOBAL_MEM_FENCE);
        for (uint b = l; b < n / 32; b += LANES)
            quantize_32(out + (size_t)r * n + 32 * b, (size_t)r * (n / 32) + b, q, d, sd, s16);
    }
}

/* One head turned by its angles: pairs go to lanes. */
void rope(__global float *x, const __global float *cs, uint n_rot, uint neox)
{
    const uint half_n = n_rot / 2;

    for (uint i = (uint)get_local_id(0); i < half_n; i += LANES) {
        __global float *pa = neox ? x + i : x + 2 * i;
        __global float *pb = neox ? pa + half_n : pa + 1;
        const float a = *pa, b = *pb, c = cs[i], s = cs[half_n + i];

        *pa = fma(a, c, -(b * s));
        *pb = fma(a, s, b * c);
    }
}

/* LV_OP_QKV, a group of LANES for each (head, row): query heads, then KV heads, whose K and V go to the row's slot. */
__kernel void qkv(__global float *q, uint stride_q, __global float *k, __global float *v, uint stride_kv,
                  const __global float *cs, uint at_cs, uint n_rot, uint neox, const __global float *qnorm, uint has_qnorm,
                  const __global float *knorm, uint has_knorm, float eps, uint dim, uint n_head, const __global int *slot,
                  __global half *tree_k, __global half *tree_v, uint n_slot)
{
    __local float sum[LANES];
    const uint l = (uint)get_local_id(0), u = (uint)get_group_id(0), r = (uint)get_global_id(1);
    const uint is_q = u < n_head, h = is_q ? u : u - n_head;
    __global float *x = is_q ? q + (size_t)r * stride_q + h * dim : k + (size_t)r * stride_kv + h * dim;

    if (is_q ? has_qnorm : has_knorm) {
        rms_norm(x, x, is_q ? qnorm : knorm, eps, dim, sum);
        barrier(CLK_GLOBAL_MEM_FENCE);
    }
    rope(x, cs + at_cs + (size_t)r * n_rot, n_rot, neox);
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (is_q)
        return;
    const uint at = (uint)slot[r];
    __global half *tk = tree_k + ((size_t)h * n_slot + at / 16 * 16) * dim + at % 16;
    __global half *tv = tree_v + ((size_t)h * n_slot + at) * dim;
    const __global float *vr = v + (size_t)r * stride_kv + h * dim;

    for (uint i = l; i < dim; i += LANES) {
        vstore_half_rte(x[i], (size_t)i * 16, tk);
        vstore_half_rte(vr[i], i, tv);
    }
}

/* LV_OP_ATTN: a work-group for each (query head, row), rows row0 on. All scores of a head lie in one array by logical position, first
 * committed ones, then the path; see model/attention.c.
 *   pass  of each row, from at_path on: [rows + 1] offsets, then slots from at_slots on
 *   score [heads][rows of a launch][stride], scratch;  out [rows][stride_q] */
__kernel void attention(const __global float *q, uint stride_q, const __global half *ck, const __global half *cv, uint cap,
                        const __global half *tk, const __global half *tv, uint n_slot, uint n_kv, uint window, uint dim,
                        uint n_head, uint n_group, float scale, const __global int *pass, uint at_path, uint at_slots,
                        uint row0, __global float *score, uint stride, __global float *out)
{
    __local float lane[LANES];
    __local float most[64];
    const uint l = (uint)get_local_id(0), w = (uint)get_local_size(0), h = (uint)get_group_id(0);
    const uint r = row0 + (uint)get_group_id(1), kh = h / n_group;
    const uint p0 = (uint)pass[at_path + r], n_path = (uint)pass[at_path + r + 1] - p0, pos = n_kv + n_path - 1;
    const uint from = window && pos + 1 > window ? pos + 1 - window : 0, from16 = from / 16 * 16;
    const uint n = (pos + 1 - from16 + 15) / 16 * 16;
    const __global int *path = pass + at_slots + p0;
    const __global float *qr = q + (size_t)r * stride_q + h * dim;
    __global float *s = score + ((size_t)get_group_id(1) * n_head + h) * stride;
    float m = -INFINITY;

    for (uint i = l; i < n; i += w) {
        const uint p = from16 + i;
        float v = -INFINITY;

        if (p >= from && p <= pos) {
            const uint at = p < n_kv ? p % cap : (uint)path[p - n_kv];
            const __global half *k = (p < n_kv ? ck + ((size_t)kh * cap + at / 16 * 16) * dim
                                               : tk + ((size_t)kh * n_slot + at / 16 * 16) * dim) + at % 16;
            float acc = 0.0f;

            for (uint e = 0; e < dim; e++)
                acc = fma(qr[e], vload_half((size_t)e * 16, k), acc);
            v = acc * scale;
        }
        s[i] = v;
        m = v > m ? v : m;
    }
    most[l] = m;
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    m = -INFINITY;
    for (uint i = 0; i < w; i++)
        m = most[i] > m ? most[i] : m;
    for (uint i = l; i < n; i += w)
        s[i] = exp_of(s[i] - m);
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (l < LANES) {
        float sum = 0.0f;

        for (uint i = l; i < n; i += LANES)
            sum = sum + s[i];
        lane[l] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float inv = 1.0f / reduce16(lane);

    for (uint e = l; e < dim; e += w) {
        float acc = 0.0f;
        uint p = from;

        for (; p < n_kv && p <= pos; p++)
            acc = fma(s[p - from16], vload_half(((size_t)kh * cap + p % cap) * dim + e, cv), acc);
        for (; p <= pos; p++)
            acc = fma(s[p - from16], vload_half(((size_t)kh * n_slot + (uint)path[p - n_kv]) * dim + e, tv), acc);
        out[(size_t)r * stride_q + h * dim + e] = acc * inv;
    }
}

/* A work-item for each 32 columns of a row. */
__kernel void quantize(const __global float *f, uint stride, uint n, __global char *q, __global float *d,
                       __global float *sd, __global short *s16)
{
    const uint b = (uint)get_global_id(0), r = (uint)get_global_id(1);

    quantize_32(f + (size_t)r * stride + 32 * b, (size_t)r * (n / 32) + b, q, d, sd, s16);
}

/* LV_OP_GLU, the same. */
__kernel void glu(__global float *g, const __global float *u, uint stride, uint n, uint gelu, __global char *q,
                  __global float *d, __global float *sd, __global short *s16)
{
    const uint b = (uint)get_global_id(0), r = (uint)get_global_id(1);
    __global float *gb = g + (size_t)r * stride + 32 * b;
    const __global float *ub = u + (size_t)r * stride + 32 * b;

    for (int i = 0; i < 32; i++) {
        const float x = gb[i];
        const float z = 0.7978845608f * fma(0.044715f * x * x, x, x);
        const float y = x / (1.0f + exp_of(gelu ? -2.0f * z : -x));

        gb[i] = y * ub[i];
    }
    quantize_32(gb, (size_t)r * (n / 32) + b, q, d, sd, s16);
}

/* Tree slots to committed positions: pairs (slot, position) from list[at] on. Work-items: (dim, KV heads, pairs). */
__kernel void commit(const __global ushort *tk, const __global ushort *tv, uint n_slot, __global ushort *k, __global ushort *v,
                     uint cap, uint dim, const __global int *list, uint at)
{
    const uint e = (uint)get_global_id(0), h = (uint)get_global_id(1), i = (uint)get_global_id(2);
    const uint slot = (uint)list[at + 2 * i], p = (uint)list[at + 2 * i + 1] % cap;

    k[((size_t)h * cap + p / 16 * 16) * dim + (size_t)e * 16 + p % 16] =
        tk[((size_t)h * n_slot + slot / 16 * 16) * dim + (size_t)e * 16 + slot % 16];
    v[((size_t)h * cap + p) * dim + e] = tv[((size_t)h * n_slot + slot) * dim + e];
}
