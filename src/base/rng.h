/* Random numbers: a stateless hash for sampling, a small generator for tests.
 * splitmix64 finalizer: Steele, Lea, Flood, "Fast splittable pseudorandom number
 * generators", OOPSLA 2014 (constants of Stafford's variant 13). */
#ifndef LV_BASE_RNG_H
#define LV_BASE_RNG_H

#include <stdint.h>

static inline uint64_t lv_mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

struct lv_rng {
    uint64_t state;
};

static inline uint64_t lv_rng_u64(struct lv_rng *r)
{
    return lv_mix64(r->state += UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint32_t lv_rng_below(struct lv_rng *r, uint32_t n) /* 0 .. n - 1 */
{
    return (uint32_t)((lv_rng_u64(r) >> 32) * n >> 32);
}

static inline float lv_rng_f32(struct lv_rng *r) /* [-1, 1) */
{
    return (float)(lv_rng_u64(r) >> 40) * 0x1p-23f - 1.0f;
}

#endif
