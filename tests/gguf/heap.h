/* Counts live heap bytes of the code under test, through the linker's --wrap. */
#ifndef TEST_GGUF_HEAP_H
#define TEST_GGUF_HEAP_H

#include <stdint.h>

uint64_t heap_live_bytes(void);
uint64_t heap_peak_bytes(void); /* since the last reset */
void heap_reset_peak(void);

#endif
