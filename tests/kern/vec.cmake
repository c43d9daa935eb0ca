lever_test(kern_vec SOURCES test_vec.c vec_harness.c vec_bench.c LINK lever_kern kt_emulated)
lever_test(kern_vec_accuracy SOURCES test_vec_accuracy.c vec_harness.c vec_bench.c LINK lever_kern kt_emulated)
