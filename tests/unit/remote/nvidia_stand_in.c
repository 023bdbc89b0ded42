/* Stands in for NVIDIA's libnvidia-ml.so.1 (built with -DNVML) and libcuda.so.1 (without): starts
   with the error CODE, or hangs, or crashes, and tells of GPUS GPUs.
   The calls are those of https://docs.nvidia.com/deploy/nvml-api/ and of CUDA's driver API. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef CODE
#define CODE 0
#endif
#ifndef GPUS
#define GPUS 1
#endif

static int start(void) {
#ifdef HANGS
    for (;;) pause();
#endif
#ifdef CRASHES
    abort();
#endif
    return CODE;
}

static int counted(int *count) {
    *count = GPUS;
    return 0;
}

#ifdef NVML
int nvmlInit_v2(void) { return start(); }
const char *nvmlErrorString(int code) { return "as the stand-in says"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { return snprintf(text, size, VERSION) < 0; }
int nvmlDeviceGetCount_v2(int *count) { return counted(count); }
#else
int cuInit(unsigned flags) { return start(); }
int cuGetErrorString(int code, const char **text) { return *text = "as the stand-in says", 0; }
int cuDriverGetVersion(int *version) { return *version = 12040, 0; }
int cuDeviceGetCount(int *count) { return counted(count); }
#endif
