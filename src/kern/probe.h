/* Raw figures of a core: loops that do nothing but read memory, or multiply and add, as fast as the CPU can. Every
 * speed that Lever reports is a share of such a figure taken in the same run.
 *
 * Stateless, one thread a call, no allocation; who calls decides about threads and time. What a loop returns depends on
 * all it has read or computed, so that no compiler can drop it: add it to something. */
#ifndef LV_KERN_PROBE_H
#define LV_KERN_PROBE_H

#include <stdint.h>

struct lv_probe {
    const char *mac_name, *fma_name; /* the instruction, "vpdpbusd zmm" */

    /* Reads p[0 .. bytes), both multiples of 64; asks for lines `ahead` bytes ahead (0: leaves that to the CPU). */
    uint64_t (*read)(const uint8_t *p, uint64_t bytes, uint64_t ahead);
    /* n rounds of mac_per_round products of int8 values, added in int32, from registers. */
    uint64_t (*mac)(uint64_t n);
    /* n rounds of fma_per_round fused multiply-adds in f32, from registers. */
    uint64_t (*fma)(uint64_t n);
    uint32_t mac_per_round, fma_per_round;
};

/* The fastest loops among the CPU flags given (cpu/cpu.h). A unit with its own registers (AMX tiles) is another `mac` here,
 * once kernels use it: a peak that no kernel can reach says nothing about kernels. */
void lv_probe_init(struct lv_probe *p, uint32_t cpu_flags);

/* One file an instruction set; each overrides what it does better. */
void lv_probe_init_avx2(struct lv_probe *p);
void lv_probe_init_avxvnni(struct lv_probe *p);
void lv_probe_init_avx512(struct lv_probe *p);
void lv_probe_init_avx512vnni(struct lv_probe *p);
void lv_probe_init_neon(struct lv_probe *p);
void lv_probe_init_dotprod(struct lv_probe *p);

#endif
